/* torch, .npy and .npz files written by torch and NumPy (tests/e2e/fixtures_torch_numpy.py), and
 * archives that lie. */
#include "core/bytes.h"
#include "core/thread.h"
#include "formats/zip.h"
#include "tests/unit/checkpoint_testing.h"

static int setup(void **state)
{
    (void)state;
    test_folder_create();
    test_python("fixtures_torch_numpy.py", "'%s'", test_folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_folder_remove();
    return 0;
}

static void same_ranges(struct qn_checkpoint *ck, size_t i, const uint8_t *whole)
{
    static uint64_t seed = 7;
    size_t element = qins_dtype_size(ck->tensors.items[i].dtype);
    uint64_t n = ck->tensors.items[i].n_elements;
    struct qins_error err;
    for (int round = 0; round < (test_briefly() ? 3 : 20); round++) {
        uint64_t first = test_random(&seed) % n, count = test_random(&seed) % (n - first) + 1;
        uint8_t *part = malloc(count * element);
        assert_non_null(part);
        assert_int_equal(ck->ops->read(ck, i, first * element, part, count * element, &err),
                         QINS_OK);
        assert_memory_equal(part, whole + first * element, count * element);
        free(part);
    }
}

/* Bytes do not depend on how they are asked for. */
static void same_in_one_piece(struct qn_checkpoint *ck)
{
    struct qins_error err;
    for (size_t i = 0; i < ck->tensors.count; i++) {
        size_t n = (size_t)ck->tensors.items[i].n_bytes;
        if (n == 0)
            continue;
        uint8_t *pieces = test_read_all(ck, i), *whole = malloc(n);
        assert_non_null(whole);
        assert_int_equal(ck->ops->read(ck, i, 0, whole, n, &err), QINS_OK);
        assert_memory_equal(pieces, whole, n);
        same_ranges(ck, i, whole);
        free(pieces);
        free(whole);
    }
}

static void matches(const struct qn_checkpoint_ops *ops, const char *path, const char *expect)
{
    struct qn_checkpoint *ck = test_open(ops, path);
    struct qins_error err;
    test_matches_description(ck, expect);
    same_in_one_piece(ck);
    assert_int_equal(qn_tensor_list_check_unique(&ck->tensors, &err), QINS_OK);
    ops->destroy(ck);
}

static bool probed(const struct qn_checkpoint_ops *ops, const char *path)
{
    size_t size;
    char *data = test_slurp(path, &size);
    struct qn_probe p = {path, false, (uint8_t *)data, size < 4096 ? size : 4096, size};
    bool yes = ops->probe(&p);
    free(data);
    return yes;
}

static void refused(const struct qn_checkpoint_ops *ops, const char *name, enum qins_status status,
                    const char *message)
{
    size_t size;
    char *data = test_slurp(test_path("%s", name), &size);
    test_refused(ops, name, data, size, status, message);
    free(data);
}

static void need_torch(void)
{
    if (!qn_exists(test_path("dtypes.pt"))) {
        print_message("skipped: Python has no torch\n");
        skip();
    }
}

static void torch_files(void **state)
{
    static const char *const names[] = {
        "dtypes.pt",    "views.pt",     "nested.pt",     "tensor.pt",   "protocol3.pt",
        "protocol4.pt", "protocol5.pt", "big_endian.pt", "deflated.pt",
    };
    (void)state;
    need_torch();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *path = test_path("%s", names[i]);
        assert_true(probed(&qn_torch_ops, path));
        matches(&qn_torch_ops, path, test_path("%s.txt", names[i]));
    }
}

static void torch_refusals(void **state)
{
    (void)state;
    need_torch();
    assert_true(probed(&qn_torch_ops, test_path("legacy.pt")));
    refused(&qn_torch_ops, "legacy.pt", QINS_ERR_UNSUPPORTED, "before torch 1.6");
    refused(&qn_torch_ops, "global.pt", QINS_ERR_UNSUPPORTED, "'pathlib.PurePosixPath'");
    refused(&qn_torch_ops, "global.pt", QINS_ERR_UNSUPPORTED, "global.pt:global/data.pkl: offset ");
    refused(&qn_torch_ops, "tuple_key.pt", QINS_ERR_UNSUPPORTED, "neither text nor an integer");
}

static void torch_untyped_storages(void **state)
{
    (void)state;
    assert_true(probed(&qn_torch_ops, test_path("untyped.pt")));
    matches(&qn_torch_ops, test_path("untyped.pt"), test_path("untyped.pt.txt"));
}

static void torch_negated_views(void **state)
{
    (void)state;
    matches(&qn_torch_ops, test_path("negated.pt"), test_path("negated.pt.txt"));
}

