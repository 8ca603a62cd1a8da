/* Tokens that are found in the text itself, before anything cuts it into words. */
#ifndef QINS_MODEL_ADDED_TOKENS_H
#define QINS_MODEL_ADDED_TOKENS_H

#include "core/buf.h"

struct qn_added_token {
    char *text;
    size_t size; /* > 0 */
    uint32_t id;
    bool strip_left, strip_right; /* takes in the white space there */
    bool single_word;             /* not within a word */
};

struct qn_added_tokens {
    struct qn_added_token *items; /* sorted by text once finished adding */
    size_t count;
    size_t first[257]; /* of those that begin with each byte */
};

/* Copies TEXT. An empty one is left out. */
enum qins_status qn_added_tokens_add(struct qn_added_tokens *a, const struct qn_added_token *token,
                                     struct qins_error *err);
/* After the last one; where two have one text, the first added holds. */
void qn_added_tokens_sort(struct qn_added_tokens *a);
void qn_added_tokens_finish(struct qn_added_tokens *a);

/* A piece of text without added tokens (found: NULL, never empty) or one of them. */
struct qn_added_scan {
    const struct qn_added_tokens *tokens;
    const uint8_t *text; /* valid UTF-8 */
    size_t size;
    size_t at;   /* where the search goes on */
    size_t done; /* end of the last token, with the space that it took in */
    size_t start, end;
    const struct qn_added_token *found, *waiting;
    size_t waiting_end;
};

/* False at the end. Matches are those of Hugging Face: leftmost, longest, not overlapping. */
bool qn_added_next(struct qn_added_scan *s);

#endif
