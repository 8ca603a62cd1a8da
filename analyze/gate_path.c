#include "analyze/gate_path.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum qins_status bad(struct qins_error *err, const char *text, const char *at,
                            const char *what)
{
    return qn_fail(err, QINS_ERR_FORMAT, "path \"%.80s\": %s at byte %zu", text, what,
                   (size_t)(at - text));
}

static bool is_key_byte(char c)
{
    return (unsigned char)c >= ' ' && !strchr(".[]'=<>!*$", c);
}

/* A key at *P, which may stand in single quotes; *P moves behind it. */
static bool take_key(const char **p, const char **name, size_t *n)
{
    const bool quoted = **p == '\'';
    *p += quoted;
    *name = *p;
    while (**p && (quoted ? **p != '\'' && (unsigned char)**p >= ' ' : is_key_byte(**p)))
        ++*p;
    *n = (size_t)(*p - *name);
    if (quoted && **p != '\'')
        return false;
    *p += quoted;
    return *n > 0;
}

static bool take_index(const char **p, size_t *index)
{
    const char *begin = *p;
    size_t value = 0;
    while (**p >= '0' && **p <= '9' && *p - begin < 9) {
        value = 10 * value + (size_t)(**p - '0');
        ++*p;
    }
    *index = value;
    return *p > begin;
}

/* What stands between brackets; *P is behind the first of them. */
static enum qins_status take_brackets(const char *text, const char **p, struct qn_path_step *s,
                                      struct qins_error *err)
{
    if (**p == ']') {
        s->kind = QN_PATH_EACH;
    } else if (**p >= '0' && **p <= '9') {
        s->kind = QN_PATH_AT;
        (void)take_index(p, &s->index);
    } else if (**p == '@') {
        s->kind = QN_PATH_CHOSEN;
        ++*p;
        if (!take_key(p, &s->name, &s->n_name))
            return bad(err, text, *p, "a key is needed");
    } else {
        size_t n = 0;
        s->kind = QN_PATH_FILTER;
        if (!take_key(p, &s->name, &s->n_name))
            return bad(err, text, *p, "a key, a number or ']' is needed");
        if (**p && strchr("=!<>", **p))
            s->comparison[n++] = *(*p)++;
        if (n && s->comparison[0] != '=' && **p == '=')
            s->comparison[n++] = *(*p)++;
        if (n == 0 || (s->comparison[0] == '!' && n == 1))
            return bad(err, text, *p, "one of = != < <= > >= is needed");
        s->value = *p;
        while (**p && **p != ']')
            ++*p;
        s->n_value = (size_t)(*p - s->value);
    }
    if (**p != ']')
        return bad(err, text, *p, "']' is needed");
    ++*p;
    return QINS_OK;
}

static enum qins_status next_step(struct qn_path *path, struct qn_path_step **step, const char *at,
                                  struct qins_error *err)
{
    *step = NULL;
    if (path->n == QN_PATH_STEPS)
        return bad(err, path->text, at, "more steps than are allowed");
    *step = &path->steps[path->n++];
    **step = (struct qn_path_step){0};
    return QINS_OK;
}

/* A key or '*' and the brackets behind it. */
static enum qins_status take_part(struct qn_path *path, const char **p, struct qins_error *err)
{
    struct qn_path_step *s = NULL;
    enum qins_status st = QINS_OK;
    if (**p != '[') {
        st = next_step(path, &s, *p, err);
        if (!s)
            return st;
        if (**p == '*') {
            s->kind = QN_PATH_MEMBERS;
            path->many = true;
            ++*p;
        } else if (!take_key(p, &s->name, &s->n_name)) {
            return bad(err, path->text, *p, "a key is needed");
        }
        s->end = (size_t)(*p - path->text);
    }
    while (**p == '[' && st == QINS_OK) {
        ++*p;
        st = next_step(path, &s, *p, err);
        if (s)
            st = take_brackets(path->text, p, s, err);
        if (s && st == QINS_OK) {
            s->end = (size_t)(*p - path->text);
            path->many = path->many || s->kind == QN_PATH_EACH || s->kind == QN_PATH_FILTER;
        }
    }
    return st;
}

enum qins_status qn_path_parse(const char *text, struct qn_path *path, struct qins_error *err)
{
    const char *p = text;
    enum qins_status st = QINS_OK;
    *path = (struct qn_path){.text = text};
    if (strlen(text) > QN_PATH_BYTES)
        return qn_fail(err, QINS_ERR_FORMAT, "path \"%.80s…\" is longer than %d bytes", text,
                       QN_PATH_BYTES);
    if (strcmp(text, ".") == 0)
        return QINS_OK;
    if (*p == '$') {
        path->root = true;
        p++;
        if (!*p)
            return QINS_OK;
        if (*p == '.')
            p++;
        else if (*p != '[')
            return bad(err, text, p, "'.' is needed");
    }
    for (;;) {
        st = take_part(path, &p, err);
        if (st != QINS_OK || !*p)
            return st;
        if (*p != '.')
            return bad(err, text, p, "'.' or '[' is needed");
        p++;
    }
}

static const json_t *member(const json_t *object, const char *name, size_t n)
{
    char key[QN_PATH_BYTES + 1];
    memcpy(key, name, n);
    key[n] = '\0';
    return json_object_get(object, key);
}

