/* All parts of a validation that was cut by windows, joined to its report. */
#include "analyze/validate_part.h"
#include "analyze/validate_report.h"
#include "core/file.h"

#include <stdlib.h>
#include <string.h>

/* A part that was read. */
struct part {
    const char *path;
    struct qn_journal *journal;
    struct qn_digest job;
    struct qn_validated_part head;
    struct qn_validated numbers;
};

struct merging {
    struct part *parts; /* [n], in order once they have been checked */
    size_t n;
    struct qn_validation v;
    struct qn_validate_options options;
    struct qn_text_windows llama;
    bool has_llama;
    json_t *results; /* of tests that one part did whole, by their names */
    struct qn_validated sums;
};

/* The item of a structure, which must have its size. */
static bool take(const struct part *p, const char *track, uint64_t item, void *out, size_t size)
{
    size_t found = 0;
    if (qn_journal_count(p->journal, track) <= item)
        return false;
    const void *data = qn_journal_get(p->journal, track, item, &found);
    if (found == size)
        memcpy(out, data, size);
    return found == size;
}

static enum qins_status bad(const struct part *p, const char *what, struct qins_error *err)
{
    return qn_fail_at(err, QINS_ERR_FORMAT, p->path, NULL, QN_NO_OFFSET, "%s", what);
}

static enum qins_status read_part(struct part *p, const char *path, struct qins_error *err)
{
    p->path = path;
    enum qins_status st = qn_journal_read(&p->journal, path, &p->job, err);
    if (st != QINS_OK)
        return st;
    if (!take(p, qn_part_track, 0, &p->head, sizeof p->head) ||
        !memchr(p->head.version, 0, sizeof p->head.version))
        return bad(p, "it is no part of a validation", err);
    if (strcmp(p->head.version, qins_version()) != 0)
        return qn_fail_at(err, QINS_ERR_UNSUPPORTED, path, NULL, QN_NO_OFFSET,
                          "it is of another version of qins, %s", p->head.version);
    if (p->head.index < 1 || p->head.index > p->head.count || p->head.count > QN_MAX_SHARDS)
        return bad(p, "it is no part of a validation", err);
    if (qn_journal_count(p->journal, qn_complete_track) < QN_VALIDATED_ITEMS)
        return qn_fail_at(err, qn_has_suffix(path, ".part") ? QINS_ERR_USAGE : QINS_ERR_FORMAT,
                          path, NULL, QN_NO_OFFSET, "is not complete yet: run its task again");
    if (!take(p, qn_complete_track, 0, &p->numbers, sizeof p->numbers) ||
        !memchr(p->numbers.kv_note, 0, sizeof p->numbers.kv_note))
        return bad(p, "its figures are none that a run would make", err);
    return QINS_OK;
}

/* Brings the parts in order, with room for as many of each. */
static enum qins_status sort_with(struct merging *m, struct qn_shard *shards, const char **names,
                                  size_t *order, struct part *sorted, struct qins_error *err)
{
    for (size_t i = 0; i < m->n; i++) {
        shards[i] = (struct qn_shard){m->parts[i].head.index, m->parts[i].head.count};
        names[i] = m->parts[i].path;
    }
    const enum qins_status st = qn_shard_order(shards, names, m->n, order, err);
    for (size_t i = 0; i < m->n && st == QINS_OK; i++)
        sorted[i] = m->parts[order[i]];
    if (st == QINS_OK)
        memcpy(m->parts, sorted, m->n * sizeof *sorted);
    return st;
}

static enum qins_status sort(struct merging *m, struct qins_error *err)
{
    struct qn_shard *shards = calloc(m->n, sizeof *shards);
    const char **names = calloc(m->n, sizeof(const char *));
    size_t *order = calloc(m->n, sizeof *order);
    struct part *sorted = calloc(m->n, sizeof *sorted);
    const enum qins_status st = shards && names && order && sorted
                                    ? sort_with(m, shards, names, order, sorted, err)
                                    : qn_fail_memory(err);
    free(shards);
    free(names);
    free(order);
    free(sorted);
    return st;
}

static enum qins_status read_parts(struct merging *m, const char *const *paths,
                                   struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < m->n && st == QINS_OK; i++) {
        struct part *p = &m->parts[i];
        st = qn_check_stop(m->v.monitor, err);
        if (st == QINS_OK)
            st = read_part(p, paths[i], err);
        if (st == QINS_OK && p->head.count == m->parts[0].head.count &&
            memcmp(&p->job, &m->parts[0].job, sizeof p->job) != 0)
            st = qn_fail(err, QINS_ERR_USAGE,
                         "%.150s and %.150s are parts of different jobs: other models, texts, "
                         "options or processors",
                         paths[0], paths[i]);
    }
    return st == QINS_OK ? sort(m, err) : st;
}

