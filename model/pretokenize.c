#include "model/pretokenize.h"

#include "model/utf8.h"

#include <stdlib.h>
#include <string.h>

/* What becomes of a match [huggingface/tokenizers, normalizer.rs, SplitDelimiterBehavior]. */
enum behavior { REMOVED, ISOLATED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS };

/* When a step puts its prefix before the text, unless the text begins with it. */
enum prepend { NEVER, FIRST, ALWAYS };

/* First " " becomes the replacement, then the prefix, then the split. */
struct qn_pre_step {
    bool splits, inverted;
    struct qn_pattern pattern;
    enum behavior behavior;
    enum prepend prepend;
    struct qn_buf prefix; /* and the replacement of " " where REPLACES */
    bool replaces;
};

/* openai/gpt-2, src/encoder.py */
static const char gpt2_words[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static enum qins_status add_step(struct qn_pretokenizer *p, struct qn_pre_step **out,
                                 struct qins_error *err)
{
    if (p->byte_level) {
        qn_fail(err, QINS_ERR_UNSUPPORTED,
                "a pre-tokenizer that comes after ByteLevel is not implemented");
        return QINS_ERR_UNSUPPORTED;
    }
    *out = qn_step_add(&p->steps, sizeof **out, err);
    return *out ? QINS_OK : QINS_ERR_MEMORY;
}

static enum qins_status parse_byte_level(void *ctx, const json_t *part, struct qins_error *err)
{
    struct qn_pretokenizer *p = ctx;
    struct qn_pre_step *step;
    bool space, regex;
    enum qins_status st = add_step(p, &step, err);
    if (st == QINS_OK)
        st = qn_part_bool(part, "add_prefix_space", true, &space, err);
    if (st == QINS_OK)
        st = qn_part_bool(part, "use_regex", true, &regex, err);
    if (st != QINS_OK)
        return st;
    p->byte_level = true;
    step->prepend = space ? ALWAYS : NEVER;
    step->splits = regex;
    step->behavior = ISOLATED;
    st = qn_buf_append(&step->prefix, " ", 1, err);
    if (st == QINS_OK && regex)
        st = qn_pattern_init_regex(&step->pattern, gpt2_words, strlen(gpt2_words), err);
    return st;
}

static enum qins_status parse_behavior(const json_t *part, const char *otherwise,
                                       enum behavior *out, struct qins_error *err)
{
    static const char *const names[] = {[REMOVED] = "Removed",
                                        [ISOLATED] = "Isolated",
                                        [MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
                                        [MERGED_WITH_NEXT] = "MergedWithNext",
                                        [CONTIGUOUS] = "Contiguous"};
    const char *name = "";
    enum qins_status st = qn_part_string(part, "behavior", otherwise, &name, err);
    if (st != QINS_OK)
        return st;
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (enum behavior)i;
            return QINS_OK;
        }
    return qn_fail(err, QINS_ERR_UNSUPPORTED, "the split behavior %s is not implemented", name);
}

static enum qins_status parse_split(void *ctx, const json_t *part, struct qins_error *err)
{
    struct qn_pre_step *step;
    enum qins_status st = add_step(ctx, &step, err);
    if (st == QINS_OK)
        st = parse_behavior(part, NULL, &step->behavior, err);
    if (st == QINS_OK)
        st = qn_part_bool(part, "invert", false, &step->inverted, err);
    if (st != QINS_OK)
        return st;
    step->splits = true;
    return qn_part_pattern(&step->pattern, part, err);
}

static enum qins_status add_class(void *ctx, bool (*is_in)(uint32_t), struct qn_pre_step **out,
                                  struct qins_error *err)
{
    enum qins_status st = add_step(ctx, out, err);
    if (st != QINS_OK)
        return st;
    (*out)->splits = true;
    (*out)->behavior = REMOVED;
    (*out)->pattern = (struct qn_pattern){.kind = QN_PATTERN_CLASS, .is_in = is_in};
    return QINS_OK;
}

static enum qins_status parse_digits(void *ctx, const json_t *part, struct qins_error *err)
{
    struct qn_pre_step *step;
    bool individual;
    enum qins_status st = add_class(ctx, qn_is_number, &step, err);
    if (st == QINS_OK)
        st = qn_part_bool(part, "individual_digits", false, &individual, err);
    if (st == QINS_OK)
        step->behavior = individual ? ISOLATED : CONTIGUOUS;
    return st;
}

static enum qins_status parse_punctuation(void *ctx, const json_t *part, struct qins_error *err)
{
    struct qn_pre_step *step;
    enum qins_status st = add_class(ctx, qn_is_punctuation, &step, err);
    return st == QINS_OK ? parse_behavior(part, "Isolated", &step->behavior, err) : st;
}

static enum qins_status parse_whitespace_split(void *ctx, const json_t *part,
                                               struct qins_error *err)
{
    struct qn_pre_step *step;
    (void)part;
    return add_class(ctx, qn_is_space, &step, err);
}

static enum qins_status parse_whitespace(void *ctx, const json_t *part, struct qins_error *err)
{
    /* \w in brackets: there it has no exceptions (model/pattern_translate.c). */
    static const char words[] = "[\\w]+|[^\\w\\s]+";
    struct qn_pre_step *step;
    (void)part;
    enum qins_status st = add_step(ctx, &step, err);
    if (st != QINS_OK)
        return st;
    step->splits = step->inverted = true;
    step->behavior = REMOVED;
    return qn_pattern_init_regex(&step->pattern, words, strlen(words), err);
}

/* "prepend_scheme", or "add_prefix_space" in older files. */
static enum qins_status parse_scheme(const json_t *part, enum prepend *out, struct qins_error *err)
{
    const char *scheme = "";
    bool space;
    enum qins_status st = qn_part_bool(part, "add_prefix_space", true, &space, err);
    if (st == QINS_OK)
        st = qn_part_string(part, "prepend_scheme", space ? "always" : "never", &scheme, err);
    if (st != QINS_OK)
        return st;
    if (strcmp(scheme, "never") == 0)
        *out = NEVER;
    else if (strcmp(scheme, "first") == 0)
        *out = FIRST;
    else if (strcmp(scheme, "always") == 0)
        *out = ALWAYS;
    else
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "the prepend_scheme %s is not implemented",
                       scheme);
    return QINS_OK;
}

