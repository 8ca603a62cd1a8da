/* Test-only: logits of a model for given tokens, for references written in Python.
 *   forward_tool MODEL IDS.npy OUT.npy [--batch N] [--threads N] [--positions N] [--split K]
 *                [--transport T.h5] [--kv BITS] [--page-bytes N] [--recent N] [--pages FILE]
 * writes float32 logits [tokens][vocab]. --positions is the context of the session (default: as
 * many as there are tokens); --split K runs the last K tokens one at a time, through the cache;
 * with --transport the layers that it holds run natively; with --kv V is cached in coded pages, and
 * each page that was coded is appended to FILE: layer, page, size as uint32, then its bytes. */
#include "formats/transport.h"
#include "model/ids.h"
#include "model/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_BATCH = 512 }; /* the session's */

struct request {
    const char *model, *ids, *out, *transport, *pages;
    size_t batch, threads, positions, split, kv, page_bytes, recent;
};

static bool parse(struct request *r, int argc, char **argv)
{
    const struct {
        const char *name;
        size_t *value;
    } options[] = {
        {"--batch", &r->batch},  {"--threads", &r->threads}, {"--positions", &r->positions},
        {"--split", &r->split},  {"--kv", &r->kv},           {"--page-bytes", &r->page_bytes},
        {"--recent", &r->recent}};
    const struct {
        const char *name, **value;
    } files[] = {{"--transport", &r->transport}, {"--pages", &r->pages}};
    *r = (struct request){.threads = 1};
    if (argc < 4 || argc % 2 != 0)
        return false;
    r->model = argv[1];
    r->ids = argv[2];
    r->out = argv[3];
    for (int i = 4; i < argc; i += 2) {
        bool known = false;
        for (size_t k = 0; k < sizeof files / sizeof *files; k++)
            if (strcmp(argv[i], files[k].name) == 0) {
                *files[k].value = argv[i + 1];
                known = true;
            }
        for (size_t k = 0; k < sizeof options / sizeof *options; k++)
            if (strcmp(argv[i], options[k].name) == 0) {
                *options[k].value = strtoull(argv[i + 1], NULL, 10);
                known = true;
            }
        if (!known)
            return false;
    }
    return true;
}

/* Version 1.0 of numpy/lib/format.py: the header with its newline ends at a multiple of 64. */
static enum qins_status save(const char *path, const float *x, size_t rows, size_t columns,
                             struct qins_error *err)
{
    char header[128];
    FILE *f = fopen(path, "wb");
    int n = snprintf(header, sizeof header,
                     "\x93NUMPY\x01%c\x76%c{'descr': '<f4', 'fortran_order': False, "
                     "'shape': (%zu, %zu), }",
                     0, 0, rows, columns);
    memset(header + n, ' ', sizeof header - (size_t)n);
    header[sizeof header - 1] = '\n';
    bool ok = f && fwrite(header, sizeof header, 1, f) == 1 &&
              fwrite(x, sizeof *x * columns, rows, f) == rows;
    if (f && fclose(f) != 0)
        ok = false;
    return ok ? QINS_OK : qn_fail_errno(err, path, "write");
}

/* Runs N tokens in batches of the session and appends their logits at OUT. */
static enum qins_status run(struct qn_session *s, const uint32_t *ids, size_t n, size_t batch,
                            size_t vocab, float *out, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = 0, count; st == QINS_OK && i < n; i += count) {
        count = n - i < batch ? n - i : batch;
        st = qn_session_forward(s, ids + i, count, NULL, err);
        if (st == QINS_OK)
            qn_session_logits(s, 0, count, out + i * vocab);
    }
    return st;
}

static enum qins_status save_page(void *ctx, uint32_t layer, uint64_t page, const uint8_t *bytes,
                                  size_t size, struct qins_error *err)
{
    const uint32_t head[] = {layer, (uint32_t)page, (uint32_t)size};
    FILE *f = ctx;
    const bool ok = !f || (fwrite(head, sizeof head, 1, f) == 1 && fwrite(bytes, size, 1, f) == 1);
    return ok ? QINS_OK : qn_fail_errno(err, "pages", "write");
}

static enum qins_status compute(const struct request *r, const struct qn_model *m,
                                struct qn_pool *pool, struct qins_error *err)
{
    const size_t vocab = m->config.vocab;
    struct qn_ids ids = {0};
    struct qn_session *s = NULL;
    float *out = NULL;
    enum qins_status st = qn_ids_load(&ids, r->ids, m->config.vocab, err);
    FILE *pages = r->pages ? fopen(r->pages, "wb") : NULL;
    const struct qn_kv_options kv = {.bits = (unsigned)r->kv,
                                     .page_bytes = r->page_bytes,
                                     .recent = (uint32_t)r->recent,
                                     .page = save_page,
                                     .ctx = pages};
    struct qn_session_options o = {.positions = r->positions ? r->positions : ids.count,
                                   .batch = r->batch,
                                   .pool = pool,
                                   .kv = &kv};
    if (st == QINS_OK && r->split > ids.count)
        st = qn_fail(err, QINS_ERR_USAGE, "there are only %zu tokens", ids.count);
    if (st == QINS_OK)
        st = qn_session_create(&s, m, &o, err);
    if (st == QINS_OK && !(out = malloc(ids.count * vocab * sizeof *out + 1)))
        st = qn_fail_memory(err);
    const size_t head = ids.count - r->split;
    if (st == QINS_OK)
        st = run(s, ids.data, head, r->batch ? r->batch : DEFAULT_BATCH, vocab, out, err);
    if (st == QINS_OK)
        st = run(s, ids.data + head, r->split, 1, vocab, out + head * vocab, err);
    if (st == QINS_OK)
        st = save(r->out, out, ids.count, vocab, err);
    if (pages && fclose(pages) != 0 && st == QINS_OK)
        st = qn_fail_errno(err, r->pages, "write");
    free(out);
    qn_session_destroy(s);
    qn_ids_finish(&ids);
    return st;
}

/* The model, some of its layers native if that is asked for. */
static enum qins_status open_model(const struct request *r, struct qn_model **m,
                                   struct qins_error *err)
{
    struct qn_transport t = {0};
    enum qins_status st = r->transport ? qn_transport_read(&t, r->transport, NULL, err) : QINS_OK;
    if (st == QINS_OK)
        st = qn_model_open(m, r->model, (unsigned)r->threads, NULL, err);
    if (st == QINS_OK && r->transport)
        st = qn_model_go_native(*m, &t, r->transport, err);
    qn_transport_finish(&t);
    return st;
}

int main(int argc, char **argv)
{
    struct request r;
    struct qins_error err = {0};
    struct qn_model *m = NULL;
    struct qn_pool *pool = NULL;
    char line[1024];
    if (!parse(&r, argc, argv)) {
        fputs("usage: forward_tool MODEL IDS.npy OUT.npy [--batch N] [--threads N] "
              "[--positions N] [--split K] [--transport T.h5] [--kv BITS] [--page-bytes N] "
              "[--recent N] [--pages FILE]\n",
              stderr);
        return QINS_ERR_USAGE;
    }
    enum qins_status st = open_model(&r, &m, &err);
    if (st == QINS_OK && r.threads > 1)
        st = qn_pool_create(&pool, (unsigned)r.threads, &err);
    if (st == QINS_OK)
        st = compute(&r, m, pool, &err);
    if (st != QINS_OK)
        fprintf(stderr, "%s\n", qins_error_format(&err, line, sizeof line));
    qn_pool_destroy(pool);
    qn_model_destroy(m);
    return (int)st;
}
