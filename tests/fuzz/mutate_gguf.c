/* GGUF: whole keys and tensor descriptions are changed, left out, doubled and moved, and made anew;
 * their numbers in the header and the data's alignment are put right. */
#include "tests/fuzz/mutate.h"

enum {
    HEADER = 24,
    MAX_SPANS = 512,
    MAX_VALUE = 1024, /* bytes of a value made anew */
    MAX_DEPTH = 8,
    MAX_EXTENTS = 5, /* one more than there may be */
    ALIGNMENT = 32,
    STRING = 8,
    ARRAY = 9,
};

struct span {
    const uint8_t *begin;
    size_t size;
};

struct gguf {
    uint8_t header[HEADER];
    struct span spans[MAX_SPANS]; /* keys, then tensor descriptions */
    size_t n_keys, n;
    struct span data;
};

static unsigned fixed_size(uint32_t type)
{
    static const unsigned char sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return type < sizeof sizes ? sizes[type] : 0;
}

static void skip_value(struct qn_cursor *c, uint32_t type, unsigned depth)
{
    if (type == STRING) {
        qn_cursor_take(c, qn_cursor_u64(c));
    } else if (type == ARRAY && depth < MAX_DEPTH) {
        const uint32_t of = qn_cursor_u32(c);
        for (uint64_t n = qn_cursor_u64(c); n > 0 && !c->bad; n--)
            skip_value(c, of, depth + 1);
    } else if (fixed_size(type)) {
        qn_cursor_take(c, fixed_size(type));
    } else {
        c->bad = true;
    }
}

static void skip_name(struct qn_cursor *c)
{
    qn_cursor_take(c, qn_cursor_u64(c));
}

static void skip_key(struct qn_cursor *c)
{
    skip_name(c);
    skip_value(c, qn_cursor_u32(c), 0);
}

static void skip_tensor(struct qn_cursor *c)
{
    skip_name(c);
    qn_cursor_take(c, UINT64_C(8) * qn_cursor_u32(c));
    qn_cursor_take(c, 4 + 8);
}

static bool parse(struct gguf *g, const uint8_t *bytes, size_t size)
{
    struct qn_cursor c = qn_cursor_init(bytes, size);
    if (size < HEADER)
        return false;
    memcpy(g->header, qn_cursor_take(&c, HEADER), HEADER);
    const uint64_t tensors = qn_load64(g->header + 8), keys = qn_load64(g->header + 16);
    if (keys > MAX_SPANS || tensors > MAX_SPANS - keys)
        return false;
    g->n_keys = (size_t)keys;
    g->n = (size_t)(keys + tensors);
    for (size_t i = 0; i < g->n; i++) {
        const uint8_t *begin = c.pos;
        if (i < g->n_keys)
            skip_key(&c);
        else
            skip_tensor(&c);
        g->spans[i] = (struct span){begin, (size_t)(c.pos - begin)};
    }
    const size_t padding = (ALIGNMENT - qn_cursor_offset(&c) % ALIGNMENT) % ALIGNMENT;
    qn_cursor_take(&c, qn_min_u64(padding, qn_cursor_left(&c)));
    g->data = (struct span){c.pos, qn_cursor_left(&c)};
    return !c.bad;
}

static void append_u32(struct qn_buf *b, uint64_t value)
{
    uint8_t bytes[4];
    qn_store32(bytes, (uint32_t)value);
    mutate_append(b, bytes, sizeof bytes);
}

static void append_u64(struct qn_buf *b, uint64_t value)
{
    uint8_t bytes[8];
    qn_store64(bytes, value);
    mutate_append(b, bytes, sizeof bytes);
}

/* A string of SIZE bytes, changed or not. */
static void append_string(struct qn_buf *b, const void *text, size_t size, bool change)
{
    uint8_t copy[MAX_VALUE];
    size_t n = size < sizeof copy ? size : sizeof copy;
    if (n > 0)
        memcpy(copy, text, n);
    if (change)
        n = LLVMFuzzerMutate(copy, n, sizeof copy);
    append_u64(b, n);
    mutate_append(b, copy, n);
}

static void append_value(struct qn_buf *b, uint32_t type, unsigned depth, struct mutate_random *r)
{
    static const char *const strings[] = {"llama", "gpt2", "spm", "a", ""};
    uint8_t number[8];
    if (type == STRING) {
        const char *text = strings[mutate_below(r, sizeof strings / sizeof *strings)];
        append_string(b, text, strlen(text), mutate_once_in(r, 3));
    } else if (type == ARRAY) {
        const uint32_t of = (uint32_t)mutate_below(r, depth < MAX_DEPTH ? 13 : STRING);
        const size_t n = mutate_below(r, 4);
        append_u32(b, of);
        append_u64(b, mutate_once_in(r, 30) ? mutate_number(r, n) : n);
        for (size_t i = 0; i < n; i++)
            append_value(b, of, depth + 1, r);
    } else {
        qn_store64(number, mutate_number(r, mutate_below(r, 64)));
        mutate_append(b, number, fixed_size(type));
    }
}

