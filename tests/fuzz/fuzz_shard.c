/* Texts that name a shard, variables of a job array, names of parts; a NUL ends each. */
#include "core/shard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXTS = 16 };
static const char *const variables[] = {"SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN",
                                        "SLURM_ARRAY_TASK_STEP", "SLURM_ARRAY_TASK_COUNT"};
enum { VARIABLES = sizeof variables / sizeof *variables };

/* TOTAL units fall into the pieces of all parts, each unit into one. */
static void check_range(const struct qn_shard *s, uint64_t total)
{
    uint64_t begin, end, next, last;
    struct qn_shard after = {s->index + 1, s->count}, final = {s->count, s->count};
    qn_shard_range(s, total, &begin, &end);
    qn_shard_range(&final, total, &next, &last);
    if (begin > end || end > total || last != total || (s->index == 1 && begin != 0))
        abort();
    if (s->index < s->count) {
        qn_shard_range(&after, total, &next, &last);
        if (next != end)
            abort();
    }
}

static void check_text(const char *text)
{
    struct qn_shard s;
    char again[32];
    if (qn_shard_parse(text, &s, NULL) != QINS_OK)
        return;
    if (s.index < 1 || s.index > s.count || s.count > QN_MAX_SHARDS)
        abort();
    check_range(&s, 0);
    check_range(&s, s.count / 2);
    check_range(&s, UINT64_MAX / QN_MAX_SHARDS);
    snprintf(again, sizeof again, "%u/%u", s.index, s.count);
    if (strcmp(text, "slurm") != 0 && strlen(text) == strlen(again) && strcmp(text, again) != 0)
        abort();
}

/* A name of a part is made again from what was read of it. */
static void check_path(const char *path, struct qn_shard *s)
{
    size_t stem;
    if (!qn_shard_of_path(path, s, &stem)) {
        *s = (struct qn_shard){1, 1};
        return;
    }
    char *out = strdup(path), *made;
    if (!out || stem > strlen(path))
        abort();
    out[stem] = '\0';
    made = qn_shard_path(out, s, NULL);
    if (!made || strcmp(made, path) != 0)
        abort();
    free(made);
    free(out);
}

/* An order names each file once, in the order of the parts. */
static void check_order(const struct qn_shard *parts, const char *const *names, size_t n)
{
    size_t order[TEXTS];
    if (qn_shard_order(parts, names, n, order, NULL) != QINS_OK)
        return;
    for (size_t i = 0; i < n; i++)
        if (order[i] >= n || parts[order[i]].index != i + 1 || parts[order[i]].count != n)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qn_shard parts[TEXTS];
    const char *names[TEXTS];
    size_t n = 0;
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    for (size_t at = 0; at <= size && n < TEXTS; at += strlen(text + at) + 1)
        names[n++] = text + at;
    for (size_t i = 0; i < VARIABLES; i++) {
        if (i + 1 < n)
            setenv(variables[i], names[i + 1], 1);
        else
            unsetenv(variables[i]);
    }
    for (size_t i = 0; i < n; i++) {
        check_text(names[i]);
        check_path(names[i], &parts[i]);
    }
    check_order(parts, names, n);
    free(text);
    return 0;
}
