#include "formats/pickle.h"

#include "core/buf.h"
#include "core/bytes.h"
#include "formats/limits.h"

#include <stdlib.h>

/* Opcode values and meanings: CPython, Lib/pickletools.py. */

struct words {
    uint32_t *items;
    uint32_t count, capacity;
};

enum { NO_NODE = UINT32_MAX >> 1, MAX_PROTOCOL = 5 };

struct machine {
    struct qn_cursor in;
    size_t start; /* of the opcode at work, for errors */
    struct qn_pickle *out;
    uint32_t nodes_capacity, cells_capacity;
    struct words stack, marks, memo; /* node numbers; stack heights; node numbers or NO_NODE */
    uint32_t memo_used;
    uint64_t memory, memory_limit; /* bytes: of all arrays below `out` and here */
    const struct qn_pickle_table *known;
    struct qins_error *err;
    bool stopped;
};

typedef enum qins_status op_fn(struct machine *m, uint8_t op);

static enum qins_status fail(struct machine *m, const char *what)
{
    return qn_fail_at(m->err, QINS_ERR_FORMAT, NULL, NULL, (int64_t)m->start, "bad pickle: %s",
                      what);
}

/* Makes room for one more of COUNT items of SIZE bytes. */
static enum qins_status grow(struct machine *m, void **items, uint32_t *capacity, uint32_t count,
                             size_t size)
{
    if (count < *capacity)
        return QINS_OK;
    uint32_t larger = *capacity ? *capacity + *capacity / 2 + 16 : 64;
    m->memory += (uint64_t)(larger - *capacity) * size;
    if (m->memory > m->memory_limit)
        return qn_fail_at(m->err, QINS_ERR_UNSUPPORTED, NULL, NULL, (int64_t)m->start,
                          "the pickle makes more objects than qins allows of a file of this size");
    void *p = realloc(*items, larger * size);
    if (!p)
        return qn_fail_memory(m->err);
    *items = p;
    *capacity = larger;
    return QINS_OK;
}

static enum qins_status push_word(struct machine *m, struct words *w, uint32_t value)
{
    void *items = w->items;
    enum qins_status st = grow(m, &items, &w->capacity, w->count, sizeof *w->items);
    w->items = items;
    if (st == QINS_OK)
        w->items[w->count++] = value;
    return st;
}

static struct qn_pickle_node *node(struct machine *m, uint32_t index)
{
    return &m->out->nodes[index];
}

/* Pushes a new node. */
static enum qins_status push(struct machine *m, struct qn_pickle_node value)
{
    void *items = m->out->nodes;
    enum qins_status st =
        grow(m, &items, &m->nodes_capacity, m->out->n_nodes, sizeof *m->out->nodes);
    m->out->nodes = items;
    if (st != QINS_OK)
        return st;
    m->out->nodes[m->out->n_nodes] = value;
    return push_word(m, &m->stack, m->out->n_nodes++);
}

static uint32_t floor_of_stack(const struct machine *m)
{
    return m->marks.count ? m->marks.items[m->marks.count - 1] : 0;
}

static enum qins_status need(struct machine *m, uint32_t count)
{
    return m->stack.count - floor_of_stack(m) < count ? fail(m, "the stack is too short") : QINS_OK;
}

/* Pops the topmost mark; *at is the stack's height there. */
static enum qins_status pop_mark(struct machine *m, uint32_t *at)
{
    if (m->marks.count == 0)
        return fail(m, "there is no mark");
    *at = m->marks.items[--m->marks.count];
    return QINS_OK;
}

static enum qins_status add_cell(struct machine *m, uint32_t container, uint32_t item)
{
    void *items = m->out->cells;
    enum qins_status st =
        grow(m, &items, &m->cells_capacity, m->out->n_cells, sizeof *m->out->cells);
    m->out->cells = items;
    if (st != QINS_OK)
        return st;
    uint32_t cell = m->out->n_cells++;
    struct qn_pickle_node *n = node(m, container);
    m->out->cells[cell] = (struct qn_pickle_cell){item, 0};
    if (n->size == 0)
        n->as.cells.first = cell;
    else
        m->out->cells[n->as.cells.last].next = cell;
    n->as.cells.last = cell;
    n->size++;
    return QINS_OK;
}

/* Moves what stands on the stack from height FROM on into a container's cells. */
static enum qins_status collect(struct machine *m, uint32_t container, uint32_t from)
{
    enum qins_status st = QINS_OK;
    for (uint32_t i = from; i < m->stack.count && st == QINS_OK; i++)
        st = add_cell(m, container, m->stack.items[i]);
    m->stack.count = from;
    return st;
}

