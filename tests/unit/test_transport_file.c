/* Transports: features, checks, the description and the file. */
#include "tests/unit/testing.h"

#include "core/buf.h"
#include "core/file.h"
#include "formats/codec/quant.h"
#include "formats/described.h"
#include "formats/transport.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define check_ok(call)                                                                             \
    do {                                                                                           \
        struct qins_error e_ = {0};                                                                \
        if ((call) != QINS_OK)                                                                     \
            fail_msg("%s", e_.message);                                                            \
    } while (0)

enum { CHANNELS = 5, ROWS = 3, INPUTS = QN_TRANSPORT_METHODS, ROOM = 1 << 20 };

static float *floats(size_t n, uint64_t *random)
{
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(test_random(random) % 2001) / 1000.0F - 1.0F;
    return x;
}

/* An input of each method, with a layer each; split and ridge have another, materialised. */
static void sample(struct qn_transport *t)
{
    uint64_t random = 11;
    *t = (struct qn_transport){.n_inputs = INPUTS, .n_layers = INPUTS + 2};
    memset(t->model.bytes, 0xa5, sizeof t->model.bytes);
    t->inputs = calloc(t->n_inputs, sizeof *t->inputs);
    t->layers = calloc(t->n_layers, sizeof *t->layers);
    assert_non_null(t->inputs);
    assert_non_null(t->layers);
    for (uint32_t i = 0; i < INPUTS; i++) {
        struct qn_transport_input *in = &t->inputs[i];
        *in = (struct qn_transport_input){.name = qn_format(NULL, "a.%u.weight:input", i),
                                          .channels = CHANNELS + i,
                                          .method = (enum qn_transport_method)i,
                                          .order = i == QN_DECODE  ? 0
                                                   : i >= QN_SPLIT ? 3
                                                                   : 1,
                                          .sign_plane = i == QN_SPLIT,
                                          .levels = 127,
                                          .kappa = 3.1F,
                                          .scale = 0.7F};
        if (qn_transport_has_coefficients(in->method))
            in->coefficients = floats((size_t)qn_transport_planes(in) * in->channels, &random);
    }
    for (uint32_t i = 0; i < t->n_layers; i++) {
        struct qn_transport_layer *l = &t->layers[i];
        const bool twin = i >= INPUTS, jacobian = i <= QN_JACOBIAN_TANGENT;
        *l = (struct qn_transport_layer){.tensor = qn_format(NULL, "a.%u.weight", i),
                                         .projection = twin ? QN_PROJECTION_UP : QN_PROJECTION_GATE,
                                         .layer = i % INPUTS,
                                         .input = twin ? QN_SPLIT + i - INPUTS : i,
                                         .out = ROWS + i};
        const struct qn_transport_input *in = &t->inputs[l->input];
        const size_t n = (size_t)l->out * qn_transport_planes(in) * in->channels;
        if (twin || in->method == QN_RIDGE)
            l->planes = floats(n, &random);
        if (jacobian) {
            l->output_scale = floats(l->out, &random);
            l->output_alpha = 2.5F;
            l->output_floor = 0.125F;
        }
        if (i == QN_JACOBIAN_TANGENT)
            l->output_offset = floats(l->out, &random);
    }
    t->study = json_pack("{s:[{s:f}]}", "layers", "relative_error_test", 0.1);
    assert_non_null(t->study);
}

static void test_names(void **state)
{
    (void)state;
    for (int i = 0; i < QN_TRANSPORT_METHODS; i++)
        assert_int_equal(
            qn_transport_method_of(qn_transport_method_name((enum qn_transport_method)i)), i);
    for (int i = 0; i < QN_PROJECTIONS; i++)
        assert_int_equal(qn_projection_of(qn_projection_name((enum qn_projection)i)), i);
    assert_int_equal(qn_transport_method_of("splits"), QN_TRANSPORT_METHODS);
    assert_int_equal(qn_transport_method_of(NULL), QN_TRANSPORT_METHODS);
    assert_int_equal(qn_projection_of(""), QN_PROJECTIONS);
    assert_true(qn_is_transport_tensor("qins.transport.inputs/0/coefficients"));
    assert_false(qn_is_transport_tensor("qins.transportation"));
}

