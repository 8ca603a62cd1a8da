/* The input is config.json, a zero byte and tokenizer.json, of an archive whose tensors are those
 * of a llama model of one layer that is to be restored to GGUF. */
#include "formats/gguf_plan.h"
#include "tests/fuzz/checkpoint_fuzzing.h"

static void add(struct qn_tensor_list *list, const char *name, uint64_t rows, uint64_t columns)
{
    const uint64_t shape[] = {rows, columns};
    if (qn_tensor_list_add(list, name, strlen(name), QINS_F16, NULL, columns ? 2 : 1, shape, NULL,
                           NULL) != QINS_OK)
        abort();
}

static void make_list(struct qn_tensor_list *list)
{
    add(list, "model.embed_tokens.weight", 12, 8);
    add(list, "model.layers.0.input_layernorm.weight", 8, 0);
    add(list, "model.layers.0.self_attn.q_proj.weight", 8, 8);
    add(list, "model.layers.0.self_attn.k_proj.weight", 4, 8);
    add(list, "model.layers.0.self_attn.v_proj.weight", 4, 8);
    add(list, "model.layers.0.self_attn.o_proj.weight", 8, 8);
    add(list, "model.layers.0.post_attention_layernorm.weight", 8, 0);
    add(list, "model.layers.0.mlp.gate_proj.weight", 16, 8);
    add(list, "model.layers.0.mlp.up_proj.weight", 16, 8);
    add(list, "model.layers.0.mlp.down_proj.weight", 8, 16);
    add(list, "model.norm.weight", 8, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct qn_tensor_list list;
    if (list.count == 0)
        make_list(&list);
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    size_t config = zero ? (size_t)(zero - data) : size;
    struct qn_attachment_list attachments = {0};
    struct qn_gguf_plan plan;
    struct qn_gguf_keys keys;
    qn_attachment_add(&attachments, "config.json", data, config, NULL);
    if (zero)
        qn_attachment_add(&attachments, "tokenizer.json", zero + 1, size - config - 1, NULL);
    if (qn_gguf_plan_init(&plan, &list, &attachments, NULL) != QINS_OK)
        abort();
    /* Whatever the attachments say, the keys must be well-formed. */
    struct qn_cursor c = qn_cursor_init(plan.keys.buf.data, plan.keys.buf.size);
    if (qn_gguf_scan_keys(&c, plan.keys.count, &keys, NULL) != QINS_OK || qn_cursor_left(&c))
        abort();
    qn_gguf_plan_finish(&plan);
    qn_attachment_list_finish(&attachments);
    return 0;
}
