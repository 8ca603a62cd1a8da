/* The manifest's JSON, before compression; and what is accepted must survive the way back. */
#include "formats/archive/manifest.h"

#include <stdlib.h>
#include <zlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(const struct qn_manifest *m)
{
    struct qn_manifest again;
    struct qn_buf packed = {0};
    if (qn_manifest_pack(m, &packed, NULL) != QINS_OK ||
        qn_manifest_unpack(packed.data, packed.size, &again, NULL) != QINS_OK ||
        again.n_tensors != m->n_tensors || again.n_files != m->n_files ||
        qn_manifest_chunks(&again) != qn_manifest_chunks(m))
        abort();
    qn_manifest_finish(&again);
    qn_buf_finish(&packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qn_manifest m;
    uLongf packed_size = compressBound((uLong)size);
    uint8_t *packed = malloc(packed_size);
    if (!packed || compress2(packed, &packed_size, data, (uLong)size, 0) != Z_OK)
        abort();
    if (qn_manifest_unpack(packed, packed_size, &m, NULL) == QINS_OK)
        round_trip(&m);
    qn_manifest_finish(&m);
    free(packed);
    /* and as what the decompressor gets */
    if (qn_manifest_unpack(data, size, &m, NULL) == QINS_OK)
        round_trip(&m);
    qn_manifest_finish(&m);
    return 0;
}