/* What the report is of, by the first part. */
static enum qins_status begin(struct merging *m, struct qins_error *err)
{
    const struct part *p = &m->parts[0];
    const struct qn_validated *k = &p->numbers;
    struct qn_validation *v = &m->v;
    v->merged = true;
    v->compares = p->head.compares != 0;
    v->context = k->context;
    v->corpus.bos = k->bos;
    for (unsigned i = 0; i < QN_VALIDATE_TESTS; i++)
        v->chosen[i] = p->head.tests >> i & 1;
    if (k->tokens > SIZE_MAX / 2 || k->style > QN_PPL_LLAMA_CPP)
        return bad(p, "its figures are none that a run would make", err);
    v->corpus.ids.count = (size_t)k->tokens;
    if (qn_text_windows_init(&v->windows, &v->corpus.ids, k->context, (enum qn_ppl_style)k->style,
                             k->bos, NULL) != QINS_OK)
        return bad(p, "its figures are none that a run would make", err);
    m->has_llama = qn_text_windows_init(&m->llama, &v->corpus.ids, k->context, QN_PPL_LLAMA_CPP,
                                        k->bos, NULL) == QINS_OK;
    m->results = json_object();
    return m->results ? qn_journal_open(&v->journal, NULL, false, &p->job, NULL, err)
                      : qn_fail_memory(err);
}

/* The windows that a track is of; NULL for one that is not by windows. */
static const struct qn_text_windows *windows_of(const struct merging *m, const char *track)
{
    if (strcmp(track, "windows") == 0 || strcmp(track, "nll") == 0)
        return &m->v.windows;
    return strcmp(track, "llama.cpp") == 0 && m->has_llama ? &m->llama : NULL;
}

static enum qins_status add_windows(struct merging *m, const struct part *p, const char *track,
                                    struct qins_error *err)
{
    const struct qn_text_windows *windows = windows_of(m, track);
    const uint64_t n = windows ? qn_journal_count(p->journal, track) : 0;
    enum qins_status st = QINS_OK;
    for (uint64_t i = 0; i < n && st == QINS_OK; i++) {
        size_t size;
        const void *records = qn_journal_get(p->journal, track, i, &size);
        st = qn_validation_window_sound(track, windows, records, size)
                 ? qn_journal_add(m->v.journal, track, records, size, err)
                 : bad(p, "it has a window that no run would make", err);
    }
    return st;
}

/* Whether a part has the windows of its piece of TOTAL. */
static bool has_piece(const struct part *p, const char *track, uint64_t total)
{
    const struct qn_shard s = {p->head.index, p->head.count};
    uint64_t begin, end;
    qn_shard_range(&s, total, &begin, &end);
    return qn_journal_count(p->journal, track) == end - begin;
}

/* Nothing is done for as many windows as the numbers claim before they are there. */
static enum qins_status check_windows(const struct merging *m, const struct part *p,
                                      struct qins_error *err)
{
    const struct qn_validation *v = &m->v;
    bool by_windows = false, perplexity = false;
    for (int i = 0; i < QN_VALIDATE_TESTS; i++) {
        const struct qn_validate_test *test = qn_validate_tests[i];
        const bool runs = v->chosen[i] && test->collect && (v->compares || !test->compares);
        by_windows = by_windows || runs;
        perplexity = perplexity || (runs && test == &qn_test_perplexity);
    }
    bool good = !by_windows || has_piece(p, v->compares ? "windows" : "nll", v->windows.count);
    if (good && perplexity && m->has_llama)
        good = has_piece(p, "llama.cpp",
                         m->llama.count - qn_perplexity_shared(&v->windows, &m->llama));
    return good ? QINS_OK : bad(p, "it has not the windows that it should", err);
}

static enum qins_status add_results(struct merging *m, const struct part *p, struct qins_error *err)
{
    const uint64_t n = qn_journal_count(p->journal, qn_result_track);
    for (uint64_t i = 0; i < n; i++) {
        size_t size;
        const void *text = qn_journal_get(p->journal, qn_result_track, i, &size);
        struct qins_error why = {.offset = QN_NO_OFFSET};
        json_t *j = qn_json_parse(text, size, 0, &why);
        if (!j && why.status == QINS_ERR_MEMORY)
            return qn_fail_memory(err);
        const char *name = json_string_value(json_object_get(j, "test"));
        json_t *result = json_object_get(j, "result");
        const bool good = name && json_is_object(result);
        const int rc = good ? json_object_set(m->results, name, result) : 0;
        json_decref(j);
        if (!good)
            return bad(p, "it has a result that no run would make", err);
        if (rc != 0)
            return qn_fail_memory(err);
    }
    return QINS_OK;
}

