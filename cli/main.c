#include "cli/cli.h"

#include "analyze/child.h"
#include "convert/features.h"
#include "core/file.h"
#include "core/json.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_INTERRUPTED = 130 };

static const struct cli_verb *const verbs[] = {
    &cli_inspect,   &cli_convert,  &cli_verify, &cli_restore, &cli_pipeline, &cli_generate,
    &cli_calibrate, &cli_validate, &cli_bench,  &cli_analyze, &cli_plan,     &cli_transport,
    &cli_gate,      &cli_batch,    &cli_merge,  &cli_status,
};
enum { N_VERBS = sizeof verbs / sizeof(const struct cli_verb *) };

/* docs/exit-codes.md */
static const unsigned char exit_codes[] = {
    [QINS_OK] = 0,
    [QINS_ERR_CHECK] = 1,
    [QINS_ERR_USAGE] = 2,
    [QINS_ERR_FORMAT] = 3,
    [QINS_ERR_UNSUPPORTED] = 3,
    [QINS_ERR_IO] = 4,
    [QINS_ERR_MEMORY] = 4,
    [QINS_ERR_INTERRUPTED] = EXIT_INTERRUPTED,
};

static atomic_bool stop;

/* The first signal asks the work to stop, the second one does not wait for it. */
static void on_signal(int number)
{
    (void)number;
    if (atomic_exchange(&stop, true)) {
        qn_output_abandon_all();
        qn_child_abandon();
        _exit(EXIT_INTERRUPTED);
    }
}

static void catch_signals(void)
{
    struct sigaction act = {.sa_flags = SA_RESTART}, old;
    sigemptyset(&act.sa_mask);
    act.sa_handler = on_signal;
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    /* Who started qins under nohup wants it to go on without a terminal. */
    if (sigaction(SIGHUP, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &act, NULL);
    /* A closed pipe and a size limit are errors of a write like a full disk. */
    act.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &act, NULL);
    sigaction(SIGXFSZ, &act, NULL);
}

static void print_overview(void)
{
    cli_print("usage: qins VERB ...\n"
              "Quantises, codes, verifies and restores checkpoints of neural networks;\n"
              "runs and measures language models.\n\n");
    for (int i = 0; i < N_VERBS; i++)
        cli_print("  %-10s %s\n", verbs[i]->name, verbs[i]->summary);
    cli_print("\n  qins VERB --help   options of a verb\n"
              "  qins --version     version, libraries, processor\n"
              "  qins --limits      what is taken from files at most (--json)\n"
              "\nexample:\n  qins convert model/ -o model.qins\n");
}

/* REPORT is taken over. */
static enum qins_status print_json(json_t *report, struct qins_error *err)
{
    if (!report)
        return qn_fail_memory(err);
    cli_print_json(report);
    json_decref(report);
    return QINS_OK;
}

static enum qins_status print_version(bool as_json, struct qins_error *err)
{
    json_t *features = qn_features();
    if (as_json || !features)
        return print_json(features, err);
    cli_print_features(features);
    json_decref(features);
    return QINS_OK;
}

static const struct cli_verb *find_verb(const char *name)
{
    for (int i = 0; i < N_VERBS; i++)
        if (strcmp(verbs[i]->name, name) == 0)
            return verbs[i];
    return NULL;
}

/* What run() left behind, which ended with ST: all of it, or the findings of a check that did not
 * hold. */
static enum qins_status show_report(const struct cli_verb *verb, const struct cli *c,
                                    enum qins_status st, struct qins_error *err)
{
    struct qins_error print_err = {.offset = QN_NO_OFFSET};
    enum qins_status printed = QINS_OK;
    if (!c->report || (st != QINS_OK && st != QINS_ERR_CHECK))
        return st;
    if (c->json)
        cli_print_json(c->report);
    else if (verb->print && (!c->quiet || verb->prints_if_quiet)) {
        printed = verb->print(c->report, &print_err);
        if (printed == QINS_OK && verb->print_outputs)
            verb->print_outputs(c);
    }
    if (printed == QINS_OK)
        return st;
    *err = print_err;
    return printed;
}

static enum qins_status run_verb(const struct cli_verb *verb, int argc, char **argv,
                                 struct qins_error *err)
{
    struct cli c = {0};
    enum qins_status st = cli_parse(verb, argc, argv, &c, err);
    if (st == QINS_OK && c.value[OPT_HELP]) {
        cli_print_help(verb);
        return QINS_OK;
    }
    if (st == QINS_OK) {
        cli_monitor_init(&c, &stop);
        catch_signals();
        st = verb->run(&c, err);
        cli_progress_end();
        st = show_report(verb, &c, st, err);
        json_decref(c.report);
    }
    return st;
}

static enum qins_status run(int argc, char **argv, const struct cli_verb **verb,
                            struct qins_error *err)
{
    const char *name = argc > 1 ? argv[1] : "";
    const bool help = strcmp(name, "help") == 0;
    const bool as_json = argc > 2 && strcmp(argv[2], "--json") == 0;
    char *asks[] = {"--help", NULL};
    if (help && argc > 2 && !as_json)
        name = argv[2];
    *verb = find_verb(name);
    if (*verb)
        return help ? run_verb(*verb, 1, asks, err) : run_verb(*verb, argc - 2, argv + 2, err);
    if (strcmp(name, "--version") == 0)
        return print_version(as_json, err);
    if (strcmp(name, "--limits") == 0 && (argc == 2 || (argc == 3 && as_json)))
        return cli_show_limits(as_json, err);
    if (strcmp(name, "--limits") == 0)
        return qn_fail(err, QINS_ERR_USAGE, "--limits is followed by nothing, or --json");
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        if (as_json)
            return print_json(cli_describe(verbs, N_VERBS), err);
        print_overview();
        return QINS_OK;
    }
    if (name[0] == '-')
        return qn_fail(err, QINS_ERR_USAGE, "unknown option '%s'", name);
    else if (name[0])
        return qn_fail(err, QINS_ERR_USAGE, "unknown verb '%s'", name);
    else
        return qn_fail(err, QINS_ERR_USAGE, "a verb is missing");
    return QINS_OK;
}

int main(int argc, char **argv)
{
    struct qins_error err = {.offset = QN_NO_OFFSET}, flush_err = {.offset = QN_NO_OFFSET};
    const struct cli_verb *verb;
    qn_json_watch_memory();
    enum qins_status st = run(argc, argv, &verb, &err);
    /* Findings that nobody saw are none. */
    if (cli_flush(&flush_err) != QINS_OK && (st == QINS_OK || st == QINS_ERR_CHECK)) {
        err = flush_err;
        st = flush_err.status;
    }
    if (st != QINS_OK)
        cli_print_error(&err, verb ? verb->name : NULL);
    return exit_codes[st];
}
