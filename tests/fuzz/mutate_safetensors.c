/* Safetensors: edits of the header, whose length is put right, and of where the tensors lie. */
#include "core/json.h"
#include "core/tensor.h"
#include "tests/fuzz/mutate.h"

enum { PREFIX = 8 };

/* Bytes that an entry's shape and type take; 0 where it has none that fit in a fuzzer's input. */
static uint64_t entry_bytes(const json_t *entry)
{
    const char *name = json_string_value(json_object_get(entry, "dtype"));
    const json_t *shape = json_object_get(entry, "shape");
    uint64_t bytes = name ? qins_dtype_size(qn_dtype_from_name(name)) : 0, extent;
    for (size_t i = 0; i < json_array_size(shape); i++)
        if (!qn_json_u64(json_array_get(shape, i), &extent) || !qn_mul_u64(bytes, extent, &bytes))
            return 0;
    return bytes < UINT32_MAX ? bytes : 0;
}

/* One tensor behind the other, as a file has them that is sound. Returns the bytes of all. */
static uint64_t place_in_turn(json_t *header)
{
    const char *key;
    json_t *entry;
    uint64_t at = 0;
    json_object_foreach(header, key, entry)
    {
        const uint64_t end = at + entry_bytes(entry);
        if (json_is_object(entry) && strcmp(key, "__metadata__") != 0)
            json_object_set_new(entry, "data_offsets",
                                json_pack("[I,I]", (json_int_t)at, (json_int_t)end));
        at = end;
    }
    return at;
}

/* Writes HEADER to B, with the length before it, or now and then another one. */
static void write_header(struct qn_buf *b, const json_t *header, struct mutate_random *r)
{
    uint8_t prefix[PREFIX];
    char *text = json_dumps(header, JSON_COMPACT);
    uint64_t length = text ? strlen(text) : 0;
    qn_store64(prefix, mutate_once_in(r, 50) ? mutate_number(r, length) : length);
    mutate_append(b, prefix, sizeof prefix);
    mutate_append(b, text, (size_t)length);
    free(text);
}

/* The header at TEXT of LENGTH bytes was edited; what follows are the SIZE bytes at DATA. */
static size_t rebuild(uint8_t *out, size_t max_size, const uint8_t *text, size_t length,
                      const uint8_t *data, size_t size, struct mutate_random *r)
{
    static const uint8_t zeros[256];
    json_t *header = json_loadb((const char *)text, length, 0, NULL);
    struct qn_buf b = {0};
    if (!header)
        return 0;
    const bool again = json_is_object(header) && mutate_once_in(r, 2);
    const uint64_t wanted = again ? place_in_turn(header) : size;
    write_header(&b, header, r);
    json_decref(header);
    mutate_append(&b, data, (size_t)qn_min_u64(size, wanted));
    for (uint64_t at = size; at < wanted && b.size <= max_size; at += sizeof zeros)
        mutate_append(&b, zeros, (size_t)qn_min_u64(wanted - at, sizeof zeros));
    return mutate_deliver(&b, out, max_size);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    struct mutate_random r = mutate_seed(seed);
    const uint64_t length = size >= PREFIX ? qn_load64(data) : UINT64_MAX;
    size_t now = 0;
    if (size >= PREFIX && length <= size - PREFIX && !mutate_once_in(&r, 5)) {
        struct qn_buf text = {0}, rest = {0};
        mutate_append(&text, data + PREFIX, (size_t)length);
        mutate_append(&rest, data + PREFIX + length, size - PREFIX - (size_t)length);
        if (qn_buf_reserve(&text, max_size, NULL) != QINS_OK)
            abort();
        now = mutate_json(text.data, text.size, max_size, &r);
        if (now > 0)
            now = rebuild(data, max_size, text.data, now, rest.data, rest.size, &r);
        qn_buf_finish(&text);
        qn_buf_finish(&rest);
    }
    return now ? now : LLVMFuzzerMutate(data, size, max_size);
}