/* Formulas of the header, by other ways than the code's. */
static void test_features(void **state)
{
    (void)state;
    enum { N = 31, CODES = 2 * N + 1 };
    float table[QN_TRANSPORT_PLANES * CODES];
    struct qn_transport_input in = {
        .channels = 1, .method = QN_SPLIT, .order = 4, .sign_plane = true, .levels = N, .kappa = 3};
    in.scale = 2.5F;
    check_ok(qn_transport_features(&in, table, &e_));
    for (unsigned plane = 0; plane < 5; plane++)
        for (int code = 0; code < CODES; code++) {
            const double sign = code < N ? -1 : 1, t = fabs((code - N) / (double)N);
            const double want = sign * (plane == 4 ? 1.0 : pow(t, plane + 1));
            assert_true(fabs((double)table[plane * CODES + (unsigned)code] - want) < 1e-7);
        }
    in.method = QN_DECODE;
    in.order = 0;
    in.sign_plane = false;
    check_ok(qn_transport_features(&in, table, &e_));
    in.method = QN_JACOBIAN_LITERAL;
    in.order = 1;
    check_ok(qn_transport_features(&in, table + CODES, &e_));
    for (int code = 0; code < CODES; code++) {
        const double t = (code - N) / (double)N, x = (double)table[code];
        const double alpha = 3.0 / 2.5, z = (double)table[CODES + code];
        assert_true(fabs(x - 2.5 * t / (1 + 3 * (1 - fabs(t)))) < 1e-6);
        assert_true(fabs(z - (code < N ? -1 : 1) / (1 + alpha * fabs(x))) < 1e-6);
    }
    assert_true(table[N] == 0.0F && table[CODES + N] == 1.0F);
    in.levels = QN_MAX_LEVELS + 1;
    assert_int_equal(qn_transport_features(&in, table, NULL), QINS_ERR_FORMAT);
}

/* One number or pointer of a sound transport is changed, and must be found. */
static void test_checks(void **state)
{
    (void)state;
    static float one[ROWS + INPUTS] = {1.0F};
    struct qn_transport t;
    sample(&t);
    check_ok(qn_transport_check(&t, &e_));
#define REFUSED(lvalue, value)                                                                     \
    do {                                                                                           \
        __typeof__(lvalue) kept_ = (lvalue);                                                       \
        struct qins_error e_ = {0};                                                                \
        (lvalue) = (value);                                                                        \
        assert_int_equal(qn_transport_check(&t, &e_), QINS_ERR_FORMAT);                            \
        assert_true(e_.message[0] != '\0');                                                        \
        (lvalue) = kept_;                                                                          \
    } while (0)
    struct qn_transport_input *split = &t.inputs[QN_SPLIT];
    struct qn_transport_layer *literal = &t.layers[QN_JACOBIAN_LITERAL];
    char empty[] = "";
    REFUSED(split->name, NULL);
    REFUSED(split->name, empty);
    REFUSED(split->name, t.inputs[0].name);
    REFUSED(split->channels, 0);
    REFUSED(split->channels, (1 << 24) + 1);
    REFUSED(split->order, 0);
    REFUSED(split->order, QN_TRANSPORT_ORDER + 1);
    REFUSED(split->levels, 0);
    REFUSED(split->levels, QN_MAX_LEVELS + 1);
    REFUSED(split->kappa, NAN);
    REFUSED(split->kappa, -1.0F);
    REFUSED(split->scale, INFINITY);
    REFUSED(split->scale, -0.5F);
    REFUSED(split->coefficients, NULL);
    REFUSED(split->coefficients[1], NAN);
    REFUSED(t.inputs[QN_DECODE].order, 1);
    REFUSED(t.inputs[QN_DECODE].coefficients, one);
    REFUSED(t.inputs[QN_RIDGE].sign_plane, true);
    REFUSED(t.inputs[QN_RIDGE].coefficients, one);
    REFUSED(t.inputs[QN_JACOBIAN_TANGENT].order, 2);
    REFUSED(t.inputs[QN_JACOBIAN_TANGENT].method, QN_TRANSPORT_METHODS);
    REFUSED(literal->tensor, NULL);
    REFUSED(literal->projection, QN_PROJECTIONS);
    REFUSED(literal->layer, 5000);
    REFUSED(literal->input, INPUTS);
    REFUSED(literal->out, 0);
    REFUSED(literal->output_alpha, NAN);
    REFUSED(literal->output_alpha, 1e-45F); /* D overflows */
    REFUSED(literal->output_floor, 0.0F);
    REFUSED(literal->output_floor, 1.5F);
    REFUSED(literal->output_scale[0], -INFINITY);
    REFUSED(literal->layer, t.layers[1].layer);
    REFUSED(t.layers[QN_RIDGE].planes, NULL);
    REFUSED(t.layers[QN_DECODE].planes, one);
    REFUSED(t.layers[QN_SPLIT].output_scale, one);
    REFUSED(t.layers[QN_SPLIT].output_alpha, 1.0F);
    REFUSED(t.study, json_null());
#undef REFUSED
    check_ok(qn_transport_check(&t, &e_));
    qn_transport_finish(&t);
    qn_transport_finish(&t);
    check_ok(qn_transport_check(&t, &e_)); /* empty */
}

