/* A calibration's description and figures: what is accepted must survive the way back. The input is
 * the JSON of /meta up to a NUL; the bytes behind it, over and over, are the contents of every
 * dataset that the JSON describes. */
#include "formats/calibration_layout.h"
#include "tests/fuzz/described_fuzzing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_BYTES = 4 << 20 };

static void round_trip(const struct qn_calibration *c)
{
    struct qn_calibration again;
    json_t *j = qn_calibration_to_json(c), *k;
    char *text = json_dumps(j, JSON_COMPACT);
    must(text && qn_calibration_from_json(text, strlen(text), MAX_BYTES, &again, NULL) == QINS_OK);
    k = qn_calibration_to_json(&again);
    must(json_equal(j, k));
    must(qn_calibration_compare(c, "a", &again, "b", QINS_ERR_FORMAT, NULL) == QINS_OK);
    qn_calibration_finish(&again);
    json_decref(j);
    json_decref(k);
    free(text);
}

/* Loads the figures of those KINDS and touches what is read by rows. */
static void load(const struct qn_calibration *c, enum qn_calibration_kinds kinds,
                 const uint8_t *data, size_t meta_size, size_t size)
{
    struct qn_calibration_layout layout;
    struct qn_calibration_file f;
    struct qins_error err = {0};
    must(qn_calibration_layout_init(&layout, c, NULL) == QINS_OK);
    struct qn_checkpoint *ck = pretend(data, meta_size, size, &layout.tensors, false);
    qn_calibration_layout_finish(&layout);
    if (qn_calibration_load(&f, ck, kinds, &err) != QINS_OK) {
        must(err.message[0] != '\0');
        return;
    }
    for (size_t i = 0; i < f.c.n_points; i++)
        for (unsigned k = 0; k < QN_LARGE_COUNT; k++) {
            const struct qn_calibration_point *point = &f.c.points[i];
            const uint64_t rows = qn_large_rows(point, (enum qn_large)k);
            double *row = malloc(point->channels * sizeof *row);
            must(row != NULL);
            if (rows)
                qn_calibration_read(&f, i, (enum qn_large)k, rows - 1, 1, row, NULL);
            free(row);
        }
    qn_calibration_close(&f);
}

/* The description alone says the same as all of it. */
static void look_at_part(const struct qn_calibration *c, const uint8_t *data, size_t meta_size,
                         size_t size)
{
    struct qn_tensor_list none = {0};
    struct qn_checkpoint *ck = pretend(data, meta_size, size, &none, false);
    struct qn_calibration_part part;
    struct qins_error err = {0};
    const bool is_part = c->part.shard.count > 0 && !c->progress.unfinished;
    if (qn_calibration_describe_part(ck, &part, &err) == QINS_OK)
        must(is_part && memcmp(&part.job, &c->part.job, sizeof part.job) == 0);
    else
        must(err.message[0] != '\0'); /* a part may be larger than such a file may be */
    qn_checkpoint_destroy(ck);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    const size_t meta_size = end ? (size_t)(end - data) : size;
    struct qn_calibration c;
    struct qins_error err = {0};
    if (qn_calibration_from_json(data, meta_size, MAX_BYTES, &c, &err) == QINS_OK) {
        round_trip(&c);
        if (end)
            look_at_part(&c, data, meta_size, size);
        for (int kind = QN_CALIBRATION_WHOLE; end && kind <= QN_CALIBRATION_ANY; kind++)
            load(&c, (enum qn_calibration_kinds)kind, data, meta_size, size);
    } else {
        must(err.message[0] != '\0');
    }
    qn_calibration_finish(&c);
    return 0;
}