static enum qins_status push_container(struct machine *m, enum qn_pickle_type type, uint32_t from)
{
    struct qn_pickle_node value = {.type = (uint8_t)type};
    enum qins_status st = push(m, value);
    if (st != QINS_OK)
        return st;
    uint32_t container = m->stack.items[--m->stack.count];
    st = collect(m, container, from);
    return st == QINS_OK ? push_word(m, &m->stack, container) : st;
}

static enum qins_status op_proto(struct machine *m, uint8_t op)
{
    (void)op;
    unsigned version = qn_cursor_u8(&m->in);
    if (version < 2 || version > MAX_PROTOCOL)
        return qn_fail_at(m->err, QINS_ERR_UNSUPPORTED, NULL, NULL, (int64_t)m->start,
                          "pickle protocol %u is not known", version);
    return QINS_OK;
}

static enum qins_status op_frame(struct machine *m, uint8_t op)
{
    (void)op;
    return qn_cursor_u64(&m->in) > qn_cursor_left(&m->in) ? fail(m, "a frame is cut short")
                                                          : QINS_OK;
}

static enum qins_status op_stop(struct machine *m, uint8_t op)
{
    (void)op;
    enum qins_status st = need(m, 1);
    if (st != QINS_OK)
        return st;
    m->out->root = m->stack.items[m->stack.count - 1];
    m->stopped = true;
    return QINS_OK;
}

static enum qins_status op_mark(struct machine *m, uint8_t op)
{
    (void)op;
    return push_word(m, &m->marks, m->stack.count);
}

static enum qins_status op_pop(struct machine *m, uint8_t op)
{
    uint32_t at = m->stack.count - 1;
    enum qins_status st = op == '1' ? pop_mark(m, &at) : need(m, 1);
    if (st == QINS_OK)
        m->stack.count = at;
    return st;
}

static enum qins_status op_dup(struct machine *m, uint8_t op)
{
    (void)op;
    enum qins_status st = need(m, 1);
    return st == QINS_OK ? push_word(m, &m->stack, m->stack.items[m->stack.count - 1]) : st;
}

static enum qins_status op_constant(struct machine *m, uint8_t op)
{
    struct qn_pickle_node value = {.type = QN_PICKLE_NONE};
    if (op != 'N') {
        value.type = QN_PICKLE_BOOL;
        value.as.integer = op == 0x88;
    }
    return push(m, value);
}

static enum qins_status op_int(struct machine *m, uint8_t op)
{
    struct qn_pickle_node value = {.type = QN_PICKLE_INT};
    if (op == 'K')
        value.as.integer = qn_cursor_u8(&m->in);
    else if (op == 'M')
        value.as.integer = qn_cursor_u16(&m->in);
    else
        value.as.integer = (int32_t)qn_cursor_u32(&m->in);
    return push(m, value);
}

/* Two's complement of any length, little-endian. */
static enum qins_status op_long(struct machine *m, uint8_t op)
{
    struct qn_pickle_node value = {.type = QN_PICKLE_INT};
    uint32_t size = op == 0x8a ? qn_cursor_u8(&m->in) : qn_cursor_u32(&m->in);
    const uint8_t *p = qn_cursor_take(&m->in, size);
    if (!p)
        return fail(m, "an integer is cut short");
    if (size > 8) {
        value.type = QN_PICKLE_OPAQUE;
    } else {
        uint64_t bits = size && p[size - 1] & 0x80 ? UINT64_MAX : 0;
        for (uint32_t i = size; i-- > 0;)
            bits = bits << 8 | p[i];
        value.as.integer = (int64_t)bits;
    }
    return push(m, value);
}

static enum qins_status op_float(struct machine *m, uint8_t op)
{
    (void)op;
    struct qn_pickle_node value = {.type = QN_PICKLE_FLOAT};
    uint64_t bits = __builtin_bswap64(qn_cursor_u64(&m->in));
    memcpy(&value.as.real, &bits, sizeof bits);
    return push(m, value);
}

static uint64_t string_size(struct machine *m, uint8_t op)
{
    switch (op) {
    case 0x8c: /* SHORT_BINUNICODE */
    case 'C':  /* SHORT_BINBYTES */
    case 'U':  /* SHORT_BINSTRING */
        return qn_cursor_u8(&m->in);
    case 0x8d: /* BINUNICODE8 */
    case 0x8e: /* BINBYTES8 */
    case 0x96: /* BYTEARRAY8 */
        return qn_cursor_u64(&m->in);
    default: /* BINUNICODE, BINBYTES, BINSTRING */
        return qn_cursor_u32(&m->in);
    }
}

