/* Regular expressions of Oniguruma in the words of PCRE2. The two agree on most of what
 * tokenizers use; what they read differently is rewritten, and whatever is not known to be read
 * alike is refused [oniguruma doc/RE, doc/SYNTAX.md (Ruby); pcre2pattern(3)]. */
#include "model/pattern.h"

#include <ctype.h>
#include <string.h>

/* Oniguruma's word characters: UTS #18, annex C, without the join controls; outside of [...] it
 * asks a table for Latin-1, which counts digits in superscript and fractions in. */
#define WORD    "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#define LATIN_1 "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"

struct translation {
    const char *text;
    size_t size, at;
    struct qn_buf *out;
    bool in_class;
};

static enum qins_status refuse(const struct translation *t, size_t size, struct qins_error *err)
{
    if (size > t->size - t->at)
        size = t->size - t->at;
    return qn_fail(err, QINS_ERR_UNSUPPORTED,
                   "\"%.*s\" at byte %zu of a regular expression is not implemented", (int)size,
                   t->text + t->at, t->at);
}

static bool starts(const struct translation *t, const char *what)
{
    const size_t n = strlen(what);
    return n <= t->size - t->at && memcmp(t->text + t->at, what, n) == 0;
}

/* Appends WHAT for the next N bytes. */
static enum qins_status put(struct translation *t, const char *what, size_t n,
                            struct qins_error *err)
{
    t->at += n;
    return qn_buf_append(t->out, what, strlen(what), err);
}

static enum qins_status copy(struct translation *t, size_t n, struct qins_error *err)
{
    t->at += n;
    return qn_buf_append(t->out, t->text + t->at - n, n, err);
}

static bool is_category(const char *name, size_t size)
{
    static const char known[] = " L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po "
                                "S Sm Sc Sk So Z Zs Zl Zp C Cc Cf Cn Co Cs ";
    char key[5] = " ";
    if (size < 1 || size > 2)
        return false;
    memcpy(key + 1, name, size);
    key[1 + size] = ' ';
    return strstr(known, key) != NULL;
}

/* \p{Name}: a general category, or a script, which in PCRE2 must say that it is no script
 * extension. */
static enum qins_status property(struct translation *t, struct qins_error *err)
{
    const char *name = t->text + t->at + 3;
    const char *close = memchr(t->text + t->at, '}', t->size - t->at);
    if (t->size - t->at < 4 || name[-1] != '{' || !close)
        return refuse(t, 8, err);
    const bool negated = name[0] == '^';
    name += negated;
    const size_t size = (size_t)(close - name);
    for (size_t i = 0; i < size; i++)
        if (!isalpha((unsigned char)name[i]) && name[i] != '_')
            return refuse(t, 8 + size, err);
    enum qins_status st = copy(t, negated ? 4 : 3, err);
    if (st == QINS_OK && !is_category(name, size))
        st = put(t, "sc:", 0, err);
    return st == QINS_OK ? copy(t, size + 1, err) : st;
}

/* \xHH, \x{H...} and \uHHHH. */
static enum qins_status code_point(struct translation *t, struct qins_error *err)
{
    const char *p = t->text + t->at;
    const size_t left = t->size - t->at;
    const bool braces = left > 2 && p[1] == 'x' && p[2] == '{';
    const size_t begin = braces ? 3 : 2, most = p[1] == 'u' ? 4 : 2;
    size_t end = begin;
    while (end < left && end - begin < (braces ? 6 : most) && isxdigit((unsigned char)p[end]))
        end++;
    const bool whole = braces ? end > begin && end < left && p[end] == '}' : end - begin == most;
    if (!whole)
        return refuse(t, 8, err);
    enum qins_status st = put(t, "\\x{", begin, err);
    if (st == QINS_OK)
        st = copy(t, end - begin, err);
    return st == QINS_OK ? put(t, "}", braces, err) : st;
}

static enum qins_status escape(struct translation *t, struct qins_error *err)
{
    static const struct {
        char letter;
        const char *outside, *inside; /* of [...]; NULL: not implemented there */
    } known[] = {
        {'s', "\\p{White_Space}", "\\p{White_Space}"},
        {'S', "\\P{White_Space}", "\\P{White_Space}"},
        {'d', "\\p{Nd}", "\\p{Nd}"},
        {'D', "\\P{Nd}", "\\P{Nd}"},
        {'w', "[" WORD LATIN_1 "]", WORD},
        {'W', "[^" WORD LATIN_1 "]", NULL},
        {'v', "\\x{b}", "\\x{b}"}, /* to PCRE2 any vertical space */
    };
    if (t->size - t->at < 2)
        return refuse(t, 1, err);
    const char c = t->text[t->at + 1];
    if (c == 'p' || c == 'P')
        return property(t, err);
    if (c == 'x' || c == 'u')
        return code_point(t, err);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const char *form = t->in_class ? known[i].inside : known[i].outside;
        if (c == known[i].letter)
            return form ? put(t, form, 2, err) : refuse(t, 2, err);
    }
    if (strchr("rntfae", c) || ispunct((unsigned char)c) || c == ' ')
        return copy(t, 2, err);
    return refuse(t, 2, err);
}

static enum qins_status open_class(struct translation *t, struct qins_error *err)
{
    const size_t n = starts(t, "[^") ? 2 : 1;
    /* Whether a bracket that comes first is a member differs among syntaxes. */
    if (t->size - t->at > n && t->text[t->at + n] == ']')
        return refuse(t, n + 1, err);
    t->in_class = true;
    return copy(t, n, err);
}

static enum qins_status open_group(struct translation *t, struct qins_error *err)
{
    static const char *const known[] = {
        "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?-i:"};
    if (!starts(t, "(?"))
        return starts(t, "(*") ? refuse(t, 8, err) : copy(t, 1, err);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (starts(t, known[i]))
            return copy(t, strlen(known[i]), err);
    /* Further on, an option goes over "|" in the one and not in the other. */
    if (t->at == 0 && starts(t, "(?i)"))
        return copy(t, 4, err);
    return refuse(t, 8, err);
}

/* {n}, {n,} and {n,m}; what may follow differs: in Ruby's syntax {n}? is optional and {n,m}+
 * repeats. */
static enum qins_status interval(struct translation *t, struct qins_error *err)
{
    const char *p = t->text + t->at;
    const size_t left = t->size - t->at;
    bool comma = false;
    size_t n = 1;
    while (n < left && (isdigit((unsigned char)p[n]) || (p[n] == ',' && n > 1 && !comma)))
        comma |= p[n++] == ',';
    if (n == 1 || n >= left || p[n] != '}')
        return refuse(t, 8, err);
    n++;
    if (n < left && (p[n] == '+' || (p[n] == '?' && !comma)))
        return refuse(t, n + 1, err);
    return copy(t, n, err);
}

static enum qins_status next(struct translation *t, struct qins_error *err)
{
    const char c = t->text[t->at];
    if (c == '\\')
        return escape(t, err);
    if (t->in_class) {
        if (c == '[' || starts(t, "&&"))
            return refuse(t, 2, err);
        t->in_class = c != ']';
        return copy(t, 1, err);
    }
    if (c == '[')
        return open_class(t, err);
    if (c == '(')
        return open_group(t, err);
    if (c == '{')
        return interval(t, err);
    return copy(t, 1, err);
}

enum qins_status qn_pattern_translate(const char *text, size_t size, struct qn_buf *out,
                                      struct qins_error *err)
{
    struct translation t = {.text = text, .size = size, .out = out};
    enum qins_status st = QINS_OK;
    while (t.at < t.size && st == QINS_OK)
        st = next(&t, err);
    return st;
}
