#include "analyze/extra.h"

#include <math.h>

/* Starting values are spread as the cube root of the density, the best there is for many clusters
 * (Panter and Dite 1951, "Quantization distortion in pulse-count modulation"). */
enum {
    CELLS = 512, /* of the density for that: equal steps of the root of u */
    MAX_VALUES = 256,
    MAX_ROUNDS = 200,
};
static const double least_gain = 1e-5; /* of a round, in proportion, to go on */

/* Clusters of magnitude; with 0 as a value of its own or without. */
struct clusters {
    const struct qn_density *density;
    unsigned n; /* magnitudes, 0 not among them */
    bool zero;
    double value[MAX_VALUES + 1], bound[MAX_VALUES + 1]; /* value[0] is 0 where it is one */
};

static double cell_end(unsigned i)
{
    double root = (double)i / CELLS;
    return root * root;
}

static void start(struct clusters *c)
{
    double mass[CELLS], sum = 0.0, before = 0.0, done = 0.0;
    for (unsigned i = 0; i < CELLS; i++) {
        struct qn_cumulative at;
        qn_density_at(c->density, cell_end(i + 1), &at);
        double width = cell_end(i + 1) - cell_end(i);
        mass[i] = cbrt((at.error[0] - before) / width) * width;
        before = at.error[0];
        sum += mass[i];
    }
    unsigned next = 1;
    for (unsigned i = 0; i < CELLS; i++) {
        while (next <= c->n && done + mass[i] > 0.0 &&
               ((double)next - 0.5) / (double)c->n * sum <= done + mass[i]) {
            double part = (((double)next - 0.5) / (double)c->n * sum - done) / mass[i];
            c->value[next++] = cell_end(i) + (cell_end(i + 1) - cell_end(i)) * part;
        }
        done += mass[i];
    }
    while (next <= c->n)
        c->value[next++] = 1.0;
}

/* The bounds of the values; with VALUES moved to the middle of what falls to them where MOVE. The
 * error before that. */
static double round_of(struct clusters *c, bool move)
{
    struct qn_cumulative from = {0}, to;
    double error = 0.0;
    c->value[0] = 0.0;
    for (unsigned l = 0; l < c->n; l++)
        c->bound[l] = l == 0 && !c->zero ? 0.0 : 0.5 * (c->value[l] + c->value[l + 1]);
    c->bound[c->n] = 1.0;
    for (unsigned l = 0; l <= c->n; l++) {
        qn_density_at(c->density, c->bound[l], &to);
        double m[3], d = c->value[l];
        for (int k = 0; k < 3; k++)
            m[k] = to.error[k] - from.error[k];
        error += m[2] - 2.0 * d * m[1] + d * d * m[0];
        if (move && l > 0 && m[0] > 0.0 && m[1] > 0.0)
            c->value[l] = m[1] / m[0];
        from = to;
    }
    return error > 0.0 ? error : 0.0;
}

double qn_cluster_values(const struct qn_density *d, unsigned k, double *values)
{
    struct clusters c = {.density = d, .zero = qn_density_zeros(d) > 0 || k % 2 == 1};
    k = k > MAX_VALUES ? MAX_VALUES : k;
    c.n = c.zero ? (k - 1) / 2 : k / 2;
    start(&c);
    double error = round_of(&c, true);
    for (unsigned i = 1; i < MAX_ROUNDS; i++) {
        double next = round_of(&c, true);
        bool done = next > error * (1.0 - least_gain);
        error = next;
        if (done)
            break;
    }
    error = round_of(&c, false);
    size_t at = 0;
    for (unsigned l = c.n; l > 0; l--)
        values[at++] = -c.value[l];
    if (c.zero)
        values[at++] = 0.0;
    for (unsigned l = 1; l <= c.n; l++)
        values[at++] = c.value[l];
    while (at < k)
        values[at++] = c.n > 0 ? c.value[c.n] : 0.0;
    return error;
}