static enum qins_status op_string(struct machine *m, uint8_t op)
{
    struct qn_pickle_node value = {.type = QN_PICKLE_TEXT};
    uint64_t size = string_size(m, op);
    value.as.bytes = qn_cursor_take(&m->in, size);
    if (!value.as.bytes)
        return fail(m, "a string is cut short");
    if (op == 'B' || op == 'C' || op == 0x8e || op == 0x96)
        value.type = QN_PICKLE_BYTES;
    value.size = (uint32_t)size;
    return push(m, value);
}

static enum qins_status op_tuple(struct machine *m, uint8_t op)
{
    uint32_t from = m->stack.count;
    enum qins_status st = QINS_OK;
    if (op == 't') {
        st = pop_mark(m, &from);
    } else if (op != ')') {
        uint32_t count = op - 0x84u; /* TUPLE1 is 0x85 */
        st = need(m, count);
        from -= count;
    }
    return st == QINS_OK ? push_container(m, QN_PICKLE_TUPLE, from) : st;
}

static enum qins_status op_container(struct machine *m, uint8_t op)
{
    uint32_t from = m->stack.count;
    enum qn_pickle_type type = op == ']' || op == 'l' ? QN_PICKLE_LIST : QN_PICKLE_DICT;
    enum qins_status st = op == 'l' || op == 'd' ? pop_mark(m, &from) : QINS_OK;
    if (st == QINS_OK && type == QN_PICKLE_DICT && (m->stack.count - from) % 2)
        st = fail(m, "a dict has a key without a value");
    return st == QINS_OK ? push_container(m, type, from) : st;
}

/* APPEND, APPENDS, SETITEM, SETITEMS, ADDITEMS. */
static enum qins_status op_extend(struct machine *m, uint8_t op)
{
    uint32_t from = m->stack.count;
    enum qins_status st = QINS_OK;
    if (op == 'a' || op == 's') {
        uint32_t count = op == 'a' ? 1 : 2;
        st = need(m, count);
        from -= count;
    } else {
        st = pop_mark(m, &from);
    }
    if (st != QINS_OK)
        return st;
    if (from <= floor_of_stack(m))
        return fail(m, "items without a container");
    uint32_t container = m->stack.items[from - 1];
    bool pairs = op == 's' || op == 'u';
    unsigned wanted = pairs ? QN_PICKLE_DICT : op == 0x90 ? QN_PICKLE_OPAQUE : QN_PICKLE_LIST;
    if (node(m, container)->type != wanted)
        return fail(m, "items are added to what is no container of their kind");
    if (pairs && (m->stack.count - from) % 2)
        return fail(m, "a dict has a key without a value");
    if (op != 0x90)
        return collect(m, container, from);
    m->stack.count = from;
    return QINS_OK;
}

static enum qins_status op_set(struct machine *m, uint8_t op)
{
    struct qn_pickle_node value = {.type = QN_PICKLE_OPAQUE};
    enum qins_status st = op == 0x91 ? pop_mark(m, &m->stack.count) : QINS_OK;
    return st == QINS_OK ? push(m, value) : st;
}

static enum qins_status op_put(struct machine *m, uint8_t op)
{
    uint32_t index = m->memo_used;
    if (op == 'q')
        index = qn_cursor_u8(&m->in);
    else if (op == 'r')
        index = qn_cursor_u32(&m->in);
    enum qins_status st = need(m, 1);
    if (st != QINS_OK)
        return st;
    /* Every entry costs an opcode, so honest numbers stay below the pickle's size. */
    if (index >= (size_t)(m->in.end - m->in.begin))
        return fail(m, "a memo number is out of range");
    while (m->memo.count <= index && st == QINS_OK)
        st = push_word(m, &m->memo, NO_NODE);
    if (st != QINS_OK)
        return st;
    m->memo_used += m->memo.items[index] == NO_NODE;
    m->memo.items[index] = m->stack.items[m->stack.count - 1];
    return QINS_OK;
}

static enum qins_status op_get(struct machine *m, uint8_t op)
{
    uint32_t index = op == 'h' ? qn_cursor_u8(&m->in) : qn_cursor_u32(&m->in);
    if (index >= m->memo.count || m->memo.items[index] == NO_NODE)
        return fail(m, "a memo entry is read before it is set");
    return push_word(m, &m->stack, m->memo.items[index]);
}

