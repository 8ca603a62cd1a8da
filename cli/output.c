#include "cli/cli.h"

#include "core/buf.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/folder.h"
#include "core/text_writer.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int output_errno; /* of the first write to standard output that failed */

/* Appends TEXT with what a terminal would obey as \xNN. LINES: as it is printed at last, with line
 * ends and tabs, and with the marks of direction that belong to the writing of many languages.
 * 0 or an errno. */
static int put_escaped(FILE *to, const char *text, bool lines)
{
    enum { LONGEST_CONTROL = 2 }; /* bytes */
    int failure = 0;
    for (size_t hidden = 0; *text && failure == 0; text++) {
        bool stays = lines && (*text == '\n' || *text == '\t');
        if (hidden == 0 && !stays)
            hidden = qn_text_unsafe(text);
        if (lines && hidden > LONGEST_CONTROL)
            hidden = 0;
        if ((hidden ? fprintf(to, "\\x%02x", (unsigned char)*text) : putc(*text, to)) < 0)
            failure = errno;
        hidden -= hidden > 0;
    }
    return failure;
}

void cli_print(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    char *text = NULL;
    if (vasprintf(&text, format, ap) < 0)
        text = NULL;
    va_end(ap);
    int failure = text ? put_escaped(stdout, text, true) : ENOMEM;
    free(text);
    if (output_errno == 0)
        output_errno = failure;
}

void cli_print_json(const json_t *value)
{
    errno = 0;
    if (json_dumpf(value, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) != 0 &&
        output_errno == 0)
        output_errno = errno ? errno : ENOMEM;
    cli_print("\n");
}

enum qins_status cli_check_writable(const char *path, struct qins_error *err)
{
    struct qn_output o = {0};
    enum qins_status st = path ? qn_output_create(&o, path, err) : QINS_OK;
    qn_output_abandon(&o);
    return st;
}

enum qins_status cli_flush(struct qins_error *err)
{
    if (fflush(stdout) != 0 && output_errno == 0)
        output_errno = errno;
    if (output_errno == 0)
        return QINS_OK;
    errno = output_errno;
    return qn_fail_errno(err, NULL, "cannot write to standard output");
}

void cli_print_error(const struct qins_error *err, const char *verb)
{
    char line[2048];
    cli_progress_end();
    fprintf(stderr, "qins: %s", qins_error_format(err, line, sizeof line));
    if (err->status == QINS_ERR_USAGE)
        fprintf(stderr, "; see 'qins %s%s--help'", verb ? verb : "", verb ? " " : "");
    fputc('\n', stderr);
}

struct bar {
    bool enabled, shown;
    double begun, last; /* seconds */
    const char *what;
    uint64_t first; /* what was done when it began: by an earlier run */
};
static struct bar bar;

void cli_progress_end(void)
{
    if (bar.shown)
        fputs("\r\033[K", stderr);
    bar.shown = false;
}

