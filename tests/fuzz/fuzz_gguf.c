#include "formats/gguf_plan.h"
#include "tests/fuzz/checkpoint_fuzzing.h"

#include <string.h>

/* The keys that a reader attaches must be what the writer takes back, byte for byte. */
static void check_keys(struct qn_checkpoint *ck)
{
    const struct qn_attachment *a = qn_attachment_find(&ck->attachments, QN_GGUF_METADATA);
    const struct qn_tensor_list none = {0};
    struct qn_gguf_plan plan;
    size_t size = a->size - QN_GGUF_METADATA_HEADER;
    if (qn_gguf_plan_init(&plan, &none, &ck->attachments, NULL) != QINS_OK ||
        plan.keys.buf.size != size ||
        (size && memcmp(plan.keys.buf.data, a->data + QN_GGUF_METADATA_HEADER, size) != 0))
        abort();
    qn_gguf_plan_finish(&plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[32];
    int fd = fuzz_file(data, size, path);
    struct qn_checkpoint *ck = fuzz_open(&qn_gguf_ops, path);
    if (ck) {
        check_keys(ck);
        qn_gguf_ops.destroy(ck);
    }
    close(fd);
    return 0;
}
