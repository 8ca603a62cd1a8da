#include "analyze/validate_part.h"

#include "analyze/validate_report.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CANDIDATE = QN_PREDICTORS - 1 };

const char qn_part_track[] = "part", qn_result_track[] = "result", qn_complete_track[] = "complete";

static struct qn_validated_part describe(const struct qn_validation *v)
{
    const struct qn_shard *s = &v->options->shard;
    struct qn_validated_part part;
    memset(&part, 0, sizeof part);
    snprintf(part.version, sizeof part.version, "%s", qins_version());
    part.index = s->index;
    part.count = s->count;
    part.compares = v->compares;
    for (unsigned i = 0; i < QN_VALIDATE_TESTS; i++)
        part.tests |= (uint32_t)v->chosen[i] << i;
    return part;
}

enum qins_status qn_validation_part_job(const struct qn_validation *v, struct qn_digest *job,
                                        struct qins_error *err)
{
    struct qn_validated_part part = describe(v);
    struct qn_hasher *h = qn_hasher_create();
    if (!h)
        return qn_fail_memory(err);
    part.index = 0;
    qn_hasher_add(h, job->bytes, sizeof job->bytes);
    qn_hasher_add(h, &part, sizeof part);
    *job = qn_hasher_digest(h);
    qn_hasher_destroy(h);
    return QINS_OK;
}

static bool has_item(const struct qn_journal *j, const char *track, const void *data, size_t size)
{
    size_t found = 0;
    const void *item = qn_journal_count(j, track) ? qn_journal_get(j, track, 0, &found) : NULL;
    return item && found == size && memcmp(item, data, size) == 0;
}

enum qins_status qn_validate_look_at_part(const char *path, struct qins_error *err)
{
    uint64_t items = 0;
    const enum qins_status st = qn_journal_look(path, qn_complete_track, &items, err);
    return st == QINS_OK && items < QN_VALIDATED_ITEMS
               ? qn_fail_at(err, QINS_ERR_FORMAT, path, NULL, QN_NO_OFFSET, "it is not complete")
               : st;
}

/* Opens the finished part, if it is there. */
static enum qins_status look(struct qn_validation *v, const struct qn_digest *job, bool *there,
                             struct qins_error *err)
{
    const char *path = v->options->part;
    const struct qn_validated_part part = describe(v);
    struct qn_journal *found = NULL;
    struct qn_digest of;
    *there = false;
    struct stat info;
    bool stands;
    enum qins_status st = qn_look_at(path, &info, &stands, err);
    if (!stands)
        return st;
    st = qn_journal_read(&found, path, &of, err);
    if (st == QINS_ERR_FORMAT)
        st = qn_error_append(err, st, "; it is in the way of the part: move or remove it");
    if (st == QINS_OK &&
        (memcmp(&of, job, sizeof of) != 0 || !has_item(found, qn_part_track, &part, sizeof part)))
        st = qn_fail_at(err, QINS_ERR_USAGE, path, NULL, QN_NO_OFFSET,
                        "is there already, of another job: other models, texts or options, or "
                        "another version of qins; remove it or choose another name");
    if (st == QINS_OK && qn_journal_count(found, qn_complete_track) < QN_VALIDATED_ITEMS)
        st = qn_fail_at(err, QINS_ERR_FORMAT, path, NULL, QN_NO_OFFSET,
                        "it is not complete: remove it to make it anew");
    if (st == QINS_OK) {
        qn_journal_close(v->journal);
        v->journal = found;
        found = NULL;
        *there = true;
        qn_notice(v->monitor, "%s is there already", path);
    }
    qn_journal_close(found);
    return st;
}

/* Locks the work in progress. */
static enum qins_status take(struct qn_validation *v, const struct qn_digest *job,
                             struct qins_error *err)
{
    const struct qn_validated_part part = describe(v);
    const char *path = v->options->journal;
    enum qins_status st = qn_journal_continue(&v->journal, path, job, err);
    if (st == QINS_OK && qn_journal_total(v->journal) == 0)
        return qn_journal_add(v->journal, qn_part_track, &part, sizeof part, err);
    if (st == QINS_OK && !has_item(v->journal, qn_part_track, &part, sizeof part))
        st = qn_fail_at(err, QINS_ERR_USAGE, path, NULL, QN_NO_OFFSET,
                        "is work in progress of another part; remove it");
    return st;
}

enum qins_status qn_validation_part_open(struct qn_validation *v, const struct qn_digest *job,
                                         bool *there, struct qins_error *err)
{
    enum qins_status st = look(v, job, there, err);
    if (st == QINS_OK && !*there)
        st = take(v, job, err);
    /* Another process may have finished it before this one had the lock. */
    if (st == QINS_OK && !*there)
        st = look(v, job, there, err);
    return st;
}

