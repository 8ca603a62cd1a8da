#include "model/pattern.h"

#include "model/limits.h"
#include "model/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

/* Patterns of published tokenizers have up to some 500 bytes and match with a few steps a
 * character, even where a run of spaces is gone through backwards. */
enum { PATTERN_LIMIT = 4096, STEPS_A_BYTE = 16, STEPS_AT_LEAST = 100000, HEAP_LIMIT_KIB = 65536 };
enum { JIT_STACK_START = 32 << 10, JIT_STACK_LIMIT = 4 << 20 };

struct qn_regex {
    pcre2_code *code;
};

struct qn_match_state {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

static enum qins_status compile(struct qn_regex *r, const struct qn_buf *text,
                                struct qins_error *err)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    int code;
    PCRE2_SIZE offset;
    if (!context)
        return qn_fail_memory(err);
    /* Oniguruma's: only \n ends a line, and ^ and $ match at lines. */
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(context, 50);
    r->code = pcre2_compile(text->data, text->size,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_AUTO_CAPTURE |
                                PCRE2_NEVER_BACKSLASH_C,
                            &code, &offset, context);
    pcre2_compile_context_free(context);
    if (!r->code) {
        PCRE2_UCHAR message[128];
        pcre2_get_error_message(code, message, sizeof message);
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "the regular expression \"%.*s\": %s",
                       (int)(text->size < 200 ? text->size : 200), (const char *)text->data,
                       (const char *)message);
    }
    /* Where there is no just-in-time compiler, matching is slower, that is all. */
    pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE);
    return QINS_OK;
}

enum qins_status qn_pattern_init_regex(struct qn_pattern *p, const char *text, size_t size,
                                       struct qins_error *err)
{
    struct qn_buf translated = {0};
    *p = (struct qn_pattern){.kind = QN_PATTERN_REGEX};
    if (size > PATTERN_LIMIT)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "a regular expression of %zu bytes", size);
    enum qins_status st = qn_pattern_translate(text, size, &translated, err);
    if (st == QINS_OK) {
        p->compiled = calloc(1, sizeof *p->compiled);
        st = p->compiled ? compile(p->compiled, &translated, err) : qn_fail_memory(err);
    }
    qn_buf_finish(&translated);
    return st;
}

enum qins_status qn_pattern_init_string(struct qn_pattern *p, const char *text, size_t size,
                                        struct qins_error *err)
{
    *p = (struct qn_pattern){.kind = QN_PATTERN_STRING};
    return qn_buf_append(&p->string, text, size, err);
}

void qn_pattern_finish(struct qn_pattern *p)
{
    if (p->compiled)
        pcre2_code_free(p->compiled->code);
    free(p->compiled);
    qn_buf_finish(&p->string);
    *p = (struct qn_pattern){0};
}

void qn_matcher_finish(struct qn_matcher *m)
{
    if (m->state) {
        pcre2_jit_stack_free(m->state->stack);
        pcre2_match_context_free(m->state->context);
        pcre2_match_data_free(m->state->data);
    }
    free(m->state);
    m->state = NULL;
}

static enum qins_status make_state(struct qn_matcher *m, struct qins_error *err)
{
    struct qn_match_state *s = calloc(1, sizeof *s);
    m->state = s;
    if (!s)
        return qn_fail_memory(err);
    s->data = pcre2_match_data_create(1, NULL);
    s->context = pcre2_match_context_create(NULL);
    if (!s->data || !s->context)
        return qn_fail_memory(err);
    pcre2_set_heap_limit(s->context, HEAP_LIMIT_KIB);
    /* NULL where there is no compiler; then it is not needed. */
    s->stack = pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_LIMIT, NULL);
    pcre2_jit_stack_assign(s->context, NULL, s->stack);
    return QINS_OK;
}

static uint32_t step_limit(size_t size)
{
    return size > (UINT32_MAX - STEPS_AT_LEAST) / STEPS_A_BYTE
               ? UINT32_MAX
               : (uint32_t)size * STEPS_A_BYTE + STEPS_AT_LEAST;
}

static enum qins_status match_regex(struct qn_search *s, struct qins_error *err)
{
    if (!s->matcher->state) {
        enum qins_status st = make_state(s->matcher, err);
        if (st != QINS_OK)
            return st;
    }
    struct qn_match_state *m = s->matcher->state;
    pcre2_set_match_limit(m->context, step_limit(s->size));
    const int rc = pcre2_match(s->pattern->compiled->code, s->text, s->size, s->from,
                               PCRE2_NO_UTF_CHECK, m->data, m->context);
    if (rc == PCRE2_ERROR_NOMATCH)
        return QINS_OK;
    if (rc < 0) {
        PCRE2_UCHAR message[128];
        pcre2_get_error_message(rc, message, sizeof message);
        return qn_fail(err, rc == PCRE2_ERROR_NOMEMORY ? QINS_ERR_MEMORY : QINS_ERR_UNSUPPORTED,
                       "a regular expression of the tokenizer fails on this text: %s",
                       (const char *)message);
    }
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(m->data);
    s->start = range[0];
    s->end = range[1];
    s->found = true;
    return QINS_OK;
}

static void match_string(struct qn_search *s)
{
    const struct qn_buf *string = &s->pattern->string;
    const uint8_t *at = NULL;
    if (string->size > 0 && s->from < s->size)
        at = memmem(s->text + s->from, s->size - s->from, string->data, string->size);
    s->found = at != NULL;
    if (at) {
        s->start = (size_t)(at - s->text);
        s->end = s->start + string->size;
    }
}

static void match_class(struct qn_search *s)
{
    uint32_t code;
    for (size_t i = s->from, n; i < s->size; i += n) {
        n = qn_utf8_next(s->text + i, s->size - i, &code);
        if (s->pattern->is_in(code)) {
            s->found = true;
            s->start = i;
            s->end = i + n;
            return;
        }
    }
}

/* Past the character at PLACE, or past the end. */
static size_t step_over(const struct qn_search *s, size_t place)
{
    uint32_t code;
    return place + (place < s->size ? qn_utf8_next(s->text + place, s->size - place, &code) : 1);
}

enum qins_status qn_search_next(struct qn_search *s, struct qins_error *err)
{
    for (;;) {
        enum qins_status st = QINS_OK;
        const bool first = !s->found;
        s->found = false;
        if (s->from > s->size)
            return QINS_OK;
        if (s->pattern->kind == QN_PATTERN_REGEX)
            st = match_regex(s, err);
        else if (s->pattern->kind == QN_PATTERN_STRING)
            match_string(s);
        else
            match_class(s);
        if (st != QINS_OK || !s->found)
            return st;
        const bool empty = s->start == s->end;
        s->from = empty ? step_over(s, s->end) : s->end;
        if (!empty || first || s->end != s->last_end) {
            s->last_end = s->end;
            return QINS_OK;
        }
    }
}

const struct qn_limit qn_pattern_limits[] = {
    {"tokenizer", "pattern", PATTERN_LIMIT, "bytes", "time to compile a regular expression"},
    {"tokenizer", "pattern_steps_per_byte", STEPS_A_BYTE, "steps",
     "time of a search, for a byte of text"},
    {"tokenizer", "pattern_steps_always", STEPS_AT_LEAST, "steps", "the same, in a short text"},
    {"tokenizer", "pattern_stack", JIT_STACK_LIMIT, "bytes", "memory of a search"},
    {"tokenizer", "pattern_heap", (uint64_t)HEAP_LIMIT_KIB << 10, "bytes",
     "memory of a search without compiled code"},
    {0},
};
