#include "formats/hdf5_child.h"
#include "tests/unit/checkpoint_testing.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static const struct qn_hdf5_limits fast = {20, 1, 1u << 30};

static void reads_what_numpy_reads(void **state)
{
    static const char *const names[] = {"all",   "latest", "behind_block", "odd",
                                        "keras", "twice",  "converted"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct qn_checkpoint *ck = test_open(&qn_hdf5_ops, test_path("%s.h5", names[i]));
        test_matches_description(ck, test_path("%s.h5.expect", names[i]));
        assert_int_equal(qn_tensor_list_check_unique(&ck->tensors, NULL), QINS_OK);
        qn_hdf5_ops.destroy(ck);
    }
}

/* Ranges that begin and end anywhere must be pieces of the whole. */
static void reads_ranges(void **state)
{
    (void)state;
    struct qins_error err;
    uint64_t random = 7;
    struct qn_checkpoint *ck = test_open(&qn_hdf5_ops, test_path("wide.h5"));
    const struct qn_tensor *t = &ck->tensors.items[0];
    uint8_t *whole = malloc(t->n_bytes), *piece = malloc(t->n_bytes);
    char text[16], *want = test_slurp(test_path("wide.h5.expect"), NULL);
    assert_int_equal(qn_hdf5_ops.read(ck, 0, 0, whole, t->n_bytes, &err), QINS_OK);
    snprintf(text, sizeof text, "%08lx ", crc32(0, whole, (uInt)t->n_bytes));
    assert_memory_equal(text, want, 9);
    for (int i = 0; i < 60; i++) {
        uint64_t first = test_random(&random) % t->n_elements;
        uint64_t n = test_random(&random) % (i % 2 ? 5000 : t->n_elements);
        n = n < t->n_elements - first ? n : t->n_elements - first;
        assert_int_equal(qn_hdf5_ops.read(ck, 0, 4 * first, piece, 4 * n, &err), QINS_OK);
        assert_memory_equal(piece, whole + 4 * first, 4 * n);
    }
    free(want);
    free(piece);
    free(whole);
    qn_hdf5_ops.destroy(ck);
}

struct notices {
    char text[4096];
    unsigned count;
};

static void note(void *ctx, const char *line)
{
    struct notices *n = ctx;
    size_t used = strlen(n->text);
    n->count++;
    snprintf(n->text + used, sizeof n->text - used, "%s\n", line);
}

static void skips_with_notices(void **state)
{
    static const char *const expected[] = {
        "'/text' is skipped: text",         "'/texts' is skipped: text",
        "'/vlen' is skipped: sequences",    "'/compound' is skipped: a compound",
        "'/opaque' is skipped: opaque",     "'/reference' is skipped: references",
        "'/array' is skipped: an array",    "'/null' is skipped: it has no extent",
        "'/type' is skipped: a named type", "1 attributes are not carried",
    };
    (void)state;
    struct notices n = {.count = 0};
    struct qn_monitor monitor = {.notice = note, .ctx = &n};
    struct qn_checkpoint *ck = NULL;
    struct qins_error err;
    assert_int_equal(qn_hdf5_ops.open(&ck, test_path("odd.h5"), &monitor, &err), QINS_OK);
    qn_hdf5_ops.destroy(ck);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        if (!strstr(n.text, expected[i]))
            fail_msg("no notice '%s' in\n%s", expected[i], n.text);
    assert_int_equal(n.count, sizeof expected / sizeof *expected);
}

static void follows_no_cycle(void **state)
{
    (void)state;
    struct notices n = {.count = 0};
    struct qn_monitor monitor = {.notice = note, .ctx = &n};
    struct qn_checkpoint *ck = NULL;
    struct qins_error err;
    assert_int_equal(qn_hdf5_ops.open(&ck, test_path("cycle.h5"), &monitor, &err), QINS_OK);
    assert_int_equal(ck->tensors.count, 1);
    assert_string_equal(ck->tensors.items[0].name, "g.x");
    assert_non_null(strstr(n.text, "'/g/self' is skipped: another name of a group"));
    assert_non_null(strstr(n.text, "'/g/up' is skipped: another name of a group"));
    qn_hdf5_ops.destroy(ck);
}