static char *description(const struct qn_transport *t)
{
    json_t *j = qn_transport_to_json(t);
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    assert_non_null(text);
    json_decref(j);
    return text;
}

static uint64_t array_bytes(struct qn_transport *t)
{
    struct qn_transport_array a;
    uint64_t sum = 0;
    for (size_t at = 0; qn_transport_array(t, &at, &a);)
        sum += qn_transport_array_elements(&a) * sizeof(float);
    return sum;
}

static void assert_same(struct qn_transport *a, struct qn_transport *b, bool contents)
{
    struct qn_transport_array x, y;
    size_t at = 0;
    char *left = description(a), *right = description(b);
    assert_string_equal(left, right);
    free(left);
    free(right);
    for (size_t other = 0; qn_transport_array(a, &at, &x);) {
        assert_true(qn_transport_array(b, &other, &y));
        assert_string_equal(x.name, y.name);
        if (contents)
            assert_memory_equal(*x.data, *y.data, qn_transport_array_elements(&x) * sizeof(float));
    }
}

static void test_description(void **state)
{
    (void)state;
    struct qn_transport t, again;
    sample(&t);
    char *text = description(&t);
    const size_t size = strlen(text);
    check_ok(qn_transport_from_json(text, size, array_bytes(&t), &again, &e_));
    assert_same(&t, &again, false);
    qn_transport_finish(&again);
    /* A byte short of room, and of text. */
    assert_int_equal(qn_transport_from_json(text, size, array_bytes(&t) - 1, &again, NULL),
                     QINS_ERR_FORMAT);
    qn_transport_finish(&again);
    for (size_t i = 0; i < size; i += test_briefly() ? 3 : 1) {
        assert_int_equal(qn_transport_from_json(text, i, ROOM, &again, NULL), QINS_ERR_FORMAT);
        qn_transport_finish(&again);
    }
    /* A character for another: an error or another sound transport, never anything else. */
    for (size_t i = 0; i < size; i += test_briefly() ? 3 : 1) {
        const char kept = text[i];
        text[i] = kept == '9' ? '"' : '9';
        if (qn_transport_from_json(text, size, ROOM, &again, NULL) == QINS_OK)
            check_ok(qn_transport_check(&again, &e_));
        qn_transport_finish(&again);
        text[i] = kept;
    }
    free(text);
    qn_transport_finish(&t);
}

/* Member PLACE of the description: itself, an input, a layer. */
static json_t *part(json_t *j, unsigned place)
{
    return place == 0   ? j
           : place == 1 ? json_array_get(json_object_get(j, "inputs"), QN_SPLIT)
                        : json_array_get(json_object_get(j, "layers"), QN_JACOBIAN_TANGENT);
}

static void assert_refused(const json_t *j, const char *key)
{
    struct qn_transport t;
    char *text = json_dumps(j, JSON_COMPACT);
    assert_non_null(text);
    if (qn_transport_from_json(text, strlen(text), ROOM, &t, NULL) == QINS_OK)
        fail_msg("'%s' was accepted in %s", key, text);
    qn_transport_finish(&t);
    free(text);
}

