#include "tests/fuzz/mutate.h"

enum { MAX_OPS = 4096, MAX_OPERAND = 1024, MAX_INSERTED = 8 };

struct op {
    size_t at, size; /* operand included */
};

struct ops {
    const uint8_t *data;
    struct op items[MAX_OPS];
    size_t n;
};

/* How operands are measured (CPython, Lib/pickletools.py). */
enum operand { NONE, FIXED_1, FIXED_2, FIXED_4, FIXED_8, COUNTED_1, COUNTED_4, COUNTED_8, LINES };

static enum operand operand_of(uint8_t op)
{
    switch (op) {
    case 0x80: /* PROTO */
    case 'K':
    case 'q':
    case 'h':
        return FIXED_1;
    case 'M':
        return FIXED_2;
    case 'J':
    case 'r':
    case 'j':
        return FIXED_4;
    case 'G':
    case 0x95: /* FRAME */
        return FIXED_8;
    case 0x8a: /* LONG1 */
    case 0x8c: /* SHORT_BINUNICODE */
    case 'C':
    case 'U':
        return COUNTED_1;
    case 0x8b: /* LONG4 */
    case 'X':
    case 'B':
    case 'T':
        return COUNTED_4;
    case 0x8d: /* BINUNICODE8 */
    case 0x8e: /* BINBYTES8 */
    case 0x96: /* BYTEARRAY8 */
        return COUNTED_8;
    case 'c':
        return LINES;
    default:
        return NONE;
    }
}

/* Bytes of the count before the operand's own. */
static size_t count_size(enum operand kind)
{
    return kind == COUNTED_1 ? 1 : kind == COUNTED_4 ? 4 : kind == COUNTED_8 ? 8 : 0;
}

static void skip_operand(struct qn_cursor *c, enum operand kind)
{
    static const unsigned char fixed[] = {
        [FIXED_1] = 1, [FIXED_2] = 2, [FIXED_4] = 4, [FIXED_8] = 8};
    if (kind == LINES) {
        for (int i = 0; i < 2 && !c->bad; i++) {
            const uint8_t *end = memchr(c->pos, '\n', qn_cursor_left(c));
            qn_cursor_take(c, end ? (uint64_t)(end - c->pos) + 1 : UINT64_MAX);
        }
    } else if (kind == COUNTED_1) {
        qn_cursor_take(c, qn_cursor_u8(c));
    } else if (kind == COUNTED_4) {
        qn_cursor_take(c, qn_cursor_u32(c));
    } else if (kind == COUNTED_8) {
        qn_cursor_take(c, qn_cursor_u64(c));
    } else if (kind != NONE) {
        qn_cursor_take(c, fixed[kind]);
    }
}

/* Up to what is no whole opcode, which is the end of the last one. */
static void list_ops(struct ops *ops, const uint8_t *data, size_t size)
{
    struct qn_cursor c = qn_cursor_init(data, size);
    ops->data = data;
    ops->n = 0;
    while (qn_cursor_left(&c) > 0 && ops->n < MAX_OPS) {
        const size_t at = qn_cursor_offset(&c);
        skip_operand(&c, operand_of(qn_cursor_u8(&c)));
        if (c.bad)
            break;
        ops->items[ops->n++] = (struct op){at, qn_cursor_offset(&c) - at};
    }
}

static void append_byte(struct qn_buf *b, unsigned byte)
{
    const uint8_t one = (uint8_t)byte;
    mutate_append(b, &one, 1);
}

/* Of those that torch writes. */
static void append_global(struct qn_buf *b, struct mutate_random *r)
{
    static const char *const names[] = {"ctorch._utils\n_rebuild_tensor_v2\n",
                                        "ctorch._utils\n_rebuild_tensor_v3\n",
                                        "ctorch._utils\n_rebuild_tensor\n",
                                        "ctorch._utils\n_rebuild_parameter\n",
                                        "ccollections\nOrderedDict\n",
                                        "ctorch\nSize\n",
                                        "ctorch\nFloatStorage\n",
                                        "ctorch\nHalfStorage\n",
                                        "ctorch.storage\nUntypedStorage\n",
                                        "ctorch\nbfloat16\n",
                                        "ctorch\nuint16\n",
                                        "cbuiltins\nset\n",
                                        "ctorch\nBoolStorage\n",
                                        "ctorch\nQInt8Storage\n",
                                        "ctorch\ndevice\n",
                                        "c_codecs\nencode\n"};
    const char *name = names[mutate_below(r, sizeof names / sizeof *names)];
    mutate_append(b, name, strlen(name));
}