static void torch_files_that_lie(void **state)
{
    (void)state;
    refused(&qn_torch_ops, "outside.pt", QINS_ERR_FORMAT, "tensor 'x': its shape and strides");
    refused(&qn_torch_ops, "overflow.pt", QINS_ERR_FORMAT, "tensor 'x': its shape and strides");
    refused(&qn_torch_ops, "huge.pt", QINS_ERR_FORMAT, "tensor 'x': the shape's product");
    refused(&qn_torch_ops, "expanded.pt", QINS_ERR_UNSUPPORTED, "unfold to more");
    refused(&qn_torch_ops, "negative.pt", QINS_ERR_FORMAT, "tensor 'x': the pickle describes");
    refused(&qn_torch_ops, "numel.pt", QINS_ERR_FORMAT, "tensor 'x': its storage's size");
    refused(&qn_torch_ops, "absent.pt", QINS_ERR_FORMAT, "tensor 'x': its storage is not");
    refused(&qn_torch_ops, "rank.pt", QINS_ERR_FORMAT, "tensor 'x': the pickle describes");
    refused(&qn_torch_ops, "duplicate.pt", QINS_ERR_FORMAT, "tensor 'x': two tensors");
    refused(&qn_torch_ops, "cycle.pt", QINS_ERR_UNSUPPORTED, "nested too deep");
    refused(&qn_torch_ops, "deep.pt", QINS_ERR_UNSUPPORTED, "nested too deep");
    refused(&qn_torch_ops, "bomb.pt", QINS_ERR_UNSUPPORTED, "too often");
    refused(&qn_torch_ops, "negated_integers.pt", QINS_ERR_UNSUPPORTED,
            "tensor 'x': the pickle gives");
    refused(&qn_torch_ops, "metadata.pt", QINS_ERR_UNSUPPORTED, "tensor 'x': the pickle gives");
    refused(&qn_torch_ops, "metadata_type.pt", QINS_ERR_UNSUPPORTED,
            "tensor 'x': the pickle gives");
    refused(&qn_torch_ops, "conjugate.pt", QINS_ERR_UNSUPPORTED, "tensor 'x': the pickle gives");
    refused(&qn_torch_ops, "many.pt", QINS_ERR_UNSUPPORTED, "the pickle unpacks to more");
    refused(&qn_torch_ops, "objects.pt", QINS_ERR_UNSUPPORTED, "more objects than qins allows");
    refused(&qn_torch_ops, "shared.pt", QINS_ERR_UNSUPPORTED, "more tensors than qins lists");
}

static void keep_notice(void *ctx, const char *text)
{
    char **kept = ctx;
    assert_null(*kept); /* one summary, not many lines */
    *kept = strdup(text);
}

static void torch_notice_and_neighbours(void **state)
{
    (void)state;
    need_torch();
    char *notice = NULL, *count = test_slurp(test_path("nested.pt.skipped.txt"), NULL);
    char expect[64];
    struct qn_monitor monitor = {.notice = keep_notice, .ctx = &notice};
    struct qn_checkpoint *ck = NULL;
    struct qins_error err;
    assert_int_equal(qn_write_whole(test_path("config.json"), "{}", 2, &err), QINS_OK);
    assert_int_equal(qn_torch_ops.open(&ck, test_path("nested.pt"), &monitor, &err), QINS_OK);
    assert_non_null(qn_attachment_find(&ck->attachments, "config.json"));
    qn_torch_ops.destroy(ck);
    assert_int_equal(unlink(test_path("config.json")), 0);
    assert_non_null(notice);
    snprintf(expect, sizeof expect, ": %s values", count);
    assert_non_null(strstr(notice, expect));
    free(notice);
    free(count);
}

static void numpy_arrays(void **state)
{
    (void)state;
    char *list = test_slurp(test_path("npy.list"), NULL), *rest = list;
    int n = 0;
    for (char *name; (name = strsep(&rest, "\n")) && *name; n++) {
        assert_true(probed(&qn_npy_ops, test_path("%s", name)));
        matches(&qn_npy_ops, test_path("%s", name), test_path("%s.txt", name));
    }
    free(list);
    assert_true(n > 100);
    matches(&qn_npy_ops, test_path("objects.npy"), test_path("objects.npy.txt"));
    for (int version = 1; version <= 3; version++)
        matches(&qn_npy_ops, test_path("version%d.npy", version),
                test_path("version%d.npy.txt", version));
}

static void numpy_archives(void **state)
{
    static const char *const names[] = {"plain.npz", "packed.npz"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        assert_false(probed(&qn_torch_ops, test_path("%s", names[i])));
        assert_true(probed(&qn_npz_ops, test_path("%s", names[i])));
        matches(&qn_npz_ops, test_path("%s", names[i]), test_path("%s.txt", names[i]));
    }
}