/* Every key that is missing or has a value of another kind is found. */
static void test_hostile_values(void **state)
{
    (void)state;
    struct qn_transport t;
    sample(&t);
    json_t *sound = qn_transport_to_json(&t), *value;
    enum { N_BAD = 7 };
    json_t *bad[N_BAD] = {
        json_true(),     json_array(),    json_string("x"),       json_integer(-1),
        json_real(-0.5), json_real(1e39), json_integer(INT64_MAX)};
    const char *key;
    assert_non_null(sound);
    for (unsigned place = 0; place < 3; place++)
        json_object_foreach(part(sound, place), key, value)
        {
            if (strcmp(key, "qins_version") == 0)
                continue;
            json_t *j = json_deep_copy(sound);
            assert_int_equal(json_object_del(part(j, place), key), 0);
            assert_refused(j, key);
            for (size_t k = 0; k < N_BAD; k++) {
                /* "x" may be a name, and a list, a boolean or a scale another one. */
                if ((json_is_boolean(value) && k == 0) || (json_is_array(value) && k == 1) ||
                    (json_is_string(value) && k == 2) || (json_is_real(value) && k == 6))
                    continue;
                assert_int_equal(json_object_set(part(j, place), key, bad[k]), 0);
                assert_refused(j, key);
            }
            json_decref(j);
        }
    for (size_t k = 0; k < N_BAD; k++)
        json_decref(bad[k]);
    json_decref(sound);
    qn_transport_finish(&t);
}

static void test_file(void **state)
{
    (void)state;
    char dir[] = "/tmp/qins-transport-XXXXXX";
    struct qn_transport t, again;
    struct qn_buf first = {0}, second = {0};
    struct qins_error err = {0};
    assert_non_null(mkdtemp(dir));
    char *path = qn_path_join(dir, "T.h5", NULL);
    sample(&t);
    check_ok(qn_transport_write(&t, path, NULL, &e_));
    check_ok(qn_read_whole(path, ROOM, &first, &e_));
    check_ok(qn_transport_read(&again, path, NULL, &e_));
    assert_same(&t, &again, true);
    check_ok(qn_transport_write(&again, path, NULL, &e_));
    check_ok(qn_read_whole(path, ROOM, &second, &e_));
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.data, second.data, first.size);
    qn_transport_finish(&again);

    /* A NaN among the coefficients. */
    const float nan = NAN, *c = t.inputs[QN_SPLIT].coefficients;
    uint8_t *place = memmem(first.data, first.size, c, 4 * sizeof *c);
    assert_non_null(place);
    memcpy(place, &nan, sizeof nan);
    check_ok(qn_write_whole(path, first.data, first.size, &e_));
    assert_int_equal(qn_transport_read(&again, path, NULL, &err), QINS_ERR_FORMAT);
    assert_non_null(strstr(err.message, "finite"));
    assert_non_null(strstr(err.tensor, "coefficients"));
    assert_null(again.inputs);

    /* Half of a file, and none. */
    check_ok(qn_write_whole(path, second.data, second.size / 2, &e_));
    assert_int_not_equal(qn_transport_read(&again, path, NULL, &err), QINS_OK);
    check_ok(qn_write_whole(path, "{}", 2, &e_));
    assert_int_not_equal(qn_transport_read(&again, path, NULL, &err), QINS_OK);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
    qn_transport_finish(&t);
    qn_buf_finish(&first);
    qn_buf_finish(&second);
    free(path);
}

/* A study too long for /meta stays out; the transport can be read. */
static void test_long_study(void **state)
{
    (void)state;
    char path[] = "/tmp/qins-transport-XXXXXX";
    struct qn_transport t, again;
    const int fd = mkstemp(path);
    char *text = malloc(QN_MAX_META);
    assert_true(fd >= 0);
    assert_non_null(text);
    memset(text, 'a', QN_MAX_META);
    sample(&t);
    assert_int_equal(json_object_set_new(t.study, "long", json_stringn(text, QN_MAX_META)), 0);
    check_ok(qn_transport_write(&t, path, NULL, &e_));
    check_ok(qn_transport_read(&again, path, NULL, &e_));
    assert_null(again.study);
    json_decref(t.study);
    t.study = NULL;
    assert_same(&t, &again, true);
    qn_transport_finish(&again);
    qn_transport_finish(&t);
    close(fd);
    assert_int_equal(unlink(path), 0);
    free(text);
}

/* What is not sound is not written. */
static void test_writing_checks(void **state)
{
    (void)state;
    struct qn_transport t;
    sample(&t);
    t.layers[QN_RIDGE].planes[7] = INFINITY;
    assert_int_equal(qn_transport_write(&t, "/nowhere/T.h5", NULL, NULL), QINS_ERR_FORMAT);
    qn_transport_finish(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),          cmocka_unit_test(test_features),
        cmocka_unit_test(test_checks),         cmocka_unit_test(test_description),
        cmocka_unit_test(test_hostile_values), cmocka_unit_test(test_file),
        cmocka_unit_test(test_writing_checks), cmocka_unit_test(test_long_study),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
