/* A pickle machine that only makes data. It reads protocols 2 to 5 as torch.save writes them,
 * imports and calls nothing: what a GLOBAL names must stand in the caller's table, and a call
 * (REDUCE, NEWOBJ) becomes a node that says what would have been called with what.
 *
 * Memory: each byte of pickle makes at most one node, one cell and one word on the stack or in
 * the memo, under 64 bytes together, spare capacity included; the caller's limit bounds the sum.
 * The result may share nodes and hold cycles, as Python's
 * objects may: who walks it must bound depth and steps. */
#ifndef QINS_FORMATS_PICKLE_H
#define QINS_FORMATS_PICKLE_H

#include "core/error.h"

enum { QN_PICKLE_MAX = 64 << 20 }; /* bytes of pickle accepted; torch writes 100-200 a tensor */

/* What calling a known global gives. */
enum qn_pickle_call {
    QN_PICKLE_NO_CALL,    /* it is a mere name: a dtype, a storage class */
    QN_PICKLE_CALL_NODE,  /* a QN_PICKLE_CALL with the arguments */
    QN_PICKLE_CALL_DICT,  /* an empty dict; only without arguments */
    QN_PICKLE_CALL_FIRST, /* its first argument, as torch.Size((2, 3)) is (2, 3) */
    QN_PICKLE_CALL_OPAQUE /* a value of no interest */
};

struct qn_pickle_global {
    const char *module, *name;
    enum qn_pickle_call call;
    int meaning; /* the caller's own */
};

struct qn_pickle_table {
    const struct qn_pickle_global *items;
    size_t count;
};

enum qn_pickle_type {
    QN_PICKLE_NONE,
    QN_PICKLE_BOOL,      /* integer */
    QN_PICKLE_INT,       /* integer */
    QN_PICKLE_FLOAT,     /* real */
    QN_PICKLE_TEXT,      /* bytes, size: UTF-8 unless the file lies */
    QN_PICKLE_BYTES,     /* bytes, size */
    QN_PICKLE_OPAQUE,    /* sets, integers beyond 64 bits, ... */
    QN_PICKLE_TUPLE,     /* size cells */
    QN_PICKLE_LIST,      /* size cells */
    QN_PICKLE_DICT,      /* size cells: key, value, key, value, ...; keys may repeat */
    QN_PICKLE_GLOBAL,    /* global */
    QN_PICKLE_CALL,      /* global; size cells: the arguments */
    QN_PICKLE_PERSISTENT /* one cell: the persistent id */
};

struct qn_pickle_cell {
    uint32_t node, next; /* next: 0 ends the list */
};

struct qn_pickle_node {
    uint8_t type;    /* enum qn_pickle_type */
    uint16_t global; /* index in the table */
    uint32_t size;
    union {
        int64_t integer;
        double real;
        const uint8_t *bytes; /* into the caller's pickle */
        struct {
            uint32_t first, last; /* cell numbers */
        } cells;
    } as;
};

/* Node and cell numbers index these; cell 0 is unused. */
struct qn_pickle {
    struct qn_pickle_node *nodes;
    struct qn_pickle_cell *cells;
    uint32_t root;
    uint32_t n_nodes, n_cells;
};

/* Parses DATA, which must outlive *out. Errors carry the byte offset in the pickle:
 * QINS_ERR_UNSUPPORTED for globals and opcodes that are not known (named), QINS_ERR_FORMAT for
 * what is no pickle. MEMORY_LIMIT bounds what is allocated, in bytes; 4096 + 64 * SIZE is enough
 * for any pickle. On failure *out is empty. */
enum qins_status qn_pickle_parse(struct qn_pickle *out, const uint8_t *data, size_t size,
                                 const struct qn_pickle_table *known, uint64_t memory_limit,
                                 struct qins_error *err);
void qn_pickle_finish(struct qn_pickle *p);

/* Item INDEX of a node with cells, or NULL; takes INDEX steps. */
const struct qn_pickle_node *qn_pickle_item(const struct qn_pickle *p,
                                            const struct qn_pickle_node *node, uint32_t index);

/* Whether a node is TEXT. */
bool qn_pickle_is_text(const struct qn_pickle_node *node, const char *text);

#endif
