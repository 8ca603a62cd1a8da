/* The input as tokenizer.json or tokenizer.bin; if it parses, texts are encoded and decoded. */
#include "model/tokenizer.h"
#include "tests/unit/archive_reseal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char nasty[] = "The quick  brown\t\tfox's 12345 \r\n\r\n don't \xe2\x96\x81 "
                            "\xe2\x96\x81\xe2\x96\x81 <s></s>a<unk>"
                            " caf\xc3\xa9 e\xcc\x81\xcc\xa3 \xef\xac\x81 \xe6\x97\xa5\xe6\x9c\xac "
                            "\xf0\x9f\x98\x80\xe2\x80\x8d"
                            " \xff\xfe\xc3 \xed\xa0\x80 \xf4\x8f\xbb\x80 \xc2\x85\xc2\xa0<0x41> "
                            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa  ";

/* Ids must be decodable, whatever they are the ids of. */
static void encode_and_decode(const struct qn_tokenizer *t, const void *text, size_t size)
{
    struct qn_ids ids = {0};
    struct qn_buf out = {0};
    struct qins_error err;
    for (int special = 0; special < 2; special++) {
        if (qn_tokenizer_encode(t, text, size, special, &ids, &err) != QINS_OK)
            continue;
        for (size_t i = 0; i < ids.count; i++)
            if (ids.data[i] >= qn_tokenizer_size(t))
                abort();
        enum qins_status st = qn_tokenizer_decode(t, ids.data, ids.count, special, &out, &err);
        /* A template may name ids that the vocabulary leaves out; a decoder may refuse. */
        if (st != QINS_OK && st != QINS_ERR_FORMAT && st != QINS_ERR_UNSUPPORTED)
            abort();
    }
    qn_buf_finish(&out);
    qn_ids_finish(&ids);
}

/* T again, which the input is: from a file, and as what lies beside a model. */
static void open_elsewhere(const struct qn_tokenizer *t, const uint8_t *data, size_t size)
{
    static struct test_memory_file file = {.fd = -1};
    struct qn_attachment_list files = {0};
    struct qn_tokenizer *again[3] = {NULL};
    struct qins_error err;
    const char *name = size % 2 ? "tokenizer.json" : "tokenizer.bin";
    if ((file.fd < 0 && !test_memory_file_open(&file)) ||
        !test_memory_file_set(&file, data, size) ||
        qn_tokenizer_open(&again[0], file.path, NULL, 0, &err) != QINS_OK ||
        qn_tokenizer_open(&again[2], NULL, &files, 0, &err) == QINS_OK ||
        qn_attachment_add(&files, name, data, size, &err) != QINS_OK ||
        qn_tokenizer_open(&again[1], NULL, &files, 0, &err) != QINS_OK)
        abort();
    for (size_t i = 0; i < 2; i++)
        if (memcmp(qn_tokenizer_digest(again[i]), qn_tokenizer_digest(t),
                   sizeof(struct qn_digest)) != 0)
            abort();
    for (size_t i = 0; i < 3; i++)
        qn_tokenizer_destroy(again[i]);
    qn_attachment_list_finish(&files);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qn_tokenizer *t = NULL;
    struct qins_error err;
    if (qn_tokenizer_parse(&t, data, size, 0, &err) != QINS_OK)
        return 0;
    encode_and_decode(t, nasty, sizeof nasty - 1);
    encode_and_decode(t, data, size < 256 ? size : 256);
    open_elsewhere(t, data, size);
    qn_tokenizer_destroy(t);
    return 0;
}