static bool equal(const char *text, const uint8_t *bytes, size_t size)
{
    return strlen(text) == size && memcmp(text, bytes, size) == 0;
}

static enum qins_status push_global(struct machine *m, const uint8_t *module, size_t module_size,
                                    const uint8_t *name, size_t name_size)
{
    for (size_t i = 0; i < m->known->count; i++) {
        const struct qn_pickle_global *g = &m->known->items[i];
        struct qn_pickle_node value = {.type = QN_PICKLE_GLOBAL, .global = (uint16_t)i};
        if (equal(g->module, module, module_size) && equal(g->name, name, name_size))
            return push(m, value);
    }
    return qn_fail_at(m->err, QINS_ERR_UNSUPPORTED, NULL, NULL, (int64_t)m->start,
                      "the pickle refers to '%.*s.%.*s', which is not among the names that qins "
                      "takes as data",
                      (int)qn_min_u64(module_size, 128), (const char *)module,
                      (int)qn_min_u64(name_size, 128), (const char *)name);
}

static enum qins_status op_global(struct machine *m, uint8_t op)
{
    (void)op;
    const uint8_t *line[2];
    size_t size[2];
    for (int i = 0; i < 2; i++) {
        const uint8_t *p = m->in.pos, *end = memchr(p, '\n', qn_cursor_left(&m->in));
        if (!end)
            return fail(m, "a global's name is cut short");
        line[i] = p;
        size[i] = (size_t)(end - p);
        m->in.pos = end + 1;
    }
    return push_global(m, line[0], size[0], line[1], size[1]);
}

static enum qins_status op_stack_global(struct machine *m, uint8_t op)
{
    (void)op;
    enum qins_status st = need(m, 2);
    if (st != QINS_OK)
        return st;
    m->stack.count -= 2;
    struct qn_pickle_node module = *node(m, m->stack.items[m->stack.count]);
    struct qn_pickle_node name = *node(m, m->stack.items[m->stack.count + 1]);
    if (module.type != QN_PICKLE_TEXT || name.type != QN_PICKLE_TEXT)
        return fail(m, "a global's name is no text");
    return push_global(m, module.as.bytes, module.size, name.as.bytes, name.size);
}

/* REDUCE and NEWOBJ: nothing is called. */
static enum qins_status op_call(struct machine *m, uint8_t op)
{
    (void)op;
    enum qins_status st = need(m, 2);
    if (st != QINS_OK)
        return st;
    m->stack.count -= 2;
    struct qn_pickle_node callee = *node(m, m->stack.items[m->stack.count]);
    struct qn_pickle_node args = *node(m, m->stack.items[m->stack.count + 1]);
    if (callee.type != QN_PICKLE_GLOBAL || args.type != QN_PICKLE_TUPLE)
        return fail(m, "a call of what is no function");
    const struct qn_pickle_global *g = &m->known->items[callee.global];
    struct qn_pickle_node value = {.type = QN_PICKLE_OPAQUE};
    switch (g->call) {
    case QN_PICKLE_CALL_OPAQUE:
        return push(m, value);
    case QN_PICKLE_CALL_DICT:
        value.type = QN_PICKLE_DICT;
        return args.size ? fail(m, "a dict is made from arguments") : push(m, value);
    case QN_PICKLE_CALL_FIRST:
        return args.size ? push_word(m, &m->stack, m->out->cells[args.as.cells.first].node)
                         : fail(m, "a call lacks its argument");
    case QN_PICKLE_CALL_NODE:
        /* Tuples never change once made, so the cells can be shared. */
        value = args;
        value.type = QN_PICKLE_CALL;
        value.global = callee.global;
        return push(m, value);
    default:
        return fail(m, "a call of what is no function");
    }
}

/* Attributes of a known object (an OrderedDict's _metadata, a parameter's __dict__): dropped. */
static enum qins_status op_build(struct machine *m, uint8_t op)
{
    (void)op;
    enum qins_status st = need(m, 2);
    if (st != QINS_OK)
        return st;
    m->stack.count--;
    unsigned type = node(m, m->stack.items[m->stack.count - 1])->type;
    if (type != QN_PICKLE_DICT && type != QN_PICKLE_CALL && type != QN_PICKLE_OPAQUE)
        return fail(m, "attributes are set on what has none");
    return QINS_OK;
}

