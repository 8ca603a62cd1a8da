#include "core/cholesky.h"

#include <math.h>
#include <string.h>

/* Tiles that stay in the first-level cache. Every element is a difference of products, in the order
 * of their index, whatever the tiles: the loops below only change which element is next. */
enum { TILE = 64, ROWS = 4, COLUMNS = 4 };

/* Of what every processor of the target has; wider ones would change nothing but the time. */
typedef double pair __attribute__((vector_size(16)));

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline void subtract(pair *low, pair *high, const pair t[2], double p)
{
    *low -= t[0] * p;
    *high -= t[1] * p;
}

static inline void load(double *row, pair *low, pair *high)
{
    memcpy(low, row, sizeof *low);
    memcpy(high, row + 2, sizeof *high);
}

static inline void store(double *row, const pair *low, const pair *high)
{
    memcpy(row, low, sizeof *low);
    memcpy(row + 2, high, sizeof *high);
}

/* C[4][4] -= P[4][depth] T[depth][4]; rows of C are N apart, those of P STRIDE. */
static void subtract_four(double *c, size_t n, const double *p, size_t stride,
                          const double (*t)[TILE], size_t depth)
{
    pair a0, b0, a1, b1, a2, b2, a3, b3, row[2];
    load(c, &a0, &b0);
    load(c + n, &a1, &b1);
    load(c + 2 * n, &a2, &b2);
    load(c + 3 * n, &a3, &b3);
    for (size_t k = 0; k < depth; k++) {
        memcpy(row, t[k], sizeof row);
        subtract(&a0, &b0, row, p[k]);
        subtract(&a1, &b1, row, p[stride + k]);
        subtract(&a2, &b2, row, p[2 * stride + k]);
        subtract(&a3, &b3, row, p[3 * stride + k]);
    }
    store(c, &a0, &b0);
    store(c + n, &a1, &b1);
    store(c + 2 * n, &a2, &b2);
    store(c + 3 * n, &a3, &b3);
}

/* One row of it: C[columns] -= P[depth] T[depth][columns]. */
static void subtract_row(double *restrict c, const double *restrict p, const double (*t)[TILE],
                         size_t depth, size_t columns)
{
    for (size_t k = 0; k < depth; k++)
        for (size_t j = 0; j < columns; j++)
            c[j] -= p[k] * t[k][j];
}

/* C[rows][columns] -= P[rows][depth] T[depth][columns]. */
static void subtract_product(double *c, size_t n, const double *p, size_t stride, size_t rows,
                             const double (*t)[TILE], size_t depth, size_t columns)
{
    size_t i = 0;
    for (; i + ROWS <= rows; i += ROWS) {
        size_t j = 0;
        for (; j + COLUMNS <= columns; j += COLUMNS)
            subtract_four(c + i * n + j, n, p + i * stride, stride,
                          (const double(*)[TILE])(t[0] + j), depth);
        for (size_t r = i; r < i + ROWS && j < columns; r++)
            subtract_row(c + r * n + j, p + r * stride, (const double(*)[TILE])(t[0] + j), depth,
                         columns - j);
    }
    for (; i < rows; i++)
        subtract_row(c + i * n, p + i * stride, t, depth, columns);
}

/* T[j][i] = A[i][j]. */
static void transpose(double (*t)[TILE], const double *a, size_t n, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            t[j][i] = a[i * n + j];
}

/* L of a tile on the diagonal, whose products with the columns before it are done. */
static bool factor_tile(double *a, size_t n, size_t size)
{
    for (size_t i = 0; i < size; i++)
        for (size_t j = 0; j <= i; j++) {
            double x = a[i * n + j];
            for (size_t k = 0; k < j; k++)
                x -= a[i * n + k] * a[j * n + k];
            if (j < i)
                a[i * n + j] = x / a[j * n + j];
            else if (!(x > 0 && isfinite(x)))
                return false;
            else
                a[i * n + i] = sqrt(x);
        }
    return true;
}