static enum qins_status parse_metaspace(void *ctx, const json_t *part, struct qins_error *err)
{
    const char *mark = "";
    struct qn_pre_step *step;
    uint32_t code;
    enum qins_status st = add_step(ctx, &step, err);
    if (st == QINS_OK)
        st = qn_part_string(part, "replacement", NULL, &mark, err);
    if (st == QINS_OK &&
        (!*mark || qn_utf8_next((const uint8_t *)mark, strlen(mark), &code) != strlen(mark)))
        st = qn_fail(err, QINS_ERR_FORMAT, "the replacement of Metaspace is not one character");
    if (st == QINS_OK)
        st = parse_scheme(part, &step->prepend, err);
    if (st == QINS_OK)
        st = qn_part_bool(part, "split", true, &step->splits, err);
    if (st != QINS_OK)
        return st;
    step->replaces = true;
    step->behavior = MERGED_WITH_NEXT;
    st = qn_buf_append(&step->prefix, mark, strlen(mark), err);
    return st == QINS_OK ? qn_pattern_init_string(&step->pattern, mark, strlen(mark), err) : st;
}

enum qins_status qn_pretokenizer_init(struct qn_pretokenizer *p, const json_t *part,
                                      struct qins_error *err)
{
    static const struct qn_part_kind kinds[] = {
        {"ByteLevel", parse_byte_level},    {"Split", parse_split},
        {"Digits", parse_digits},           {"Metaspace", parse_metaspace},
        {"Whitespace", parse_whitespace},   {"WhitespaceSplit", parse_whitespace_split},
        {"Punctuation", parse_punctuation},
    };
    static const struct qn_part_family family = {"pre-tokenizer", "pretokenizers", kinds,
                                                 sizeof kinds / sizeof *kinds};
    *p = (struct qn_pretokenizer){0};
    return qn_parse_parts(&family, part, p, err);
}

void qn_pretokenizer_finish(struct qn_pretokenizer *p)
{
    struct qn_pre_step *steps = p->steps.items;
    for (size_t i = 0; i < p->steps.count; i++) {
        qn_pattern_finish(&steps[i].pattern);
        qn_buf_finish(&steps[i].prefix);
    }
    free(steps);
    *p = (struct qn_pretokenizer){0};
}

struct walk {
    const struct qn_pre_step *steps;
    size_t n_steps;
    struct qn_matcher *matcher;
    qn_word_fn take;
    void *ctx;
};

/* The pieces that one step makes of TEXT. A piece that may still grow waits. */
struct splitting {
    const struct walk *walk;
    size_t step;
    const uint8_t *text;
    bool at_start;
    size_t start, end; /* of the piece that waits; none where WAITING is false */
    bool waiting, waiting_is_match;
};

static enum qins_status walk_step(const struct walk *w, size_t step, const uint8_t *text,
                                  size_t size, bool at_start, struct qins_error *err);