/* "7:05", "2:07:05"; dashes where nobody knows yet. */
static void format_eta(double seconds, char *text, size_t size)
{
    const double most = 1000.0 * 3600.0;
    if (!(seconds < most)) {
        snprintf(text, size, "--:--");
        return;
    }
    long s = lround(seconds);
    if (s < 3600)
        snprintf(text, size, "%ld:%02ld", s / 60, s % 60);
    else
        snprintf(text, size, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
}

static void show_progress(void *ctx, const char *what, const char *unit, uint64_t done,
                          uint64_t total)
{
    enum { WIDTH = 30 };
    char text[64], cells[WIDTH + 1], eta[32];
    double t = qn_seconds();
    (void)ctx;
    if (!bar.what || strcmp(bar.what, what) != 0 || done < bar.first)
        bar = (struct bar){bar.enabled, bar.shown, t, t, what, done};
    if (done >= total) {
        cli_progress_end();
        bar.what = NULL;
        return;
    }
    if (t - bar.last < 0.1)
        return;
    bar.last = t;
    bar.shown = true;
    double share = (double)done / (double)total;
    double rate = (double)(done - bar.first) / (t - bar.begun);
    format_eta(rate > 0.0 ? (double)(total - done) / rate : INFINITY, eta, sizeof eta);
    memset(cells, ' ', WIDTH);
    memset(cells, '#', (size_t)(share * WIDTH));
    cells[WIDTH] = '\0';
    if (unit)
        snprintf(text, sizeof text, "%.0f %s", rate, unit);
    else
        cli_bytes(rate, text, sizeof text);
    fprintf(stderr, "\r%s [%s] %3.0f %%  %s/s  ETA %s\033[K", what, cells, 100.0 * share, text,
            eta);
    fflush(stderr);
}

static void show_notice(void *ctx, const char *line)
{
    (void)ctx;
    cli_progress_end();
    fputs("qins: note: ", stderr);
    put_escaped(stderr, line, false);
    fputc('\n', stderr);
}

void cli_monitor_init(struct cli *c, atomic_bool *stop)
{
    bar.enabled = !c->quiet && isatty(STDERR_FILENO);
    c->monitor = (struct qn_monitor){.notice = c->quiet ? NULL : show_notice,
                                     .failure = show_notice,
                                     .progress = bar.enabled ? show_progress : NULL,
                                     .stop = stop};
}

void cli_table_begin(struct cli_table *t, const char *align, const char *const *heads)
{
    *t = (struct cli_table){.columns = (int)strlen(align), .align = align};
    for (int i = 0; i < t->columns; i++)
        cli_cell(t, "%s", heads[i]);
}

/* TEXT, control characters escaped, on the heap; or NULL. */
static char *escaped(const char *raw)
{
    struct qn_text_writer w;
    if (qn_text_writer_init(&w, NULL) == QINS_OK)
        put_escaped(w.to, raw, false);
    return qn_text_writer_finish(&w, NULL, NULL);
}

static bool has_room(struct cli_table *t)
{
    if (t->n < t->capacity)
        return true;
    size_t capacity = t->capacity ? t->capacity * 2 : 64;
    char **cells = realloc(t->cells, capacity * sizeof *cells);
    t->cells = cells ? cells : t->cells;
    char **notes = realloc(t->notes, capacity * sizeof *notes);
    t->notes = notes ? notes : t->notes;
    if (!cells || !notes)
        return false;
    memset(t->notes + t->capacity, 0, (capacity - t->capacity) * sizeof *notes);
    t->capacity = capacity;
    return true;
}

void cli_cell(struct cli_table *t, const char *format, ...)
{
    char raw[512];
    va_list ap;
    va_start(ap, format);
    vsnprintf(raw, sizeof raw, format, ap);
    va_end(ap);
    char *text = has_room(t) ? escaped(raw) : NULL;
    if (text)
        t->cells[t->n++] = text;
    else
        t->failed = true;
}

void cli_note(struct cli_table *t, const char *text)
{
    if (t->failed || t->n == 0)
        return;
    free(t->notes[t->n - 1]);
    t->notes[t->n - 1] = escaped(text);
    t->failed = !t->notes[t->n - 1];
}

/* Columns that a terminal gives the text, one a code point. */
static int width_of(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static int terminal_width(void)
{
    enum { USUAL = 80 };
    struct winsize size = {0};
    bool known = isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0;
    return known && size.ws_col > 0 ? size.ws_col : USUAL;
}

static void print_note(const char *text)
{
    enum { INDENT = 4, LEAST = 16 };
    int room = terminal_width() - INDENT;
    size_t end = 0;
    room = room < LEAST ? LEAST : room;
    bool cut = width_of(text) > room;
    /* Whole code points, and dots for what does not fit. */
    for (int n = cut ? room - 3 : room; text[end]; end++)
        if (((unsigned char)text[end] & 0xc0) != 0x80 && n-- == 0)
            break;
    cli_print("%*s%.*s%s\n", INDENT, "", (int)end, text, cut ? "..." : "");
}

enum qins_status cli_table_print(struct cli_table *t, struct qins_error *err)
{
    enum { MAX_COLUMNS = 12 };
    int width[MAX_COLUMNS] = {0};
    size_t columns = (size_t)t->columns;
    for (size_t i = 0; i < t->n; i++) {
        int w = width_of(t->cells[i]);
        if (w > width[i % columns])
            width[i % columns] = w;
    }
    for (size_t i = 0; i < t->n && !t->failed; i++) {
        size_t k = i % columns;
        bool last = k + 1 == columns;
        int pad = width[k] - width_of(t->cells[i]);
        if (t->align[k] == 'r')
            cli_print("%*s%s%s", pad, "", t->cells[i], last ? "\n" : "  ");
        else if (last)
            cli_print("%s\n", t->cells[i]);
        else
            cli_print("%s%*s", t->cells[i], pad + 2, "");
        if (t->notes[i])
            print_note(t->notes[i]);
    }
    bool failed = t->failed;
    for (size_t i = 0; i < t->n; i++) {
        free(t->cells[i]);
        free(t->notes[i]);
    }
    free(t->cells);
    free(t->notes);
    *t = (struct cli_table){0};
    return failed ? qn_fail_memory(err) : QINS_OK;
}

char *cli_bytes(double bytes, char *buf, size_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t i = 0;
    while (bytes >= 1024.0 && i + 1 < sizeof units / sizeof *units) {
        bytes /= 1024.0;
        i++;
    }
    snprintf(buf, size, i ? "%.2f %s" : "%.0f %s", bytes, units[i]);
    return buf;
}

char *cli_bits(const json_t *report, char *buf, size_t size)
{
    double bits = cli_number(report, "bits_per_weight");
    if (isnan(bits))
        snprintf(buf, size, "no float weights");
    else
        snprintf(buf, size, "%.3f bits a weight", bits);
    return buf;
}

char *cli_shape(const json_t *shape, char *buf, size_t size)
{
    uint64_t extents[QINS_MAX_RANK] = {0};
    size_t rank = json_array_size(shape);
    for (size_t i = 0; i < rank && i < QINS_MAX_RANK; i++)
        extents[i] = (uint64_t)json_integer_value(json_array_get(shape, i));
    return qn_shape_format((unsigned)rank, extents, buf, size);
}

double cli_number(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

const char *cli_string(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* How rows of one coding are coded, in a few words. */
static void describe_coding(const json_t *line, bool lossless, char *buf, size_t size)
{
    const char *codec = cli_string(line, "codec");
    const json_t *group = json_object_get(line, "group");
    char scale[32];
    if (lossless) {
        snprintf(buf, size, "lossless %s", codec);
        return;
    }
    if (json_is_integer(group))
        snprintf(scale, sizeof scale, "group of %lld", (long long)json_integer_value(group));
    else
        snprintf(scale, sizeof scale, "%s", json_string_value(group));
    bool feedback = strcmp(cli_string(line, "rounding"), "feedback") == 0;
    double bits = cli_number(line, "bits"), levels = cli_number(line, "levels");
    char width[48];
    if (levels == exp2(bits - 1.0) - 1.0)
        snprintf(width, sizeof width, "%.0f-bit", bits);
    else
        snprintf(width, sizeof width, "%.0f-bit (N %.0f)", bits, levels);
    snprintf(buf, size, "%s %s %s, kappa %.3g, clip %.3g%s", width, scale, codec,
             cli_number(line, "kappa"), cli_number(line, "clip"), feedback ? ", feedback" : "");
}

char *cli_coding(const json_t *tensor, char *buf, size_t size)
{
    size_t n = json_array_size(json_object_get(tensor, "blocks"));
    const char *kind = cli_string(tensor, "class");
    char most[192];
    describe_coding(tensor, strcmp(cli_string(tensor, "content"), "lossless") == 0, most,
                    sizeof most);
    bool known = kind[0] && strcmp(kind, "unknown") != 0;
    if (n > 0)
        snprintf(buf, size, "%s%s%zu blocks, most: %s", known ? kind : "", known ? ": " : "", n,
                 most);
    else
        snprintf(buf, size, "%s%s%s", known ? kind : "", known ? ": " : "", most);
    return buf;
}

enum qins_status cli_refuse_other_page(const char *dir, const char *report, struct qins_error *err)
{
    char *page = qn_path_join(dir, "index.html", err), *own = qn_path_join(dir, report, err);
    enum qn_entry page_is = QN_ENTRY_NONE, own_is = QN_ENTRY_NONE;
    enum qins_status st = page && own ? qn_find(page, true, &page_is, err) : QINS_ERR_MEMORY;
    if (st == QINS_OK)
        st = qn_find(own, true, &own_is, err);
    if (st == QINS_OK && page_is != QN_ENTRY_NONE && own_is == QN_ENTRY_NONE)
        st = qn_fail_at(
            err, QINS_ERR_USAGE, dir, NULL, QN_NO_OFFSET,
            "the folder holds another page (index.html without %s); choose another folder", report);
    free(page);
    free(own);
    return st;
}
