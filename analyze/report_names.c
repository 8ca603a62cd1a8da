/* What a tensor's name says, and the tensors of a report by that. */
#include "analyze/report_build.h"
#include "analyze/report_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LAYER = 100000, MAX_PARTS = 64 };

struct part {
    const char *text;
    size_t size;
};

static size_t split(const char *name, struct part parts[MAX_PARTS])
{
    size_t n = 0;
    while (*name && n < MAX_PARTS) {
        size_t size = strcspn(name, "./");
        if (size > 0)
            parts[n++] = (struct part){name, size};
        name += size + (name[size] != '\0');
    }
    return n;
}

static bool is(const struct part *p, const char *text)
{
    return p->size == strlen(text) && memcmp(p->text, text, p->size) == 0;
}

/* A part that is a number that may be one of a layer or an expert, or -1. */
static long number(const struct part *p)
{
    long value = 0;
    for (size_t i = 0; i < p->size; i++) {
        if (p->text[i] < '0' || p->text[i] > '9' || value > MAX_LAYER)
            return -1;
        value = value * 10 + (p->text[i] - '0');
    }
    return value <= MAX_LAYER ? value : -1;
}

static void add(char *to, size_t size, const struct part *p)
{
    size_t used = strlen(to);
    if (used && used + 1 < size) {
        to[used++] = '.';
        to[used] = '\0';
    }
    size_t room = size - used - 1, n = p->size < room ? p->size : room;
    while (n < p->size && n > 0 && ((unsigned char)p->text[n] & 0xc0) == 0x80)
        n--;
    memcpy(to + used, p->text, n);
    to[used + n] = '\0';
}

void qn_report_component(const char *name, long *layer, char *component, size_t size)
{
    struct part parts[MAX_PARTS];
    size_t n = split(name, parts), last = n;
    const struct part *experts = NULL;
    *layer = -1;
    *component = '\0';
    for (size_t i = 0; i < n; i++) {
        if (number(&parts[i]) < 0)
            continue;
        if (*layer < 0)
            *layer = number(&parts[i]);
        else if (i > 0 && is(&parts[i - 1], "experts"))
            experts = &parts[i - 1];
    }
    bool bias = n > 0 && is(&parts[n - 1], "bias");
    if (n > 1 && (bias || is(&parts[n - 1], "weight")))
        last = n - 1;
    while (last > 1 && number(&parts[last - 1]) >= 0)
        last--;
    if (experts)
        add(component, size, experts);
    if (last > 0)
        add(component, size, &parts[last - 1]);
    if (bias && last < n)
        add(component, size, &parts[n - 1]);
    if (!*component)
        add(component, size, &(struct part){name, strlen(name)});
}

/* In the order of the report. */
enum matter { MATTER_WEIGHT, MATTER_TRANSPORT, MATTER_ACTIVATION, MATTER_KV };

static enum matter matter_of(const json_t *tensor)
{
    const char *kind = qn_report_text(tensor, "kind");
    if (strcmp(kind, "activation") == 0)
        return MATTER_ACTIVATION;
    if (strcmp(kind, "kv page") == 0)
        return MATTER_KV;
    return strcmp(kind, "transport") == 0 ? MATTER_TRANSPORT : MATTER_WEIGHT;
}

struct kind {
    const char *name;
    enum matter matter;
    bool layered;
    double elements, bytes, tensors;
    struct qn_mean entropy;
    json_t *coded; /* coder -> sum of bits times elements */
    double coded_elements;
    size_t order;
};

static void add_coded(struct kind *k, const json_t *bits, double n)
{
    const char *coder;
    json_t *value;
    if (json_object_size(bits) == 0)
        return;
    json_object_foreach((json_t *)(uintptr_t)bits, coder, value)
    {
        double sum = json_number_value(json_object_get(k->coded, coder));
        qn_json_put(&k->coded, coder, json_real(sum + json_number_value(value) * n));
    }
    k->coded_elements += n;
}

