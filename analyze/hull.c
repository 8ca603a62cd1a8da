#include "analyze/candidates.h"

#include <stdlib.h>

/* > 0 where C lies to the left of the way from A to B: the corner at B is convex. */
static double turn(const double *x, const double *y, size_t a, size_t b, size_t c)
{
    return (x[b] - x[a]) * (y[c] - y[a]) - (y[b] - y[a]) * (x[c] - x[a]);
}

static int before(const double *x, const double *y, size_t a, size_t b)
{
    if (x[a] != x[b])
        return x[a] < x[b];
    if (y[a] != y[b])
        return y[a] < y[b];
    return a < b;
}

/* Heap sort: in place, and the same everywhere. */
static void sift(const double *x, const double *y, size_t *order, size_t root, size_t n)
{
    for (size_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && before(x, y, order[child], order[child + 1]))
            child++;
        if (!before(x, y, order[root], order[child]))
            return;
        size_t other = order[root];
        order[root] = order[child];
        order[child] = other;
    }
}

static void sort_points(const double *x, const double *y, size_t *order, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift(x, y, order, i, n);
    for (size_t end = n; end-- > 1;) {
        size_t last = order[end];
        order[end] = order[0];
        order[0] = last;
        sift(x, y, order, 0, end);
    }
}

/* Andrew's monotone chain, "Another efficient algorithm for convex hulls in two dimensions", 1979,
 * ended where the error no longer falls. */
size_t qn_convex_hull(const double *x, const double *y, size_t n, size_t *hull)
{
    size_t used = 0, kept = 0;
    for (size_t i = 0; i < n; i++)
        if (x[i] - x[i] == 0.0 && y[i] - y[i] == 0.0) /* finite */
            hull[used++] = i;
    sort_points(x, y, hull, used);
    for (size_t i = 0; i < used; i++) {
        size_t at = hull[i];
        if (kept > 0 && y[at] >= y[hull[kept - 1]])
            continue;
        while (kept >= 2 && turn(x, y, hull[kept - 2], hull[kept - 1], at) <= 0.0)
            kept--;
        hull[kept++] = at;
    }
    return kept;
}