static enum qins_status release(struct splitting *s, struct qins_error *err)
{
    if (!s->waiting)
        return QINS_OK;
    s->waiting = false;
    return walk_step(s->walk, s->step + 1, s->text + s->start, s->end - s->start,
                     s->at_start && s->start == 0, err);
}

/* Whether the piece that waits takes in the next one. */
static bool takes_in(const struct splitting *s, enum behavior behavior, bool is_match)
{
    switch (behavior) {
    case MERGED_WITH_PREVIOUS:
        return is_match && !s->waiting_is_match;
    case MERGED_WITH_NEXT:
        return s->waiting_is_match && !is_match;
    case CONTIGUOUS:
        return s->waiting_is_match == is_match;
    default:
        return false;
    }
}

static enum qins_status add_piece(struct splitting *s, size_t start, size_t end, bool is_match,
                                  struct qins_error *err)
{
    const struct qn_pre_step *step = &s->walk->steps[s->step];
    is_match ^= step->inverted;
    if (s->waiting && takes_in(s, step->behavior, is_match)) {
        s->end = end;
        s->waiting_is_match = is_match;
        return QINS_OK;
    }
    enum qins_status st = release(s, err);
    s->waiting = step->behavior != REMOVED || !is_match;
    s->waiting_is_match = is_match;
    s->start = start;
    s->end = end;
    return st;
}

static enum qins_status split(const struct walk *w, size_t step, const uint8_t *text, size_t size,
                              bool at_start, struct qins_error *err)
{
    struct splitting s = {.walk = w, .step = step, .text = text, .at_start = at_start};
    struct qn_search search = {
        .pattern = &w->steps[step].pattern, .matcher = w->matcher, .text = text, .size = size};
    size_t done = 0;
    enum qins_status st = qn_search_next(&search, err);
    while (st == QINS_OK && search.found) {
        if (done < search.start)
            st = add_piece(&s, done, search.start, false, err);
        if (st == QINS_OK)
            st = add_piece(&s, search.start, search.end, true, err);
        done = search.end;
        if (st == QINS_OK)
            st = qn_search_next(&search, err);
    }
    if (st == QINS_OK && done < size)
        st = add_piece(&s, done, size, false, err);
    return st == QINS_OK ? release(&s, err) : st;
}

/* TEXT with " " replaced and the prefix before it, in *out. */
static enum qins_status rewrite(const struct qn_pre_step *step, const uint8_t *text, size_t size,
                                bool at_start, struct qn_buf *out, struct qins_error *err)
{
    const struct qn_buf *prefix = &step->prefix;
    enum qins_status st = qn_buf_reserve(out, prefix->size + size, err);
    if (st == QINS_OK && (step->prepend == ALWAYS || (step->prepend == FIRST && at_start))) {
        const bool there =
            (size >= prefix->size && memcmp(text, prefix->data, prefix->size) == 0) ||
            (step->replaces && text[0] == ' ');
        if (!there)
            st = qn_buf_append(out, prefix->data, prefix->size, err);
    }
    while (size > 0 && st == QINS_OK) {
        const uint8_t *space = step->replaces ? memchr(text, ' ', size) : NULL;
        const size_t n = space ? (size_t)(space - text) : size;
        st = qn_buf_append(out, text, n, err);
        if (st == QINS_OK && space)
            st = qn_buf_append(out, prefix->data, prefix->size, err);
        text += n + (space != NULL);
        size -= n + (space != NULL);
    }
    return st;
}

/* Depth is bounded by the number of steps (model/tokenizer_parts.c). */
static enum qins_status walk_step(const struct walk *w, size_t i, const uint8_t *text, size_t size,
                                  bool at_start, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    struct qn_buf rewritten = {0};
    if (size == 0)
        return QINS_OK;
    if (i == w->n_steps)
        return w->take(w->ctx, text, size, err);
    const struct qn_pre_step *step = &w->steps[i];
    if (step->replaces || step->prepend != NEVER) {
        st = rewrite(step, text, size, at_start, &rewritten, err);
        text = rewritten.data;
        size = rewritten.size;
    }
    if (st == QINS_OK && step->splits)
        st = split(w, i, text, size, at_start, err);
    else if (st == QINS_OK)
        st = walk_step(w, i + 1, text, size, at_start, err);
    qn_buf_finish(&rewritten);
    return st;
}

enum qins_status qn_pretokenize(const struct qn_pretokenizer *p, struct qn_matcher *matcher,
                                const uint8_t *text, size_t size, bool at_start, qn_word_fn take,
                                void *ctx, struct qins_error *err)
{
    const struct walk w = {.steps = p->steps.items,
                           .n_steps = p->steps.count,
                           .matcher = matcher,
                           .take = take,
                           .ctx = ctx};
    return walk_step(&w, 0, text, size, at_start, err);
}
