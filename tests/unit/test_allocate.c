#include "tests/unit/testing.h"

#include "policy/allocate.h"

#include <math.h>

enum { ITEMS = 5, CHOICES = 6, MOST_BYTES = 551 /* of one bit of an item */ };

static double uniform(uint64_t *seed)
{
    return (double)(test_random(seed) >> 11) * 0x1p-53;
}

/* Random choices; CONVEX ones lie on a curve like that of a quantiser, cost 4^-bits. */
static void fill(struct qn_choice c[ITEMS][CHOICES], struct qn_alloc_item *items, bool convex,
                 uint64_t *seed)
{
    for (size_t i = 0; i < ITEMS; i++) {
        double size = 50 + floor(500 * uniform(seed)), g = exp(4 * uniform(seed));
        for (size_t k = 0; k < CHOICES; k++) {
            double bits = convex ? (double)k + 1 : 6 * uniform(seed);
            c[i][k].bytes = floor(size * bits);
            c[i][k].cost = convex ? size * g * pow(4, -bits) : g * uniform(seed);
        }
        items[i] = (struct qn_alloc_item){.choices = c[i], .n_choices = CHOICES};
    }
}

static void totals(const struct qn_alloc_item *items, double *bytes, double *cost)
{
    *bytes = *cost = 0;
    for (size_t i = 0; i < ITEMS; i++) {
        *bytes += items[i].choices[items[i].chosen].bytes;
        *cost += items[i].choices[items[i].chosen].cost;
    }
}

/* Every combination: least cost within BUDGET of bytes, or (COST) least bytes within it of cost. */
static double exhaustive(const struct qn_alloc_item *items, double budget, bool cost)
{
    double best = INFINITY;
    struct qn_alloc_item trial[ITEMS];
    for (size_t i = 0; i < ITEMS; i++)
        trial[i] = items[i];
    for (unsigned n = 0; n < 7776; n++) {
        double bytes, sum;
        unsigned rest = n;
        for (size_t i = 0; i < ITEMS; i++, rest /= CHOICES)
            trial[i].chosen = rest % CHOICES;
        totals(trial, &bytes, &sum);
        double limited = cost ? sum : bytes, wanted = cost ? bytes : sum;
        if (limited <= budget && wanted < best)
            best = wanted;
    }
    return best;
}

static void test_bytes(void **state)
{
    (void)state;
    uint64_t seed = 11;
    struct qn_choice c[ITEMS][CHOICES];
    struct qn_alloc_item items[ITEMS];
    struct qn_allocation a;
    unsigned optimal = 0;
    for (int round = 0; round < 100; round++) {
        double bytes, cost;
        bool convex = round % 2;
        fill(c, items, convex, &seed);
        double budget = 2000 + 4000 * uniform(&seed), best = exhaustive(items, budget, false);
        assert_int_equal(qn_allocate_bytes(items, ITEMS, budget, &a, NULL), QINS_OK);
        totals(items, &bytes, &cost);
        assert_true(bytes == a.bytes && fabs(cost - a.cost) < 1e-9 * (1 + cost));
        assert_true(a.met == (bytes <= budget) && a.met == isfinite(best));
        if (!a.met)
            continue;
        assert_true(cost >= best * (1 - 1e-12));
        optimal += cost <= best * (1 + 1e-12);
        /* Duality: the hulls' point is worse by less than a step at the multiplier is worth. */
        assert_true(!convex || cost <= best + a.multiplier * MOST_BYTES * (1 + 1e-9));
    }
    assert_true(optimal >= 40);
}

static void test_cost(void **state)
{
    (void)state;
    uint64_t seed = 5;
    struct qn_choice c[ITEMS][CHOICES];
    struct qn_alloc_item items[ITEMS];
    struct qn_allocation a;
    unsigned optimal = 0;
    for (int round = 0; round < 100; round++) {
        double bytes, cost;
        fill(c, items, round % 2, &seed);
        double budget = 200 * uniform(&seed), best = exhaustive(items, budget, true);
        assert_int_equal(qn_allocate_cost(items, ITEMS, budget, &a, NULL), QINS_OK);
        totals(items, &bytes, &cost);
        assert_true(a.met == isfinite(best) && a.met == (cost <= budget));
        if (!a.met)
            continue;
        assert_true(bytes >= best);
        optimal += bytes == best;
    }
    assert_true(optimal >= 40);
}

/* With many small items the budget is filled to a hair. */
static void test_close(void **state)
{
    (void)state;
    enum { MANY = 400 };
    static struct qn_choice c[MANY][CHOICES];
    static struct qn_alloc_item items[MANY];
    uint64_t seed = 3;
    struct qn_allocation a;
    for (size_t i = 0; i < MANY; i++) {
        double size = 1000 + floor(9000 * uniform(&seed)), g = exp(4 * uniform(&seed));
        for (size_t k = 0; k < CHOICES; k++)
            c[i][k] = (struct qn_choice){size * (double)(k + 2) / 8, g * size * pow(4, -(double)k)};
        items[i] = (struct qn_alloc_item){.choices = c[i], .n_choices = CHOICES};
    }
    for (int step = 7; step < 19; step++) {
        double budget = 1e5 * step;
        assert_int_equal(qn_allocate_bytes(items, MANY, budget, &a, NULL), QINS_OK);
        assert_true(a.met && a.bytes <= budget && a.bytes > 0.999 * budget);
    }
    assert_int_equal(qn_allocate_bytes(items, MANY, 1e5, &a, NULL), QINS_OK);
    assert_false(a.met);
}

static void test_odd(void **state)
{
    (void)state;
    struct qn_choice c[] = {{10, NAN}, {INFINITY, 1}, {30, 2}, {20, 2}, {30, 2}};
    struct qn_alloc_item item = {.choices = c, .n_choices = 5};
    struct qn_allocation a;
    assert_int_equal(qn_allocate_bytes(&item, 1, 100, &a, NULL), QINS_OK);
    assert_int_equal(item.chosen, 3);
    assert_int_equal(qn_allocate_bytes(NULL, 0, 100, &a, NULL), QINS_OK);
    assert_true(a.met && a.bytes == 0);
    item.n_choices = 2;
    assert_int_equal(qn_allocate_bytes(&item, 1, 100, &a, NULL), QINS_ERR_USAGE);
    item.n_choices = 0;
    assert_int_equal(qn_allocate_cost(&item, 1, 100, &a, NULL), QINS_ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_cost),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_odd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
