/* What the verbs share: options, output, errors. Only this layer prints or exits. */
#ifndef QINS_CLI_CLI_H
#define QINS_CLI_CLI_H

#include "convert/plan_job.h"
#include "core/json.h"
#include "core/shard.h"
#include "core/thread.h"
#include "policy/defaults.h"

/* Every option of every verb; cli/options.c has the table. */
enum cli_option_id {
    OPT_HELP,
    OPT_JSON,
    OPT_QUIET,
    OPT_THREADS,
    OPT_OUTPUT,
    OPT_LOSSLESS,
    OPT_BITS,
    OPT_CODEC,
    OPT_GROUP,
    OPT_KAPPA,
    OPT_CLIP,
    OPT_GRID,
    OPT_RESUME,
    OPT_SHARD,
    OPT_AGAINST,
    OPT_DTYPE,
    OPT_TEXT,
    OPT_HELDOUT,
    OPT_TOKENIZER,
    OPT_IDS,
    OPT_CONTEXT,
    OPT_PROMPT,
    OPT_TOKENS,
    OPT_TEMPERATURE,
    OPT_TOP_K,
    OPT_TOP_P,
    OPT_SEED,
    OPT_TESTS,
    OPT_PPL_STYLE,
    OPT_GRAM,
    OPT_KEEP_ROWS,
    OPT_SENSITIVITY,
    OPT_CALIBRATION,
    OPT_PLAN,
    OPT_ROUNDING,
    OPT_POLICY,
    OPT_COSTS,
    OPT_TARGET_BITS,
    OPT_TARGET_SIZE,
    OPT_MAX_ERROR,
    OPT_EXPLAIN,
    OPT_MERGE,
    OPT_INDEX,
    OPT_ACTIVATIONS,
    OPT_SAVE,
    OPT_STREAMS,
    OPT_CODERS,
    OPT_PEER,
    OPT_MEBI,
    OPT_CHUNK,
    OPT_ROUNDS,
    OPT_PLOT,
    OPT_ARCHIVE,
    OPT_REPLOT,
    OPT_TRANSPORT,
    OPT_KV,
    OPT_LAYERS,
    OPT_METHOD,
    OPT_ORDER,
    OPT_PLANES,
    OPT_SIGN_PLANE,
    OPT_MATERIALIZE,
    OPT_KV_CACHE,
    OPT_DUMP_KV,
    OPT_SAVE_LOGITS,
    OPT_PROMPTS,
    OPT_FUSED,
    OPT_EVIDENCE,
    OPT_GATES,
    OPT_PREVIOUS,
    OPT_STRICT,
    OPT_EMIT,
    OPT_COUNT,
};

enum {
    CLI_MAX_OPERANDS = 3,
    CLI_MAX_CONTEXT = 1 << 24, /* tokens of a window */
};

struct cli {
    const char *value[OPT_COUNT];          /* "" for a flag that was given, NULL for what was not */
    const char *operand[CLI_MAX_OPERANDS]; /* NULL for one that may be left out and was */
    const char *const *list;               /* values of the verb's `many` option, n_list of them,
                                              or its operands */
    size_t n_list;
    bool json, quiet;
    unsigned threads;
    struct qn_monitor monitor;
    json_t *report; /* what run() leaves to be shown; main.c frees it */
};

/* What an option means to one verb. */
struct cli_help {
    enum cli_option_id option;
    const char *text;     /* NULL ends a list */
    const char *argument; /* NULL: as for all verbs */
};
enum { CLI_MAX_USAGES = 3, CLI_MAX_HELP = 8 };

struct cli_verb {
    const char *name, *summary, *usage, *example;
    const char *more_usage[CLI_MAX_USAGES]; /* other ways to call it; NULL ends */
    struct cli_help help[CLI_MAX_HELP];     /* in place of what is said to all verbs */
    enum cli_option_id options[OPT_COUNT];  /* beyond the common ones; OPT_HELP (0) ends */
    int n_operands, optional_operands;      /* at most, and how many of them may be left out */
    bool many_operands;          /* one at least; they are in cli.list, n_operands is 0 */
    enum cli_option_id many;     /* takes all arguments up to the next option; or OPT_HELP */
    enum cli_option_id many_too; /* another one; a command has values of one of them at most */
    const char *words; /* what the first operand may be, spaces between; NULL: what a path names */
    bool needs_output; /* -o */
    bool prints_if_quiet; /* what print() shows is the result itself */
    enum qins_status (*run)(struct cli *c, struct qins_error *err);
    /* Shows c->report where --json does not; a report of a check that did not hold, too. */
    enum qins_status (*print)(const json_t *report, struct qins_error *err);
    /* Said last, where print() was called: where things went. May be NULL. */
    void (*print_outputs)(const struct cli *c);
};

extern const struct cli_verb cli_inspect, cli_convert, cli_verify, cli_restore, cli_pipeline,
    cli_generate, cli_calibrate, cli_validate, cli_bench, cli_analyze, cli_plan, cli_transport,
    cli_gate, cli_batch, cli_merge, cli_status;

/* Fills c->value and c->operand from what follows the verb. QINS_ERR_USAGE with one line. */
enum qins_status cli_parse(const struct cli_verb *verb, int argc, char **argv, struct cli *c,
                           struct qins_error *err);
void cli_print_help(const struct cli_verb *verb);
const char *cli_option_name(enum cli_option_id id); /* without the dashes */

