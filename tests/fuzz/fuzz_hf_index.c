/* The input is the index of a folder with two sound shards, a.safetensors and b.safetensors. If its
 * first byte is a digit, what follows is the one file of a folder without an index, under a name
 * by that digit; 9: two files of which none is the first choice. */
#include "core/file.h"
#include "tests/fuzz/checkpoint_fuzzing.h"

static char folder[64];

static char *at(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void remove_folder(void)
{
    unlink(at("a.safetensors"));
    unlink(at("b.safetensors"));
    unlink(at("model.safetensors.index.json"));
    rmdir(folder);
}

static void write_shard(const char *name, const char *header)
{
    uint8_t length[8];
    struct qn_buf file = {0};
    qn_store64(length, strlen(header));
    if (qn_buf_append(&file, length, 8, NULL) != QINS_OK ||
        qn_buf_append(&file, header, strlen(header), NULL) != QINS_OK ||
        qn_buf_append_zeros(&file, 16, NULL) != QINS_OK ||
        qn_write_whole(at(name), file.data, file.size, NULL) != QINS_OK)
        abort();
    qn_buf_finish(&file);
}

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "%s/qins-fuzz-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(folder))
        abort();
    atexit(remove_folder);
    write_shard("a.safetensors",
                "{\"__metadata__\":{\"format\":\"pt\"},"
                "\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                "\"y\":{\"dtype\":\"I8\",\"shape\":[2,4],\"data_offsets\":[8,16]}}");
    write_shard("b.safetensors",
                "{\"x\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[0,2]},"
                "\"z\":{\"dtype\":\"F32\",\"shape\":[0,3],\"data_offsets\":[2,2]}}");
}

static void put(const char *name, const uint8_t *data, size_t size)
{
    FILE *f = fopen(at(name), "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f) != 0)
        abort();
}

static void open_folder(void)
{
    struct qn_checkpoint *ck = fuzz_open(&qn_hf_folder_ops, folder);
    if (ck)
        qn_checkpoint_destroy(ck);
}

static void open_one_file(unsigned digit, const uint8_t *data, size_t size)
{
    static const char *const names[] = {
        "model.safetensors", "x.safetensors", "x.bin.index.json", "x.pt", "x.bin", "x.gguf",
        "training_args.bin", "x.npz",         "readme.txt"};
    char with_index[sizeof folder];
    const char *name = names[digit < 9 ? digit : 8];
    memcpy(with_index, folder, sizeof folder);
    snprintf(folder, sizeof folder, "%.40s-one", with_index);
    if (mkdir(folder, 0700) != 0)
        abort();
    put(name, data, size);
    if (digit == 9)
        put("y.safetensors", data, size);
    if (digit == 9)
        put("z.safetensors", data, size);
    open_folder();
    unlink(at(name));
    unlink(at("y.safetensors"));
    unlink(at("z.safetensors"));
    rmdir(folder);
    memcpy(folder, with_index, sizeof folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!folder[0])
        make_folder();
    if (size > 0 && data[0] >= '0' && data[0] <= '9') {
        open_one_file(data[0] - '0', data + 1, size - 1);
        return 0;
    }
    put("model.safetensors.index.json", data, size);
    open_folder();
    return 0;
}
