/* Parts of tokenizer.json one by one, refusals, and ids from .npy files. What words and ids should
 * be is written out by hand, from the documentation of Hugging Face's tokenizers. */
#include "model/pattern.h"
#include "model/tokenizer.h"
#include "tests/unit/checkpoint_testing.h"

static struct qins_error err;

/* A tokenizer whose tokens are letters, digits and punctuation, with merges that make any run of
 * a's and b's, and parts as given: the words that it cuts can be read off its ids. */
#define MODEL                                                                                      \
    "'model':{'type':'BPE','vocab':{'a':0,'b':1,'aa':2,'ab':3,'1':4,'2':5,"                        \
    "'12':6,' ':7,'  ':8,'-':9,'--':10,'a-':11,'-a':12,' a':13,'a ':14,"                           \
    "'_':15,'_a':16,'A':17,'\\u00e9':18,'e':19,'\\u0301':20,'__':21},"                             \
    "'merges':['a a','a b','1 2',[' ',' '],'- -','a -','- a',[' ','a'],"                           \
    "['a',' '],'_ a','_ _']}"

/* JSON in these tests has ' for ". */
static enum qins_status parse_quoted(struct qn_tokenizer **t, const char *text, size_t size)
{
    char json[4096];
    assert_true(size <= sizeof json);
    memcpy(json, text, size);
    for (size_t i = 0; i < size; i++)
        if (json[i] == '\'')
            json[i] = '"';
    return qn_tokenizer_parse(t, json, size, 0, &err);
}

static struct qn_tokenizer *parse(const char *text)
{
    struct qn_tokenizer *t = NULL;
    enum qins_status st = parse_quoted(&t, text, strlen(text));
    if (st != QINS_OK)
        print_message("%s\n", err.message);
    assert_int_equal(st, QINS_OK);
    return t;
}

static void encodes_to(const struct qn_tokenizer *t, const char *text, unsigned flags,
                       const char *wanted)
{
    struct qn_ids ids = {0};
    char line[512] = "";
    assert_int_equal(qn_tokenizer_encode(t, text, strlen(text), flags, &ids, &err), QINS_OK);
    for (size_t i = 0; i < ids.count; i++) {
        const size_t n = strlen(line);
        snprintf(line + n, sizeof line - n, i ? " %u" : "%u", ids.data[i]);
    }
    assert_string_equal(line, wanted);
    qn_ids_finish(&ids);
}

static void decodes_to(const struct qn_tokenizer *t, const uint32_t *ids, size_t n, bool skip,
                       const char *wanted)
{
    struct qn_buf text = {0};
    assert_int_equal(qn_tokenizer_decode(t, ids, n, skip, &text, &err), QINS_OK);
    assert_int_equal(qn_buf_append(&text, "", 1, &err), QINS_OK);
    assert_string_equal((char *)text.data, wanted);
    qn_buf_finish(&text);
}

#define SPLIT(pattern, behavior)                                                                   \
    "'pre_tokenizer':{'type':'Split','pattern':{'String':'" pattern "'},"                          \
    "'behavior':'" behavior "'}"
#define META(more) "'pre_tokenizer':{'type':'Metaspace','replacement':'_'" more "}"