/* Opens NAME and reads every tensor; the first error's line goes to LINE. */
static enum qins_status use(const char *path, const struct qn_hdf5_limits *limits, char *line,
                            size_t size)
{
    struct qn_checkpoint *ck = NULL;
    struct qins_error err = {0};
    enum qins_status st = qn_hdf5_open(&ck, path, limits, NULL, &err);
    if (st == QINS_OK)
        st = qn_tensor_list_check_unique(&ck->tensors, &err);
    for (size_t i = 0; st == QINS_OK && i < ck->tensors.count; i++) {
        const struct qn_tensor *t = &ck->tensors.items[i];
        uint64_t n = t->n_bytes < 1u << 20 ? t->n_bytes : 1u << 20;
        uint8_t *data = malloc(n + 1);
        st = qn_hdf5_ops.read(ck, i, 0, data, n - n % 8 ? n - n % 8 : n, &err);
        free(data);
    }
    if (ck)
        qn_hdf5_ops.destroy(ck);
    if (st != QINS_OK)
        assert_int_equal(err.status, st);
    if (st == QINS_OK)
        snprintf(line, size, "ok");
    else
        qins_error_format(&err, line, size);
    /* No process is left behind, whatever happened. */
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    return st;
}

static void refuses(void **state)
{
    static const struct {
        const char *name;
        enum qins_status status;
        const char *message;
    } cases[] = {
        {"soft", QINS_ERR_UNSUPPORTED, "'/b': it is a soft link"},
        {"external_link", QINS_ERR_UNSUPPORTED, "'/g/b': it is an external link to another file"},
        {"external_storage", QINS_ERR_UNSUPPORTED, "'/a': its data are in another file"},
        {"virtual", QINS_ERR_UNSUPPORTED, "'/v': it is a virtual dataset"},
        {"deep", QINS_ERR_FORMAT, "nested more than 64 deep"},
        {"collide", QINS_ERR_FORMAT, "'a.b': two tensors have this name"},
        {"huge", QINS_ERR_FORMAT, "more than a file of this size can hold"},
        {"bomb", QINS_ERR_FORMAT, "more than a file of this size can hold"},
        {"big_chunk", QINS_ERR_UNSUPPORTED, "its chunks of 536870912 bytes are above the 256 MiB"},
        {"lzf", QINS_ERR_UNSUPPORTED, "its filter 32000 (lzf) is not installed"},
    };
    char line[1024];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum qins_status st =
            use(test_path("%s.h5", cases[i].name), &qn_hdf5_default_limits, line, sizeof line);
        if (st != cases[i].status || !strstr(line, cases[i].message))
            fail_msg("%s: status %d '%s'", cases[i].name, (int)st, line);
    }
}

static void lists_foreign_floats(void **state)
{
    static const char *const names[][2] = {{"float128", "HDF5 float80"},
                                           {"odd_bias", "HDF5 float64"}};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct qn_checkpoint *ck = test_open(&qn_hdf5_ops, test_path("%s.h5", names[i][0]));
        assert_int_equal(ck->tensors.count, 1);
        assert_int_equal(ck->tensors.items[0].dtype, QINS_DTYPE_INVALID);
        assert_string_equal(ck->tensors.items[0].foreign_type, names[i][1]);
        qn_hdf5_ops.destroy(ck);
    }
}

static const uint8_t signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};

