#include "bench/stream_engines.h"

#include "formats/codec/bitpack.h"
#include "formats/codec/codec.h"
#include "formats/codec/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zstd.h>

static size_t own_bound(struct qn_stream_coder *c, size_t n)
{
    return qn_codec((enum qn_codec_id)c->argument)->bound(n);
}

static size_t own_encode(struct qn_stream_coder *c, const uint8_t *src, size_t n, uint8_t *dst,
                         size_t capacity)
{
    return qn_codec((enum qn_codec_id)c->argument)
        ->encode(src, n, dst, capacity, c->scratch->coder);
}

static bool own_decode(struct qn_stream_coder *c, const uint8_t *src, size_t size, uint8_t *dst,
                       size_t n)
{
    return qn_codec((enum qn_codec_id)c->argument)->decode(src, size, dst, n, c->scratch->coder);
}

/* Bits that hold the distances of all symbols from the least one, with symbols read as numbers of
 * one sign or of both: whichever takes less. */
static void pack_prepare(struct qn_stream_coder *c, const uint8_t *src, size_t n)
{
    struct qn_stream_scratch *s = c->scratch;
    unsigned least[2] = {UINT8_MAX, UINT8_MAX}, most[2] = {0, 0};
    for (size_t i = 0; i < n; i++)
        for (unsigned k = 0; k < 2; k++) {
            const unsigned v = src[i] ^ (k ? 0x80U : 0U);
            least[k] = v < least[k] ? v : least[k];
            most[k] = v > most[k] ? v : most[k];
        }
    s->is_signed = most[1] - least[1] < most[0] - least[0];
    s->base = least[s->is_signed] ^ (s->is_signed ? 0x80U : 0U);
    s->bits = 1;
    while (most[s->is_signed] - least[s->is_signed] >= 1U << s->bits)
        s->bits++;
}

static size_t pack_bound(struct qn_stream_coder *c, size_t n)
{
    (void)c;
    return qn_bitpack_size(n, 8);
}

static size_t pack_encode(struct qn_stream_coder *c, const uint8_t *src, size_t n, uint8_t *dst,
                          size_t capacity)
{
    struct qn_stream_scratch *s = c->scratch;
    uint16_t *restrict codes = s->codes;
    const uint8_t base = (uint8_t)s->base;
    (void)capacity;
    for (size_t i = 0; i < n; i++)
        codes[i] = (uint8_t)(src[i] - base);
    qn_bitpack(codes, n, s->bits, dst);
    return qn_bitpack_size(n, s->bits);
}

static bool pack_decode(struct qn_stream_coder *c, const uint8_t *src, size_t size, uint8_t *dst,
                        size_t n)
{
    struct qn_stream_scratch *s = c->scratch;
    const uint16_t *restrict codes = s->codes;
    uint8_t *restrict symbols = dst;
    const uint8_t base = (uint8_t)s->base;
    if (!qn_bitunpack(src, size, n, s->bits, s->codes))
        return false;
    for (size_t i = 0; i < n; i++)
        symbols[i] = (uint8_t)(codes[i] + base);
    return true;
}

struct zstd {
    ZSTD_CCtx *c;
    ZSTD_DCtx *d;
};

/* With ARGUMENT 0: what comes nearest to libzstd's coder of literals by its public interface. Its
 * fastest search, of long matches, in the smallest table, in one window a block; levels below 1
 * would leave literals uncoded. */
enum { LITERALS = 0, LITERAL_WINDOW = 17, LITERAL_TABLE = 6, LITERAL_MATCH = 7 };

static bool set_literals(ZSTD_CCtx *c)
{
    static const struct {
        ZSTD_cParameter parameter;
        int value;
    } settings[] = {{ZSTD_c_strategy, ZSTD_fast},     {ZSTD_c_windowLog, LITERAL_WINDOW},
                    {ZSTD_c_hashLog, LITERAL_TABLE},  {ZSTD_c_chainLog, LITERAL_TABLE},
                    {ZSTD_c_minMatch, LITERAL_MATCH}, {ZSTD_c_targetLength, 0}};
    bool ok = true;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        ok = ok &&
             !ZSTD_isError(ZSTD_CCtx_setParameter(c, settings[i].parameter, settings[i].value));
    return ok;
}