static void words(void **state)
{
    static const struct {
        const char *parts, *text, *ids;
    } cases[] = {
        {"'pre_tokenizer':null", "aa-ab", "2 9 3"},
        /* the-final--countdown of the documentation */
        {SPLIT("-", "Isolated"), "a--a", "0 9 9 0"},
        {SPLIT("-", "Removed"), "a--a", "0 0"},
        {SPLIT("-", "Contiguous"), "a--a", "0 10 0"},
        {SPLIT("-", "MergedWithPrevious"), "a--a", "11 9 0"},
        {SPLIT("-", "MergedWithNext"), "a--a", "0 9 12"},
        {SPLIT("-", "Removed") ",'padding':{},'truncation':{}", "-a-", "0"},
        {"'pre_tokenizer':{'type':'Split','pattern':{'Regex':'a+'},'behavior':"
         "'Removed','invert':true}",
         "1aa--a", "2 0"},
        {"'pre_tokenizer':{'type':'Split','pattern':{'Regex':'a*'},'behavior':"
         "'Isolated'}",
         "aa--", "2 9 9"},
        {"'pre_tokenizer':{'type':'Digits'}", "a12a", "0 6 0"},
        {"'pre_tokenizer':{'type':'Digits','individual_digits':true}", "a12a", "0 4 5 0"},
        {"'pre_tokenizer':{'type':'Punctuation'}", "a--a", "0 9 9 0"},
        {"'pre_tokenizer':{'type':'Whitespace'}", "a-- aa", "0 10 2"},
        {"'pre_tokenizer':{'type':'WhitespaceSplit'}", " a\t- aa ", "0 9 2"},
        {META(""), "a a", "16 16"},
        {META(""), " a", "16"},
        {META(",'split':false"), "a  a", "16 15 16"},
        {META(",'prepend_scheme':'never'"), "a a", "0 16"},
        {META(",'add_prefix_space':false"), "a a", "0 16"},
        {"'pre_tokenizer':{'type':'Sequence','pretokenizers':[{'type':'Digits'},"
         "{'type':'Metaspace','replacement':'_','prepend_scheme':'first'}]}",
         "a1a", "16 4 0"},
        {"'normalizer':{'type':'Lowercase'}", "AA", "2"},
        {"'normalizer':{'type':'Strip'}", "  a ", "0"},
        {"'normalizer':{'type':'Strip','strip_left':false}", " a ", "13"},
        {"'normalizer':{'type':'NFC'}", "ae\xcc\x81", "0 18"},
        {"'normalizer':{'type':'NFD'}", "a\xc3\xa9", "0 19 20"},
        {"'normalizer':{'type':'Replace','pattern':{'Regex':'[ab]+'},'content':"
         "'1'}",
         "ab2a", "6 4"},
        {"'normalizer':{'type':'Sequence','normalizers':[{'type':'Prepend','prepend':"
         "'1'},{'type':'Replace','pattern':{'String':'1'},'content':'12'}]}",
         "2", "6 5"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[2048];
        snprintf(text, sizeof text, "{%s," MODEL "}", cases[i].parts);
        struct qn_tokenizer *t = parse(text);
        print_message("%s\n", cases[i].parts);
        encodes_to(t, cases[i].text, false, cases[i].ids);
        qn_tokenizer_destroy(t);
    }
}

static void added_tokens(void **state)
{
    static const char text[] =
        "{'added_tokens':["
        "{'id':30,'content':'<x>','special':false,'normalized':false},"
        "{'id':31,'content':'<x>y','special':false,'normalized':false},"
        "{'id':32,'content':'<l>','special':false,'normalized':false,'lstrip':true},"
        "{'id':33,'content':'<r>','special':false,'normalized':false,'rstrip':true},"
        "{'id':34,'content':'bb','special':false,'normalized':false,'single_word':true},"
        "{'id':35,'content':'AB','special':true,'normalized':true},"
        "{'id':0,'content':'a','special':false,'single_word':true}],"
        "'normalizer':{'type':'Lowercase'},"
        "'post_processor':{'type':'TemplateProcessing','single':[{'SpecialToken':{'id':'S'}},"
        "{'Sequence':{'id':'A'}},{'SpecialToken':{'id':'E'}}],"
        "'special_tokens':{'S':{'ids':[30,31]},'E':{'ids':[35]}}}," MODEL "}";
    (void)state;
    struct qn_tokenizer *t = parse(text);
    assert_int_equal(qn_tokenizer_size(t), 36);
    encodes_to(t, "", false, "");
    encodes_to(t, "", true, "30 31 35");
    encodes_to(t, "aa", true, "30 31 2 35");
    encodes_to(t, "a<x>a<x>ya<x", false, "0 30 0 31 0");
    encodes_to(t, "<X>", false, ""); /* no token for these characters, and none for unknown ones */
    encodes_to(t, "- <l> -", false, "9 32 7 9");
    encodes_to(t, "- <r> -", false, "9 7 33 9");
    encodes_to(t, "<r>  <l>-", false, "33 32 9");
    encodes_to(t, "bb-bb bbb", false, "34 9 34 7 1 1 1");
    encodes_to(t, "AB-ab-Aab", false, "35 9 35 12 35");
    encodes_to(t, "ab<x>", 0, "35 30");
    encodes_to(t, "ab<x>", QN_ENCODE_PLAIN, "3 30"); /* only the first is special */
    /* Without a decoder the tokens stand with spaces between them. */
    decodes_to(t, (uint32_t[]){2, 30, 35, 4}, 4, false, "aa <x> AB 1");
    decodes_to(t, (uint32_t[]){2, 30, 35, 4}, 4, true, "aa <x> 1");
    struct qn_buf out = {0};
    assert_int_equal(qn_tokenizer_decode(t, (uint32_t[]){36}, 1, false, &out, &err),
                     QINS_ERR_FORMAT);
    assert_int_equal(qn_tokenizer_decode(t, (uint32_t[]){25}, 1, false, &out, &err),
                     QINS_ERR_FORMAT);
    qn_buf_finish(&out);
    qn_tokenizer_destroy(t);
}

static void unknown_characters(void **state)
{
    static const char model[] =
        "{'model':{'type':'BPE','unk_token':'?','fuse_unk':%s,'byte_fallback':true,"
        "'vocab':{'?':0,'a':1,'<0xC3>':2,'<0xA9>':3},'merges':[]}}";
    char text[512];
    (void)state;
    snprintf(text, sizeof text, model, "false");
    struct qn_tokenizer *t = parse(text);
    encodes_to(t, "xaxy\xc3\xa9y", false, "0 1 0 2 3 0 0");
    qn_tokenizer_destroy(t);
    snprintf(text, sizeof text, model, "true");
    t = parse(text);
    encodes_to(t, "xaxyzay", false, "0 1 0 1 0");
    qn_tokenizer_destroy(t);
    t = parse("{'model':{'type':'BPE','unk_token':'?','vocab':{'a':0},'merges':[]}}");
    encodes_to(t, "a", false, "0");
    struct qn_ids ids = {0};
    assert_int_equal(qn_tokenizer_encode(t, "ab", 2, false, &ids, &err), QINS_ERR_FORMAT);
    assert_int_equal(ids.count, 0);
    qn_ids_finish(&ids);
    qn_tokenizer_destroy(t);
}

static void decoders(void **state)
{
    static const char vocab[] = "'model':{'vocab':{'_a':0,'<0xC3>':1,'<0xA9>':2,'b_':3,"
                                "'\\u0120x':4,'\\u00c3':5,' y':6},'merges':[]}}";
    static const struct {
        const char *decoder, *text;
    } cases[] = {
        {"{'type':'Metaspace','replacement':'_'}", "a<0xC3><0xA9>b \xc4\xa0x\xc3\x83 y"},
        {"{'type':'Metaspace','replacement':'_','prepend_scheme':'never'}",
         " a<0xC3><0xA9>b \xc4\xa0x\xc3\x83 y"},
        {"{'type':'ByteLevel'}", "_a<0xC3><0xA9>b_ x\xc3 y"},
        {"{'type':'Sequence','decoders':[{'type':'Replace','pattern':{'String':'_'}"
         ","
         "'content':' '},{'type':'ByteFallback'},{'type':'Fuse'},{'type':'Strip',"
         "'content':' ','start':1,'stop':0}]}",
         "a\xc3\xa9"
         "b \xc4\xa0x\xc3\x83 y"},
        {"{'type':'Strip','content':'_','start':1,'stop':2}", "a<0xC3><0xA9>b\xc4\xa0x\xc3\x83 y"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1024];
        snprintf(text, sizeof text, "{'decoder':%s,%s", cases[i].decoder, vocab);
        struct qn_tokenizer *t = parse(text);
        decodes_to(t, (uint32_t[]){0, 1, 2, 3, 4, 5, 6}, 7, false, cases[i].text);
        qn_tokenizer_destroy(t);
    }
}

static void refused(const char *text, size_t size, enum qins_status status, const char *message)
{
    struct qn_tokenizer *t = NULL;
    enum qins_status st = parse_quoted(&t, text, size);
    print_message("%d %s\n", st, st == QINS_OK ? text : err.message);
    assert_int_equal(st, status);
    for (char *c = err.message; *c; c++)
        if (*c == '"')
            *c = '\'';
    assert_non_null(strstr(err.message, message));
    assert_null(t);
}

static void refusals(void **state)
{
    static const struct {
        const char *text, *message;
        enum qins_status status;
    } cases[] = {
        {"{", "JSON", QINS_ERR_FORMAT},
        {"{}", "no 'model'", QINS_ERR_FORMAT},
        {"{'model':{'type':'Unigram'}}", "Unigram", QINS_ERR_UNSUPPORTED},
        {"{'model':{'type':'BPE','vocab':[],'merges':[]}}", "'vocab' is not an object",
         QINS_ERR_FORMAT},
        {"{'model':{'type':'BPE','vocab':{},'merges':[]}}", "empty", QINS_ERR_FORMAT},
        {"{'model':{'type':'BPE','vocab':{'a':-1},'merges':[]}}", "'a'", QINS_ERR_FORMAT},
        {"{'model':{'type':'BPE','vocab':{'a':4000000000},'merges':[]}}", "4000000000",
         QINS_ERR_FORMAT},
        {"{'model':{'type':'BPE','vocab':{'a':1,'b':1},'merges':[]}}", "two tokens have the id 1",
         QINS_ERR_FORMAT},
        {"{'model':{'type':'BPE','vocab':{'a':1},'merges':{}}}", "'merges'", QINS_ERR_FORMAT},
        {"{'model':{'type':'BPE','vocab':{'a':1},'merges':['a']}}", "merge 0", QINS_ERR_FORMAT},
        {"{'model':{'type':'BPE','vocab':{'a':1},'merges':['a b']}}", "the second",
         QINS_ERR_FORMAT},
        {"{'model':{'type':'BPE','vocab':{'a':1},'merges':['a a']}}", "what they make",
         QINS_ERR_FORMAT},
        {"{'model':{'type':'BPE','dropout':0.1,'vocab':{'a':1},'merges':[]}}", "dropout",
         QINS_ERR_UNSUPPORTED},
        {"{'model':{'type':'BPE','end_of_word_suffix':'</w>','vocab':{'a':1},"
         "'merges':[]}}",
         "end_of_word_suffix", QINS_ERR_UNSUPPORTED},
        {"{'normalizer':{'type':'Precompiled'}," MODEL "}", "normalizer Precompiled",
         QINS_ERR_UNSUPPORTED},
        {"{'normalizer':{'type':'Prepend'}," MODEL "}", "'prepend' of Prepend", QINS_ERR_FORMAT},
        {"{'normalizer':[]," MODEL "}", "without a type", QINS_ERR_FORMAT},
        {"{'pre_tokenizer':{'type':'BertPreTokenizer'}," MODEL "}", "BertPreTokenizer",
         QINS_ERR_UNSUPPORTED},
        {"{" META(",'prepend_scheme':'last'") "," MODEL "}", "last", QINS_ERR_UNSUPPORTED},
        {"{" SPLIT("-", "Sideways") "," MODEL "}", "Sideways", QINS_ERR_UNSUPPORTED},
        {"{'pre_tokenizer':{'type':'Sequence','pretokenizers':[{'type':'ByteLevel'},"
         "{'type':'Digits'}]}," MODEL "}",
         "after ByteLevel", QINS_ERR_UNSUPPORTED},
        {"{'post_processor':{'type':'RobertaProcessing'}," MODEL "}", "RobertaProcessing",
         QINS_ERR_UNSUPPORTED},
        {"{'post_processor':{'type':'TemplateProcessing','single':[{'SpecialToken':{"
         "'id':'S'}},{'Sequence':{'id':'A'}}],'special_tokens':{'S':{'ids':[99]}}}"
         "," MODEL "}",
         "outside the vocabulary", QINS_ERR_FORMAT},
        {"{'decoder':{'type':'WordPiece'}," MODEL "}", "WordPiece", QINS_ERR_UNSUPPORTED},
        {"{'added_tokens':{}," MODEL "}", "'added_tokens'", QINS_ERR_FORMAT},
        {"{'added_tokens':[{'id':3}]," MODEL "}", "'content'", QINS_ERR_FORMAT},
        {"{'added_tokens':[{'id':3,'content':'a'}]," MODEL "}", "in the vocabulary it has 0",
         QINS_ERR_FORMAT},
        {"{'added_tokens':[{'id':3,'content':'q'}]," MODEL "}", "two tokens have the id 3",
         QINS_ERR_FORMAT},
        {"", "neither", QINS_ERR_FORMAT},
        {"GGUF", "neither", QINS_ERR_FORMAT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(cases[i].text, strlen(cases[i].text), cases[i].status, cases[i].message);
    refused("\5\0\0\0\0\0\0\0\6\0\0\0abcdef", 18, QINS_ERR_FORMAT, "the longest has 5");
    refused("\5\0\0\0\0\0\0\0\5\0\0\0abc", 15, QINS_ERR_FORMAT, "ends within a token");
    refused("\5\0\0\0\0\0\0\0\1\0\0\0a", 13, QINS_ERR_FORMAT, "holds 1 tokens");
}

static void patterns(void **state)
{
    static const struct {
        const char *text, *translated; /* NULL: refused */
    } cases[] = {
        {"\\s+(?!\\S)", "\\p{White_Space}+(?!\\P{White_Space})"},
        {"[^\\s\\p{L}\\p{N}]", "[^\\p{White_Space}\\p{L}\\p{N}]"},
        {"(?i:'s)|\\p{N}{1,3}", "(?i:'s)|\\p{N}{1,3}"},
        {"(?i)a|b", "(?i)a|b"},
        {"[\\p{Han}\\p{^Lu}]\\P{Latin}", "[\\p{sc:Han}\\p{^Lu}]\\P{sc:Latin}"},
        {"[\\u4e00-\\x{9fa5}]\\x41", "[\\x{4e00}-\\x{9fa5}]\\x{41}"},
        {"\\v\\d\\[", "\\x{b}\\p{Nd}\\["},
        {"a{2,3}?a++", "a{2,3}?a++"},
        {"a(?i)b|c", NULL},
        {"\\h", NULL},
        {"\\b", NULL},
        {"\\1", NULL},
        {"\\K", NULL},
        {"[\\W]", NULL},
        {"[a&&b]", NULL},
        {"[[:alpha:]]", NULL},
        {"[]a]", NULL},
        {"a{2,3}+", NULL},
        {"a{2}?", NULL},
        {"a{,2}", NULL},
        {"(*COMMIT)", NULL},
        {"(?R)", NULL},
        {"(?<n>a)", NULL},
        {"(?m:.)", NULL},
        {"\\p", NULL},
        {"\\p{", NULL},
        {"\\pL", NULL},
        {"\\x{", NULL},
        {"\\", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qn_buf out = {0};
        const enum qins_status st =
            qn_pattern_translate(cases[i].text, strlen(cases[i].text), &out, &err);
        print_message("%s\n", cases[i].text);
        assert_int_equal(st, cases[i].translated ? QINS_OK : QINS_ERR_UNSUPPORTED);
        if (cases[i].translated) {
            assert_int_equal(out.size, strlen(cases[i].translated));
            assert_memory_equal(out.data, cases[i].translated, out.size);
        }
        qn_buf_finish(&out);
    }
}

/* A pattern that would take for ever, and one that PCRE2 does not compile. */
static void bad_patterns(void **state)
{
    static const char text[] = "{'pre_tokenizer':{'type':'Split','pattern':{'Regex':'%s'}"
                               ",'behavior':'Isolated'}," MODEL "}";
    char json[2048];
    struct qn_ids ids = {0};
    (void)state;
    snprintf(json, sizeof json, text, "((a+)+)+[bc]");
    struct qn_tokenizer *t = parse(json);
    const char *long_word = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    assert_int_equal(qn_tokenizer_encode(t, long_word, strlen(long_word), false, &ids, &err),
                     QINS_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "limit"));
    qn_ids_finish(&ids);
    qn_tokenizer_destroy(t);
    snprintf(json, sizeof json, text, "(a");
    refused(json, strlen(json), QINS_ERR_UNSUPPORTED, "the regular expression");
}

/* Text that a hostile normalizer would blow up. */
static void growth(void **state)
{
#define EIGHT_TIMES "{'type':'Replace','pattern':{'String':'a'},'content':'aaaaaaaa'},"
#define MANY_TIMES  EIGHT_TIMES EIGHT_TIMES EIGHT_TIMES EIGHT_TIMES
    static const char text[] =
        "{'normalizer':{'type':'Sequence','normalizers':[" MANY_TIMES MANY_TIMES MANY_TIMES
        "{'type':'Strip'}]}," MODEL "}";
    struct qn_ids ids = {0};
    (void)state;
    struct qn_tokenizer *t = parse(text);
    assert_int_equal(qn_tokenizer_encode(t, "a", 1, false, &ids, &err), QINS_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "too long"));
    qn_ids_finish(&ids);
    qn_tokenizer_destroy(t);
}

static void opening(void **state)
{
    struct qn_attachment_list files = {0};
    struct qn_tokenizer *t = NULL;
    (void)state;
    assert_int_equal(qn_tokenizer_open(&t, NULL, &files, 0, &err), QINS_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "give --tokenizer or --ids"));
    assert_int_equal(qn_tokenizer_open(&t, test_path("none.json"), &files, 0, &err), QINS_ERR_IO);
    static const char json[] = "{\"model\":{\"vocab\":{\"a\":0,\"b\":21},\"merges\":[]}}";
    assert_int_equal(qn_attachment_add(&files, "tokenizer.json", json, strlen(json), &err),
                     QINS_OK);
    assert_int_equal(qn_tokenizer_open(&t, NULL, &files, 0, &err), QINS_OK);
    assert_int_equal(qn_tokenizer_size(t), 22);
    struct qn_digest digest = qn_hash128(json, strlen(json));
    assert_memory_equal(qn_tokenizer_digest(t), &digest, sizeof digest);
    qn_tokenizer_destroy(t);
    qn_tokenizer_destroy(NULL);
    qn_attachment_list_finish(&files);
}

static void write_npy(const char *name, const char *descr, const char *shape, const void *data,
                      size_t size)
{
    char head[128];
    struct qn_buf file = {0};
    int n = snprintf(head, sizeof head, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }",
                     descr, shape);
    const uint8_t prefix[] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (uint8_t)(n + 1), 0};
    assert_int_equal(qn_buf_append(&file, prefix, sizeof prefix, &err), QINS_OK);
    head[n] = '\n';
    assert_int_equal(qn_buf_append(&file, head, (size_t)n + 1, &err), QINS_OK);
    assert_int_equal(qn_buf_append(&file, data, size, &err), QINS_OK);
    assert_int_equal(qn_write_whole(test_path("%s", name), file.data, file.size, &err), QINS_OK);
    qn_buf_finish(&file);
}