/* ROWS of a tile below it: T is the tile's transpose. */
static void solve_rows(double *a, size_t n, size_t rows, const double (*t)[TILE], size_t size)
{
    for (size_t i = 0; i < rows; i++) {
        double *restrict x = a + i * n;
        for (size_t j = 0; j < size; j++) {
            x[j] /= t[j][j];
            for (size_t k = j + 1; k < size; k++)
                x[k] -= x[j] * t[j][k];
        }
    }
}

/* The tile of SIZE rows and columns from row I and column J on, less the products of the columns
 * before J. */
static void subtract_columns(double *a, size_t n, size_t i, size_t j, size_t size)
{
    double t[TILE][TILE] = {{0}};
    size_t rows = least(n - i, TILE);
    for (size_t k = 0; k < j; k += TILE) {
        transpose(t, a + j * n + k, n, size, TILE);
        if (i > j)
            subtract_product(a + i * n + j, n, a + i * n + k, n, rows, (const double(*)[TILE])t,
                             TILE, size);
        for (size_t r = 0; r < rows && i == j; r++)
            subtract_row(a + (i + r) * n + j, a + (i + r) * n + k, (const double(*)[TILE])t, TILE,
                         r + 1);
    }
}

bool qn_cholesky(double *a, size_t n)
{
    double t[TILE][TILE];
    for (size_t j = 0; j < n; j += TILE) {
        size_t size = least(n - j, TILE);
        subtract_columns(a, n, j, j, size);
        if (!factor_tile(a + j * n + j, n, size))
            return false;
        transpose(t, a + j * n + j, n, size, size);
        for (size_t i = j + TILE; i < n; i += TILE) {
            subtract_columns(a, n, i, j, size);
            solve_rows(a + i * n + j, n, least(n - i, TILE), (const double(*)[TILE])t, size);
        }
    }
    return true;
}

/* T = the tile of the inverse in row K and column J of tiles, 0 above the diagonal. */
static void copy_tile(double (*t)[TILE], const double *a, size_t n, size_t k, size_t j)
{
    size_t rows = least(n - k, TILE);
    for (size_t r = 0; r < rows; r++) {
        size_t columns = j < k ? TILE : r + 1;
        memset(t[r], 0, sizeof t[r]);
        memcpy(t[r], a + (k + r) * n + j, columns * sizeof **t);
    }
}

/* Rows of tile I: what the rows of the inverse in tile K < I bring, in place of the factor's
 * columns there. */
static void eliminate(double *a, size_t n, size_t i, size_t k)
{
    double t[TILE][TILE] = {{0}}, p[TILE][TILE] = {{0}};
    size_t rows = least(n - i, TILE);
    for (size_t r = 0; r < rows; r++) {
        double *x = a + (i + r) * n;
        memcpy(p[r], x + k, sizeof p[r]);
        memset(x + k, 0, sizeof p[r]);
    }
    for (size_t j = 0; j <= k; j += TILE) {
        copy_tile(t, a, n, k, j);
        subtract_product(a + i * n + j, n, p[0], TILE, rows, (const double(*)[TILE])t, TILE, TILE);
    }
}

/* And what the rows above it of its own tile bring; then row I is done. */
static void finish_row(double *a, size_t n, size_t i, size_t begin)
{
    double *restrict x = a + i * n;
    double pivot = x[i];
    for (size_t k = begin; k < i; k++) {
        const double *above = a + k * n;
        double p = x[k];
        x[k] = 0;
        for (size_t j = 0; j <= k; j++)
            x[j] -= p * above[j];
    }
    for (size_t j = 0; j < i; j++)
        x[j] /= pivot;
    x[i] = 1 / pivot;
}

void qn_cholesky_invert(double *a, size_t n)
{
    for (size_t i = 0; i < n; i += TILE) {
        for (size_t k = 0; k < i; k += TILE)
            eliminate(a, n, i, k);
        for (size_t r = i; r < least(n, i + TILE); r++)
            finish_row(a, n, r, i);
    }
}
