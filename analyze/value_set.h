/* How many different things there are, in bounded memory. */
#ifndef QINS_ANALYZE_VALUE_SET_H
#define QINS_ANALYZE_VALUE_SET_H

#include "core/buf.h"
#include "core/hash.h"

enum {
    QN_VALUES_MOST = 1 << 16, /* different values that are counted */
    QN_VALUES_RECENT = 1 << 14,
    QN_DIGESTS_MOST = 1 << 20, /* digests that are compared */
};

/* Up to QN_VALUES_MOST different 64-bit values. Zero-initialised is empty; takes 1 MiB from the
 * first value on. */
struct qn_value_set {
    uint64_t *slots;
    uint64_t *recent; /* [QN_VALUES_RECENT] values that are in it, by a cheaper hash */
    size_t count;     /* in slots */
    bool has_zero, many;
};
void qn_value_set_finish(struct qn_value_set *s);
/* More than QN_VALUES_MOST set `many`, and the rest is ignored. */
enum qins_status qn_value_set_add(struct qn_value_set *s, uint64_t value, struct qins_error *err);
/* The same, quick for values that came a short time ago. */
static inline enum qins_status qn_value_set_note(struct qn_value_set *s, uint64_t value,
                                                 struct qins_error *err)
{
    static const uint64_t golden_ratio = 0x9e3779b97f4a7c15ULL; /* Knuth's multiplicative hash */
    if (s->recent && value != 0) {
        uint64_t *recent = &s->recent[(value * golden_ratio >> 32) % QN_VALUES_RECENT];
        if (*recent == value)
            return QINS_OK;
        *recent = value;
    }
    return qn_value_set_add(s, value, err);
}
/* OTHER becomes empty. */
enum qins_status qn_value_set_merge(struct qn_value_set *s, struct qn_value_set *other,
                                    struct qins_error *err);
void qn_value_set_clear(struct qn_value_set *s);
size_t qn_value_set_count(const struct qn_value_set *s); /* 0 for many */

/* Up to QN_DIGESTS_MOST digests. Zero-initialised is empty; grows. */
struct qn_digest_set {
    struct qn_digest *slots;
    size_t count, capacity;
};
void qn_digest_set_finish(struct qn_digest_set *s);
/* *KNOWN: it was there before. Must not be called once the set is full. */
enum qins_status qn_digest_set_add(struct qn_digest_set *s, const struct qn_digest *digest,
                                   bool *known, struct qins_error *err);

#endif
