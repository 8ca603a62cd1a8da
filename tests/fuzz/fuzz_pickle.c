/* The input is a torch pickle: parsed alone, then as the data.pkl of an archive made around it,
 * so that walking the objects and reading the tensors are reached without a right CRC-32. */
#include "formats/torch_walk.h"
#include "tests/fuzz/checkpoint_fuzzing.h"

#include <zlib.h>

enum { LOCAL_SIZE = 30, ENTRY_SIZE = 46, END_SIZE = 22, STORAGE_SIZE = 64, MAX_PICKLE = 1 << 16 };

struct archive {
    uint8_t data[MAX_PICKLE + 4096], directory[1024];
    size_t size, directory_size;
    unsigned count;
};

static void put(uint8_t *dst, size_t *size, const void *data, size_t n)
{
    memcpy(dst + *size, data, n);
    *size += n;
}

/* A stored entry (APPNOTE.TXT 4.3.7, 4.3.12). */
static void add_entry(struct archive *a, const char *name, const uint8_t *data, size_t size)
{
    uint8_t local[LOCAL_SIZE] = "PK\3\4", entry[ENTRY_SIZE] = "PK\1\2";
    qn_store32(local + 14, (uint32_t)crc32(0, data, (uInt)size));
    qn_store32(local + 18, (uint32_t)size);
    qn_store32(local + 22, (uint32_t)size);
    qn_store16(local + 26, (uint16_t)strlen(name));
    memcpy(entry + 16, local + 14, 14);
    qn_store32(entry + 42, (uint32_t)a->size);
    put(a->directory, &a->directory_size, entry, sizeof entry);
    put(a->directory, &a->directory_size, name, strlen(name));
    put(a->data, &a->size, local, sizeof local);
    put(a->data, &a->size, name, strlen(name));
    put(a->data, &a->size, data, size);
    a->count++;
}

static void close_archive(struct archive *a)
{
    uint8_t end[END_SIZE] = "PK\5\6";
    qn_store16(end + 8, (uint16_t)a->count);
    qn_store16(end + 10, (uint16_t)a->count);
    qn_store32(end + 12, (uint32_t)a->directory_size);
    qn_store32(end + 16, (uint32_t)a->size);
    put(a->data, &a->size, a->directory, a->directory_size);
    put(a->data, &a->size, end, sizeof end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct archive a;
    static const uint8_t storage[STORAGE_SIZE] = {1, 2, 3, 4, 5, 6, 7, 8};
    static const char *const keys[] = {"m/data/0", "m/data/1", "m/data/2"};
    struct qn_pickle pickle;
    struct qins_error err;
    char path[32];
    if (size > MAX_PICKLE)
        return -1;
    if (qn_pickle_parse(&pickle, data, size, &qn_torch_globals, 4096 + 64 * size, &err) != QINS_OK)
        return 0;
    if (pickle.n_nodes > size || pickle.n_cells > size + 1)
        abort();
    qn_pickle_finish(&pickle);

    a.size = a.directory_size = a.count = 0;
    add_entry(&a, "m/data.pkl", data, size);
    for (size_t i = 0; i < 3; i++)
        add_entry(&a, keys[i], storage, sizeof storage >> i);
    close_archive(&a);
    int fd = fuzz_file(a.data, a.size, path);
    struct qn_checkpoint *ck = fuzz_open(&qn_torch_ops, path);
    if (ck)
        ck->ops->destroy(ck);
    close(fd);
    return 0;
}
