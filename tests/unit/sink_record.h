/* A sink that writes down what it is told. */
#ifndef QINS_TESTS_UNIT_SINK_RECORD_H
#define QINS_TESTS_UNIT_SINK_RECORD_H

#include "formats/archive/sink.h"

#include <stdlib.h>
#include <string.h>

struct record {
    struct qn_sink sink;
    struct qn_buf heard;
};

static enum qins_status record_begin(struct qn_sink *s, const struct qn_archive_tensor *t,
                                     struct qins_error *err)
{
    struct record *r = (struct record *)(void *)s;
    json_t *j = qn_archive_tensor_to_json(t);
    char *text = json_dumps(j, JSON_COMPACT);
    enum qins_status st = qn_buf_append(&r->heard, text, strlen(text), err);
    free(text);
    json_decref(j);
    return st;
}

static enum qins_status record_chunk(struct qn_sink *s, const void *payload, size_t size,
                                     const struct qn_digest *leaf, struct qins_error *err)
{
    struct record *r = (struct record *)(void *)s;
    enum qins_status st = qn_buf_append(&r->heard, leaf->bytes, sizeof leaf->bytes, err);
    return st == QINS_OK ? qn_buf_append(&r->heard, payload, size, err) : st;
}

static enum qins_status record_end(struct qn_sink *s, struct qins_error *err)
{
    return qn_buf_append(&((struct record *)(void *)s)->heard, "END", 3, err);
}

static inline struct record record_new(void)
{
    return (struct record){{record_begin, record_chunk, record_end}, {0}};
}

#endif