static void zstd_finish(struct qn_stream_coder *c)
{
    struct zstd *z = c->state;
    if (z) {
        ZSTD_freeCCtx(z->c);
        ZSTD_freeDCtx(z->d);
    }
    free(z);
    c->state = NULL;
}

static enum qins_status zstd_init(struct qn_stream_coder *c, struct qins_error *err)
{
    struct zstd *z = calloc(1, sizeof *z);
    if (!z)
        return qn_fail_memory(err);
    c->state = z;
    z->c = ZSTD_createCCtx();
    z->d = ZSTD_createDCtx();
    if (!z->c || !z->d)
        return qn_fail_memory(err);
    const bool ok =
        c->argument == LITERALS
            ? set_literals(z->c)
            : !ZSTD_isError(ZSTD_CCtx_setParameter(z->c, ZSTD_c_compressionLevel, c->argument));
    return ok ? QINS_OK : qn_fail(err, QINS_ERR_UNSUPPORTED, "libzstd refuses its settings");
}

static size_t zstd_bound(struct qn_stream_coder *c, size_t n)
{
    (void)c;
    return ZSTD_compressBound(n);
}

static size_t zstd_encode(struct qn_stream_coder *c, const uint8_t *src, size_t n, uint8_t *dst,
                          size_t capacity)
{
    const struct zstd *z = c->state;
    size_t size = ZSTD_compress2(z->c, dst, capacity, src, n);
    return ZSTD_isError(size) ? 0 : size;
}

static bool zstd_decode(struct qn_stream_coder *c, const uint8_t *src, size_t size, uint8_t *dst,
                        size_t n)
{
    const struct zstd *z = c->state;
    return ZSTD_decompressDCtx(z->d, dst, n, src, size) == n;
}

static enum qins_status peer_init(struct qn_stream_coder *c, struct qins_error *err)
{
    c->state = c->peer->create ? c->peer->create() : NULL;
    if (c->peer->create && !c->state)
        return qn_fail_at(err, QINS_ERR_UNSUPPORTED, c->file, NULL, QN_NO_OFFSET,
                          "peer %s does not start", c->name);
    return QINS_OK;
}

static void peer_finish(struct qn_stream_coder *c)
{
    if (c->state && c->peer->destroy)
        c->peer->destroy(c->state);
    c->state = NULL;
}

static size_t peer_bound(struct qn_stream_coder *c, size_t n)
{
    return c->peer->bound(c->state, n);
}

static size_t peer_encode(struct qn_stream_coder *c, const uint8_t *src, size_t n, uint8_t *dst,
                          size_t capacity)
{
    const size_t size = c->peer->encode(c->state, src, n, dst, capacity);
    return size <= capacity ? size : 0;
}

static bool peer_decode(struct qn_stream_coder *c, const uint8_t *src, size_t size, uint8_t *dst,
                        size_t n)
{
    return c->peer->decode(c->state, src, size, dst, n) == n;
}

static const struct qn_stream_engine own = {.kind = "qins",
                                            .bound = own_bound,
                                            .encode = own_encode,
                                            .decode = own_decode},
                                     pack = {.kind = "qins",
                                             .prepare = pack_prepare,
                                             .bound = pack_bound,
                                             .encode = pack_encode,
                                             .decode = pack_decode};
const struct qn_stream_engine qn_copy_engine = {.kind = "library",
                                                .copies = true,
                                                .bound = own_bound,
                                                .encode = own_encode,
                                                .decode = own_decode},
                              qn_zstd_engine = {.kind = "library",
                                                .init = zstd_init,
                                                .finish = zstd_finish,
                                                .bound = zstd_bound,
                                                .encode = zstd_encode,
                                                .decode = zstd_decode},
                              qn_peer_engine = {.kind = "peer",
                                                .init = peer_init,
                                                .finish = peer_finish,
                                                .bound = peer_bound,
                                                .encode = peer_encode,
                                                .decode = peer_decode};

