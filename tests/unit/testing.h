/* cmocka with what it needs before it, and helpers that unit tests share. */
#ifndef QINS_TESTS_TESTING_H
#define QINS_TESTS_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* CALL, whose error goes to e_, returns QINS_OK. */
#define check_ok(call)                                                                             \
    do {                                                                                           \
        struct qins_error e_ = {0};                                                                \
        if ((call) != QINS_OK)                                                                     \
            fail_msg("%s", e_.message);                                                            \
    } while (0)

/* Each path once, where repetition takes minutes: under valgrind and TSan, as .ci/run says. */
static inline bool test_briefly(void)
{
    return getenv("QINS_BRIEF_TESTS") != NULL;
}

/* Under TSan only the tests whose names match PATTERN: the others do nothing else on threads. */
static inline void test_only_under_tsan(const char *pattern)
{
    const char *sanitizer = getenv("QINS_SANITIZER");
    if (sanitizer && strcmp(sanitizer, "thread") == 0) {
        print_message("under TSan %s alone\n", pattern);
        cmocka_set_test_filter(pattern);
    }
}

/* xorshift64*: a reproducible stream for test data; *state must not be 0. */
static inline uint64_t test_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dULL;
}

#endif
