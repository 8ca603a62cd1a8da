/* Globs over tensor names, matched as a nondeterministic automaton: time is linear in the name
 * whatever the pattern, so that a policy from anywhere can be tried on every tensor. */
#include "model/utf8.h"
#include "policy/limits.h"
#include "policy/policy.h"

#include <string.h>

enum {
    MAX_TOKENS = 254, /* characters and marks of a glob */
    MAX_RANGES = 128, /* of all its classes */
};

enum kind { LITERAL, ANY, STAR, CLASS, OPEN, COMMA, CLOSE };

struct token {
    enum kind kind;
    uint32_t code;             /* LITERAL */
    unsigned first_range, end; /* CLASS: its ranges */
    bool negated;
    unsigned next;  /* OPEN, COMMA: the next COMMA or CLOSE */
    unsigned close; /* OPEN, COMMA: their CLOSE */
};

struct glob {
    struct token tokens[MAX_TOKENS + 1];
    unsigned n;
    struct {
        uint32_t low, high;
    } ranges[MAX_RANGES];
    unsigned n_ranges;
    unsigned open; /* token of the brace that is open + 1, or 0 */
    unsigned mark; /* its last OPEN or COMMA */
};

/* The character at *TEXT, and *TEXT behind it; a byte that is no UTF-8 stands for itself, out of
 * Unicode's range. 0 at the end. */
static uint32_t next_character(const char **text)
{
    uint32_t code;
    const uint8_t *p = (const uint8_t *)*text;
    size_t n = *p ? qn_utf8_next(p, strnlen(*text, 4), &code) : 0;
    if (*p == 0)
        return 0;
    if (n == 0) {
        code = 0x110000 + (uint32_t)*p;
        n = 1;
    }
    *text += n;
    return code;
}

/* One end of a range; a backslash takes the next character as it is. */
static uint32_t class_character(const char **text)
{
    uint32_t code = next_character(text);
    return code == '\\' ? next_character(text) : code;
}

/* Behind '['. ']' as the first character is itself. */
static bool compile_class(struct glob *g, const char **text, struct token *t)
{
    t->negated = **text == '!' || **text == '^';
    if (t->negated)
        ++*text;
    t->first_range = g->n_ranges;
    for (bool first = true; first || **text != ']'; first = false) {
        uint32_t low = class_character(text), high = low;
        if (low == 0 || g->n_ranges == MAX_RANGES)
            return false;
        if ((*text)[0] == '-' && (*text)[1] != ']') {
            ++*text;
            high = class_character(text);
        }
        if (high < low)
            return false;
        g->ranges[g->n_ranges].low = low;
        g->ranges[g->n_ranges++].high = high;
    }
    ++*text;
    t->end = g->n_ranges;
    return true;
}

static bool compile_brace(struct glob *g, uint32_t code, struct token *t)
{
    if (code == '{') {
        if (g->open)
            return false; /* braces do not nest */
        t->kind = OPEN;
        g->open = g->n + 1;
    } else {
        if (!g->open)
            return false;
        t->kind = code == ',' ? COMMA : CLOSE;
        g->tokens[g->mark].next = g->n;
    }
    g->mark = g->n;
    if (t->kind != CLOSE)
        return true;
    for (unsigned i = g->open - 1; i < g->n; i++)
        g->tokens[i].close = g->n;
    g->open = 0;
    return true;
}

static bool compile(struct glob *g, const char *text)
{
    g->n = g->n_ranges = g->open = g->mark = 0;
    uint32_t code;
    while ((code = next_character(&text)) != 0) {
        struct token t = {.kind = LITERAL, .code = code};
        bool good = g->n < MAX_TOKENS;
        if (!good)
            return false;
        if (code == '*') {
            t.kind = STAR;
        } else if (code == '?') {
            t.kind = ANY;
        } else if (code == '[') {
            t.kind = CLASS;
            good = compile_class(g, &text, &t);
        } else if (code == '{' || code == '}' || (code == ',' && g->open)) {
            good = compile_brace(g, code, &t);
        } else if (code == '\\') {
            t.code = next_character(&text);
            good = t.code != 0;
        }
        if (!good)
            return false;
        g->tokens[g->n++] = t;
    }
    return g->n > 0 && !g->open;
}

bool qn_glob_valid(const char *glob)
{
    struct glob g;
    return compile(&g, glob);
}

/* Adds state P, "all before token P is matched", and those reached from it without a character. */
static void enter(const struct glob *g, bool *states, unsigned p)
{
    while (p <= g->n && !states[p]) {
        const struct token *t = &g->tokens[p];
        states[p] = true;
        if (p == g->n)
            return;
        if (t->kind == OPEN) {
            /* As deep as there are braces in a row, fewer than MAX_TOKENS / 2. */
            for (unsigned q = t->next; g->tokens[q].kind == COMMA; q = g->tokens[q].next)
                enter(g, states, q + 1);
            p++;
        } else if (t->kind == COMMA) {
            p = t->close + 1;
        } else if (t->kind == STAR || t->kind == CLOSE) {
            p++;
        } else {
            return;
        }
    }
}

static bool accepts(const struct glob *g, const struct token *t, uint32_t code)
{
    bool found = false;
    if (t->kind == LITERAL)
        return t->code == code;
    for (unsigned i = t->first_range; t->kind == CLASS && i < t->end && !found; i++)
        found = code >= g->ranges[i].low && code <= g->ranges[i].high;
    return t->kind == ANY || (t->kind == CLASS && found != t->negated);
}

bool qn_glob_match(const char *glob, const char *name)
{
    struct glob g;
    bool states[2][MAX_TOKENS + 1] = {{false}};
    uint32_t code;
    if (!compile(&g, glob))
        return false;
    unsigned now = 0;
    enter(&g, states[now], 0);
    while ((code = next_character(&name)) != 0) {
        bool *from = states[now], *to = states[1 - now];
        memset(to, 0, sizeof states[0]);
        for (unsigned p = 0; p < g.n; p++) {
            if (!from[p])
                continue;
            if (g.tokens[p].kind == STAR)
                enter(&g, to, p);
            else if (accepts(&g, &g.tokens[p], code))
                enter(&g, to, p + 1);
        }
        now = 1 - now;
    }
    return states[now][g.n];
}

const struct qn_limit qn_glob_limits[] = {
    {"policy", "glob", MAX_TOKENS, "characters", "time of one comparison"},
    {0},
};