static void refuses_what_is_no_hdf5(void **state)
{
    char data[2048] = {0};
    (void)state;
    test_refused(&qn_hdf5_ops, "none.h5", data, sizeof data, QINS_ERR_FORMAT, "no HDF5 signature");
    test_refused(&qn_hdf5_ops, "short.h5", data, 3, QINS_ERR_FORMAT, "no HDF5 signature");
    memcpy(data + 1024, signature, sizeof signature);
    test_refused(&qn_hdf5_ops, "stub.h5", data, sizeof data, QINS_ERR_FORMAT,
                 "no readable HDF5 file");
    size_t size;
    char *all = test_slurp(test_path("all.h5"), &size);
    test_refused(&qn_hdf5_ops, "cut.h5", all, size / 2, QINS_ERR_FORMAT, "libhdf5: truncated file");
    free(all);
}

static void probes(void **state)
{
    uint8_t head[4096] = {0};
    (void)state;
    struct qn_probe p = {.head = head, .head_size = sizeof head, .file_size = 1u << 20};
    assert_false(qn_hdf5_ops.probe(&p));
    for (size_t at = 0; at <= 2048; at = at ? at * 2 : 512) {
        memset(head, 0, sizeof head);
        memcpy(head + at, signature, sizeof signature);
        assert_true(qn_hdf5_ops.probe(&p));
        p.head_size = at + 7;
        assert_false(qn_hdf5_ops.probe(&p));
        p.head_size = sizeof head;
    }
    /* An archive of qins is HDF5 too, but has a reader of its own. */
    static const uint8_t archive[8] = "QINSARC";
    memcpy(head, archive, sizeof archive);
    memcpy(head + 512, signature, sizeof signature);
    assert_false(qn_hdf5_ops.probe(&p));
}

