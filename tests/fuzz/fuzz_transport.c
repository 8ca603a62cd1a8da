/* A transport's description and arrays: what is accepted must be sound and survive the way back.
 * The input is the JSON of /meta up to a NUL; the bytes behind it, over and over, are the contents
 * of every array that the JSON describes. */
#include "formats/codec/quant.h"
#include "formats/transport.h"
#include "tests/fuzz/described_fuzzing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_BYTES = 4 << 20 };

static void round_trip(const struct qn_transport *t)
{
    struct qn_transport again;
    json_t *j = qn_transport_to_json(t), *k;
    char *text = json_dumps(j, JSON_COMPACT);
    must(text && qn_transport_from_json(text, strlen(text), MAX_BYTES, &again, NULL) == QINS_OK);
    k = qn_transport_to_json(&again);
    must(json_equal(j, k));
    qn_transport_finish(&again);
    json_decref(j);
    json_decref(k);
    free(text);
}

static void features(const struct qn_transport_input *in)
{
    static float table[QN_TRANSPORT_PLANES * (2 * QN_MAX_LEVELS + 1)];
    const size_t planes = in->method == QN_DECODE ? 1 : qn_transport_planes(in);
    bool finite = true;
    must(qn_transport_features(in, table, NULL) == QINS_OK);
    qn_abs_max(table, planes * (2 * (size_t)in->levels + 1), &finite);
    must(finite);
}

static void load(struct qn_transport *t, const uint8_t *data, size_t meta_size, size_t size)
{
    struct qn_tensor_list list = {0};
    struct qn_transport_array a;
    struct qn_transport again;
    struct qins_error err = {0};
    json_t *paths = json_object();
    must(paths != NULL);
    for (size_t at = 0; qn_transport_array(t, &at, &a);) {
        char path[sizeof a.name + 1];
        snprintf(path, sizeof path, "/%s", a.name);
        must(qn_described_add(&list, paths, path, QINS_F32, a.rank, a.shape, NULL) == QINS_OK);
    }
    struct qn_checkpoint *ck = pretend(data, meta_size, size, &list, false);
    if (qn_transport_load(&again, ck, &err) == QINS_OK)
        must(qn_transport_check(&again, NULL) == QINS_OK);
    else
        must(err.message[0] != '\0');
    qn_transport_finish(&again);
    qn_checkpoint_destroy(ck);
    qn_tensor_list_finish(&list);
    json_decref(paths);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    const size_t meta_size = end ? (size_t)(end - data) : size;
    struct qn_transport t;
    struct qins_error err = {0};
    if (qn_transport_from_json(data, meta_size, MAX_BYTES, &t, &err) == QINS_OK) {
        round_trip(&t);
        for (size_t i = 0; i < t.n_inputs; i++)
            features(&t.inputs[i]);
        if (end)
            load(&t, data, meta_size, size);
    } else {
        must(err.message[0] != '\0');
    }
    qn_transport_finish(&t);
    return 0;
}
