/* What tokenizers search text for: strings, classes of characters, regular expressions. */
#ifndef QINS_MODEL_PATTERN_H
#define QINS_MODEL_PATTERN_H

#include "core/buf.h"

enum qn_pattern_kind { QN_PATTERN_STRING, QN_PATTERN_CLASS, QN_PATTERN_REGEX };

struct qn_pattern {
    enum qn_pattern_kind kind;
    struct qn_buf string;      /* QN_PATTERN_STRING; an empty one matches nothing */
    bool (*is_in)(uint32_t);   /* QN_PATTERN_CLASS: matches are single characters */
    struct qn_regex *compiled; /* QN_PATTERN_REGEX */
};

/* TEXT is in the syntax of Oniguruma (what Hugging Face's library uses), of which the part that
 * tokenizers are made of is taken; QINS_ERR_UNSUPPORTED names the rest. */
enum qins_status qn_pattern_init_regex(struct qn_pattern *p, const char *text, size_t size,
                                       struct qins_error *err);
enum qins_status qn_pattern_init_string(struct qn_pattern *p, const char *text, size_t size,
                                        struct qins_error *err);
void qn_pattern_finish(struct qn_pattern *p);

/* Appends PCRE2's form of an Oniguruma pattern. */
enum qins_status qn_pattern_translate(const char *text, size_t size, struct qn_buf *out,
                                      struct qins_error *err);

/* Working memory of searches; zero-initialised is empty and valid. Not for two threads. */
struct qn_matcher {
    struct qn_match_state *state;
};
void qn_matcher_finish(struct qn_matcher *m);

/* A search through TEXT, which is valid UTF-8. */
struct qn_search {
    const struct qn_pattern *pattern;
    struct qn_matcher *matcher;
    const uint8_t *text;
    size_t size;
    size_t from;       /* where the next search begins */
    size_t last_end;   /* of the match before */
    size_t start, end; /* of the match found */
    bool found;
};

/* Fills start, end and found. Successive matches do not overlap; an empty one directly after
 * another match is passed over. A regular expression that takes too many steps is
 * QINS_ERR_UNSUPPORTED. */
enum qins_status qn_search_next(struct qn_search *s, struct qins_error *err);

#endif
