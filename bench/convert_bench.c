#include "bench/setup.h"
#include "bench/streams.h"
#include "convert/convert.h"
#include "convert/restore.h"
#include "convert/verify.h"
#include "core/bytes.h"
#include "core/clock.h"
#include "formats/tensor_writer.h"

#include <stdlib.h>
#include <unistd.h>

enum {
    ROW = QN_STREAM_ROW,
    ROWS = 1024, /* of the largest tensors */
    DEFAULT_MEBI = 256,
    DEFAULT_ROUNDS = 5,
    COPIED = 64 << 20, /* bytes, more than caches hold */
    PIECE = 1 << 20,   /* bytes, of a file that is copied */
};

static const enum qins_dtype types[] = {QINS_F32, QINS_BF16};
enum { TYPES = sizeof types / sizeof *types };

static const struct kind {
    const char *name;
    unsigned bits;
    enum qn_codec_id codec;
    bool lossless;
    double goals[2]; /* MB of F32 a second that convert should reach on 1 and 2 threads; 0: none */
} kinds[] = {
    {"8-bit bitpack", 8, QN_CODEC_BITPACK, false, {1200, 2200}},
    {"6-bit bitpack", 6, QN_CODEC_BITPACK, false, {0, 0}},
    {"8-bit huffman", 8, QN_CODEC_HUFFMAN, false, {400, 750}},
    {"8-bit tans", 8, QN_CODEC_TANS, false, {400, 750}},
    {"lossless huffman", 8, QN_CODEC_HUFFMAN, true, {0, 0}},
    {"lossless tans", 8, QN_CODEC_TANS, true, {0, 0}},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

enum step { CONVERT, VERIFY, RESTORE, STEPS };
static const char *const step_names[STEPS] = {"convert", "verify", "restore"};

/* Copying, which is what the steps are compared with. */
enum { MEMORY, FILES, COPIES };

struct trial {
    struct qn_bench_candidate timing; /* `tokens` are bytes; its seconds are without fsync */
    double sync_seconds[QN_BENCH_MAX_ROUNDS];
    enum step step;
    size_t type, kind;
    uint64_t archive_bytes;
};

struct bench {
    const struct qn_bench_options *options;
    struct qn_harness harness;
    struct qn_monitor quiet; /* of each step: may be stopped, and tells nothing */
    unsigned threads[2], rounds;
    uint64_t rows; /* of a checkpoint of F32 */
    char *folder, *source[TYPES], *archive, *output;
    uint64_t source_bytes[TYPES];
    uint8_t *buffer; /* 2 * COPIED bytes */
    struct trial *trials;
    size_t n_trials;
    struct qn_bench_candidate copies[TYPES][COPIES];
    double begun;
};

/* Matrices of ROWS rows, as many as it takes for ROWS_IN_ALL. */
static enum qins_status list_tensors(struct qn_tensor_list *list, enum qins_dtype type,
                                     uint64_t rows_in_all, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (uint64_t i = 0; i * ROWS < rows_in_all && st == QINS_OK; i++) {
        const uint64_t shape[] = {qn_min_u64(ROWS, rows_in_all - i * ROWS), ROW};
        char name[64];
        int length = snprintf(name, sizeof name, "layers.%llu.weight", (unsigned long long)i);
        st = qn_tensor_list_add(list, name, (size_t)length, type, NULL, 2, shape, NULL, err);
    }
    return st;
}

static enum qins_status write_tensors(const struct bench *b, struct qn_tensor_writer *w,
                                      const struct qn_tensor_list *list, struct qins_error *err)
{
    static float x[ROW];
    uint8_t narrow[sizeof x];
    uint64_t state = 1;
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < list->count && st == QINS_OK; i++)
        for (uint64_t row = 0; row < list->items[i].shape[0] && st == QINS_OK; row++) {
            const enum qins_dtype type = list->items[i].dtype;
            qn_gaussian_row(&state, x);
            for (size_t k = 0; k < ROW; k++)
                x[k] *= 0.02F; /* as weights of a trained model are */
            qn_from_f32(type, x, narrow, ROW);
            st = w->ops->write(w, i, narrow, ROW * qins_dtype_size(type), err);
            if (st == QINS_OK)
                st = qn_check_stop(&b->quiet, err);
        }
    return st;
}

