#include "tests/fuzz/checkpoint_fuzzing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[32];
    int fd = fuzz_file(data, size, path);
    struct qn_checkpoint *ck = fuzz_open(&qn_npz_ops, path);
    if (ck)
        ck->ops->destroy(ck);
    close(fd);
    return 0;
}
