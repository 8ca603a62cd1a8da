/* ZIP archives: both readers of such open them, whatever the probes say. */
#include "tests/fuzz/checkpoint_fuzzing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct qn_checkpoint_ops *const readers[] = {&qn_torch_ops, &qn_npz_ops};
    char path[32];
    int fd = fuzz_file(data, size, path);
    for (size_t i = 0; i < 2; i++) {
        struct qn_checkpoint *ck = fuzz_open(readers[i], path);
        if (ck)
            ck->ops->destroy(ck);
    }
    close(fd);
    return 0;
}
