#include "model/corpus.h"

#include "core/file.h"
#include "core/tensor.h"
#include "model/limits.h"
#include "model/utf8.h"

#include <stdlib.h>
#include <string.h>

#define MAX_TEXT_BYTES (UINT64_C(1) << 32)

/* What is open while a corpus is made. */
struct reading {
    struct qn_corpus *corpus;
    struct qn_tokenizer *tokenizer;
    struct qn_hasher *hasher;
    uint32_t vocab;
    size_t max_tokens;
    const struct qn_monitor *monitor;
};

/* A tokenizer makes tokens of any bytes, and models figures of any tokens. */
static enum qins_status check_text(const struct qn_monitor *monitor, const char *path,
                                   const struct qn_buf *text, struct qins_error *err)
{
    const uint8_t *nul = text->size ? memchr(text->data, 0, text->size) : NULL;
    const size_t valid = text->size ? qn_utf8_span(text->data, text->size) : 0;
    if (nul)
        return qn_fail_at(err, QINS_ERR_FORMAT, path, NULL, nul - text->data,
                          "a NUL: it is no text, or one in UTF-16");
    if (valid < text->size)
        qn_notice(monitor,
                  "%s: not UTF-8 at offset %zu; what is made of such bytes says little of a text",
                  path, valid);
    return QINS_OK;
}

enum qins_status qn_corpus_check_text(const char *path, struct qins_error *err)
{
    struct qn_buf text = {0};
    enum qins_status st = qn_read_whole(path, MAX_TEXT_BYTES, &text, err);
    if (st == QINS_OK)
        st = check_text(NULL, path, &text, err);
    qn_buf_finish(&text);
    return qn_error_in_file(err, st, path);
}

static enum qins_status check_vocabulary(const struct reading *r, size_t from,
                                         struct qins_error *err)
{
    const struct qn_ids *ids = &r->corpus->ids;
    for (size_t i = from; i < ids->count; i++)
        if (ids->data[i] >= r->vocab)
            return qn_fail(
                err, QINS_ERR_FORMAT,
                "the tokenizer makes token %u of it, the model has %u: not its tokenizer",
                ids->data[i], r->vocab);
    return QINS_OK;
}

static enum qins_status add_text(struct reading *r, const char *path, struct qins_error *err)
{
    struct qn_buf text = {0};
    struct qn_ids *ids = &r->corpus->ids;
    size_t before = ids->count;
    enum qins_status st = qn_read_whole(path, MAX_TEXT_BYTES, &text, err);
    if (st == QINS_OK)
        st = check_text(r->monitor, path, &text, err);
    if (st == QINS_OK) {
        qn_hasher_add(r->hasher, text.data, text.size);
        if (before < r->max_tokens)
            st = qn_tokenizer_encode(r->tokenizer, text.data, text.size, QN_ENCODE_PLAIN, ids, err);
    }
    if (st == QINS_OK)
        st = check_vocabulary(r, before, err);
    if (ids->count > r->max_tokens)
        ids->count = r->max_tokens;
    qn_buf_finish(&text);
    return qn_error_in_file(err, st, path);
}

/* A tokenizer adds a BOS if a text begins otherwise with special tokens than without. */
static enum qins_status find_bos(struct reading *r, struct qins_error *err)
{
    static const char sample[] = "a";
    struct qn_ids plain = {0}, special = {0};
    size_t size = sizeof sample - 1;
    enum qins_status st = qn_tokenizer_encode(r->tokenizer, sample, size, 0, &plain, err);
    if (st == QINS_OK)
        st = qn_tokenizer_encode(r->tokenizer, sample, size, QN_ENCODE_TEMPLATE, &special, err);
    if (st == QINS_OK && special.count > plain.count && special.data[0] < r->vocab &&
        (plain.count == 0 || special.data[0] != plain.data[0]))
        r->corpus->bos = special.data[0];
    qn_ids_finish(&plain);
    qn_ids_finish(&special);
    return st;
}

static enum qins_status read_texts(struct reading *r, const struct qn_model *m,
                                   const struct qn_corpus_options *o, struct qins_error *err)
{
    struct qn_corpus *c = r->corpus;
    enum qins_status st = qn_tokenizer_open(&r->tokenizer, o->tokenizer, &m->files, r->vocab, err);
    st = qn_error_in_file(err, st, m->path ? m->path : "");
    if (st == QINS_OK)
        st = find_bos(r, err);
    for (size_t i = 0; i < o->n_texts && st == QINS_OK; i++) {
        c->begin[i] = c->ids.count;
        st = add_text(r, o->texts[i], err);
    }
    if (st != QINS_OK)
        return st;
    c->begin[o->n_texts] = c->ids.count;
    c->tokenizer_digest = *qn_tokenizer_digest(r->tokenizer);
    c->text_digest = qn_hasher_digest(r->hasher);
    return QINS_OK;
}

static enum qins_status read_ids(struct reading *r, const char *path, struct qins_error *err)
{
    struct qn_corpus *c = r->corpus;
    enum qins_status st = qn_ids_load(&c->ids, path, r->vocab, err);
    if (st != QINS_OK)
        return st;
    if (c->ids.count > 0)
        c->text_digest = qn_hash128(c->ids.data, c->ids.count * sizeof *c->ids.data);
    if (c->ids.count > r->max_tokens)
        c->ids.count = r->max_tokens;
    c->begin[1] = c->ids.count;
    return QINS_OK;
}

enum qins_status qn_corpus_open(struct qn_corpus *c, const struct qn_model *m,
                                const struct qn_corpus_options *options, struct qins_error *err)
{
    struct reading r = {
        .corpus = c, .vocab = m->config.vocab, .max_tokens = SIZE_MAX, .monitor = options->monitor};
    enum qins_status st;
    *c = (struct qn_corpus){.bos = -1, .n_parts = options->ids ? 1 : options->n_texts};
    if (options->max_tokens > 0 && options->max_tokens < SIZE_MAX)
        r.max_tokens = (size_t)options->max_tokens;
    if (!options->ids && options->n_texts == 0)
        return qn_fail(err, QINS_ERR_USAGE, "'--text' or '--ids' is missing");
    if (options->ids && options->n_texts > 0)
        return qn_fail(err, QINS_ERR_USAGE, "'--text' and '--ids' exclude each other");
    r.hasher = qn_hasher_create();
    c->begin = calloc(c->n_parts + 1, sizeof *c->begin);
    if (!r.hasher || !c->begin)
        st = qn_fail_memory(err);
    else if (options->ids)
        st = read_ids(&r, options->ids, err);
    else
        st = read_texts(&r, m, options, err);
    if (st != QINS_OK)
        qn_corpus_finish(c);
    qn_hasher_destroy(r.hasher);
    qn_tokenizer_destroy(r.tokenizer);
    return st;
}

void qn_corpus_finish(struct qn_corpus *c)
{
    qn_ids_finish(&c->ids);
    free(c->begin);
    *c = (struct qn_corpus){.bos = -1};
}

uint32_t qn_window_size(const struct qn_model_config *config, uint32_t given,
                        const struct qn_monitor *monitor)
{
    const uint32_t made_for = config->max_positions;
    if (given == 0)
        return made_for < QN_WINDOW_SIZE ? made_for : QN_WINDOW_SIZE;
    if (given > made_for)
        qn_notice(monitor, "windows of %u tokens are longer than the %u the model was made for",
                  given, made_for);
    return given;
}

const struct qn_limit qn_corpus_limits[] = {
    {"text", "file", MAX_TEXT_BYTES, "bytes", "memory: texts are held whole"},
    {0},
};