static bool order_holds(const char *comparison, double a, double b)
{
    switch (comparison[0]) {
    case '=':
        return a == b;
    case '!':
        return a != b;
    case '<':
        return comparison[1] ? a <= b : a < b;
    default:
        return comparison[1] ? a >= b : a > b;
    }
}

/* Numbers as numbers, the rest by its text: true, false, null, or a string's. */
static bool filter_holds(const struct qn_path_step *s, const json_t *element)
{
    const json_t *v = member(element, s->name, s->n_name);
    char text[QN_PATH_BYTES + 1];
    memcpy(text, s->value, s->n_value);
    text[s->n_value] = '\0';
    if (json_is_number(v)) {
        char *end;
        const double want = strtod(text, &end);
        return end != text && !*end && order_holds(s->comparison, json_number_value(v), want);
    }
    const char *have = json_is_true(v)     ? "true"
                       : json_is_false(v)  ? "false"
                       : json_is_null(v)   ? "null"
                       : json_is_string(v) ? json_string_value(v)
                                           : NULL;
    if (!have || s->comparison[0] == '<' || s->comparison[0] == '>')
        return false;
    return (strcmp(have, text) == 0) == (s->comparison[0] == '=');
}

static bool missing(const struct qn_path *path, size_t step, const json_t *at,
                    struct qn_path_found *f)
{
    snprintf(f->why, sizeof f->why, "%.*s is missing%s", (int)path->steps[step].end, path->text,
             json_is_null(at) ? ": what it is part of is null" : "");
    return false;
}

static bool keep(const json_t *value, struct qn_path_found *f)
{
    if (f->n == f->capacity) {
        const size_t capacity = f->capacity ? 2 * f->capacity : 16;
        const json_t **grown = realloc((void *)f->values, capacity * sizeof(const json_t *));
        if (!grown) {
            qn_steps_end_for_memory(f->steps);
            snprintf(f->why, sizeof f->why, "out of memory");
            return false;
        }
        f->values = grown;
        f->capacity = capacity;
    }
    f->values[f->n++] = value;
    return true;
}

/* HOLDER is the object that holds AT. */
static bool walk(const struct qn_path *path, size_t step, const json_t *at, const json_t *holder,
                 struct qn_path_found *f);

static bool walk_array(const struct qn_path *path, size_t step, const json_t *at,
                       const json_t *holder, struct qn_path_found *f)
{
    const struct qn_path_step *s = &path->steps[step];
    if (!json_is_array(at)) {
        snprintf(f->why, sizeof f->why, "%.*s: there is no list", (int)s->end, path->text);
        return false;
    }
    if (s->kind == QN_PATH_AT || s->kind == QN_PATH_CHOSEN) {
        uint64_t index = s->index;
        const bool known =
            s->kind == QN_PATH_AT || qn_json_u64(member(holder, s->name, s->n_name), &index);
        const json_t *v = known && index < SIZE_MAX ? json_array_get(at, (size_t)index) : NULL;
        return v ? walk(path, step + 1, v, holder, f) : missing(path, step, at, f);
    }
    for (size_t i = 0; i < json_array_size(at); i++) {
        const json_t *v = json_array_get(at, i);
        if (f->steps->left > 0 && s->kind == QN_PATH_FILTER && !filter_holds(s, v))
            f->steps->left--;
        else if (!walk(path, step + 1, v, holder, f))
            return false;
    }
    return true;
}

static bool walk_members(const struct qn_path *path, size_t step, const json_t *at,
                         struct qn_path_found *f)
{
    const char *key;
    json_t *v;
    if (!json_is_object(at)) {
        snprintf(f->why, sizeof f->why, "%.*s: there is no object", (int)path->steps[step].end,
                 path->text);
        return false;
    }
    json_object_foreach((json_t *)(uintptr_t)at, key, v)
    {
        if (!walk(path, step + 1, v, at, f))
            return false;
    }
    return true;
}

/* As deep as a path has steps. */
static bool walk(const struct qn_path *path, size_t step, const json_t *at, const json_t *holder,
                 struct qn_path_found *f)
{
    if (f->steps->left == 0) {
        snprintf(f->why, sizeof f->why, "%.80s: more steps than a review may take", path->text);
        return false;
    }
    f->steps->left--;
    if (step == path->n)
        return keep(at, f);
    const struct qn_path_step *s = &path->steps[step];
    if (s->kind == QN_PATH_KEY) {
        const json_t *v = member(at, s->name, s->n_name);
        return v ? walk(path, step + 1, v, at, f) : missing(path, step, at, f);
    }
    return s->kind == QN_PATH_MEMBERS ? walk_members(path, step, at, f)
                                      : walk_array(path, step, at, holder, f);
}

void qn_steps_end_for_memory(struct qn_steps *steps)
{
    *steps = (struct qn_steps){.memory_short = true};
}

bool qn_path_find(const struct qn_path *path, const json_t *from, struct qn_path_found *f)
{
    return walk(path, 0, from, from, f);
}

void qn_path_found_finish(struct qn_path_found *f)
{
    free((void *)f->values);
    f->values = NULL;
    f->n = f->capacity = 0;
}
