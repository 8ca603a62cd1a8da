/* Pictures by gnuplot: a script from analyze/assets, its data, an SVG and a PNG each. Scripts hold
 * no text but their own; names of tensors and the like reach gnuplot as data. Everything is made in
 * a folder beside the final one and moved there when it is whole. */
#ifndef QINS_ANALYZE_PLOT_H
#define QINS_ANALYZE_PLOT_H

#include "analyze/stage.h"
#include "core/buf.h"
#include "core/thread.h"

#include <stdio.h>

struct qn_plot {
    char name[32];       /* of its files: letters, digits and '-' */
    const char *caption; /* what it shows; static */
    const char *alt;     /* the same for those who cannot see it, short; static */
    long tensor;         /* index in the report, or -1 */
    bool drawn;
};

struct qn_plotter {
    char *folder;          /* DIR/plots */
    struct qn_stage stage; /* where the work is done */
    bool placed;           /* files are in the folder, no longer in the stage */
    struct qn_plot *plots;
    size_t n_plots, capacity;
    FILE *data; /* of the plot that is being described */
    bool lost;  /* something of that is not in it */
};

/* Makes the stage, in DIR, which must be there. */
enum qins_status qn_plotter_init(struct qn_plotter *p, const char *dir, struct qins_error *err);
void qn_plotter_finish(struct qn_plotter *p); /* removes what was not moved */

/* Opens NAME.dat for a plot: write to p->data, one line a row, tabs between columns; a blank line
 * starts another line of a curve, two blank lines another block. */
enum qins_status qn_plot_begin(struct qn_plotter *p, const char *name, struct qins_error *err);
/* A text as a column: what gnuplot could take for syntax (quotes, control characters, backslashes)
 * is replaced by what looks like it; the middle of a long one is left out. NULL: there was no
 * memory for it, which qn_plot_end() tells. */
void qn_plot_text(struct qn_plotter *p, const char *text);
/* The same of the name of a kind, shorter: it takes room from what is beside it. */
void qn_plot_name(struct qn_plotter *p, const char *name);
/* A number as a column, NaN where it is not finite. */
void qn_plot_number(struct qn_plotter *p, double value);
void qn_plot_end_row(struct qn_plotter *p);
/* Two blank lines; a block without ROWS gets one of COLUMNS NaN, so that gnuplot finds it. */
void qn_plot_end_block(struct qn_plotter *p, size_t rows, int columns);
/* Closes the data and adds the plot: NAME.gp is HEAD (assignments of numbers, as printf() has
 * them), then SCRIPT. Where there turned out to be nothing to show, SHOWN 0, there is none. */
enum qins_status qn_plot_end(struct qn_plotter *p, const struct qn_plot *plot, size_t shown,
                             const char *script, struct qins_error *err, const char *head, ...)
    __attribute__((format(printf, 6, 7)));

/* Runs gnuplot, in the stage. A plot that it cannot draw, or all where it is missing, are told as
 * notices. */
enum qins_status qn_plotter_draw(struct qn_plotter *p, const struct qn_monitor *monitor,
                                 struct qins_error *err);
/* Moves all files to the folder, made where it is missing, and removes pictures there that an
 * earlier run left. */
enum qins_status qn_plotter_place(struct qn_plotter *p, struct qins_error *err);

#endif