/* Of about as many bytes whatever the type. */
static enum qins_status make_source(struct bench *b, size_t type, struct qins_error *err)
{
    const struct qn_tensor_writer_ops *ops = &qn_safetensors_writer_ops;
    struct qn_tensor_list list = {0};
    struct qn_tensor_writer *w = NULL;
    const uint64_t rows = b->rows * sizeof(float) / qins_dtype_size(types[type]);
    char name[32];
    snprintf(name, sizeof name, "%s.safetensors", qins_dtype_name(types[type]));
    b->source[type] = qn_path_join(b->folder, name, err);
    b->source_bytes[type] = b->rows * ROW * sizeof(float);
    enum qins_status st = b->source[type] ? QINS_OK : QINS_ERR_MEMORY;
    if (st == QINS_OK)
        st = list_tensors(&list, types[type], rows, err);
    if (st == QINS_OK)
        st = ops->create(&w, b->source[type], &list, NULL, err);
    if (st == QINS_OK)
        st = write_tensors(b, w, &list, err);
    if (st == QINS_OK)
        st = ops->commit(w, err);
    if (w)
        ops->destroy(w);
    qn_tensor_list_finish(&list);
    return st;
}

static enum qins_status run_step(struct bench *b, struct trial *t, struct qins_error *err)
{
    const struct kind *k = &kinds[t->kind];
    struct qn_convert_options o = {.threads = t->timing.threads};
    struct qn_restore_options r = {.threads = t->timing.threads};
    struct qn_archive *a = NULL;
    enum qins_status st;
    switch (t->step) {
    case CONVERT:
        qn_plan_options_init(&o.plan);
        o.plan.bits = k->bits;
        o.plan.codec = k->codec;
        o.plan.lossless = k->lossless;
        return qn_convert(b->source[t->type], b->archive, &o, &b->quiet, NULL, err);
    case VERIFY:
        st = qn_archive_open(&a, b->archive, err);
        if (st == QINS_OK)
            t->archive_bytes = a->file.size;
        qn_archive_destroy(a);
        return st == QINS_OK ? qn_verify(b->archive, NULL, t->timing.threads, &b->quiet, NULL, err)
                             : st;
    default:
        return qn_restore(b->archive, b->output, &r, &b->quiet, NULL, err);
    }
}

static enum qins_status copy_file(const struct bench *b, const char *from, struct qins_error *err)
{
    struct qn_file f;
    struct qn_output o = {.fd = -1};
    enum qins_status st = qn_file_open(&f, from, err);
    if (st == QINS_OK)
        st = qn_output_create(&o, b->output, err);
    for (uint64_t at = 0; at < f.size && st == QINS_OK; at += PIECE) {
        const size_t n = (size_t)qn_min_u64(PIECE, f.size - at);
        st = qn_file_read(&f, at, b->buffer, n, err);
        if (st == QINS_OK)
            st = qn_output_write(&o, b->buffer, n, err);
        if (st == QINS_OK)
            st = qn_check_stop(&b->quiet, err);
    }
    if (st == QINS_OK)
        st = qn_output_commit(&o, err);
    else
        qn_output_abandon(&o);
    qn_file_close(&f);
    return st;
}

/* What a turn begins with: times to be subtracted. */
struct clocks {
    double seconds, cpu, sync;
};

static struct clocks begin_turn(void)
{
    return (struct clocks){qn_seconds(), qn_cpu_seconds(), qn_output_sync_seconds()};
}

/* Returns the seconds of fsync, which are left out. */
static double end_turn(struct clocks c, struct qn_bench_candidate *timing, unsigned round)
{
    const double sync = qn_output_sync_seconds() - c.sync;
    timing->seconds[round] = qn_seconds() - c.seconds - sync;
    timing->cpu_seconds[round] = qn_cpu_seconds() - c.cpu;
    timing->rounds = round + 1;
    return sync;
}

static enum qins_status take_turn(struct bench *b, struct trial *t, unsigned round,
                                  struct qins_error *err)
{
    /* Giving back the memory of a file that is replaced is not part of it. */
    if (t->step != VERIFY)
        unlink(t->step == CONVERT ? b->archive : b->output);
    struct clocks begun = begin_turn();
    enum qins_status st = run_step(b, t, err);
    t->sync_seconds[round] = end_turn(begun, &t->timing, round);
    return st;
}

static enum qins_status take_copies(struct bench *b, size_t type, unsigned round,
                                    struct qins_error *err)
{
    struct clocks begun = begin_turn();
    memcpy(b->buffer, b->buffer + COPIED, COPIED);
    end_turn(begun, &b->copies[type][MEMORY], round);
    unlink(b->output);
    begun = begin_turn();
    enum qins_status st = copy_file(b, b->source[type], err);
    end_turn(begun, &b->copies[type][FILES], round);
    unlink(b->output);
    return st;
}