static void ids_of_any_type(void **state)
{
    static const struct {
        const char *descr;
        uint8_t data[24];
        size_t size;
    } cases[] = {
        {"|u1", {1, 2, 200}, 3},
        {"<i2", {1, 0, 2, 0, 200, 0}, 6},
        {"<u2", {1, 0, 2, 0, 200, 0}, 6},
        {"<i4", {1, 0, 0, 0, 2, 0, 0, 0, 200}, 12},
        {"<u4", {1, 0, 0, 0, 2, 0, 0, 0, 200}, 12},
        {"<i8", {1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 200}, 24},
        {"<u8", {1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 200}, 24},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qn_ids ids = {0};
        write_npy("ids.npy", cases[i].descr, "(3,)", cases[i].data, cases[i].size);
        assert_int_equal(qn_ids_load(&ids, test_path("ids.npy"), 201, &err), QINS_OK);
        assert_int_equal(ids.count, 3);
        assert_int_equal(ids.data[0] + ids.data[1], 3);
        assert_int_equal(ids.data[2], 200);
        assert_int_equal(qn_ids_load(&ids, test_path("ids.npy"), 200, &err), QINS_ERR_FORMAT);
        assert_non_null(strstr(err.message, "token id 200 at index 2"));
        assert_int_equal(ids.count, 3);
        qn_ids_finish(&ids);
    }
}

