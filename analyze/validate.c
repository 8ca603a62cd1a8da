#include "analyze/validate_part.h"
#include "analyze/validate_report.h"

#include "analyze/prompts.h"
#include "core/clock.h"
#include "core/cpu.h"
#include "core/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODEL, CANDIDATE };

const struct qn_validate_test *const qn_validate_tests[QN_VALIDATE_TESTS] = {
    &qn_test_consistency, &qn_test_autoregressive, &qn_test_sampling,
    &qn_test_perplexity,  &qn_test_long_context,
};

/* Marks the tests that LIST names. */
static enum qins_status choose_tests(const char *list, bool chosen[QN_VALIDATE_TESTS],
                                     struct qins_error *err)
{
    for (int i = 0; i < QN_VALIDATE_TESTS; i++)
        chosen[i] = !list;
    while (list) {
        size_t n = strcspn(list, ",");
        int i = 0;
        while (i < QN_VALIDATE_TESTS && (strlen(qn_validate_tests[i]->name) != n ||
                                         memcmp(qn_validate_tests[i]->name, list, n) != 0))
            i++;
        if (i == QN_VALIDATE_TESTS) {
            char known[256] = "";
            for (int k = 0; k < QN_VALIDATE_TESTS; k++)
                snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", k ? ", " : "",
                         qn_validate_tests[k]->name);
            return qn_fail(err, QINS_ERR_USAGE, "unknown test '%.*s'; there are: %s", (int)n, list,
                           known);
        }
        chosen[i] = true;
        list = list[n] ? list + n + 1 : NULL;
    }
    return QINS_OK;
}

enum qins_status qn_validate_check_tests(const char *list, struct qins_error *err)
{
    bool chosen[QN_VALIDATE_TESTS];
    return choose_tests(list, chosen, err);
}

static enum qins_status open_candidate(struct qn_validation *v, const char *path,
                                       struct qins_error *err)
{
    const struct qn_validate_options *o = v->options;
    struct qn_model **m = &v->models[CANDIDATE];
    if (o->fused)
        return qn_model_open_fused(m, path, o->threads, v->monitor, err);
    return (o->transport ? qn_model_open_plain : qn_model_open)(m, path, o->threads, v->monitor,
                                                                err);
}

/* The candidate beside the model: an archive or checkpoint, the model with a transport, or the very
 * same model where its V cache is all that differs. */
static enum qins_status open_models(struct qn_validation *v, struct qins_error *err)
{
    const struct qn_validate_options *o = v->options;
    const char *candidate = o->candidate || !o->transport ? o->candidate : o->model;
    enum qins_status st = QINS_OK;
    if (o->transport)
        st = qn_transport_read(&v->transport, o->transport, v->monitor, err);
    /* A model is compared with itself as it is, whatever its archive carries. */
    if (st == QINS_OK)
        st = (candidate == o->model ? qn_model_open_plain : qn_model_open)(
            &v->models[MODEL], o->model, o->threads, v->monitor, err);
    if (st == QINS_OK && candidate)
        st = open_candidate(v, candidate, err);
    if (st == QINS_OK && o->transport)
        st = qn_model_go_native(v->models[CANDIDATE], &v->transport, o->transport, err);
    if (st == QINS_OK && !candidate && o->kv_bits)
        v->models[CANDIDATE] = v->models[MODEL];
    if (st != QINS_OK || !candidate)
        return st;
    const struct qn_model *m = v->models[MODEL], *c = v->models[CANDIDATE];
    if (c->config.vocab != m->config.vocab)
        return qn_fail_at(err, QINS_ERR_FORMAT, candidate, NULL, QN_NO_OFFSET,
                          "it has %u tokens, the model %s has %u", c->config.vocab, o->model,
                          m->config.vocab);
    if (memcmp(&c->fingerprint, &m->fingerprint, sizeof m->fingerprint) != 0)
        qn_notice(v->monitor, "%s was not made from %s: fingerprints differ", candidate, o->model);
    return QINS_OK;
}