static enum qins_status op_persistent(struct machine *m, uint8_t op)
{
    (void)op;
    enum qins_status st = need(m, 1);
    return st == QINS_OK ? push_container(m, QN_PICKLE_PERSISTENT, m->stack.count - 1) : st;
}

static op_fn *const ops[256] = {
    [0x80] = op_proto,    [0x95] = op_frame,    ['.'] = op_stop,      ['('] = op_mark,
    ['0'] = op_pop,       ['1'] = op_pop,       ['2'] = op_dup,       ['N'] = op_constant,
    [0x88] = op_constant, [0x89] = op_constant, ['J'] = op_int,       ['K'] = op_int,
    ['M'] = op_int,       [0x8a] = op_long,     [0x8b] = op_long,     ['G'] = op_float,
    ['X'] = op_string,    [0x8c] = op_string,   [0x8d] = op_string,   ['B'] = op_string,
    ['C'] = op_string,    [0x8e] = op_string,   [0x96] = op_string,   ['T'] = op_string,
    ['U'] = op_string,    [')'] = op_tuple,     ['t'] = op_tuple,     [0x85] = op_tuple,
    [0x86] = op_tuple,    [0x87] = op_tuple,    [']'] = op_container, ['l'] = op_container,
    ['}'] = op_container, ['d'] = op_container, ['a'] = op_extend,    ['e'] = op_extend,
    ['s'] = op_extend,    ['u'] = op_extend,    [0x90] = op_extend,   [0x8f] = op_set,
    [0x91] = op_set,      ['q'] = op_put,       ['r'] = op_put,       [0x94] = op_put,
    ['h'] = op_get,       ['j'] = op_get,       ['c'] = op_global,    [0x93] = op_stack_global,
    ['R'] = op_call,      [0x81] = op_call,     ['b'] = op_build,     ['Q'] = op_persistent,
};

static enum qins_status run(struct machine *m)
{
    enum qins_status st = QINS_OK;
    while (!m->stopped && st == QINS_OK) {
        m->start = qn_cursor_offset(&m->in);
        uint8_t op = qn_cursor_u8(&m->in);
        if (m->in.bad)
            return fail(m, "it ends without STOP");
        if (m->start == 0 && op != 0x80)
            return fail(m, "it does not begin with a protocol number");
        if (!ops[op])
            return qn_fail_at(m->err, QINS_ERR_UNSUPPORTED, NULL, NULL, (int64_t)m->start,
                              "pickle opcode 0x%02x is not one that torch writes", op);
        st = ops[op](m, op);
        if (st == QINS_OK && m->in.bad)
            st = fail(m, "an operand is cut short");
    }
    return st;
}

enum qins_status qn_pickle_parse(struct qn_pickle *out, const uint8_t *data, size_t size,
                                 const struct qn_pickle_table *known, uint64_t memory_limit,
                                 struct qins_error *err)
{
    *out = (struct qn_pickle){.n_cells = 1};
    if (size > QN_PICKLE_MAX)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "the pickle is longer than %d bytes",
                       QN_PICKLE_MAX);
    struct machine m = {.out = out, .known = known, .memory_limit = memory_limit, .err = err};
    m.in = qn_cursor_init(size ? data : (const uint8_t *)"", size); /* NULL of an empty buffer */
    enum qins_status st = run(&m);
    free(m.stack.items);
    free(m.marks.items);
    free(m.memo.items);
    if (st != QINS_OK)
        qn_pickle_finish(out);
    return st;
}

void qn_pickle_finish(struct qn_pickle *p)
{
    free(p->nodes);
    free(p->cells);
    *p = (struct qn_pickle){0};
}

const struct qn_pickle_node *qn_pickle_item(const struct qn_pickle *p,
                                            const struct qn_pickle_node *node, uint32_t index)
{
    if (index >= node->size || node->type < QN_PICKLE_TUPLE || node->type == QN_PICKLE_GLOBAL)
        return NULL;
    uint32_t cell = node->as.cells.first;
    while (index-- > 0)
        cell = p->cells[cell].next;
    return &p->nodes[p->cells[cell].node];
}

bool qn_pickle_is_text(const struct qn_pickle_node *node, const char *text)
{
    return node->type == QN_PICKLE_TEXT && equal(text, node->as.bytes, node->size);
}

const struct qn_limit qn_pickle_limits[] = {
    {"torch", "pickle", QN_PICKLE_MAX, "bytes", "memory: the pickle is held whole"},
    {0},
};