/* The first round is for warming up. */
static enum qins_status measure(struct bench *b, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (unsigned turn = 0; turn <= b->rounds && st == QINS_OK; turn++) {
        const unsigned round = turn ? turn - 1 : 0;
        for (size_t i = 0; i < TYPES && st == QINS_OK; i++)
            st = take_copies(b, i, round, err);
        for (size_t i = 0; i < b->n_trials && st == QINS_OK; i++) {
            qn_progress_of(b->options->monitor, "measuring", "runs",
                           (uint64_t)turn * b->n_trials + i, (b->rounds + 1) * b->n_trials);
            st = qn_check_stop(b->options->monitor, err);
            if (st == QINS_OK)
                st = take_turn(b, &b->trials[i], round, err);
        }
    }
    return st;
}

static enum qins_status list_trials(struct bench *b, struct qins_error *err)
{
    b->trials = calloc((size_t)TYPES * KINDS * 2 * STEPS, sizeof *b->trials);
    if (!b->trials)
        return qn_fail_memory(err);
    for (size_t type = 0; type < TYPES; type++) {
        for (size_t kind = 0; kind < KINDS; kind++)
            for (size_t i = 0; i < 2; i++)
                for (int step = 0; step < STEPS; step++)
                    b->trials[b->n_trials++] = (struct trial){
                        .timing = {.threads = b->threads[i], .tokens = b->source_bytes[type]},
                        .step = (enum step)step,
                        .type = type,
                        .kind = kind};
        b->copies[type][MEMORY] = (struct qn_bench_candidate){.threads = 1, .tokens = COPIED};
        b->copies[type][FILES] =
            (struct qn_bench_candidate){.threads = 1, .tokens = b->source_bytes[type]};
    }
    return QINS_OK;
}

/* A folder of its own in FOLDER: in memory where the caller names none and the system has such. */
static enum qins_status make_folder(struct bench *b, struct qins_error *err)
{
    const char *parent = b->options->folder, *temporary = getenv("TMPDIR");
    if (!parent && access("/dev/shm", W_OK) == 0)
        parent = "/dev/shm";
    else if (!parent)
        parent = temporary && *temporary ? temporary : "/tmp";
    b->folder = qn_path_join(parent, "qins-bench-XXXXXX", err);
    if (!b->folder)
        return QINS_ERR_MEMORY;
    if (mkdtemp(b->folder))
        return QINS_OK;
    enum qins_status st = qn_fail_errno(err, parent, "cannot create a folder in it");
    free(b->folder);
    b->folder = NULL;
    return st;
}

static enum qins_status bench_init(struct bench *b, const struct qn_bench_options *options,
                                   struct qins_error *err)
{
    b->begun = qn_seconds();
    b->options = options;
    b->quiet.stop = options->monitor ? options->monitor->stop : NULL;
    b->threads[0] = 1;
    b->threads[1] = options->threads;
    b->rounds = options->rounds ? options->rounds : DEFAULT_ROUNDS;
    b->rows =
        ((uint64_t)(options->mebi ? options->mebi : DEFAULT_MEBI) << 20) / (ROW * sizeof(float));
    enum qins_status st = qn_harness_init(&b->harness, options->threads, err);
    if (st == QINS_OK)
        st = make_folder(b, err);
    if (st != QINS_OK)
        return st;
    b->archive = qn_path_join(b->folder, "model.qins", err);
    b->output = qn_path_join(b->folder, "restored.safetensors", err);
    b->buffer = malloc((size_t)2 * COPIED);
    if (!b->archive || !b->output || !b->buffer)
        return qn_fail_memory(err);
    memset(b->buffer, 1, (size_t)2 * COPIED);
    for (size_t i = 0; i < TYPES && st == QINS_OK; i++)
        st = make_source(b, i, err);
    return st == QINS_OK ? list_trials(b, err) : st;
}

static void bench_finish(struct bench *b)
{
    char **files[] = {&b->source[0], &b->source[1], &b->archive, &b->output};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (*files[i])
            unlink(*files[i]);
        free(*files[i]);
    }
    if (b->folder)
        rmdir(b->folder);
    free(b->folder);
    free(b->buffer);
    free(b->trials);
    qn_harness_finish(&b->harness);
}

static json_t *megabytes(struct qn_spread s)
{
    return qn_bench_spread((struct qn_spread){1e-6 * s.median, 1e-6 * s.low, 1e-6 * s.high});
}

