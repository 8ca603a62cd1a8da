#define ZSTD_STATIC_LINKING_ONLY  /* contexts in the caller's memory; exported by Debian's library \
                                   */
#include "formats/codec/zstd.h"

#include <zstd.h>

#include "core/bytes.h"

/* The window log follows from N, so that frame and scratch depend on nothing else. */
static ZSTD_compressionParameters parameters(size_t n)
{
    return ZSTD_getCParams(QN_ZSTD_LEVEL, n, 0);
}

size_t qn_zstd_bound(size_t n)
{
    return n > QN_ZSTD_MAX_SYMBOLS ? 0 : ZSTD_compressBound(n);
}

static size_t context_size(size_t n)
{
    size_t encode = ZSTD_estimateCCtxSize_usingCParams(parameters(n));
    size_t decode = ZSTD_estimateDCtxSize();
    return encode > decode ? encode : decode;
}

size_t qn_zstd_scratch(size_t n)
{
    /* libzstd has other parameters up to each of these sizes, and some take more memory than
     * those of larger inputs: scratch for N must do for fewer symbols too. */
    static const size_t tiers[] = {16 << 10, 128 << 10, 256 << 10};
    size_t most = context_size(n);
    for (size_t i = 0; i < sizeof tiers / sizeof *tiers; i++) {
        size_t size = context_size(tiers[i] < n ? tiers[i] : n);
        most = size > most ? size : most;
    }
    return most;
}

size_t qn_zstd_encode(const uint8_t *src, size_t n, uint8_t *dst, size_t capacity, void *scratch)
{
    if (n == 0 || n > QN_ZSTD_MAX_SYMBOLS)
        return 0;
    ZSTD_CCtx *context = ZSTD_initStaticCCtx(scratch, context_size(n));
    if (context == NULL)
        return 0;
    /* Writes the content size and no checksum. */
    size_t size = ZSTD_compressCCtx(context, dst, capacity, src, n, QN_ZSTD_LEVEL);
    return ZSTD_isError(size) ? 0 : size;
}

bool qn_zstd_decode(const uint8_t *src, size_t src_size, uint8_t *dst, size_t n, void *scratch)
{
    /* The magic first: libzstd may also read its own older formats, and those allocate. */
    if (n == 0 || n > QN_ZSTD_MAX_SYMBOLS || src_size < 4 || qn_load32(src) != ZSTD_MAGICNUMBER ||
        ZSTD_getFrameContentSize(src, src_size) != n ||
        ZSTD_getDictID_fromFrame(src, src_size) != 0 ||
        ZSTD_findFrameCompressedSize(src, src_size) != src_size)
        return false;
    ZSTD_DCtx *context = ZSTD_initStaticDCtx(scratch, context_size(n));
    return context != NULL && ZSTD_decompressDCtx(context, dst, n, src, src_size) == n;
}
