#include "tests/fuzz/checkpoint_fuzzing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[32];
    int fd = fuzz_file(data, size, path);
    bool probed = fuzz_probe(&qn_llama2c_ops, path);
    struct qn_checkpoint *ck = fuzz_open(&qn_llama2c_ops, path);
    /* Without a magic number, the probe must not take what is then refused, nor the reverse. */
    bool versioned = size >= 8 && qn_load32(data) == 0x616b3432;
    if ((ck && !probed) || (!ck && probed && !versioned))
        abort();
    if (ck)
        ck->ops->destroy(ck);
    close(fd);
    return 0;
}