/* A key of the old name or of one that readers know, with a value of any type. */
static void new_key(struct qn_buf *b, const struct span *old, struct mutate_random *r)
{
    static const char *const names[] = {
        "general.alignment",     "general.architecture",         "split.count",
        "tokenizer.ggml.model",  "tokenizer.ggml.tokens",        "tokenizer.ggml.scores",
        "llama.block_count",     "general.quantization_version", "tokenizer.ggml.token_type",
        "tokenizer.ggml.merges", "tokenizer.chat_template",      "llama.context_length",
        "general.file_type",     "llama.rope.freq_base"};
    const char *name = names[mutate_below(r, sizeof names / sizeof *names)];
    const uint64_t size = qn_load64(old->begin);
    /* 32-bit numbers are what most keys have */
    const uint32_t type = mutate_once_in(r, 3) ? 4 : (uint32_t)mutate_below(r, 13);
    if (mutate_once_in(r, 3))
        append_string(b, old->begin + 8, (size_t)size, mutate_once_in(r, 2));
    else
        append_string(b, name, strlen(name), false);
    append_u32(b, mutate_once_in(r, 40) ? mutate_below(r, 20) : type);
    append_value(b, type, 0, r);
}

/* A tensor's description with one of its fields changed, or all of them. */
static void new_tensor(struct qn_buf *b, const struct span *old, struct mutate_random *r)
{
    static const uint32_t types[] = {0, 1, 2, 8, 12, 24, 27, 28, 30, 39};
    struct qn_cursor c = qn_cursor_init(old->begin, old->size);
    const size_t field = mutate_below(r, 6);
    const uint64_t size = qn_cursor_u64(&c);
    const uint8_t *name = qn_cursor_take(&c, size);
    uint32_t rank = qn_cursor_u32(&c);
    const uint32_t new_rank = field == 1 ? (uint32_t)mutate_below(r, MAX_EXTENTS + 1) : rank;
    append_string(b, name, (size_t)size, field == 0);
    append_u32(b, new_rank);
    for (uint32_t i = 0; i < new_rank || i < rank; i++) {
        const uint64_t extent = i < rank ? qn_cursor_u64(&c) : 1;
        if (i < new_rank)
            append_u64(b, field == 2 && mutate_once_in(r, 2) ? mutate_number(r, extent) : extent);
    }
    const uint32_t type = qn_cursor_u32(&c);
    const uint64_t offset = qn_cursor_u64(&c);
    append_u32(b, field == 3 ? types[mutate_below(r, sizeof types / sizeof *types)] : type);
    append_u64(b, field == 4   ? mutate_number(r, offset)
                  : field == 5 ? offset + ALIGNMENT * mutate_below(r, 4)
                               : offset);
}

/* One span, left out, doubled, exchanged or made anew. */
static void append_spans(struct qn_buf *b, struct gguf *g, struct mutate_random *r)
{
    const size_t at = mutate_below(r, g->n), action = mutate_below(r, 8);
    const bool key = at < g->n_keys;
    const size_t first = key ? 0 : g->n_keys, count = key ? g->n_keys : g->n - g->n_keys;
    const size_t other = first + mutate_below(r, count);
    size_t written[2] = {g->n - g->n_keys, g->n_keys}; /* tensors, keys */
    if (g->n > 0 && action == 2) {
        const struct span s = g->spans[at];
        g->spans[at] = g->spans[other];
        g->spans[other] = s;
    }
    for (size_t i = 0; i < g->n; i++) {
        const struct span *s = &g->spans[i];
        if (i != at || action == 1 || action == 2)
            mutate_append(b, s->begin, s->size);
        if (i != at || action == 2)
            continue;
        if (action == 0)
            written[key]--;
        if (action == 1)
            written[key]++;
        if (action > 0 && key)
            new_key(b, s, r);
        else if (action > 0)
            new_tensor(b, s, r);
    }
    qn_store64(b->data + 8, mutate_once_in(r, 50) ? mutate_number(r, written[0]) : written[0]);
    qn_store64(b->data + 16, written[1]);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static const uint8_t zeros[ALIGNMENT];
    static struct gguf g;
    struct mutate_random r = mutate_seed(seed);
    struct qn_buf b = {0};
    size_t now = 0;
    if (!mutate_once_in(&r, 5) && parse(&g, data, size)) {
        mutate_append(&b, g.header, HEADER);
        append_spans(&b, &g, &r);
        mutate_append(&b, zeros, (ALIGNMENT - b.size % ALIGNMENT) % ALIGNMENT);
        mutate_append(&b, g.data.begin, g.data.size);
        now = mutate_deliver(&b, data, max_size);
    }
    return now ? now : LLVMFuzzerMutate(data, size, max_size);
}
