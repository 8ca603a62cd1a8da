/* ZIP archives, of torch and of NumPy: an entry's contents or description is changed, or an entry
 * left out, doubled or renamed; then all is put together anew, with the right CRC-32 and offsets.
 */
#include "tests/fuzz/mutate.h"

#include <zlib.h>

enum {
    LOCAL = 30,
    ENTRY = 46,
    END = 22,
    MAX_ENTRIES = 64,
    MAX_NAME = 256,
    MAX_CONTENTS = 1 << 17,
    STORED = 0,
    DEFLATED = 8,
    PADDING = 64,
};

struct entry {
    char name[MAX_NAME];
    size_t name_size;
    uint16_t method;
    struct qn_buf contents;
};

struct zip {
    struct entry entries[MAX_ENTRIES];
    size_t n;
};

static void finish(struct zip *z)
{
    for (size_t i = 0; i < z->n; i++)
        qn_buf_finish(&z->entries[i].contents);
    z->n = 0;
}

static bool inflate_to(struct qn_buf *out, const uint8_t *data, size_t size, size_t contents)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)size};
    if (contents > MAX_CONTENTS || qn_buf_append_zeros(out, contents + 1, NULL) != QINS_OK ||
        inflateInit2(&z, -MAX_WBITS) != Z_OK)
        return false;
    z.next_out = out->data;
    z.avail_out = (uInt)contents + 1;
    const bool whole = inflate(&z, Z_FINISH) == Z_STREAM_END;
    out->size = z.total_out;
    inflateEnd(&z);
    return whole;
}

/* The entry that the directory describes at AT (APPNOTE.TXT 4.3.12). */
static bool read_entry(struct zip *z, const uint8_t *data, size_t size, const uint8_t *at)
{
    struct entry *e = &z->entries[z->n];
    const uint64_t packed = qn_load32(at + 20), contents = qn_load32(at + 24);
    const uint64_t local = qn_load32(at + 42);
    *e = (struct entry){.method = qn_load16(at + 10), .name_size = qn_load16(at + 28)};
    if (e->name_size > MAX_NAME || local > size || size - local < LOCAL)
        return false;
    memcpy(e->name, at + ENTRY, e->name_size);
    const uint64_t begin =
        local + LOCAL + qn_load16(data + local + 26) + qn_load16(data + local + 28);
    if (begin > size || packed > size - begin)
        return false;
    z->n++;
    if (e->method == DEFLATED)
        return inflate_to(&e->contents, data + begin, (size_t)packed, (size_t)contents);
    mutate_append(&e->contents, data + begin, (size_t)packed);
    return true;
}

static bool read_zip(struct zip *z, const uint8_t *data, size_t size)
{
    z->n = 0;
    for (size_t back = END; back <= size; back++) {
        const uint8_t *end = data + size - back;
        if (memcmp(end, "PK\5\6", 4) != 0)
            continue;
        size_t at = qn_load32(end + 16);
        for (unsigned left = qn_load16(end + 10); left > 0 && z->n < MAX_ENTRIES; left--) {
            if (at > size || size - at < ENTRY || memcmp(data + at, "PK\1\2", 4) != 0)
                return false;
            const size_t name = qn_load16(data + at + 28);
            if (size - at - ENTRY < name || !read_entry(z, data, size, data + at))
                return false;
            at += ENTRY + name + qn_load16(data + at + 30) + qn_load16(data + at + 32);
        }
        return z->n > 0;
    }
    return false;
}