static void foreign_types_are_named(void **state)
{
    static const char *const cases[][2] = {
        {"opaque", "V2"},         {"complex", "c8"}, {"text", "U2"},
        {"fields", "structured"}, {"objects", "O"},  {"times", "M8[25s]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qn_checkpoint *ck = test_open(&qn_npy_ops, test_path("%s.npy", cases[i][0]));
        assert_int_equal(ck->tensors.items[0].dtype, QINS_DTYPE_INVALID);
        assert_string_equal(ck->tensors.items[0].foreign_type, cases[i][1]);
        qn_npy_ops.destroy(ck);
    }
}

static void npy_refused(const char *header, size_t n_bytes, const char *message)
{
    uint8_t data[512] = "\x93NUMPY\1\0";
    size_t n = strlen(header);
    qn_store16(data + 8, (uint16_t)n);
    snprintf((char *)data + 10, sizeof data - 10, "%s", header);
    test_refused(&qn_npy_ops, "bad.npy", data, 10 + n + n_bytes, QINS_ERR_FORMAT, message);
}

static void npy_headers_that_lie(void **state)
{
    static const char *const none = "no description of an array";
    (void)state;
    npy_refused("{'descr':'<f4','fortran_order':False,'shape':(3,),}", 8, "takes 12 bytes");
    npy_refused("{'descr':'<f4','fortran_order':False,'shape':(3,),}", 16, "takes 12 bytes");
    npy_refused("{'descr':'<f4','fortran_order':False,'shape':(4294967296,4294967296)}", 4,
                "overflows");
    npy_refused("{'descr':'<f4','fortran_order':False,'shape':(99999999999999999999,)}", 4, none);
    npy_refused("{'descr':'<f4','fortran_order':False,'shape':(-1,)}", 4, none);
    npy_refused("{'descr':'<f4','fortran_order':False,'shape':(1)}", 4, none);
    npy_refused("{'descr':'<f4','fortran_order':False,'shape':(1 1)}", 4, none);
    npy_refused("{'descr':'<f4','fortran_order':1,'shape':(1,)}", 4, none);
    npy_refused("{'descr':'<f4','fortran_order':False}", 4, none);
    npy_refused("{'descr':'<f4','descr':'<f4','fortran_order':False,'shape':(1,)}", 4, none);
    npy_refused("{'descr':'<f4','fortran_order':False,'shape':(1,)} x", 4, none);
    npy_refused("{'descr':'<f4','fortran_order':False,'shape':(1,)", 4, none);
    npy_refused("{'descr':'','fortran_order':False,'shape':(1,)}", 4, none);
    npy_refused("{'descr':[('a','<f4',(2,", 4, none);
    npy_refused("{'descr':'<\xc3\xa9','fortran_order':False,'shape':(1,)}", 4, none);
    npy_refused("{'descr':'U1111111111111111111111','fortran_order':False,'shape':(1,)}x", 4, none);
    npy_refused("{'descr':'U11111111111111111111111','fortran_order':False,'shape':(1,)}", 4, none);
    test_refused(&qn_npy_ops, "bad.npy", "\x93NUMPY\1\0\xff\xff{", 11, QINS_ERR_FORMAT,
                 "truncated");
    test_refused(&qn_npy_ops, "bad.npy", "\x93NUMPY\2\0\xff\xff\xff\xff", 12, QINS_ERR_UNSUPPORTED,
                 "longer than");
    test_refused(&qn_npy_ops, "bad.npy", "\x93NUMPY\4\0\1\0\0\0", 12, QINS_ERR_UNSUPPORTED,
                 "version 4");
    test_refused(&qn_npy_ops, "bad.npy", "\x93NUMPY\1", 7, QINS_ERR_FORMAT, "cut short");
    test_refused(&qn_npy_ops, "bad.npy", "", 0, QINS_ERR_FORMAT, "no NPY header");
}

static void zips_that_lie(void **state)
{
    static const struct {
        const char *name, *message;
        enum qins_status status;
    } cases[] = {
        {"encrypted.npz", "'a.npy' is encrypted", QINS_ERR_UNSUPPORTED},
        {"bomb.npz", "'a.npy' unpacks to more", QINS_ERR_UNSUPPORTED},
        {"two_sizes.npz", "'a.npy' is stored but has two sizes", QINS_ERR_FORMAT},
        {"far.npz", "ZIP ", QINS_ERR_FORMAT},
        {"method.npz", "'a.npy' is compressed otherwise", QINS_ERR_UNSUPPORTED},
        {"cut.npz", "ZIP archive: ", QINS_ERR_FORMAT},
        {"other.npz", "without torch or NumPy data", QINS_ERR_UNSUPPORTED},
        {"same_data.npz", "overlaps another one", QINS_ERR_FORMAT},
        {"overlap.npz", "'b.npy' brings the entries' sizes above", QINS_ERR_FORMAT},
        {"twice.npz", "'a.npy' is there twice", QINS_ERR_FORMAT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(&qn_npz_ops, cases[i].name, cases[i].status, cases[i].message);
}

/* These show only when the data is read. */
static void damaged_entries(void **state)
{
    static const struct {
        const char *name, *message;
    } cases[] = {
        {"damaged.npz", "CRC-32"},
        {"damaged_packed.npz", "ZIP entry 'a.npy'"},
        {"short.npz", "ZIP entry 'a.npy'"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qn_zip *z = NULL;
        struct qins_error err;
        assert_int_equal(qn_zip_open(&z, test_path("%s", cases[i].name), &err), QINS_OK);
        size_t n = (size_t)qn_zip_size(z, 0);
        uint8_t *data = malloc(n);
        assert_int_equal(qn_zip_read(z, 0, 0, data, n, &err), QINS_ERR_FORMAT);
        if (!strstr(err.message, cases[i].message))
            fail_msg("%s: '%s'", cases[i].name, err.message);
        assert_int_equal(qn_zip_read(z, 0, n, data, 1, &err), QINS_ERR_FORMAT);
        free(data);
        qn_zip_close(z);
    }
}

/* Parts of a tensor are not read of an entry that is damaged elsewhere; a CRC of 0 is none. */
static void crc_of_torch_storages(void **state)
{
    struct qins_error err;
    uint8_t value[4];
    (void)state;
    matches(&qn_torch_ops, test_path("no_crc.pt"), test_path("no_crc.pt.txt"));
    struct qn_checkpoint *ck = test_open(&qn_torch_ops, test_path("damaged.pt"));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ck->ops->read(ck, 0, 4, value, 4, &err), QINS_ERR_FORMAT);
        assert_non_null(strstr(err.message, "'m/data/0' does not have the CRC-32"));
    }
    qn_torch_ops.destroy(ck);
}

struct pair {
    struct qn_checkpoint *a, *b;
};

static enum qins_status compare_tensor(void *ctx, unsigned slot, uint64_t item,
                                       struct qins_error *err)
{
    struct pair *p = ctx;
    size_t i = (size_t)item % p->a->tensors.count, n = (size_t)p->a->tensors.items[i].n_bytes;
    uint8_t *x = malloc(2 * n + 1), *y = x + n;
    (void)slot;
    enum qins_status st = p->a->ops->read(p->a, i, 0, x, n, err);
    if (st == QINS_OK)
        st = p->b->ops->read(p->b, i, 0, y, n, err);
    if (st == QINS_OK && memcmp(x, y, n) != 0)
        st = qn_fail(err, QINS_ERR_CHECK, "tensor %zu differs", i);
    free(x);
    return st;
}

static void threads_share_a_reader(void **state)
{
    (void)state;
    struct pair p = {test_open(&qn_npz_ops, test_path("plain.npz")),
                     test_open(&qn_npz_ops, test_path("packed.npz"))};
    struct qins_error err;
    struct qn_ordered job = {
        .work = compare_tensor, .ctx = &p, .threads = 4, .slots = 4, .end = 3 * p.a->tensors.count};
    assert_int_equal(qn_run_ordered(&job, &err), QINS_OK);
    qn_npz_ops.destroy(p.a);
    qn_npz_ops.destroy(p.b);
}

static void the_real_checkpoint(void **state)
{
    char path[512];
    (void)state;
    snprintf(path, sizeof path, "%s/models/slm4096-torch/ckpt.pt",
             test_env("QINS_SHARED_DATA", "."));
    need_torch();
    if (!qn_exists(path)) {
        print_message("skipped: %s is not there\n", path);
        skip();
    }
    assert_true(probed(&qn_torch_ops, path));
    matches(&qn_torch_ops, path, test_path("ckpt.pt.txt"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(torch_files),
        cmocka_unit_test(torch_refusals),
        cmocka_unit_test(torch_untyped_storages),
        cmocka_unit_test(torch_negated_views),
        cmocka_unit_test(torch_files_that_lie),
        cmocka_unit_test(torch_notice_and_neighbours),
        cmocka_unit_test(numpy_arrays),
        cmocka_unit_test(numpy_archives),
        cmocka_unit_test(foreign_types_are_named),
        cmocka_unit_test(npy_headers_that_lie),
        cmocka_unit_test(zips_that_lie),
        cmocka_unit_test(damaged_entries),
        cmocka_unit_test(crc_of_torch_storages),
        cmocka_unit_test(threads_share_a_reader),
        cmocka_unit_test(the_real_checkpoint),
    };
    test_only_under_tsan("threads_share_a_reader");
    return cmocka_run_group_tests(tests, setup, teardown);
}