static void add_tensor(struct kind *k, const json_t *t)
{
    const double n = qn_report_number(t, "numel");
    const char *eight = "8";
    k->elements += n;
    k->bytes += fmax(qn_report_number(t, "source_bytes"), 0.0);
    k->tensors++;
    k->layered = k->layered || qn_report_number(t, "layer") >= 0.0;
    qn_mean_add(&k->entropy, qn_report_number(json_object_get(t, "entropy_bits"), eight), n);
    const json_t *coded = json_object_get(json_object_get(t, "coded_bits"), eight);
    /* All coders' figures of a kind are of the same tensors. */
    if (json_is_object(json_object_get(t, "encoded")) || k->matter == MATTER_ACTIVATION)
        add_coded(k, coded, n);
}

static json_t *kind_to_json(const struct kind *k)
{
    json_t *j = json_object(), *coded = json_object(), *value;
    const char *coder;
    json_object_foreach(k->coded, coder, value)
    {
        qn_json_put(&coded, coder, qn_json_real(json_number_value(value) / k->coded_elements));
    }
    qn_json_put(&j, "kind", json_string(k->name));
    qn_json_put(&j, "activation", json_boolean(k->matter == MATTER_ACTIVATION));
    qn_json_put(&j, "transport", json_boolean(k->matter == MATTER_TRANSPORT));
    qn_json_put(&j, "kv_pages", json_boolean(k->matter == MATTER_KV));
    qn_json_put(&j, "layered", json_boolean(k->layered));
    qn_json_put(&j, "tensors", json_integer((json_int_t)k->tensors));
    qn_json_put(&j, "elements", qn_json_real(k->elements));
    qn_json_put(&j, "bytes", qn_json_real(k->bytes));
    qn_json_put(&j, "entropy_bits", qn_mean_to_json(&k->entropy));
    if (!k->coded) { /* a figure was lost */
        json_decref(coded);
        coded = NULL;
    }
    qn_json_put(&j, "coded_bits", coded);
    return j;
}

/* Weights, planes of transports, activations, V pages, then by elements, then as they came. */
static int compare(const void *a, const void *b)
{
    const struct kind *x = a, *y = b;
    if (x->matter != y->matter)
        return x->matter > y->matter ? 1 : -1;
    if (x->elements != y->elements)
        return x->elements < y->elements ? 1 : -1;
    return x->order < y->order ? -1 : 1;
}

json_t *qn_report_kinds(const json_t *tensors, long *layers)
{
    struct kind *kinds = calloc(json_array_size(tensors) + 1, sizeof *kinds);
    json_t *j = json_array(), *index = json_object();
    const json_t *t;
    size_t i, n = 0;
    bool good = kinds && j && index;
    *layers = 0;
    if (good)
        json_array_foreach(tensors, i, t)
        {
            const char *name = qn_report_text(t, "component");
            const json_t *at = json_object_get(index, name);
            double layer = qn_report_number(t, "layer");
            size_t k = at ? (size_t)json_integer_value(at) : n;
            if (k == n) {
                kinds[n] = (struct kind){
                    .name = name, .matter = matter_of(t), .coded = json_object(), .order = n};
                qn_json_put(&index, name, json_integer((json_int_t)n++));
            }
            add_tensor(&kinds[k], t);
            if (layer >= 0.0 && layer + 1.0 > (double)*layers)
                *layers = (long)layer + 1;
        }
    good = good && index;
    if (n > 0)
        qsort(kinds, n, sizeof *kinds, compare);
    for (size_t k = 0; k < n; k++) {
        good = good && json_array_append_new(j, kind_to_json(&kinds[k])) == 0;
        json_decref(kinds[k].coded);
    }
    free(kinds);
    json_decref(index);
    if (good)
        return j;
    json_decref(j);
    return NULL;
}