static enum qins_status open_corpus(struct qn_validation *v, struct qins_error *err)
{
    const struct qn_validate_options *o = v->options;
    const struct qn_model *m = v->models[MODEL];
    struct qn_corpus_options c = {.texts = &o->text,
                                  .n_texts = o->text != NULL,
                                  .tokenizer = o->tokenizer,
                                  .ids = o->ids,
                                  .monitor = v->monitor};
    enum qins_status st = qn_corpus_open(&v->corpus, m, &c, err);
    if (st == QINS_OK && !o->ids)
        st = qn_tokenizer_open(&v->tokenizer, o->tokenizer, &m->files, m->config.vocab, err);
    if (st != QINS_OK)
        return st;
    st =
        qn_text_windows_init(&v->windows, &v->corpus.ids, v->context, o->style, v->corpus.bos, err);
    return st == QINS_ERR_FORMAT ? qn_error_in_file(err, st, o->ids ? o->ids : o->text) : st;
}

static void add_text(struct qn_hasher *h, const char *text)
{
    qn_hasher_add(h, text, strlen(text) + 1);
}

static void add_digest(struct qn_hasher *h, const struct qn_digest *d)
{
    qn_hasher_add(h, d->bytes, sizeof d->bytes);
}

static enum qins_status add_file(struct qn_hasher *h, const char *path, struct qins_error *err)
{
    struct qn_digest d = {{0}};
    enum qins_status st = path ? qn_hash_file(path, &d, err) : QINS_OK;
    add_digest(h, &d);
    return st;
}

static void add_model(struct qn_hasher *h, const struct qn_model *m)
{
    static const struct qn_digest none;
    add_digest(h, m ? &m->fingerprint : &none);
    add_digest(h, m ? &m->archive.hash : &none);
    for (size_t i = 0; m && i < m->files.count; i++) {
        add_text(h, m->files.items[i].name);
        qn_hasher_add(h, m->files.items[i].data, m->files.items[i].size);
    }
}

/* Of everything that decides what is in the journal; not of which tests are run, so that more of
 * them may be asked for later. */
static enum qins_status identify(const struct qn_validation *v, struct qn_digest *job,
                                 struct qins_error *err)
{
    const struct qn_validate_options *o = v->options;
    const uint64_t numbers[] = {v->context,
                                o->style,
                                v->kv[CANDIDATE].bits,
                                o->kv_page_bytes,
                                o->tokens,
                                sizeof(struct qn_position),
                                o->fused,
                                v->models[MODEL] == v->models[CANDIDATE]};
    struct qn_hasher *h = qn_hasher_create();
    if (!h)
        return qn_fail_memory(err);
    add_text(h, qins_version());
    add_text(h, qn_cpu_level_name(qn_cpu_level())); /* sums are another level's to the last bit */
    for (int i = 0; i < QN_PREDICTORS; i++)
        add_model(h, v->models[i]);
    qn_hasher_add(h, numbers, sizeof numbers);
    add_digest(h, &v->corpus.text_digest);
    add_digest(h, &v->corpus.tokenizer_digest);
    enum qins_status st = add_file(h, o->transport, err);
    if (o->prompts && strcmp(o->prompts, QN_PROMPTS_TEXT) == 0)
        add_text(h, o->prompts);
    else if (st == QINS_OK)
        st = add_file(h, o->prompts, err);
    *job = qn_hasher_digest(h);
    qn_hasher_destroy(h);
    return st;
}

/* Tokens of a page see V of that page as it was computed. */
static enum qins_status check_pages(struct qn_validation *v, struct qins_error *err)
{
    struct qn_kv_layout l;
    bool windows = false;
    for (int i = 0; i < QN_VALIDATE_TESTS; i++)
        windows |= v->chosen[i] && (qn_validate_tests[i] == &qn_test_sampling ||
                                    qn_validate_tests[i] == &qn_test_perplexity);
    if (!v->kv[CANDIDATE].bits || !windows)
        return QINS_OK;
    const struct qn_model_config *c = &v->models[CANDIDATE]->config;
    const enum qins_status st = qn_kv_layout_init(
        &l, c->n_kv_heads, c->head_dim, v->kv[CANDIDATE].bits, v->kv[CANDIDATE].page_bytes, err);
    if (st == QINS_OK && v->context <= l.tokens) {
        snprintf(
            v->kv_note, sizeof v->kv_note,
            "windows of %u tokens see no coded page of V (%u): sampling and perplexity do not show "
            "the cache",
            v->context, l.tokens);
        qn_notice(v->monitor, "%s", v->kv_note);
    }
    return st;
}

