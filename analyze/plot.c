#include "analyze/plot.h"
#include "analyze/child.h"
#include "analyze/plot_assets.h"

#include "core/file.h"
#include "core/folder.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAX_LABEL = 64,      /* bytes of a text in a picture */
    MAX_NAME = 24,       /* of one that takes room from the picture beside it */
    HEAD_SHARE = 3,      /* of a longer one: a third from its beginning, the rest from its end */
    SVG_LIMIT = 8 << 20, /* bytes */
    TAIL = 16            /* bytes at the end of a picture, in which it says that it ends */
};

/* What pages of either colour show instead of the pictures' ink, grid and blue. The patterns are
 * those of gnuplot's SVG terminal, of the colours in assets/style.gp. */
static const char svg_style[] =
    "\n<style>@media (prefers-color-scheme:dark){"
    "[fill=\"rgb(48,54,61)\"]{fill:#d7dde5}[stroke='rgb( 48,  54,  61)']{stroke:#d7dde5}"
    "[color='rgb( 48,  54,  61)']{color:#d7dde5}[color='rgb(  0, 114, 178)']{color:#58aef0}"
    "[color='rgb(110, 119, 129)']{color:#9aa5b1}"
    "[stroke='rgb(208, 215, 222)']{stroke:#363f4a}"
    "[fill=\"rgb(0,114,178)\"]{fill:#58aef0}[stroke='rgb(  0, 114, 178)']{stroke:#58aef0}"
    "[fill=\"rgb(110,119,129)\"]{fill:#9aa5b1}[stroke='rgb(110, 119, 129)']{stroke:#9aa5b1}"
    "}</style>\n";

enum qins_status qn_plotter_init(struct qn_plotter *p, const char *dir, struct qins_error *err)
{
    *p = (struct qn_plotter){.stage.fd = -1};
    p->folder = qn_path_join(dir, "plots", err);
    return p->folder ? qn_stage_init(&p->stage, dir, "plots", err) : QINS_ERR_MEMORY;
}

void qn_plotter_finish(struct qn_plotter *p)
{
    if (p->data)
        fclose(p->data);
    if (p->stage.path)
        qn_stage_finish(&p->stage);
    free(p->folder);
    free(p->plots);
    *p = (struct qn_plotter){.stage.fd = -1};
}

/* NAME and SUFFIX in the folder of work. */
static FILE *create(const struct qn_plotter *p, const char *name, const char *suffix,
                    struct qins_error *err)
{
    char *path = qn_format(err, "%s/%s%s", p->stage.path, name, suffix);
    FILE *f = path ? fopen(path, "we") : NULL;
    if (path && !f)
        qn_fail_errno(err, path, "create a file");
    free(path);
    return f;
}

static enum qins_status close_file(FILE *f, const char *folder, struct qins_error *err)
{
    bool bad = ferror(f) != 0;
    bad = fclose(f) != 0 || bad;
    return bad ? qn_fail_errno(err, folder, "write a file") : QINS_OK;
}

enum qins_status qn_plot_begin(struct qn_plotter *p, const char *name, struct qins_error *err)
{
    p->data = create(p, name, ".dat", err);
    return p->data ? QINS_OK : err ? err->status : QINS_ERR_IO;
}

/* gnuplot takes quotes, backslashes and control characters of data for syntax, and a text that is
 * no number but begins like one for that number. */
static void put_safe(FILE *f, const char *text, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t unsafe = qn_text_unsafe(text + i);
        if (unsafe > 0) {
            fputc('?', f);
            i += unsafe;
            continue;
        }
        const unsigned char byte = (unsigned char)text[i];
        if (byte >= 0xf0) { /* pictographs: cairo draws coloured ones over the whole picture */
            fputs("\xe2\x96\xa1", f); /* a square */
            i += 3;
        } else if (text[i] == '"')
            fputs("\xe2\x80\xb3", f); /* double prime */
        else if (text[i] == '\\')
            fputs("\xe2\x88\x96", f); /* set minus */
        else
            fputc(text[i], f);
        i++;
    }
}