const struct qn_stream_row qn_symbol_coders[] = {
    {QN_STREAM_COPY, &qn_copy_engine, QN_CODEC_STORE, false},
    {"store", &own, QN_CODEC_STORE, false},
    {"bitpack", &pack, QN_CODEC_BITPACK, true},
    {"huffman", &own, QN_CODEC_HUFFMAN, true},
    {"rle", &own, QN_CODEC_RLE, true},
    {"rle-huffman", &own, QN_CODEC_RLE_HUFFMAN, true},
    {"zstd", &own, QN_CODEC_ZSTD, false},
    {"tans", &own, QN_CODEC_TANS, true},
    {QN_STREAM_LIBRARY, &qn_zstd_engine, 1, false},
    {"libzstd-3", &qn_zstd_engine, 3, false},
    {"libzstd-literals", &qn_zstd_engine, LITERALS, false},
};
const size_t qn_n_symbol_coders = sizeof qn_symbol_coders / sizeof *qn_symbol_coders;

bool qn_stream_listed(const char *list, const char *name)
{
    const size_t n = strlen(name);
    for (const char *p = list; p; p = strchr(p, ',')) {
        p += p != list;
        if (strncmp(p, name, n) == 0 && (p[n] == ',' || p[n] == '\0'))
            return true;
    }
    return list == NULL;
}

/* Rows for one type of symbols. */
struct rows {
    const struct qn_stream_row *list;
    size_t n;
};

static struct rows rows_for(enum qins_dtype dtype)
{
    return dtype == QINS_U8 ? (struct rows){qn_symbol_coders, qn_n_symbol_coders}
                            : (struct rows){qn_lossless_coders, qn_n_lossless_coders};
}

static enum qins_status unknown_name(struct rows rows, const char *name, size_t n,
                                     struct qins_error *err)
{
    char all[256] = "";
    for (size_t r = 0, at = 0; r < rows.n && at < sizeof all; r++)
        at += (size_t)snprintf(all + at, sizeof all - at, "%s%s", r ? ", " : "", rows.list[r].name);
    return qn_fail(err, QINS_ERR_USAGE, "no coder is called '%.*s': %s", (int)(n < 64 ? n : 64),
                   name, all);
}

/* Every name of LIST is a row's. */
static enum qins_status check_names(struct rows rows, const char *list, struct qins_error *err)
{
    for (const char *p = list; p; p = strchr(p, ',')) {
        p += p != list;
        const size_t n = strcspn(p, ",");
        size_t r = 0;
        while (r < rows.n &&
               (strlen(rows.list[r].name) != n || memcmp(rows.list[r].name, p, n) != 0))
            r++;
        if (r == rows.n)
            return unknown_name(rows, p, n, err);
    }
    return QINS_OK;
}

static enum qins_status add(struct qn_stream_coders *c, const struct qn_stream_coder *coder,
                            struct qins_error *err)
{
    if (c->n == QN_STREAM_MAX_CODERS)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "more than %d coders", QN_STREAM_MAX_CODERS);
    struct qn_stream_coder *own_copy = &c->list[c->n++];
    *own_copy = *coder;
    own_copy->scratch = c->scratch;
    return coder->engine->init ? coder->engine->init(own_copy, err) : QINS_OK;
}