/* *THERE is whether it is a part that was finished before. */
static enum qins_status begin(struct qn_validation *v, bool *there, struct qins_error *err)
{
    const struct qn_validate_options *o = v->options;
    struct qn_digest job;
    *there = false;
    enum qins_status st = open_models(v, err);
    if (st != QINS_OK)
        return st;
    v->compares = o->candidate || o->transport || o->kv_bits;
    v->kv[CANDIDATE] = (struct qn_kv_options){.bits = o->kv_bits, .page_bytes = o->kv_page_bytes};
    v->context = qn_window_size(&v->models[MODEL]->config, o->context, v->monitor);
    st = open_corpus(v, err);
    if (st == QINS_OK)
        st = identify(v, &job, err);
    if (st == QINS_OK && o->shard.count > 0)
        st = qn_validation_part_job(v, &job, err);
    if (st == QINS_OK && o->shard.count > 0)
        st = qn_validation_part_open(v, &job, there, err);
    else if (st == QINS_OK)
        st = qn_journal_open(&v->journal, o->journal, o->resume, &job, v->monitor, err);
    if (st == QINS_OK) /* what a part begins with is no result */
        v->resumed = qn_journal_total(v->journal) - qn_journal_count(v->journal, qn_part_track);
    return st;
}

static void finish(struct qn_validation *v)
{
    free(v->positions);
    qn_journal_close(v->journal);
    qn_logits_file_destroy(v->logits);
    qn_tokenizer_destroy(v->tokenizer);
    qn_corpus_finish(&v->corpus);
    qn_transport_finish(&v->transport);
    if (v->models[CANDIDATE] != v->models[MODEL])
        qn_model_destroy(v->models[CANDIDATE]);
    qn_model_destroy(v->models[MODEL]);
}

void qn_validation_put_result(json_t **results, const char *name, json_t *result)
{
    char key[32];
    if (result && !json_object_get(result, "passed")) /* it was skipped */
        qn_json_put(&result, "passed", json_null());
    snprintf(key, sizeof key, "%s", name);
    for (char *c = key; *c; c++)
        *c = (char)(*c == '-' ? '_' : *c);
    qn_json_put(results, key, result);
}

json_t *qn_validation_skipped(void)
{
    return json_pack("{s:s}", "skipped", "there is no candidate");
}

static enum qins_status run_test(struct qn_validation *v, const struct qn_validate_test *test,
                                 json_t **result, struct qins_error *err)
{
    if (!test->compares || v->compares)
        return test->run(v, result, err);
    return qn_validation_end(QINS_OK, qn_validation_skipped(), result, err);
}

static enum qins_status run_tests(struct qn_validation *v, json_t **results, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    *results = json_object();
    for (int i = 0; i < QN_VALIDATE_TESTS && st == QINS_OK; i++) {
        json_t *result = NULL;
        if (!v->chosen[i])
            continue;
        st = run_test(v, qn_validate_tests[i], &result, err);
        if (st == QINS_OK)
            qn_validation_put_result(results, qn_validate_tests[i]->name, result);
    }
    return st;
}

/* Of the text's windows; before the tests, so that a disk without room is told before hours of
 * work. */
static enum qins_status open_logits(struct qn_validation *v, struct qins_error *err)
{
    const char *dir = v->options->save_logits;
    const uint64_t positions = v->windows.count * qn_text_windows_scored(&v->windows);
    return dir ? qn_logits_file_create(&v->logits, dir, positions, v->models[MODEL]->config.vocab,
                                       v->models[CANDIDATE] != NULL, v->monitor, err)
               : QINS_OK;
}