static bool continues(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

static void put_label(struct qn_plotter *p, const char *text, size_t most)
{
    const size_t n = strlen(text);
    fputc('"', p->data);
    if (n <= most) {
        put_safe(p->data, text, n);
    } else {
        size_t head = most / HEAD_SHARE, tail = n - (most - head);
        while (continues(text[head]))
            head--;
        while (continues(text[tail]))
            tail++;
        put_safe(p->data, text, head);
        fputs("\xe2\x80\xa6", p->data);
        put_safe(p->data, text + tail, n - tail);
    }
    fputs("\"\t", p->data);
}

void qn_plot_text(struct qn_plotter *p, const char *text)
{
    p->lost = p->lost || !text;
    put_label(p, text ? text : "", MAX_LABEL);
}

void qn_plot_name(struct qn_plotter *p, const char *name)
{
    put_label(p, name, MAX_NAME);
}

void qn_plot_number(struct qn_plotter *p, double value)
{
    if (isfinite(value))
        fprintf(p->data, "%.7g\t", value);
    else
        fputs("NaN\t", p->data);
}

void qn_plot_end_row(struct qn_plotter *p)
{
    fputc('\n', p->data);
}

void qn_plot_end_block(struct qn_plotter *p, size_t rows, int columns)
{
    if (rows == 0) {
        for (int i = 0; i < columns; i++)
            qn_plot_number(p, NAN);
        qn_plot_end_row(p);
    }
    fputs("\n\n", p->data);
}

/* Takes back NAME.dat. */
static enum qins_status drop(const struct qn_plotter *p, const char *name, struct qins_error *err)
{
    char *path = qn_format(err, "%s/%s.dat", p->stage.path, name);
    if (!path)
        return QINS_ERR_MEMORY;
    unlink(path);
    free(path);
    return QINS_OK;
}

enum qins_status qn_plot_end(struct qn_plotter *p, const struct qn_plot *plot, size_t shown,
                             const char *script, struct qins_error *err, const char *head, ...)
{
    va_list arguments;
    enum qins_status st = close_file(p->data, p->stage.path, err);
    p->data = NULL;
    if (st == QINS_OK && p->lost)
        st = qn_fail_memory(err);
    if (st == QINS_OK && shown == 0)
        return drop(p, plot->name, err);
    if (st == QINS_OK && p->n_plots == p->capacity) {
        size_t capacity = p->capacity ? 2 * p->capacity : 64;
        struct qn_plot *plots = realloc(p->plots, capacity * sizeof *plots);
        if (!plots)
            return qn_fail_memory(err);
        p->plots = plots;
        p->capacity = capacity;
    }
    FILE *f = st == QINS_OK ? create(p, plot->name, ".gp", err) : NULL;
    if (!f)
        return st != QINS_OK ? st : err ? err->status : QINS_ERR_IO;
    fprintf(f, "name = \"%s\"\n", plot->name);
    va_start(arguments, head);
    vfprintf(f, head, arguments);
    va_end(arguments);
    fputs(script, f);
    st = close_file(f, p->stage.path, err);
    if (st == QINS_OK)
        p->plots[p->n_plots++] = *plot;
    return st;
}

/* A script that draws plots FIRST onwards; PROGRESS: and says after each that it is done. */
static enum qins_status write_driver(const struct qn_plotter *p, const char *name, size_t first,
                                     bool progress, struct qins_error *err)
{
    static const char *const kinds[] = {"svg", "png"};
    FILE *f = create(p, name, "", err);
    if (!f)
        return err ? err->status : QINS_ERR_IO;
    for (size_t i = first; i < p->n_plots; i++) {
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
            fprintf(f, "kind = \"%s\"\nload \"%s.gp\"\n", kinds[k], p->plots[i].name);
        if (progress)
            fprintf(f, "set print \"progress\"\nprint %zu\nset print\n", i + 1);
    }
    return close_file(f, p->stage.path, err);
}

/* The end of file NAME with SUFFIX that gnuplot may have made, at most TAIL bytes and a NUL; ""
 * where there is none. */
static enum qins_status read_tail(const struct qn_plotter *p, const char *name, const char *suffix,
                                  char *tail, struct qins_error *err)
{
    char *path = qn_format(err, "%s/%s%s", p->stage.path, name, suffix);
    struct qn_file f = {.fd = -1};
    bool there = false;
    enum qins_status st = path ? qn_find_regular(path, &there, err) : QINS_ERR_MEMORY;
    memset(tail, 0, TAIL + 1);
    if (st == QINS_OK && there)
        st = qn_file_open(&f, path, err);
    if (st == QINS_OK && there) {
        const size_t n = f.size < TAIL ? (size_t)f.size : TAIL;
        st = qn_file_read(&f, f.size - n, tail, n, err);
    }
    qn_file_close(&f);
    free(path);
    return st;
}

/* How many of all plots are DONE, from the file that the driver writes. */
static enum qins_status plots_done(const struct qn_plotter *p, size_t before, size_t *done,
                                   struct qins_error *err)
{
    char line[TAIL + 1], *path = qn_path_join(p->stage.path, "progress", err);
    const enum qins_status st = path ? read_tail(p, "progress", "", line, err) : QINS_ERR_MEMORY;
    *done = st == QINS_OK ? (size_t)strtoul(line, NULL, 10) : before;
    if (*done < before || *done > p->n_plots)
        *done = before;
    if (path)
        unlink(path);
    free(path);
    return st;
}

/* Whether plot I was DRAWN: gnuplot does not tell that a picture could not be written whole. */
static enum qins_status look_at_plot(struct qn_plotter *p, size_t i, struct qins_error *err)
{
    char svg[TAIL + 1], png[TAIL + 1];
    enum qins_status st = read_tail(p, p->plots[i].name, ".svg", svg, err);
    if (st == QINS_OK)
        st = read_tail(p, p->plots[i].name, ".png", png, err);
    if (st == QINS_OK)
        p->plots[i].drawn =
            strstr(svg, "</svg>") && memmem(png, TAIL, "IEND", strlen("IEND")) != NULL;
    return st;
}

/* gnuplot ends at the first script that it cannot carry out: that one is left out, the others are
 * drawn. */
static enum qins_status draw_all(struct qn_plotter *p, const struct qn_monitor *monitor,
                                 struct qins_error *err)
{
    /* A picture takes about 0.1 s; the bound is for one that never ends. */
    enum { SECONDS_BASE = 60, SECONDS_PLOT = 2 };
    /* -d: without the user's own settings */
    static const char *const gnuplot[] = {"gnuplot", "-d", "run.gp", NULL};
    enum qins_status st = QINS_OK;
    const char *example = "";
    size_t failed = 0;
    for (size_t first = 0; first < p->n_plots && st == QINS_OK;) {
        bool ok;
        const struct qn_child child = {.argv = gnuplot,
                                       .folder = p->stage.path,
                                       .seconds = SECONDS_BASE +
                                                  SECONDS_PLOT * (unsigned)(p->n_plots - first)};
        st = write_driver(p, "run.gp", first, true, err);
        if (st == QINS_OK)
            st = qn_child_run(&child, monitor, &ok, err);
        if (st != QINS_OK)
            break;
        size_t done = p->n_plots;
        if (!ok)
            st = plots_done(p, first, &done, err);
        for (size_t i = first; i < done && st == QINS_OK; i++)
            st = look_at_plot(p, i, err);
        for (size_t i = first; i < p->n_plots && i <= done; i++)
            if (!p->plots[i].drawn && failed++ == 0)
                example = p->plots[i].name;
        first = done + 1;
    }
    if (st == QINS_OK && failed > 0)
        st = qn_stage_check_space(&p->stage, "draw the pictures", err);
    if (st == QINS_OK && failed > 0)
        qn_notice(monitor, "gnuplot could not draw %zu plots, %s among them; they are left out",
                  failed, example);
    if (st == QINS_ERR_UNSUPPORTED) {
        qn_notice(monitor, "%s; the pictures are left out, plots/draw.gp makes them", err->message);
        st = QINS_OK;
    }
    return st;
}

/* Makes an SVG readable on dark pages, too. */
static enum qins_status style_svg(const char *path, struct qins_error *err)
{
    struct qn_buf in = {0}, out = {0};
    enum qins_status st = qn_read_whole(path, SVG_LIMIT, &in, err);
    if (st == QINS_OK)
        st = qn_buf_append(&in, "", 1, err);
    const char *text = (const char *)in.data;
    const char *tag = st == QINS_OK ? strstr(text, "<svg") : NULL;
    const char *end = tag ? strchr(tag, '>') : NULL;
    if (st == QINS_OK && end) {
        size_t head = (size_t)(end + 1 - text);
        st = qn_buf_append(&out, text, head, err);
        if (st == QINS_OK)
            st = qn_buf_append(&out, svg_style, sizeof svg_style - 1, err);
        if (st == QINS_OK)
            st = qn_buf_append(&out, text + head, in.size - 1 - head, err);
        FILE *f = st == QINS_OK ? fopen(path, "we") : NULL;
        if (st == QINS_OK && !f)
            st = qn_fail_errno(err, path, "create a file");
        if (f) {
            fwrite(out.data, 1, out.size, f);
            st = close_file(f, path, err);
        }
    }
    qn_buf_finish(&in);
    qn_buf_finish(&out);
    return st;
}

/* Moves NAME.SUFFIX, where there is one. */
static enum qins_status move(const struct qn_plotter *p, const char *name, const char *suffix,
                             struct qins_error *err)
{
    char *file = qn_format(err, "%s%s", name, suffix);
    const enum qins_status st =
        file ? qn_stage_move(&p->stage, p->folder, file, err) : QINS_ERR_MEMORY;
    free(file);
    return st;
}

static enum qins_status move_plot(const struct qn_plotter *p, const struct qn_plot *plot,
                                  struct qins_error *err)
{
    static const char *const texts[] = {".dat", ".gp"}, *const pictures[] = {".svg", ".png"};
    enum qins_status st = QINS_OK;
    for (int i = 0; i < 2 && st == QINS_OK; i++)
        st = move(p, plot->name, texts[i], err);
    for (int i = 0; i < 2 && st == QINS_OK && plot->drawn; i++)
        st = move(p, plot->name, pictures[i], err);
    return st;
}

/* Whether NAME is a file that this program makes, and DONE has none of it. */
static bool is_stale(const struct qn_plotter *p, const char *name)
{
    static const char *const suffixes[] = {".dat", ".gp", ".svg", ".png"};
    static const char *const families[] = {"transport-", "kv-", "review-"};
    const char *dot = strrchr(name, '.');
    size_t stem = dot ? (size_t)(dot - name) : 0;
    int kind = 0;
    if (!dot)
        return false;
    while (kind < 4 && strcmp(dot, suffixes[kind]) != 0)
        kind++;
    if (kind == 4)
        return false;
    for (size_t i = 0; i < p->n_plots; i++)
        if (strlen(p->plots[i].name) == stem && memcmp(p->plots[i].name, name, stem) == 0)
            return kind >= 2 && !p->plots[i].drawn;
    for (size_t i = 0; i < QN_PLOT_NAMES; i++)
        if (strlen(qn_plot_names[i]) == stem && memcmp(qn_plot_names[i], name, stem) == 0)
            return true;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (strncmp(name, families[i], strlen(families[i])) == 0)
            return true;
    return stem >= 11 && strncmp(name, "tensor-", 7) == 0 &&
           strspn(name + 7, "0123456789") == stem - 7;
}

static enum qins_status remove_stale(const struct qn_plotter *p, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    DIR *d = opendir(p->folder);
    if (!d)
        return qn_fail_errno(err, p->folder, "cannot open the folder");
    for (const char *name = ""; st == QINS_OK && name;) {
        st = qn_folder_next(d, p->folder, &name, err);
        if (st == QINS_OK && name && is_stale(p, name) && unlinkat(dirfd(d), name, 0) != 0)
            st = qn_fail_errno(err, p->folder, "remove an earlier picture");
    }
    closedir(d);
    return st;
}

enum qins_status qn_plotter_draw(struct qn_plotter *p, const struct qn_monitor *monitor,
                                 struct qins_error *err)
{
    FILE *f = create(p, "style", ".gp", err);
    if (!f)
        return err ? err->status : QINS_ERR_IO;
    fputs(qn_asset_style_gp, f);
    enum qins_status st = close_file(f, p->stage.path, err);
    if (st == QINS_OK)
        st = write_driver(p, "draw.gp", 0, false, err);
    if (st == QINS_OK)
        st = draw_all(p, monitor, err);
    for (size_t i = 0; i < p->n_plots && st == QINS_OK; i++) {
        char *svg = qn_format(err, "%s/%s.svg", p->stage.path, p->plots[i].name);
        st = !svg ? QINS_ERR_MEMORY : p->plots[i].drawn ? style_svg(svg, err) : QINS_OK;
        free(svg);
    }
    return st;
}

enum qins_status qn_plotter_place(struct qn_plotter *p, struct qins_error *err)
{
    char *driver = qn_path_join(p->folder, "draw.gp", err);
    enum qn_entry earlier = QN_ENTRY_NONE; /* else what is there is nothing of this program */
    const size_t missing = qn_first_missing(p->folder);
    enum qins_status st = driver ? qn_find(driver, true, &earlier, err) : QINS_ERR_MEMORY;
    if (st == QINS_OK)
        st = qn_make_directories(p->folder, err);
    for (size_t i = 0; i < p->n_plots && st == QINS_OK; i++)
        st = move_plot(p, &p->plots[i], err);
    if (st == QINS_OK)
        st = move(p, "style", ".gp", err);
    if (st == QINS_OK)
        st = move(p, "draw", ".gp", err);
    if (st == QINS_OK && earlier != QN_ENTRY_NONE)
        st = remove_stale(p, err);
    if (st != QINS_OK && missing > 0)
        qn_remove_empty(p->folder, missing);
    p->placed = true;
    free(driver);
    return st;
}