static json_t *seconds_array(const double *seconds, unsigned n)
{
    json_t *j = json_array();
    for (unsigned i = 0; i < n && j; i++)
        if (json_array_append_new(j, json_real(seconds[i])) != 0) {
            json_decref(j);
            j = NULL;
        }
    return j;
}

static json_t *trial_report(const struct bench *b, const struct trial *t)
{
    const struct qn_bench_candidate *c = &t->timing, *copies = b->copies[t->type];
    const struct kind *k = &kinds[t->kind];
    const unsigned threads = c->threads;
    const double speed = 1e-6 * qn_speed(c, QN_CLOCK_WALL).median;
    const bool judged = t->step == CONVERT && types[t->type] == QINS_F32 && threads <= 2;
    const double goal = judged ? k->goals[threads - 1] : 0;
    json_t *j = json_object();
    qn_json_put(&j, "source", json_string(qins_dtype_name(types[t->type])));
    qn_json_put(&j, "kind", json_string(k->name));
    qn_json_put(&j, "step", json_string(step_names[t->step]));
    qn_json_put(&j, "threads", json_integer(threads));
    qn_json_put(&j, "seconds", seconds_array(c->seconds, c->rounds));
    qn_json_put(&j, "cpu_seconds", seconds_array(c->cpu_seconds, c->rounds));
    qn_json_put(&j, "fsync_seconds", seconds_array(t->sync_seconds, c->rounds));
    qn_json_put(&j, "mb_per_s", megabytes(qn_speed(c, QN_CLOCK_WALL)));
    qn_json_put(&j, "over_memcpy",
                qn_bench_spread(qn_speed_ratio(c, &copies[MEMORY], QN_CLOCK_WALL)));
    qn_json_put(&j, "over_file_copy",
                qn_bench_spread(qn_speed_ratio(c, &copies[FILES], QN_CLOCK_WALL)));
    qn_json_put(&j, "goal_mb_per_s", goal > 0 ? json_real(goal) : json_null());
    qn_json_put(&j, "met", goal > 0 ? json_boolean(speed >= goal) : json_null());
    return j;
}

static json_t *source_report(const struct bench *b, size_t type)
{
    json_t *j = json_object(), *bytes = json_object();
    for (size_t i = 0; i < b->n_trials; i++)
        if (b->trials[i].type == type && b->trials[i].step == VERIFY)
            qn_json_put(&bytes, kinds[b->trials[i].kind].name,
                        json_integer((json_int_t)b->trials[i].archive_bytes));
    qn_json_put(&j, "source", json_string(qins_dtype_name(types[type])));
    qn_json_put(&j, "bytes", json_integer((json_int_t)b->source_bytes[type]));
    qn_json_put(&j, "archive_bytes", bytes);
    qn_json_put(&j, "memcpy_mb_per_s",
                megabytes(qn_speed(&b->copies[type][MEMORY], QN_CLOCK_WALL)));
    qn_json_put(&j, "file_copy_mb_per_s",
                megabytes(qn_speed(&b->copies[type][FILES], QN_CLOCK_WALL)));
    return j;
}

static json_t *report_of(const struct bench *b)
{
    json_t *j = qn_report_begin("qins/bench/1"), *sources = json_array(), *rows = json_array();
    bool ok = sources && rows;
    for (size_t i = 0; i < TYPES && ok; i++)
        ok = json_array_append_new(sources, source_report(b, i)) == 0;
    for (size_t i = 0; i < b->n_trials && ok; i++)
        ok = json_array_append_new(rows, trial_report(b, &b->trials[i])) == 0;
    qn_json_put(&j, "benchmark", json_string("convert"));
    qn_json_put(&j, "machine", qn_bench_machine(&b->harness));
    qn_json_put(&j, "threads", json_integer(b->threads[1]));
    qn_json_put(&j, "rounds", json_integer(b->rounds));
    qn_json_put(&j, "sources", sources);
    qn_json_put(&j, "conversions", rows);
    qn_json_put(&j, "seconds", qn_json_real(qn_seconds() - b->begun));
    if (!ok) {
        json_decref(j);
        j = NULL;
    }
    return j;
}

enum qins_status qn_bench_convert(const struct qn_bench_options *options, json_t **report,
                                  struct qins_error *err)
{
    struct bench b = {0};
    *report = NULL;
    enum qins_status st = bench_init(&b, options, err);
    if (st == QINS_OK)
        st = measure(&b, err);
    if (st == QINS_OK) {
        *report = report_of(&b);
        st = *report ? QINS_OK : qn_fail_memory(err);
    }
    bench_finish(&b);
    return st;
}
