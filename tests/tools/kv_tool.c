/* Test-only: pages of V (formats/kv_page.h), for readers and writers in Python.
 *   kv_tool layout HEADS HEAD_DIM BITS PAGE_BYTES     prints tokens, groups and kappa
 *   kv_tool encode|recode|decode HEADS HEAD_DIM BITS PAGE_BYTES
 * encode: float32 [tokens][heads][head_dim] to a bit-packed page; recode: that page coded anew;
 * decode: a page of either kind to float32. */
#include "formats/kv_page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct job {
    const char *what;
    struct qn_kv_layout layout;
    uint8_t *in, *out; /* each holds VALUES floats and a page */
    float *heads;      /* [heads][tokens][head_dim] */
    void *scratch;
    size_t values, size;
};

/* In place of a token's heads beside each other, tokens of a head; or back. */
static void turn(const struct job *j, float *tokens, bool back)
{
    const struct qn_kv_layout *l = &j->layout;
    for (size_t i = 0; i < l->tokens; i++)
        for (size_t h = 0; h < l->heads; h++)
            for (size_t d = 0; d < l->head_dim; d++) {
                float *a = &tokens[(i * l->heads + h) * l->head_dim + d],
                      *b = &j->heads[(h * l->tokens + i) * l->head_dim + d];
                *(back ? a : b) = *(back ? b : a);
            }
}

static enum qins_status run(struct job *j, struct qins_error *err)
{
    const struct qn_kv_layout *l = &j->layout;
    const size_t head_stride = (size_t)l->tokens * l->head_dim, value_bytes = j->values * 4,
                 room = value_bytes + qn_kv_packed_size(l), n = fread(j->in, 1, room, stdin);
    enum qins_status st = QINS_ERR_USAGE;
    if (strcmp(j->what, "encode") == 0 && n == value_bytes) {
        turn(j, (float *)(void *)j->in, false);
        st = qn_kv_encode(l, j->heads, head_stride, j->out, j->scratch, err);
        j->size = qn_kv_packed_size(l);
    } else if (strcmp(j->what, "recode") == 0 && n == qn_kv_packed_size(l)) {
        st = qn_kv_recode(l, j->in, j->out, &j->size, j->scratch, err);
    } else if (strcmp(j->what, "decode") == 0) {
        st = qn_kv_decode(l, j->in, n, j->heads, head_stride, j->scratch, err);
        turn(j, (float *)(void *)j->out, true);
        j->size = value_bytes;
    }
    return st;
}

int main(int argc, char **argv)
{
    struct job j = {0};
    struct qins_error err = {.message = "usage: kv_tool WHAT HEADS HEAD_DIM BITS PAGE_BYTES"};
    enum qins_status st = QINS_ERR_USAGE;
    if (argc == 6)
        st = qn_kv_layout_init(
            &j.layout, (uint32_t)strtoul(argv[2], NULL, 10), (uint32_t)strtoul(argv[3], NULL, 10),
            (unsigned)strtoul(argv[4], NULL, 10), strtoul(argv[5], NULL, 10), &err);
    if (st == QINS_OK && strcmp(argv[1], "layout") == 0) {
        printf("%u %u %.9g\n", j.layout.tokens, qn_kv_groups(&j.layout), (double)j.layout.kappa);
    } else if (st == QINS_OK) {
        j.what = argv[1];
        j.values = (size_t)j.layout.tokens * j.layout.heads * j.layout.head_dim;
        const size_t room = j.values * 4 + qn_kv_packed_size(&j.layout);
        j.in = malloc(room);
        j.out = malloc(room);
        j.heads = malloc(j.values * sizeof *j.heads);
        j.scratch = malloc(qn_kv_scratch(&j.layout));
        if (j.in && j.out && j.heads && j.scratch)
            st = run(&j, &err);
        else
            st = qn_fail_memory(&err);
    }
    if (st == QINS_OK && j.size > 0 && fwrite(j.out, 1, j.size, stdout) != j.size)
        st = qn_fail_errno(&err, "standard output", "write");
    if (st != QINS_OK)
        fprintf(stderr, "%s\n", err.message);
    free(j.scratch);
    free(j.heads);
    free(j.out);
    free(j.in);
    return (int)st;
}