/* Before the tests, so that pages that cannot be had are told before hours of work. */
static enum qins_status dump_pages(struct qn_validation *v, struct qins_error *err)
{
    const struct qn_validate_options *o = v->options;
    const struct qn_model *m = v->models[v->models[CANDIDATE] ? CANDIDATE : MODEL];
    const struct qn_kv_dump_options dump = {.ids = &v->corpus.ids,
                                            .text = v->corpus.text_digest,
                                            .context = v->context,
                                            .kv = v->kv[CANDIDATE],
                                            .threads = o->threads};
    return o->dump_kv ? qn_kv_dump(m, &dump, o->dump_kv, v->monitor, &v->dumped, err) : QINS_OK;
}

static enum qins_status check_options(const struct qn_validate_options *o,
                                      const bool chosen[QN_VALIDATE_TESTS], struct qins_error *err)
{
    bool perplexity = false;
    for (int i = 0; i < QN_VALIDATE_TESTS; i++)
        perplexity |= chosen[i] && qn_validate_tests[i] == &qn_test_perplexity;
    if (o->save_logits && !perplexity)
        return qn_fail(err, QINS_ERR_USAGE,
                       "logits are saved by test perplexity, which is not run");
    if (o->save_logits && o->journal)
        return qn_fail(err, QINS_ERR_USAGE,
                       "logits are saved by one whole run, not by one that is resumed");
    if (o->shard.count > 0 && (o->save_logits || o->dump_kv))
        return qn_fail(err, QINS_ERR_USAGE,
                       "logits and pages are saved by one whole run, not by a part of one");
    if (o->ids && o->prompts && strcmp(o->prompts, QN_PROMPTS_TEXT) != 0)
        return qn_fail(err, QINS_ERR_USAGE,
                       "'--prompts %s' is text, and with '--ids' there is no tokenizer: '--prompts "
                       "%s' cuts prompts from the ids",
                       o->prompts, QN_PROMPTS_TEXT);
    if (o->fused && !o->candidate)
        return qn_fail(err, QINS_ERR_USAGE,
                       "'--fused' is how an archive beside the model runs: give one");
    if (o->fused && o->transport)
        return qn_fail(err, QINS_ERR_USAGE,
                       "'--fused' and '--transport' exclude each other: native layers have weights "
                       "of their own");
    if (o->dump_kv && !o->kv_bits)
        return qn_fail(err, QINS_ERR_USAGE, "there are pages to dump with '--kv-cache 8' or '6'");
    return QINS_OK;
}

enum qins_status qn_validate(const struct qn_validate_options *options,
                             const struct qn_monitor *monitor, json_t **report,
                             struct qins_error *err)
{
    struct qn_validation v = {.options = options, .monitor = monitor};
    const double begun = qn_seconds();
    json_t *results = NULL;
    bool there = false;
    *report = NULL;
    enum qins_status st = choose_tests(options->tests, v.chosen, err);
    if (st == QINS_OK)
        st = check_options(options, v.chosen, err);
    if (st == QINS_OK)
        st = begin(&v, &there, err);
    if (st == QINS_OK && !there)
        st = check_pages(&v, err);
    if (st == QINS_OK)
        st = open_logits(&v, err);
    if (st == QINS_OK)
        st = dump_pages(&v, err);
    if (st == QINS_OK)
        st = options->shard.count == 0 ? run_tests(&v, &results, err)
             : there                   ? QINS_OK
                                       : qn_validation_part_run(&v, err);
    if (st == QINS_OK && options->shard.count > 0) {
        *report = qn_validation_part_report(&v, there, qn_seconds() - begun);
        st = *report ? QINS_OK : qn_fail_memory(err);
    } else if (st == QINS_OK) {
        *report = qn_validation_describe(&v);
        qn_json_put(report, "tests", results);
        results = NULL;
        if (!*report)
            st = qn_fail_memory(err);
    }
    json_decref(results);
    finish(&v);
    return st;
}
