#include "tests/unit/testing.h"

#include "policy/policy.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

static void test_matches(void **state)
{
    (void)state;
    static const struct {
        const char *glob, *name;
        bool match;
    } cases[] = {
        {"*", "", true},
        {"*", "a.b/c", true},
        {"a*c", "abc", true},
        {"a*c", "abcd", false},
        {"?", "\xc3\xbc", true},
        {"??", "\xc3\xbc", false},
        {"?", "\xff", true},
        {"*.{q,k,v}_proj.*", "m.0.k_proj.weight", true},
        {"*.{q,k,v}_proj.*", "m.0.o_proj.weight", false},
        {"{,a}{,b}", "", true},
        {"{,a}{,b}", "ab", true},
        {"{,a}{,b}", "ba", false},
        {"{a*,?b}c", "axxc", true},
        {"{a*,?b}c", "xbc", true},
        {"{a*,?b}c", "xb", false},
        {"a,b", "a,b", true},
        {"[a-c]", "b", true},
        {"[!a-c]", "b", false},
        {"[^a-c]", "d", true},
        {"[]]", "]", true},
        {"[]a]x", "ax", true},
        {"[a-]", "-", true},
        {"[\xc3\xa0-\xc3\xbc]", "\xc3\xa9", true},
        {"[\\]]", "]", true},
        {"\\*", "*", true},
        {"\\*", "x", false},
        {"\\{a\\}", "{a}", true},
        {"*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         false},
        {"'\"`$(x)", "'\"`$(x)", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(qn_glob_valid(cases[i].glob));
        if (qn_glob_match(cases[i].glob, cases[i].name) != cases[i].match)
            fail_msg("%s against %s", cases[i].glob, cases[i].name);
    }
}

static void test_bad(void **state)
{
    (void)state;
    static const char *const bad[] = {"",   "[",   "[a", "[!",     "[]", "[b-a]", "[a-",  "{",
                                      "{a", "{a,", "}",  "{a{b}}", "a}", "\\",    "[a\\", "{a}}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (qn_glob_valid(bad[i]))
            fail_msg("%s is taken", bad[i]);
        assert_false(qn_glob_match(bad[i], bad[i]));
    }
    char longest[256];
    memset(longest, 'a', sizeof longest);
    longest[254] = '\0';
    assert_true(qn_glob_match(longest, longest));
    longest[254] = 'a';
    longest[255] = '\0';
    assert_false(qn_glob_valid(longest));
}

/* The C library's fnmatch() as the oracle of everything but braces and Unicode. */
static void test_against_fnmatch(void **state)
{
    (void)state;
    static const char *const pieces[] = {"*", "?", "a", "b", "[ab]", "[!a]", "[a-b]", "\\*", "c"};
    uint64_t seed = 7;
    for (int round = 0; round < 20000; round++) {
        char glob[64] = "", name[16];
        size_t used = 0;
        for (uint64_t n = 1 + test_random(&seed) % 7; n-- > 0;)
            used += (size_t)snprintf(glob + used, sizeof glob - used, "%s",
                                     pieces[test_random(&seed) % 9]);
        size_t length = test_random(&seed) % 9;
        for (size_t i = 0; i < length; i++)
            name[i] = "aabc*"[test_random(&seed) % 5];
        name[length] = '\0';
        if (qn_glob_match(glob, name) != (fnmatch(glob, name, 0) == 0))
            fail_msg("%s against %s", glob, name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_against_fnmatch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
