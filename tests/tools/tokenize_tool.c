/* tokenize_tool encode|encode-special|encode-plain|decode|decode-all|bench TOKENIZER [VOCAB]
 *
 * encode: texts from standard input, each ended by a NUL, to lines of ids; encode-special with
 * what the template adds, encode-plain without looking for special tokens. decode, decode-all:
 * lines of ids to texts, each ended by a NUL; decode leaves special tokens out. bench: all of
 * standard input as one text, the speed to standard error. */
#include "core/file.h"
#include "model/tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int report(const struct qins_error *err)
{
    char line[2048];
    fprintf(stderr, "%s\n", qins_error_format(err, line, sizeof line));
    return 3;
}

static enum qins_status encode_texts(const struct qn_tokenizer *t, const struct qn_buf *in,
                                     unsigned flags, struct qins_error *err)
{
    struct qn_ids ids = {0};
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < in->size && st == QINS_OK;) {
        const size_t n = strnlen((const char *)in->data + i, in->size - i);
        ids.count = 0;
        st = qn_tokenizer_encode(t, in->data + i, n, flags, &ids, err);
        for (size_t k = 0; k < ids.count && st == QINS_OK; k++)
            printf(k ? " %" PRIu32 : "%" PRIu32, ids.data[k]);
        if (st == QINS_OK)
            putchar('\n');
        i += n + 1;
    }
    qn_ids_finish(&ids);
    return st;
}

static enum qins_status decode_lines(const struct qn_tokenizer *t, const struct qn_buf *in,
                                     bool skip_special, struct qins_error *err)
{
    struct qn_ids ids = {0};
    struct qn_buf text = {0};
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < in->size && st == QINS_OK; i++) {
        ids.count = text.size = 0;
        while (i < in->size && in->data[i] != '\n' && st == QINS_OK) {
            uint32_t id = 0;
            for (; i < in->size && in->data[i] >= '0' && in->data[i] <= '9'; i++)
                id = id * 10 + (in->data[i] - '0');
            st = qn_ids_append(&ids, &id, 1, err);
            i += i < in->size && in->data[i] == ' ';
        }
        if (st == QINS_OK)
            st = qn_tokenizer_decode(t, ids.data, ids.count, skip_special, &text, err);
        if (st == QINS_OK) {
            fwrite(text.data, 1, text.size, stdout);
            putchar(0);
        }
    }
    qn_buf_finish(&text);
    qn_ids_finish(&ids);
    return st;
}

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static enum qins_status bench(const struct qn_tokenizer *t, const struct qn_buf *in,
                              struct qins_error *err)
{
    struct qn_ids ids = {0};
    struct qn_buf text = {0};
    const double start = now();
    enum qins_status st = qn_tokenizer_encode(t, in->data, in->size, 0, &ids, err);
    const double encoded = now();
    if (st == QINS_OK)
        st = qn_tokenizer_decode(t, ids.data, ids.count, false, &text, err);
    const double decoded = now();
    if (st == QINS_OK)
        fprintf(stderr, "%zu bytes, %zu ids, encode %.2f MB/s, decode %.2f MB/s, round trip %s\n",
                in->size, ids.count, (double)in->size / 1e6 / (encoded - start),
                (double)in->size / 1e6 / (decoded - encoded),
                text.size == in->size && text.size > 0 && memcmp(text.data, in->data, in->size) == 0
                    ? "equal"
                    : "DIFFERS");
    qn_buf_finish(&text);
    qn_ids_finish(&ids);
    return st;
}

static enum qins_status run(const char *verb, const struct qn_tokenizer *t, const struct qn_buf *in,
                            struct qins_error *err)
{
    if (strcmp(verb, "encode") == 0)
        return encode_texts(t, in, 0, err);
    if (strcmp(verb, "encode-special") == 0)
        return encode_texts(t, in, QN_ENCODE_TEMPLATE, err);
    if (strcmp(verb, "encode-plain") == 0)
        return encode_texts(t, in, QN_ENCODE_PLAIN, err);
    if (strcmp(verb, "decode") == 0 || strcmp(verb, "decode-all") == 0)
        return decode_lines(t, in, verb[6] != '-', err);
    if (strcmp(verb, "bench") == 0)
        return bench(t, in, err);
    return qn_fail(err, QINS_ERR_USAGE, "no such verb: %s", verb);
}

int main(int argc, char **argv)
{
    struct qn_tokenizer *t = NULL;
    struct qn_buf in = {0};
    struct qins_error err = {0};
    char block[1 << 16];
    size_t n;
    if (argc < 3)
        return 2;
    const uint32_t vocab = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;
    const double start = now();
    enum qins_status st = qn_tokenizer_open(&t, argv[2], NULL, vocab, &err);
    if (strcmp(argv[1], "bench") == 0)
        fprintf(stderr, "opened in %.3f s\n", now() - start);
    while (st == QINS_OK && (n = fread(block, 1, sizeof block, stdin)) > 0)
        st = qn_buf_append(&in, block, n, &err);
    if (st == QINS_OK)
        st = run(argv[1], t, &in, &err);
    qn_tokenizer_destroy(t);
    qn_buf_finish(&in);
    return st == QINS_OK ? 0 : report(&err);
}
