/* The input is the index of a folder with two sound shards, a.safetensors and b.safetensors. */
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!folder[0])
        make_folder();
    FILE *f = fopen(at("model.safetensors.index.json"), "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f) != 0)
        abort();
    struct qn_checkpoint *ck = fuzz_open(&qn_hf_folder_ops, folder);
    if (ck)
        qn_checkpoint_destroy(ck);
    return 0;
}
