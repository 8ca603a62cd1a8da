#include "core/json.h"

#include "core/file.h"
#include "core/limit.h"
#include "core/tensor.h"

#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void fail_json(const json_error_t *je, uint64_t base, struct qins_error *err)
{
    if (json_error_code(je) == json_error_out_of_memory)
        qn_fail_memory(err);
    else
        qn_fail_at(err, QINS_ERR_FORMAT, NULL, NULL, (int64_t)base + je->position, "JSON: %s",
                   json_error_code(je) == json_error_null_character ? "a text with \\u0000 in it"
                                                                    : je->text);
}

/* Where a parse of this thread goes on when memory is short. */
static _Thread_local jmp_buf *parsing;

static void *watched_malloc(size_t size)
{
    void *p = malloc(size);
    if (!p && parsing)
        longjmp(*parsing, 1);
    return p;
}

void qn_json_watch_memory(void)
{
    json_set_alloc_funcs(watched_malloc, free);
}

/* What jansson had made by then is lost with the memory that it takes. */
static json_t *load(const void *text, size_t size, json_error_t *je, bool *memory_short)
{
    jmp_buf back;
    *memory_short = false;
    parsing = &back;
    if (setjmp(back) == 0) {
        json_t *v = json_loadb(text, size, JSON_REJECT_DUPLICATES, je);
        parsing = NULL;
        return v;
    }
    parsing = NULL;
    *memory_short = true;
    return NULL;
}

json_t *qn_json_parse(const void *text, size_t size, uint64_t base_offset, struct qins_error *err)
{
    json_error_t je;
    if (size == 0) {
        qn_fail_at(err, QINS_ERR_FORMAT, NULL, NULL,
                   base_offset ? (int64_t)base_offset : QN_NO_OFFSET,
                   base_offset ? "JSON: no text at all" : "it is empty, not JSON");
        return NULL;
    }
    bool memory_short;
    json_t *v = load(text, size, &je, &memory_short);
    if (memory_short)
        qn_fail_memory(err);
    else if (!v)
        fail_json(&je, base_offset, err);
    return v;
}

/* jansson does not look at every result of this; DUMP remembers the failure. */
struct dump {
    struct qn_buf text;
    enum qins_status status;
};

static int append_text(const char *text, size_t size, void *ctx)
{
    struct dump *d = ctx;
    if (d->status == QINS_OK)
        d->status = qn_buf_append(&d->text, text, size, NULL);
    return d->status == QINS_OK ? 0 : -1;
}

char *qn_json_dump(const json_t *value, size_t flags)
{
    struct dump d = {{0}, QINS_OK};
    int failed = json_dump_callback(value, append_text, &d, flags);
    if (failed == 0)
        failed = append_text("", 1, &d);
    if (failed != 0 || d.status != QINS_OK)
        qn_buf_finish(&d.text);
    return (char *)d.text.data;
}

uint64_t qn_json_memory(const void *text, size_t size)
{
    /* Of jansson 2.14 on a 64-bit system, measured: an object, an array, an element, a key. */
    enum { OBJECT = 192, ARRAY = 96, ELEMENT = 40, KEY = 84 };
    const char *s = text;
    uint64_t sum = ELEMENT;
    bool quoted = false;
    for (size_t i = 0; i < size; i++) {
        if (quoted && s[i] == '\\')
            i++;
        else if (s[i] == '"')
            quoted = !quoted;
        else if (!quoted)
            sum += s[i] == ','   ? ELEMENT
                   : s[i] == ':' ? KEY
                   : s[i] == '{' ? OBJECT
                   : s[i] == '[' ? ARRAY
                                 : 0;
    }
    return sum + size;
}

bool qn_json_fits(const void *text, size_t size, uint64_t packed)
{
    const uint64_t memory = qn_json_memory(text, size);
    return memory <= QN_JSON_ALWAYS || (memory - QN_JSON_ALWAYS) / QN_JSON_PER_BYTE <= packed;
}

json_t *qn_json_load(const char *path, uint64_t limit, struct qins_error *err)
{
    struct qn_buf text = {0};
    json_t *v = NULL;
    if (qn_read_whole(path, limit, &text, err) == QINS_OK) {
        v = qn_json_parse(text.data, text.size, 0, err);
        if (!v && err)
            qn_error_in_file(err, err->status, path);
    }
    qn_buf_finish(&text);
    return v;
}

enum qins_status qn_json_write(struct qn_output *o, const json_t *value, struct qins_error *err)
{
    char *text = qn_json_dump(value, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
    enum qins_status st = text ? qn_output_write(o, text, strlen(text), err) : qn_fail_memory(err);
    free(text);
    return st == QINS_OK ? qn_output_write(o, "\n", 1, err) : st;
}

enum qins_status qn_json_save(const char *path, const json_t *value, struct qins_error *err)
{
    struct qn_output o;
    enum qins_status st = qn_output_create(&o, path, err);
    if (st != QINS_OK)
        return st;
    st = qn_json_write(&o, value, err);
    if (st == QINS_OK)
        return qn_output_commit(&o, err);
    qn_output_abandon(&o);
    return st;
}

bool qn_json_u64(const json_t *value, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

json_t *qn_json_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *qn_json_text(const char *text)
{
    if (qn_utf8_valid(text, strlen(text)))
        return json_string(text);
    char *copy = qn_strdup(text, NULL);
    size_t left = copy ? strlen(copy) : 0;
    for (char *p = copy; left > 0;) {
        const size_t n = qn_utf8_character(p, left), step = n ? n : 1;
        if (n == 0)
            *p = '?';
        p += step;
        left -= step;
    }
    json_t *j = copy ? json_string(copy) : NULL;
    free(copy);
    return j;
}

json_t *qn_json_digest(const struct qn_digest *d)
{
    char hex[33];
    qn_digest_hex(d, hex);
    return json_string(hex);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool qn_json_hex(const json_t *value, uint8_t *out, size_t size)
{
    const char *text = json_string_value(value);
    if (!text || json_string_length(value) != 2 * size)
        return false;
    for (size_t i = 0; i < size; i++) {
        const int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(16 * high + low);
    }
    return true;
}

void qn_json_put(json_t **j, const char *key, json_t *value)
{
    if (json_object_set_new(*j, key, value) != 0) {
        json_decref(*j);
        *j = NULL;
    }
}

void qn_json_append(json_t **j, json_t *value)
{
    if (json_array_append_new(*j, value) != 0) {
        json_decref(*j);
        *j = NULL;
    }
}

json_t *qn_json_copy(const json_t *value)
{
    json_t *copy = json_copy((json_t *)(uintptr_t)value);
    if (json_array_size(copy) != json_array_size(value) ||
        json_object_size(copy) != json_object_size(value)) {
        json_decref(copy);
        copy = NULL;
    }
    return copy;
}

json_t *qn_report_begin(const char *schema)
{
    json_t *j = json_object();
    qn_json_put(&j, "schema", json_string(schema));
    qn_json_put(&j, "qins_version", json_string(qins_version()));
    return j;
}

const struct qn_limit qn_json_limits[] = {
    {"json", "depth", JSON_PARSER_MAX_DEPTH, "levels", "the stack, from nested arrays and objects"},
    {"json", "memory_per_byte", QN_JSON_PER_BYTE, "bytes",
     "bombs: memory for packed JSON, for a byte of file"},
    {"json", "memory_always", QN_JSON_ALWAYS, "bytes", "the same, of a small file"},
    {0},
};