static void append_integer(struct qn_buf *b, struct mutate_random *r)
{
    uint8_t bytes[8];
    const uint64_t value = mutate_number(r, mutate_below(r, 16));
    qn_store64(bytes, value);
    if (value < 256 && mutate_once_in(r, 2)) {
        append_byte(b, 'K');
        mutate_append(b, bytes, 1);
    } else if (value < 65536) {
        append_byte(b, 'M');
        mutate_append(b, bytes, 2);
    } else {
        append_byte(b, 0x8a);
        append_byte(b, 8);
        mutate_append(b, bytes, 8);
    }
}

/* A new opcode, of any kind that qins reads. */
static void append_op(struct qn_buf *b, struct mutate_random *r)
{
    static const uint8_t bare[] = "(012N\x88\x89)t\x85\x86\x87]l}daesu\x90\x8f\x91\x94\x93R\x81"
                                  "bQ.";
    static const char *const texts[] = {"storage", "0", "1", "cpu", "w", "", "data"};
    const size_t kind = mutate_below(r, 8);
    if (kind == 0) {
        append_global(b, r);
    } else if (kind == 1) {
        append_integer(b, r);
    } else if (kind == 2) {
        const char *text = texts[mutate_below(r, sizeof texts / sizeof *texts)];
        append_byte(b, 0x8c);
        append_byte(b, (unsigned)strlen(text));
        mutate_append(b, text, strlen(text));
    } else if (kind == 3) { /* to and from the memo */
        append_byte(b, mutate_once_in(r, 2) ? 'q' : 'h');
        append_byte(b, (unsigned)mutate_below(r, 12));
    } else {
        append_byte(b, bare[mutate_below(r, sizeof bare - 1)]);
    }
}

/* The same opcode with another operand; one without gets another opcode before it. */
static void append_changed(struct qn_buf *b, const uint8_t *op, size_t size,
                           struct mutate_random *r)
{
    const enum operand kind = operand_of(op[0]);
    const size_t counted = count_size(kind), head = 1 + counted;
    uint8_t operand[MAX_OPERAND], count[8];
    size_t n = size - head;
    if (kind == NONE || n > sizeof operand) {
        append_op(b, r);
        mutate_append(b, op, size);
        return;
    }
    if (kind == LINES) {
        append_global(b, r);
        return;
    }
    memcpy(operand, op + head, n);
    if (counted)
        n = LLVMFuzzerMutate(operand, n, counted == 1 ? 255 : sizeof operand);
    else
        LLVMFuzzerMutate(operand, n, n);
    qn_store64(count, mutate_once_in(r, 50) ? mutate_number(r, n) : n);
    mutate_append(b, op, 1);
    mutate_append(b, count, counted);
    mutate_append(b, operand, n);
}

/* One run of opcodes is left out, doubled, moved or gets others among it. */
static void edit(struct qn_buf *b, const struct ops *ops, struct mutate_random *r)
{
    const size_t at = mutate_below(r, ops->n), action = mutate_below(r, 7);
    const size_t from = mutate_below(r, ops->n);
    const size_t run = 1 + (mutate_once_in(r, 3) ? mutate_below(r, ops->n) : mutate_below(r, 4));
    for (size_t i = 0; i < ops->n; i++) {
        const struct op *op = &ops->items[i];
        if (i == at && action == 0) /* a copy of another run */
            for (size_t k = from; k < ops->n && k < from + run; k++)
                mutate_append(b, ops->data + ops->items[k].at, ops->items[k].size);
        if (i == at && action == 1)
            for (size_t k = 1 + mutate_below(r, MAX_INSERTED); k-- > 0;)
                append_op(b, r);
        if (action == 2 && i >= at && i < at + run)
            continue;
        if (action == 3 && i == at)
            op = &ops->items[from];
        if (action == 3 && i == from)
            op = &ops->items[at];
        if (action > 3 && i == at)
            append_changed(b, ops->data + op->at, op->size, r);
        else
            mutate_append(b, ops->data + op->at, op->size);
    }
}

size_t mutate_pickle(uint8_t *data, size_t size, size_t max_size, struct mutate_random *r)
{
    static struct ops ops;
    size_t now = size;
    for (size_t edits = 1 + mutate_below(r, 3); edits-- > 0 && now > 0;) {
        struct qn_buf b = {0};
        list_ops(&ops, data, now);
        if (ops.n == 0)
            return 0;
        edit(&b, &ops, r);
        now = mutate_deliver(&b, data, max_size);
    }
    return now;
}