static void add_numbers(struct qn_validated *sums, const struct qn_validated *k)
{
    struct qn_pass_cost *to = &sums->cost;
    sums->partial |= k->partial;
    qn_kv_counts_add(&sums->kv_counts, &k->kv_counts);
    to->seconds += k->cost.seconds;
    to->run += k->cost.run;
    to->resumed += k->cost.resumed;
    for (int i = 0; i < QN_PREDICTORS; i++) {
        to->model_seconds[i] += k->cost.model_seconds[i];
        qn_compute_counts_add(&to->compute[i], &k->cost.compute[i]);
    }
}

/* Takes over what the parts have, in order; a part that was taken is given back. */
static enum qins_status add_parts(struct merging *m, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < m->n && st == QINS_OK; i++) {
        struct part *p = &m->parts[i];
        st = check_windows(m, p, err);
        for (size_t k = 0; k < qn_journal_tests(p->journal) && st == QINS_OK; k++)
            st = add_windows(m, p, qn_journal_test(p->journal, k), err);
        if (st == QINS_OK)
            st = add_results(m, p, err);
        add_numbers(&m->sums, &p->numbers);
        if (i > 0) {
            qn_journal_close(p->journal);
            p->journal = NULL;
        }
    }
    m->v.positions_cost = m->sums.cost;
    return st;
}

static enum qins_status run_tests(struct merging *m, json_t **results, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    *results = json_object();
    for (int i = 0; i < QN_VALIDATE_TESTS && st == QINS_OK; i++) {
        const struct qn_validate_test *test = qn_validate_tests[i];
        json_t *result = NULL;
        if (!m->v.chosen[i])
            continue;
        if (test->compares && !m->v.compares)
            st = qn_validation_end(QINS_OK, qn_validation_skipped(), &result, err);
        else if (test->collect)
            st = test->run(&m->v, &result, err);
        else if (!(result = json_incref(json_object_get(m->results, test->name))))
            st = qn_fail(err, QINS_ERR_FORMAT, "no part has a result of test '%s'", test->name);
        if (st == QINS_OK)
            qn_validation_put_result(results, test->name, result);
    }
    return st;
}

/* The report as the first part has it, with the sums of all parts. */
static enum qins_status report(struct merging *m, json_t *results, json_t **out,
                               struct qins_error *err)
{
    const struct part *p = &m->parts[0];
    const struct qn_validated *k = &p->numbers;
    const struct qn_model_config config = {.n_kv_heads = k->kv_heads, .head_dim = k->kv_head_dim};
    size_t size;
    const void *text = qn_journal_get(p->journal, qn_complete_track, QN_VALIDATED_REPORT, &size);
    struct qins_error why = {.offset = QN_NO_OFFSET};
    json_t *j = qn_json_parse(text, size, 0, &why);
    *out = NULL;
    if (!j && why.status == QINS_ERR_MEMORY)
        return qn_fail_memory(err);
    if (!json_is_object(j)) {
        json_decref(j);
        return bad(p, "its report is none that a run would make", err);
    }
    if (k->kv.bits > 0)
        qn_json_put(&j, "kv_cache",
                    qn_validation_kv(&config, &k->kv, &m->sums.kv_counts, k->kv_note,
                                     m->sums.partial != 0));
    qn_json_put(&j, "tests", json_incref(results));
    *out = j;
    return j ? QINS_OK : qn_fail_memory(err);
}

static enum qins_status join(struct merging *m, const char *const *paths, json_t **out,
                             struct qins_error *err)
{
    json_t *results = NULL;
    enum qins_status st = read_parts(m, paths, err);
    if (st == QINS_OK)
        st = begin(m, err);
    if (st == QINS_OK)
        st = add_parts(m, err);
    if (st == QINS_OK)
        st = run_tests(m, &results, err);
    if (st == QINS_OK)
        st = report(m, results, out, err);
    json_decref(results);
    return st;
}

enum qins_status qn_validate_merge(const char *const *parts, size_t n,
                                   const struct qn_monitor *monitor, json_t **out,
                                   struct qins_error *err)
{
    struct merging m = {.n = n, .v = {.monitor = monitor}, .options = {.threads = 1}};
    *out = NULL;
    m.v.options = &m.options;
    m.options.journal = parts[0];
    m.parts = calloc(n, sizeof *m.parts);
    const enum qins_status st = m.parts ? join(&m, parts, out, err) : qn_fail_memory(err);
    json_decref(m.results);
    for (size_t i = 0; i < n && m.parts; i++)
        qn_journal_close(m.parts[i].journal);
    qn_journal_close(m.v.journal);
    free(m.v.positions);
    free(m.parts);
    return st;
}
