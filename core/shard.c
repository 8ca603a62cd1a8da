#include "core/shard.h"

#include "core/buf.h"

#include <stdlib.h>
#include <string.h>

enum { DIGITS = 5, SUFFIX = 2 * DIGITS + 5 /* "-00003-of-00008" */ };

/* Decimal digits up to END, at most nine of them. */
static bool parse_number(const char *text, const char *end, uint64_t *out)
{
    if (text == end || end - text > 9)
        return false;
    for (*out = 0; text < end; text++) {
        if (*text < '0' || *text > '9')
            return false;
        *out = *out * 10 + (uint64_t)(*text - '0');
    }
    return true;
}

static bool make_shard(uint64_t index, uint64_t count, struct qn_shard *out)
{
    if (index < 1 || index > count || count > QN_MAX_SHARDS)
        return false;
    *out = (struct qn_shard){(unsigned)index, (unsigned)count};
    return true;
}

static enum qins_status get_variable(const char *name, const char *otherwise, uint64_t *out,
                                     struct qins_error *err)
{
    const char *text = getenv(name);
    if (!text)
        text = otherwise;
    if (!text)
        return qn_fail(err, QINS_ERR_USAGE, "'slurm' as a shard: %s is not set", name);
    if (!parse_number(text, text + strlen(text), out))
        return qn_fail(err, QINS_ERR_USAGE, "'slurm' as a shard: %s is no number: '%s'", name,
                       text);
    return QINS_OK;
}

static enum qins_status parse_slurm(struct qn_shard *out, struct qins_error *err)
{
    uint64_t id = 0, least = 0, step = 0, count = 0;
    enum qins_status st = get_variable("SLURM_ARRAY_TASK_ID", NULL, &id, err);
    if (st == QINS_OK)
        st = get_variable("SLURM_ARRAY_TASK_MIN", NULL, &least, err);
    if (st == QINS_OK)
        st = get_variable("SLURM_ARRAY_TASK_STEP", "1", &step, err);
    if (st == QINS_OK)
        st = get_variable("SLURM_ARRAY_TASK_COUNT", NULL, &count, err);
    if (st != QINS_OK)
        return st;
    if (step == 0 || id < least || (id - least) % step != 0 ||
        !make_shard((id - least) / step + 1, count, out))
        return qn_fail(err, QINS_ERR_USAGE,
                       "'slurm' as a shard: task %llu is not one of %llu from %llu by %llu on; "
                       "name the shard as I/N",
                       (unsigned long long)id, (unsigned long long)count, (unsigned long long)least,
                       (unsigned long long)step);
    return QINS_OK;
}

enum qins_status qn_shard_parse(const char *text, struct qn_shard *out, struct qins_error *err)
{
    uint64_t index, count;
    const char *slash = strchr(text, '/');
    if (strcmp(text, "slurm") == 0)
        return parse_slurm(out, err);
    if (!slash || !parse_number(text, slash, &index) ||
        !parse_number(slash + 1, slash + strlen(slash), &count) || !make_shard(index, count, out))
        return qn_fail(err, QINS_ERR_USAGE,
                       "'%s' is no shard: 'I/N' with I from 1 to N, at most %d, or 'slurm' is "
                       "needed",
                       text, QN_MAX_SHARDS);
    return QINS_OK;
}

/* floor(TOTAL * K / N) without a product that overflows: K and N are below 2^17. */
static uint64_t cut(uint64_t total, uint64_t k, uint64_t n)
{
    return total / n * k + total % n * k / n;
}

void qn_shard_range(const struct qn_shard *s, uint64_t total, uint64_t *begin, uint64_t *end)
{
    *begin = s->count ? cut(total, s->index - 1, s->count) : 0;
    *end = s->count ? cut(total, s->index, s->count) : total;
}

char *qn_shard_path(const char *out, const struct qn_shard *s, struct qins_error *err)
{
    return qn_format(err, "%s-%05u-of-%05u", out, s->index, s->count);
}

bool qn_shard_of_path(const char *path, struct qn_shard *s, size_t *stem)
{
    const size_t length = strlen(path);
    struct qn_shard found;
    uint64_t index, count;
    if (length <= SUFFIX)
        return false;
    const char *p = path + length - SUFFIX, *end = path + length;
    if (p[0] != '-' || memcmp(p + 1 + DIGITS, "-of-", 4) != 0 ||
        !parse_number(p + 1, p + 1 + DIGITS, &index) || !parse_number(end - DIGITS, end, &count) ||
        !make_shard(index, count, &found))
        return false;
    if (s)
        *s = found;
    if (stem)
        *stem = length - SUFFIX;
    return true;
}

static int compare_order(const void *a, const void *b, void *parts)
{
    const struct qn_shard *s = parts;
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    if (s[x].index != s[y].index)
        return s[x].index < s[y].index ? -1 : 1;
    return x < y ? -1 : x > y;
}

static enum qins_status fail_missing(unsigned index, unsigned count, size_t rest,
                                     struct qins_error *err)
{
    return rest > 0 ? qn_fail(err, QINS_ERR_USAGE, "part %u of %u is missing, and %zu more", index,
                              count, rest)
                    : qn_fail(err, QINS_ERR_USAGE, "part %u of %u is missing", index, count);
}

enum qins_status qn_shard_order(const struct qn_shard *parts, const char *const *names, size_t n,
                                size_t *order, struct qins_error *err)
{
    const unsigned count = parts[0].count;
    for (size_t i = 0; i < n; i++) {
        order[i] = i;
        if (parts[i].count != count)
            return qn_fail(err, QINS_ERR_USAGE, "%.150s is one of %u parts, %.150s one of %u",
                           names[0], count, names[i], parts[i].count);
    }
    qsort_r(order, n, sizeof *order, compare_order, (void *)(uintptr_t)parts);
    for (size_t i = 1; i < n; i++)
        if (parts[order[i]].index == parts[order[i - 1]].index)
            return qn_fail(err, QINS_ERR_USAGE, "%.150s and %.150s are the same part, %u of %u",
                           names[order[i - 1]], names[order[i]], parts[order[i]].index, count);
    for (size_t i = 0; i < count; i++)
        if (i == n || parts[order[i]].index != i + 1)
            return fail_missing((unsigned)i + 1, count, count - n - 1, err);
    return QINS_OK;
}