/* An option as the help of a verb shows it. */
struct cli_option_text {
    enum cli_option_id id;
    const char *name;     /* without the dashes */
    char letter;          /* 0 without one */
    const char *argument; /* NULL for a flag */
    const char *help;
    bool is_path, many; /* names a file or a folder; takes all arguments up to the next option */
};
/* The I-th option of VERB in the order of its help; false behind the last one. */
bool cli_describe_option(const struct cli_verb *verb, size_t i, struct cli_option_text *out);
/* `qins --help --json`: what man pages and completions of shells are made from
 * (docs/schemas/help.schema.json). NULL without memory. */
json_t *cli_describe(const struct cli_verb *const *verbs, size_t n_verbs);
/* `qins --version`, by qn_features(). */
void cli_print_features(const json_t *features);

/* Values of options, checked; what was not given leaves the output alone. */
enum qins_status cli_u64(const struct cli *c, enum cli_option_id id, uint64_t max, uint64_t *out,
                         struct qins_error *err);
/* A number from MIN to MAX. */
enum qins_status cli_real(const struct cli *c, enum cli_option_id id, double min, double max,
                          double *out, struct qins_error *err);
/* "auto", -1, or a finite number >= 0; how large it may be depends on other options. WANT says
 * what is. */
enum qins_status cli_auto_or_real(const struct cli *c, enum cli_option_id id, const char *want,
                                  float *out, struct qins_error *err);
enum qins_status cli_unsigned(const struct cli *c, enum cli_option_id id, unsigned min,
                              unsigned max, unsigned *out, struct qins_error *err);
/* --lossless, --bits, --codec, --group, --kappa, --clip and --grid. */
enum qins_status cli_plan_options(const struct cli *c, struct qn_plan_options *out,
                                  struct qins_error *err);
/* --rounding; *GIVEN is whether it was. */
enum qins_status cli_rounding(const struct cli *c, enum qn_rounding *out, bool *given,
                              struct qins_error *err);
/* --target-size: a whole number of bytes, or a number with K, M, G or T for their multiples by
 * 1024. */
enum qins_status cli_size(const struct cli *c, enum cli_option_id id, uint64_t *out,
                          struct qins_error *err);
/* --calibration, --policy, --costs, --rounding and the budget. */
enum qins_status cli_plan_job_options(const struct cli *c, struct qn_plan_job_options *o,
                                      struct qins_error *err);
/* --kv-cache: 8, 6, or 0 for "off". */
enum qins_status cli_kv_bits(const struct cli *c, unsigned *out, struct qins_error *err);
enum qins_status cli_dtype(const struct cli *c, enum qins_dtype *out, struct qins_error *err);
/* --shard; a count of 0 where it was not given. */
enum qins_status cli_shard(const struct cli *c, struct qn_shard *out, struct qins_error *err);

/* Whether PATH can be written, told before the work; NULL is no output. */
enum qins_status cli_check_writable(const char *path, struct qins_error *err);

/* Prints to standard output; cli_flush() finds what failed. */
/* Control characters but line ends and tabs are escaped. */
void cli_print(const char *format, ...) QN_PRINTF(1, 2);
void cli_print_json(const json_t *value);
enum qins_status cli_flush(struct qins_error *err);
/* One line "qins: ..." on standard error. */
void cli_print_error(const struct qins_error *err, const char *verb);

/* Progress and notices on standard error. */
void cli_monitor_init(struct cli *c, atomic_bool *stop);
/* Removes a progress bar that stands on the terminal. */
void cli_progress_end(void);

/* A table of text with aligned columns. Running out of memory is remembered and shows in
 * cli_table_print(). */
struct cli_table {
    int columns;
    const char *align;     /* one character a column: 'l' or 'r' */
    char **cells, **notes; /* notes[i] is printed below the row that cell i ends, or NULL */
    size_t n, capacity;
    bool failed;
};
/* Makes *t a table whose first row is HEADS, one for each character of ALIGN. */
void cli_table_begin(struct cli_table *t, const char *align, const char *const *heads);
/* Appends a cell; control characters are escaped. */
void cli_cell(struct cli_table *t, const char *format, ...) QN_PRINTF(2, 3);
/* Below the row that the last cell ended: a line of its own, indented and cut to the width of the
 * terminal, or to 80 columns where there is none. */
void cli_note(struct cli_table *t, const char *text);
/* Prints and frees. */
enum qins_status cli_table_print(struct cli_table *t, struct qins_error *err);

/* qins --limits: all that files may ask for at most. */
enum qins_status cli_show_limits(bool as_json, struct qins_error *err);

/* "1.5 MiB"; returns buf. */
char *cli_bytes(double bytes, char *buf, size_t size);
/* "8.263 bits a weight" of a report, or "no float weights". */
char *cli_bits(const json_t *report, char *buf, size_t size);
/* "128x384" of a JSON array, "scalar" where it is empty. */
char *cli_shape(const json_t *shape, char *buf, size_t size);
/* How a tensor of a report is coded, in a few words. */
char *cli_coding(const json_t *tensor, char *buf, size_t size);

/* QINS_ERR_USAGE where the folder DIR has an index.html that does not go with REPORT, the file that
 * the verb writes beside its own: another page with pictures of its own, which would be lost. */
enum qins_status cli_refuse_other_page(const char *dir, const char *report, struct qins_error *err);
/* Number under KEY, or NaN. */
double cli_number(const json_t *object, const char *key);
const char *cli_string(const json_t *object, const char *key); /* "" where there is none */

#endif
