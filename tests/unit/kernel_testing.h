/* What the tests of kernels and linear layers share: numbers, and memory beside pages
 * that nobody may touch. */
#ifndef QINS_TESTS_KERNEL_TESTING_H
#define QINS_TESTS_KERNEL_TESTING_H

#include "tests/unit/testing.h"

#include "core/tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* BYTES bytes beside an unreadable page: the last of them before it or, from when
 * guarded_at_front is set on, the first of them behind it. */
struct guarded {
    char *map;
    size_t map_bytes;
    void *data;
};

static bool guarded_at_front;

static inline struct guarded guarded_create(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (bytes + page - 1) / page * page;
    struct guarded g = {.map_bytes = body + page};
    g.map = mmap(NULL, g.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(g.map, MAP_FAILED);
    assert_int_equal(mprotect(g.map + (guarded_at_front ? 0 : body), page, PROT_NONE), 0);
    g.data = g.map + (guarded_at_front ? page : body - bytes);
    return g;
}

static inline void guarded_destroy(struct guarded *g)
{
    munmap(g->map, g->map_bytes);
}

/* A buffer between two guard pages, of which tests use the beginning or the end. */
struct fenced {
    uint8_t *map, *body;
    size_t page, size;
};

/* At least ROOM bytes between the pages, all 0. */
static inline struct fenced fenced_create(size_t room)
{
    struct fenced f = {.page = (size_t)sysconf(_SC_PAGESIZE)};
    f.size = (room + f.page - 1) / f.page * f.page;
    f.map =
        mmap(NULL, f.size + 2 * f.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(f.map, MAP_FAILED);
    f.body = f.map + f.page;
    assert_int_equal(mprotect(f.map, f.page, PROT_NONE), 0);
    assert_int_equal(mprotect(f.body + f.size, f.page, PROT_NONE), 0);
    return f;
}

static inline void fenced_destroy(struct fenced *f)
{
    munmap(f->map, f->size + 2 * f->page);
}

/* Where SIZE bytes lie in a buffer. */
static inline void *fenced_place(const struct fenced *f, bool at_end, size_t size)
{
    return at_end ? f->body + f->size - size : f->body;
}

/* Uniform in ±SPAN. */
static inline float test_uniform(uint64_t *seed, double span)
{
    double u = (double)(test_random(seed) >> 11) * 0x1p-53;
    return (float)(span * (2.0 * u - 1.0));
}

static inline void test_fill(float *x, size_t n, uint64_t *seed, double span)
{
    for (size_t i = 0; i < n; i++)
        x[i] = test_uniform(seed, span);
}

/* |value - expected| <= tolerance * scale, or both the same infinity or NaN. */
static inline bool test_close(double value, double expected, double tolerance, double scale)
{
    if (isnan(value) || isnan(expected))
        return isnan(value) && isnan(expected);
    return value == expected || fabs(value - expected) <= tolerance * scale;
}

#endif