static void killed(void **state)
{
    (void)state;
    struct qins_error err = {0};
    uint8_t data[16];
    struct qn_checkpoint *ck = test_open(&qn_hdf5_ops, test_path("all.h5"));
    assert_int_equal(qn_hdf5_ops.read(ck, 0, 0, data, 8, &err), QINS_OK);
    kill(qn_hdf5_child_of(ck)->pid, SIGSEGV);
    for (int i = 0; i < 2; i++) { /* it stays failed, and never blocks or raises SIGPIPE */
        err = (struct qins_error){0};
        assert_int_equal(qn_hdf5_ops.read(ck, 0, 0, data, 8, &err), QINS_ERR_FORMAT);
        assert_int_equal(err.status, QINS_ERR_FORMAT);
        assert_non_null(strstr(err.message, "libhdf5"));
    }
    qn_hdf5_ops.destroy(ck);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void hangs(void **state)
{
    (void)state;
    struct qins_error err = {0};
    struct qn_checkpoint *ck = NULL;
    uint8_t data[16];
    assert_int_equal(qn_hdf5_open(&ck, test_path("all.h5"), &fast, NULL, &err), QINS_OK);
    kill(qn_hdf5_child_of(ck)->pid, SIGSTOP);
    assert_int_equal(qn_hdf5_ops.read(ck, 0, 0, data, 8, &err), QINS_ERR_FORMAT);
    assert_string_equal(err.message, "libhdf5 took longer than 1 s on this file");
    qn_hdf5_ops.destroy(ck);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void interrupted(void **state)
{
    (void)state;
    struct qins_error err = {0};
    struct qn_checkpoint *ck = NULL;
    atomic_bool stop = true;
    struct qn_monitor monitor = {.stop = &stop};
    enum qins_status st = qn_hdf5_ops.open(&ck, test_path("all.h5"), &monitor, &err);
    /* The listing may be there before anybody looks. */
    assert_true(st == QINS_ERR_INTERRUPTED || st == QINS_OK);
    if (ck)
        qn_hdf5_ops.destroy(ck);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

struct reader {
    struct qn_checkpoint *ck;
    const uint8_t *whole;
    uint64_t seed;
    bool good;
};

static void *read_much(void *arg)
{
    struct reader *r = arg;
    struct qins_error err;
    uint8_t data[4 * 1000];
    r->good = true;
    for (int i = 0; i < (test_briefly() ? 30 : 100); i++) {
        uint64_t first = test_random(&r->seed) % (r->ck->tensors.items[0].n_elements - 1000);
        r->good = r->good &&
                  qn_hdf5_ops.read(r->ck, 0, 4 * first, data, sizeof data, &err) == QINS_OK &&
                  memcmp(data, r->whole + 4 * first, sizeof data) == 0;
    }
    return NULL;
}

static void reads_from_threads(void **state)
{
    (void)state;
    pthread_t ids[4];
    struct reader readers[4];
    struct qn_checkpoint *ck = test_open(&qn_hdf5_ops, test_path("wide.h5"));
    uint64_t size = ck->tensors.items[0].n_bytes;
    uint8_t *whole = malloc(size);
    struct qins_error err;
    assert_int_equal(qn_hdf5_ops.read(ck, 0, 0, whole, size, &err), QINS_OK);
    for (unsigned i = 0; i < 4; i++) {
        readers[i] = (struct reader){ck, whole, i + 1, false};
        assert_int_equal(pthread_create(&ids[i], NULL, read_much, &readers[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(ids[i], NULL);
        assert_true(readers[i].good);
    }
    free(whole);
    qn_hdf5_ops.destroy(ck);
}

/* Every byte of a small file changed in turn: whatever libhdf5 makes of it, we get a status. */
static void survives_damage(void **state)
{
    (void)state;
    size_t size;
    struct qins_error err;
    char *data = test_slurp(test_path("twice.h5"), &size), line[1024];
    unsigned failed = 0;
    for (size_t at = 0; at < size; at += test_briefly() ? 123 : 41) {
        const char *path = test_path("damaged.h5");
        data[at] ^= 0x41;
        assert_int_equal(qn_write_whole(path, data, size, &err), QINS_OK);
        failed += use(path, &fast, line, sizeof line) != QINS_OK;
        data[at] ^= 0x41;
    }
    assert_true(failed > 3);
    free(data);
}

static void keeps_what_keras_needs(void **state)
{
    static const struct {
        const char *name, *text;
    } expected[] = {
        {"keras.model_config", "{\"class_name\": \"Model\"}"},
        {"keras.keras_version", "2.0"},
        {"hdf5.paths", "{\"model_weights.conv.conv.bias:0\":\"/model_weights/conv/conv/bias:0\","
                       "\"model_weights.conv.conv.kernel:0\":"
                       "\"/model_weights/conv/conv/kernel:0\"}"},
        {"hdf5.attributes",
         "{\"/model_weights\":{\"layer_names\":[\"conv\",\"activation\"]},"
         "\"/model_weights/activation\":{\"weight_names\":[]},"
         "\"/model_weights/conv\":{\"weight_names\":[\"conv/kernel:0\",\"conv/bias:0\"]},"
         "\"/model_weights/conv/conv\":{}}"},
    };
    (void)state;
    struct qn_checkpoint *ck = test_open(&qn_hdf5_ops, test_path("keras.h5"));
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const struct qn_attachment *a = qn_attachment_find(&ck->attachments, expected[i].name);
        assert_non_null(a);
        assert_int_equal(a->size, strlen(expected[i].text));
        assert_memory_equal(a->data, expected[i].text, a->size);
    }
    assert_int_equal(ck->attachments.count, 4);
    qn_hdf5_ops.destroy(ck);
}

static void writes_what_it_read(void **state)
{
    static const char *const names[] = {"all", "keras", "twice"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct qins_error err = {0};
        const char *out = test_path("out_%s.h5", names[i]), *again = test_path("again.h5");
        struct qn_checkpoint *ck = test_open(&qn_hdf5_ops, test_path("%s.h5", names[i]));
        if (test_write(&qn_hdf5_writer_ops, ck, out, &err) != QINS_OK)
            fail_msg("%s: %s", err.tensor, err.message);
        assert_int_equal(test_write(&qn_hdf5_writer_ops, ck, again, &err), QINS_OK);
        qn_hdf5_ops.destroy(ck);
        test_files_equal(out, again);
        test_python("fixtures_hdf5.py", "describe %s %s.got", out, out);
        test_files_equal(test_path("out_%s.h5.got", names[i]), test_path("%s.h5.expect", names[i]));
        ck = test_open(&qn_hdf5_ops, test_path("out_%s.h5", names[i]));
        test_matches_description(ck, test_path("%s.h5.expect", names[i]));
        qn_hdf5_ops.destroy(ck);
    }
    test_python("fixtures_hdf5.py", "same_attributes %s %s", test_path("keras.h5"),
                test_path("out_keras.h5"));
}

static void writes_strange_names(void **state)
{
    static const char *const names[] = {"a/b", "a%2Fb", ".", "..", "\xc3\xbc.x"};
    (void)state;
    struct qn_tensor_list list = {0};
    struct qn_tensor_writer *w = NULL;
    struct qins_error err;
    const uint64_t shape[] = {2};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(qn_tensor_list_add(&list, names[i], strlen(names[i]),
                                            i == 1 ? QINS_F8_E4M3 : QINS_U8, NULL, 1, shape, NULL,
                                            &err),
                         QINS_OK);
    const char *out = test_path("names.h5");
    assert_int_equal(qn_hdf5_writer_ops.create(&w, out, &list, NULL, &err), QINS_OK);
    for (size_t i = 0; i < list.count; i++)
        assert_int_equal(qn_hdf5_writer_ops.write(w, i, "\x7e\x01", 2, &err), QINS_OK);
    assert_int_equal(qn_hdf5_writer_ops.commit(w, &err), QINS_OK);
    qn_hdf5_writer_ops.destroy(w);
    test_python("fixtures_hdf5.py", "strange_names %s", out);
    qn_tensor_list_finish(&list);
}

static unsigned files_in(const char *path)
{
    unsigned n = 0;
    DIR *d = opendir(path);
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* RLIMIT_FSIZE stands for a full disk: at every size the file could not reach, the error is one
 * of I/O and nothing is left. */
static void full_disk(void **state)
{
    (void)state;
    struct rlimit old, less;
    struct qins_error err;
    size_t size;
    struct qn_checkpoint *ck = test_open(&qn_hdf5_ops, test_path("keras.h5"));
    free(test_slurp(test_path("out_keras.h5"), &size));
    mkdir(test_path("full"), 0777);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    for (size_t limit = 0; limit < size; limit += 97) {
        less = old;
        less.rlim_cur = limit;
        setrlimit(RLIMIT_FSIZE, &less);
        enum qins_status st = test_write(&qn_hdf5_writer_ops, ck, test_path("full/a.h5"), &err);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(st, QINS_ERR_IO);
        assert_non_null(strstr(err.message, "File too large"));
        assert_int_equal(files_in(test_path("full")), 2);
    }
    qn_hdf5_ops.destroy(ck);
}

static void writer_refuses_bad_attachments(void **state)
{
    static const struct {
        const char *name, *text;
    } cases[] = {
        {"hdf5.paths", "{\"a\":\"x\"}"},
        {"hdf5.paths", "{\"a\":\"/x//y\"}"},
        {"hdf5.paths", "{\"a\":\"/x/./y\"}"},
        {"hdf5.paths", "{\"a\":1}"},
        {"hdf5.paths", "[]"},
        {"hdf5.paths", "{"},
        {"hdf5.attributes", "{\"b\":{}}"},
        {"hdf5.attributes", "{\"/b\":{\"x\":1}}"},
        {"hdf5.attributes", "{\"/a/b\":{}}"}, /* a is a dataset */
        {"hdf5.attributes", "{\"/b\":3}"},
        {"hdf5.attributes", "{\"/b\":{\"x\":[1]}}"},
    };
    (void)state;
    struct qn_tensor_list list = {0};
    struct qins_error err;
    assert_int_equal(qn_tensor_list_add(&list, "a", 1, QINS_F32, NULL, 0, NULL, NULL, &err),
                     QINS_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qn_attachment_list attachments = {0};
        struct qn_tensor_writer *w = NULL;
        assert_int_equal(qn_attachment_add(&attachments, cases[i].name, cases[i].text,
                                           strlen(cases[i].text), &err),
                         QINS_OK);
        enum qins_status st =
            qn_hdf5_writer_ops.create(&w, test_path("bad.h5"), &list, &attachments, &err);
        if (st != QINS_ERR_FORMAT && st != QINS_ERR_UNSUPPORTED)
            fail_msg("%s: status %d", cases[i].text, (int)st);
        assert_false(qn_exists(test_path("bad.h5")));
        qn_attachment_list_finish(&attachments);
    }
    qn_tensor_list_finish(&list);
}

static void real_files(void **state)
{
    static const char *const names[] = {
        "models/fer2013-big-xception-keras/fer2013_big_XCEPTION.54-0.66.hdf5",
        "models/fer2013-big-xception-keras/tiny_XCEPTION_KDEF.hdf5", "tricky/vlen_string_s390x.h5",
        "tricky/vlen_string_dset_utc.h5", "tricky/compound-dtype-complex.h5"};
    (void)state;
    const char *data = getenv("QINS_SHARED_DATA");
    if (!data || !qn_exists(data)) {
        print_message("QINS_SHARED_DATA is not there: real files are not tried\n");
        skip();
    }
    /* The first is large; the second is like it. */
    for (size_t i = test_briefly() ? 1 : 0; i < sizeof names / sizeof *names; i++) {
        char path[1024];
        struct qins_error err = {0};
        snprintf(path, sizeof path, "%s/%s", data, names[i]);
        test_python("fixtures_hdf5.py", "describe '%s' %s", path, test_path("real.expect"));
        struct qn_checkpoint *ck = test_open(&qn_hdf5_ops, path);
        test_matches_description(ck, test_path("real.expect"));
        assert_int_equal(test_write(&qn_hdf5_writer_ops, ck, test_path("real.h5"), &err), QINS_OK);
        qn_hdf5_ops.destroy(ck);
        if (i < 2)
            test_python("fixtures_hdf5.py", "same_attributes '%s' %s", path, test_path("real.h5"));
        ck = test_open(&qn_hdf5_ops, test_path("real.h5"));
        test_matches_description(ck, test_path("real.expect"));
        qn_hdf5_ops.destroy(ck);
    }
}

static int make_files(void **state)
{
    (void)state;
    test_folder_create();
    test_python("fixtures_hdf5.py", "make %s", test_folder);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    test_folder_remove();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_numpy_reads),
        cmocka_unit_test(reads_ranges),
        cmocka_unit_test(skips_with_notices),
        cmocka_unit_test(follows_no_cycle),
        cmocka_unit_test(refuses),
        cmocka_unit_test(lists_foreign_floats),
        cmocka_unit_test(refuses_what_is_no_hdf5),
        cmocka_unit_test(probes),
        cmocka_unit_test(killed),
        cmocka_unit_test(hangs),
        cmocka_unit_test(interrupted),
        cmocka_unit_test(reads_from_threads),
        cmocka_unit_test(survives_damage),
        cmocka_unit_test(keeps_what_keras_needs),
        cmocka_unit_test(writes_what_it_read),
        cmocka_unit_test(writes_strange_names),
        cmocka_unit_test(full_disk),
        cmocka_unit_test(writer_refuses_bad_attachments),
        cmocka_unit_test(real_files),
    };
    test_only_under_tsan("reads_from_threads");
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
