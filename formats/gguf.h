/* GGUF, versions 2 and 3, little-endian: what the reader and the writer share.
 *
 * Layout (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): "GGUF", u32 version, u64
 * tensor count, u64 key count, keys with typed values, tensor infos, padding to the alignment,
 * data. A tensor info is a name, u32 rank, u64 extents innermost first, u32 type and a u64 offset
 * into the data. Strings are a u64 length and bytes. */
#ifndef QINS_FORMATS_GGUF_H
#define QINS_FORMATS_GGUF_H

#include "core/buf.h"
#include "core/bytes.h"
#include "core/tensor.h"
#include "formats/checkpoint.h"

enum {
    QN_GGUF_HEADER_SIZE = 24,
    QN_GGUF_VERSION = 3,
    QN_GGUF_ALIGNMENT = 32, /* where general.alignment is absent */
    QN_GGUF_MAX_RANK = 4,   /* GGML_MAX_DIMS */
};

/* Value types of keys. */
enum qn_gguf_value {
    QN_GGUF_U8,
    QN_GGUF_I8,
    QN_GGUF_U16,
    QN_GGUF_I16,
    QN_GGUF_U32,
    QN_GGUF_I32,
    QN_GGUF_F32,
    QN_GGUF_BOOL,
    QN_GGUF_STRING,
    QN_GGUF_ARRAY,
    QN_GGUF_U64,
    QN_GGUF_I64,
    QN_GGUF_F64,
};

/* An element type of ggml: BLOCK elements take BLOCK_BYTES. */
struct qn_ggml_type {
    const char *name;
    uint32_t id;
    uint32_t block, block_bytes;
    enum qins_dtype dtype; /* QINS_DTYPE_INVALID for quantised types */
};

/* NULL if the id or the dtype has none. */
const struct qn_ggml_type *qn_ggml_type_by_id(uint32_t id);
const struct qn_ggml_type *qn_ggml_type_by_dtype(enum qins_dtype dtype);

/* What the key section says about the container itself. */
struct qn_gguf_keys {
    uint32_t alignment;   /* bytes, a power of two from 8 to 65536 */
    uint32_t split_count; /* files that the model was split into, or 0 */
};

/* Walks COUNT keys from the cursor's position, checking types, lengths, nesting and that no key
 * comes twice. Where the bytes end too early c->bad is set and the error says "truncated". */
enum qins_status qn_gguf_scan_keys(struct qn_cursor *c, uint64_t count, struct qn_gguf_keys *keys,
                                   struct qins_error *err);

/* The attachment that carries a GGUF file's keys through an archive, so that restore writes them
 * back byte for byte: u32 layout version (1), u32 GGUF version, u64 key count, then the key
 * section's bytes as they stood in the file. */
#define QN_GGUF_METADATA "gguf.metadata"
enum { QN_GGUF_METADATA_LAYOUT = 1, QN_GGUF_METADATA_HEADER = 16 };

#endif