static void pack(struct qn_buf *out, const struct entry *e)
{
    z_stream z = {0};
    uLong bound;
    if (deflateInit2(&z, 1, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        abort();
    bound = deflateBound(&z, (uLong)e->contents.size);
    if (qn_buf_append_zeros(out, bound, NULL) != QINS_OK)
        abort();
    z.next_in = e->contents.data;
    z.avail_in = (uInt)e->contents.size;
    z.next_out = out->data;
    z.avail_out = (uInt)bound;
    if (deflate(&z, Z_FINISH) != Z_STREAM_END)
        abort();
    out->size = z.total_out;
    deflateEnd(&z);
}

static void append_entry(struct qn_buf *b, struct qn_buf *directory, const struct entry *e,
                         struct mutate_random *r)
{
    static const uint8_t zeros[PADDING];
    uint8_t local[LOCAL] = "PK\3\4", entry[ENTRY] = "PK\1\2";
    struct qn_buf packed = {0};
    const struct qn_buf *body = &e->contents;
    if (e->method == DEFLATED) {
        pack(&packed, e);
        body = &packed;
    }
    /* torch aligns what it stores */
    const uint16_t extra = (uint16_t)(mutate_once_in(r, 4) ? mutate_below(r, PADDING) : 0);
    qn_store16(local + 8, e->method);
    qn_store32(local + 14, (uint32_t)crc32(0, e->contents.data, (uInt)e->contents.size));
    qn_store32(local + 18, (uint32_t)body->size);
    qn_store32(local + 22, (uint32_t)e->contents.size);
    qn_store16(local + 26, (uint16_t)e->name_size);
    memcpy(entry + 6, local + 4, 24);
    qn_store16(local + 28, extra);
    qn_store32(entry + 42, (uint32_t)b->size);
    mutate_append(b, local, sizeof local);
    mutate_append(b, e->name, e->name_size);
    mutate_append(b, zeros, extra);
    mutate_append(b, body->data, body->size);
    if (mutate_once_in(r, 50))
        entry[6 + mutate_below(r, ENTRY - 6)] ^= (uint8_t)(1U << mutate_below(r, 8));
    mutate_append(directory, entry, sizeof entry);
    mutate_append(directory, e->name, e->name_size);
    qn_buf_finish(&packed);
}

static void write_zip(struct qn_buf *b, const struct zip *z, struct mutate_random *r)
{
    uint8_t end[END] = "PK\5\6";
    struct qn_buf directory = {0};
    for (size_t i = 0; i < z->n; i++)
        append_entry(b, &directory, &z->entries[i], r);
    qn_store16(end + 8, (uint16_t)z->n);
    qn_store16(end + 10, (uint16_t)z->n);
    qn_store32(end + 12, (uint32_t)directory.size);
    qn_store32(end + 16, (uint32_t)b->size);
    mutate_append(b, directory.data, directory.size);
    mutate_append(b, end, sizeof end);
    qn_buf_finish(&directory);
}

static bool ends_in(const struct entry *e, const char *ending)
{
    const size_t n = strlen(ending);
    return e->name_size >= n && memcmp(e->name + e->name_size - n, ending, n) == 0;
}

static void change_contents(struct entry *e, struct mutate_random *r)
{
    struct qn_buf *b = &e->contents;
    const size_t room = b->size + 1024;
    if (qn_buf_reserve(b, room, NULL) != QINS_OK)
        abort();
    const size_t now = ends_in(e, ".pkl") ? mutate_pickle(b->data, b->size, room, r) : 0;
    b->size = now ? now : LLVMFuzzerMutate(b->data, b->size, room);
}

static void rename_entry(struct entry *e, struct mutate_random *r)
{
    static const char *const names[] = {"data.pkl",  "m/data.pkl",  "m/data/0", "a.npy",
                                        "m/version", "m/byteorder", "../a.npy"};
    const char *name = names[mutate_below(r, sizeof names / sizeof *names)];
    if (mutate_once_in(r, 2)) {
        e->name_size = strlen(name);
        memcpy(e->name, name, e->name_size);
    } else {
        e->name_size = LLVMFuzzerMutate((uint8_t *)e->name, e->name_size, MAX_NAME);
    }
}

static void edit(struct zip *z, struct mutate_random *r)
{
    const size_t at = mutate_below(r, z->n), other = mutate_below(r, z->n);
    struct entry *e = &z->entries[at];
    struct entry *last = &z->entries[z->n - 1];
    switch (mutate_below(r, 10)) {
    case 0:
        qn_buf_finish(&e->contents);
        *e = *last;
        z->n--;
        break;
    case 1:
        if (z->n < MAX_ENTRIES) {
            last[1] = *e;
            last[1].contents = (struct qn_buf){0};
            mutate_append(&last[1].contents, e->contents.data, e->contents.size);
            z->n++;
        }
        break;
    case 2:
        rename_entry(e, r);
        break;
    case 3:
        e->method = e->method == STORED ? DEFLATED : STORED;
        break;
    case 4: {
        const struct entry held = *e;
        *e = z->entries[other];
        z->entries[other] = held;
        break;
    }
    default:
        change_contents(e, r);
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static struct zip z;
    struct mutate_random r = mutate_seed(seed);
    struct qn_buf b = {0};
    size_t now = 0;
    if (!mutate_once_in(&r, 4) && read_zip(&z, data, size)) {
        edit(&z, &r);
        write_zip(&b, &z, &r);
        now = mutate_deliver(&b, data, max_size);
    }
    finish(&z);
    return now ? now : LLVMFuzzerMutate(data, size, max_size);
}