static enum qins_status add_json(struct qn_validation *v, const char *track, json_t *j,
                                 struct qins_error *err)
{
    /* All digits: figures are rounded once, when the report is written. */
    char *text = j ? qn_json_dump(j, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    const enum qins_status st =
        text ? qn_journal_add(v->journal, track, text, strlen(text), err) : qn_fail_memory(err);
    free(text);
    json_decref(j);
    return st;
}

static enum qins_status run_whole(struct qn_validation *v, const struct qn_validate_test *test,
                                  struct qins_error *err)
{
    json_t *result = NULL, *j = json_object();
    enum qins_status st = test->run(v, &result, err);
    qn_json_put(&j, "test", json_string(test->name));
    if (st == QINS_OK)
        qn_json_put(&j, "result", result);
    if (st == QINS_OK)
        return add_json(v, qn_result_track, j, err);
    json_decref(j);
    return st;
}

static enum qins_status complete(struct qn_validation *v, struct qins_error *err)
{
    struct qn_validated done;
    const bool kv = v->kv[CANDIDATE].bits != 0;
    memset(&done, 0, sizeof done);
    done.tokens = v->corpus.ids.count;
    done.bos = v->corpus.bos;
    done.context = v->context;
    done.style = v->windows.style;
    done.partial = v->resumed > 0;
    done.cost = v->positions_cost;
    if (kv) {
        done.kv_heads = v->models[CANDIDATE]->config.n_kv_heads;
        done.kv_head_dim = v->models[CANDIDATE]->config.head_dim;
        done.kv = v->kv[CANDIDATE];
        done.kv_counts = v->kv_counts;
        memcpy(done.kv_note, v->kv_note, sizeof done.kv_note);
    }
    /* A run that was killed between the two goes on with the second. */
    enum qins_status st = QINS_OK;
    if (qn_journal_count(v->journal, qn_complete_track) == 0)
        st = qn_journal_add(v->journal, qn_complete_track, &done, sizeof done, err);
    if (st == QINS_OK && qn_journal_count(v->journal, qn_complete_track) == QN_VALIDATED_REPORT)
        st = add_json(v, qn_complete_track, qn_validation_describe(v), err);
    return st == QINS_OK ? qn_journal_publish(v->journal, v->options->part, err) : st;
}

enum qins_status qn_validation_part_run(struct qn_validation *v, struct qins_error *err)
{
    const struct qn_shard *s = &v->options->shard;
    uint64_t have = qn_journal_count(v->journal, qn_result_track);
    unsigned whole = 0;
    enum qins_status st = QINS_OK;
    for (int i = 0; i < QN_VALIDATE_TESTS && st == QINS_OK; i++) {
        const struct qn_validate_test *test = qn_validate_tests[i];
        if (!v->chosen[i] || (test->compares && !v->compares))
            continue;
        if (test->collect)
            st = test->collect(v, err);
        else if (whole++ % s->count + 1 == s->index && (have == 0 || have-- == 0))
            st = run_whole(v, test, err);
    }
    return st == QINS_OK ? complete(v, err) : st;
}

json_t *qn_validation_part_report(const struct qn_validation *v, bool there, double seconds)
{
    const struct qn_validate_options *o = v->options;
    const char *track = v->compares ? "windows" : "nll";
    json_t *j = qn_report_begin("qins/validation-part/1"), *whole = json_array();
    const uint64_t results = qn_journal_count(v->journal, qn_result_track);
    for (uint64_t i = 0; i < results; i++) {
        size_t size;
        const void *text = qn_journal_get(v->journal, qn_result_track, i, &size);
        json_t *result = qn_json_parse(text, size, 0, NULL);
        const char *name = json_string_value(json_object_get(result, "test"));
        qn_json_append(&whole, name ? qn_json_text(name) : NULL);
        json_decref(result);
    }
    qn_json_put(&j, "part_path", qn_json_text(o->part));
    qn_json_put(&j, "part", json_integer(o->shard.index));
    qn_json_put(&j, "parts", json_integer(o->shard.count));
    qn_json_put(&j, "was_there", json_boolean(there));
    qn_json_put(&j, "windows", json_integer((json_int_t)qn_journal_count(v->journal, track)));
    qn_json_put(&j, "resumed_windows", json_integer((json_int_t)v->positions_cost.resumed));
    qn_json_put(&j, "whole_tests", whole);
    qn_json_put(&j, "threads", json_integer(o->threads));
    qn_json_put(&j, "seconds", qn_json_real(seconds));
    return j;
}
