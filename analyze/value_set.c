#include "analyze/value_set.h"

#include "core/bytes.h"
#include "core/random.h"

#include <stdlib.h>

enum { VALUE_SLOTS = 2 * QN_VALUES_MOST, FIRST_DIGESTS = 1024 };

void qn_value_set_finish(struct qn_value_set *s)
{
    free(s->slots);
    free(s->recent);
    *s = (struct qn_value_set){0};
}

void qn_value_set_clear(struct qn_value_set *s)
{
    if (s->count > 0) {
        memset(s->slots, 0, VALUE_SLOTS * sizeof *s->slots);
        memset(s->recent, 0, QN_VALUES_RECENT * sizeof *s->recent);
    }
    s->count = 0;
    s->has_zero = s->many = false;
}

size_t qn_value_set_count(const struct qn_value_set *s)
{
    return s->many ? 0 : s->count + s->has_zero;
}

enum qins_status qn_value_set_add(struct qn_value_set *s, uint64_t value, struct qins_error *err)
{
    if (s->many)
        return QINS_OK;
    if (!s->slots) {
        s->slots = calloc(VALUE_SLOTS, sizeof *s->slots);
        s->recent = calloc(QN_VALUES_RECENT, sizeof *s->recent);
        if (!s->slots || !s->recent) {
            qn_value_set_finish(s);
            return qn_fail_memory(err);
        }
    }
    if (value == 0) { /* marks an empty slot */
        s->has_zero = true;
    } else {
        size_t i = (size_t)(qn_mix64(value) % VALUE_SLOTS);
        while (s->slots[i] != 0 && s->slots[i] != value)
            i = (i + 1) % VALUE_SLOTS;
        s->count += s->slots[i] == 0;
        s->slots[i] = value;
    }
    s->many = s->count + s->has_zero > QN_VALUES_MOST;
    return QINS_OK;
}

enum qins_status qn_value_set_merge(struct qn_value_set *s, struct qn_value_set *other,
                                    struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    if (s->count == 0 && !s->has_zero && !s->many) {
        struct qn_value_set empty = *s;
        *s = *other;
        *other = empty;
        return QINS_OK;
    }
    if (other->has_zero)
        st = qn_value_set_add(s, 0, err);
    for (size_t i = 0; other->count > 0 && i < VALUE_SLOTS && st == QINS_OK && !s->many; i++)
        if (other->slots[i] != 0)
            st = qn_value_set_add(s, other->slots[i], err);
    s->many = s->many || other->many;
    qn_value_set_clear(other);
    return st;
}

void qn_digest_set_finish(struct qn_digest_set *s)
{
    free(s->slots);
    *s = (struct qn_digest_set){0};
}

static bool is_empty(const struct qn_digest *d)
{
    static const struct qn_digest none = {{0}}; /* one digest in 2^128 is this */
    return memcmp(d, &none, sizeof none) == 0;
}

static struct qn_digest *find_slot(struct qn_digest *slots, size_t capacity,
                                   const struct qn_digest *digest)
{
    size_t i = (size_t)qn_load64(digest->bytes) & (capacity - 1);
    while (!is_empty(&slots[i]) && memcmp(&slots[i], digest, sizeof *digest) != 0)
        i = (i + 1) & (capacity - 1);
    return &slots[i];
}

static enum qins_status grow(struct qn_digest_set *s, struct qins_error *err)
{
    size_t capacity = s->capacity ? 2 * s->capacity : FIRST_DIGESTS;
    struct qn_digest *slots = calloc(capacity, sizeof *slots);
    if (!slots)
        return qn_fail_memory(err);
    for (size_t i = 0; i < s->capacity; i++)
        if (!is_empty(&s->slots[i]))
            *find_slot(slots, capacity, &s->slots[i]) = s->slots[i];
    free(s->slots);
    s->slots = slots;
    s->capacity = capacity;
    return QINS_OK;
}

enum qins_status qn_digest_set_add(struct qn_digest_set *s, const struct qn_digest *digest,
                                   bool *known, struct qins_error *err)
{
    if (2 * (s->count + 1) > s->capacity && grow(s, err) != QINS_OK)
        return QINS_ERR_MEMORY;
    struct qn_digest *slot = find_slot(s->slots, s->capacity, digest);
    *known = !is_empty(slot);
    if (!*known)
        s->count++;
    *slot = *digest;
    return QINS_OK;
}