static void ids_refused(void **state)
{
    struct qn_ids ids = {0};
    (void)state;
    write_npy("ids.npy", "|i1", "(2,)", "\1\377", 2);
    assert_int_equal(qn_ids_load(&ids, test_path("ids.npy"), 9, &err), QINS_ERR_FORMAT);
    assert_non_null(strstr(err.message, "token id -1 at index 1 is below 0"));
    write_npy("ids.npy", "<f4", "(1,)", "\0\0\0\0", 4);
    assert_int_equal(qn_ids_load(&ids, test_path("ids.npy"), 9, &err), QINS_ERR_FORMAT);
    write_npy("ids.npy", "|u1", "(1, 2)", "\0\0", 2);
    assert_int_equal(qn_ids_load(&ids, test_path("ids.npy"), 9, &err), QINS_ERR_FORMAT);
    assert_non_null(strstr(err.message, "rank 2"));
    assert_int_equal(qn_ids_load(&ids, test_path("none.npy"), 9, &err), QINS_ERR_IO);
    assert_int_equal(ids.count, 0);
    qn_ids_finish(&ids);
}

static int setup(void **state)
{
    (void)state;
    test_folder_create();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_folder_remove();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words),        cmocka_unit_test(added_tokens),
        cmocka_unit_test(decoders),     cmocka_unit_test(unknown_characters),
        cmocka_unit_test(refusals),     cmocka_unit_test(patterns),
        cmocka_unit_test(bad_patterns), cmocka_unit_test(growth),
        cmocka_unit_test(opening),      cmocka_unit_test(ids_of_any_type),
        cmocka_unit_test(ids_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