static enum qins_status add_row(struct qn_stream_coders *c, const struct qn_stream_row *r,
                                struct qins_error *err)
{
    struct qn_stream_coder coder = {.name = r->name,
                                    .engine = r->engine,
                                    .level = QN_STREAM_NO_LEVEL,
                                    .argument = r->argument,
                                    .version = !r->engine->copies &&
                                                       strcmp(r->engine->kind, "library") == 0
                                                   ? ZSTD_versionString()
                                                   : NULL};
    if (!r->levels)
        return add(c, &coder, err);
    enum qins_status st = QINS_OK;
    for (int level = QN_CPU_C; level <= (int)c->most && st == QINS_OK; level++)
        if (qn_codec_kernels_of((enum qn_cpu_level)level)) {
            coder.level = level;
            st = add(c, &coder, err);
        }
    return st;
}

static enum qins_status scratch_init(struct qn_stream_coders *c, enum qins_dtype dtype,
                                     size_t chunk, struct qins_error *err)
{
    size_t size = 0;
    for (int id = 0; id < QN_CODEC_COUNT; id++) {
        const struct qn_codec *codec = qn_codec((enum qn_codec_id)id);
        const size_t need = codec ? codec->scratch(chunk) : 0;
        size = need > size ? need : size;
    }
    c->scratch = calloc(1, sizeof *c->scratch);
    if (!c->scratch)
        return qn_fail_memory(err);
    c->scratch->dtype = dtype;
    c->scratch->coder = malloc(size);
    c->scratch->codes = malloc(chunk * sizeof *c->scratch->codes);
    return c->scratch->coder && c->scratch->codes ? QINS_OK : qn_fail_memory(err);
}

/* The kind of peers that code DTYPE; none but these. */
static bool peer_codes(const struct qins_bench_peer *p, enum qins_dtype dtype)
{
    switch (p->kind) {
    case QINS_BENCH_BYTES:
        return dtype == QINS_U8;
    case QINS_BENCH_BF16:
        return dtype == QINS_BF16;
    case QINS_BENCH_F32:
        return dtype == QINS_F32;
    default:
        return false;
    }
}

static enum qins_status add_peers(struct qn_stream_coders *c, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < c->peers.n && st == QINS_OK; i++) {
        const struct qn_bench_peer_file *p = &c->peers.list[i];
        const struct qn_stream_coder coder = {.name = p->peer->name,
                                              .version = p->peer->version,
                                              .file = p->file,
                                              .engine = &qn_peer_engine,
                                              .level = QN_STREAM_NO_LEVEL,
                                              .peer = p->peer};
        if (peer_codes(p->peer, c->scratch->dtype))
            st = add(c, &coder, err);
    }
    return st;
}

enum qins_status qn_stream_coders_init(struct qn_stream_coders *c, enum qins_dtype dtype,
                                       size_t chunk, const char *names, const char *const *files,
                                       size_t n_files, struct qins_error *err)
{
    const struct rows rows = rows_for(dtype);
    const unsigned kinds =
        dtype == QINS_U8 ? 1U << QINS_BENCH_BYTES : 1U << QINS_BENCH_BF16 | 1U << QINS_BENCH_F32;
    *c = (struct qn_stream_coders){.most = qn_cpu_level()};
    enum qins_status st = check_names(rows, names, err);
    if (st == QINS_OK)
        st = scratch_init(c, dtype, chunk, err);
    if (st == QINS_OK)
        st = qn_bench_peers_load(&c->peers, files, n_files, kinds, err);
    for (size_t i = 0; i < rows.n && st == QINS_OK; i++)
        if (qn_stream_listed(names, rows.list[i].name) || rows.list[i].engine->copies)
            st = add_row(c, &rows.list[i], err);
    return st == QINS_OK ? add_peers(c, err) : st;
}

void qn_stream_coders_finish(struct qn_stream_coders *c)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->list[i].engine->finish)
            c->list[i].engine->finish(&c->list[i]);
    if (c->scratch) {
        free(c->scratch->coder);
        free(c->scratch->codes);
        qn_chunk_work_finish(&c->scratch->work);
        qn_buf_finish(&c->scratch->shuffled);
    }
    free(c->scratch);
    qn_bench_peers_finish(&c->peers);
    qn_cpu_use(c->most);
    *c = (struct qn_stream_coders){.most = qn_cpu_level()};
}
