#include "policy/planner.h"

#include "analyze/logarithm.h"
#include "policy/allocate.h"

#include <math.h>
#include <stdlib.h>

enum {
    MOST_DOUBLINGS = 80,
    BISECTIONS = 30,
};

void qn_planned_finish(struct qn_planned *item)
{
    free(item->codings);
    *item = (struct qn_planned){0};
}

void qn_planned_scale(struct qn_planned *item, double factor)
{
    item->cost_per_error *= factor;
    for (size_t i = 0; i < item->n_codings; i++)
        item->codings[i].cost *= factor;
}

void qn_planned_spread(struct qn_planned *item, double spread)
{
    for (size_t i = 0; i < item->n_codings; i++) {
        struct qn_coding *c = &item->codings[i];
        double share = item->squares > 0.0 ? c->candidate.error / item->squares : 0.0;
        if (c->codec != QN_CODEC_BITPACK)
            c->bytes += (double)item->elements / 8.0 * qn_log2(1.0 + spread * share) / 2.0;
    }
}

void qn_planned_correct(struct qn_planned *item, double bytes)
{
    struct qn_coding *chosen = &item->codings[item->chosen];
    const double factor = bytes / chosen->bytes;
    chosen->measured = true;
    chosen->bytes = bytes;
    for (size_t i = 0; i < item->n_codings; i++)
        if (item->codings[i].codec != QN_CODEC_BITPACK && !item->codings[i].measured)
            item->codings[i].bytes *= factor;
}

double qn_packed_decode_ns(const struct qn_planned *items, size_t n, const struct qn_costs *costs)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += items[i].packed_elements * costs->decode_ns[QN_CODEC_BITPACK];
    return sum;
}

/* By coder; then bytes; then cost; then in the candidates' order, which qsort() does not keep. */
static int by_bytes(const void *a, const void *b)
{
    const struct qn_coding *x = a, *y = b;
    const struct qn_candidate *c = &x->candidate, *d = &y->candidate;
    const double keys[][2] = {
        {x->codec, y->codec},
        {x->bytes, y->bytes},
        {x->cost, y->cost},
        {c->granularity, d->granularity},
        {c->levels, d->levels},
        {(double)c->kappa, (double)d->kappa},
        {(double)c->clip, (double)d->clip},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (keys[i][0] != keys[i][1])
            return keys[i][0] < keys[i][1] ? -1 : 1;
    return 0;
}

static void add(struct qn_planned *item, const struct qn_candidate *c, enum qn_codec_id codec,
                double bytes, const struct qn_costs *costs)
{
    if (!qn_costs_know(costs, codec))
        return;
    bool packed = codec == QN_CODEC_BITPACK;
    double elements = packed ? item->packed_elements : item->coded_elements;
    item->codings[item->n_codings++] = (struct qn_coding){
        .candidate = *c,
        .codec = codec,
        .bytes = item->extra_bytes + bytes,
        .cost = item->cost_per_error * c->error,
        .decode_ns = elements * costs->decode_ns[codec],
    };
}

/* Keeps those that no other one of the same coder beats in bytes and in cost. */
static void keep_best(struct qn_planned *item)
{
    size_t kept = 0;
    qsort(item->codings, item->n_codings, sizeof *item->codings, by_bytes);
    for (size_t i = 0; i < item->n_codings; i++) {
        const struct qn_coding *c = &item->codings[i];
        const struct qn_coding *last = kept ? &item->codings[kept - 1] : NULL;
        if (!last || last->codec != c->codec || c->cost < last->cost)
            item->codings[kept++] = *c;
    }
    item->n_codings = kept;
}

enum qins_status qn_planned_fill(struct qn_planned *item, const struct qn_policy *p,
                                 const struct qn_costs *costs,
                                 const struct qn_candidate_list *const *lists, size_t n_lists,
                                 struct qins_error *err)
{
    size_t room = 0;
    unsigned least = p->min_bits, most = p->max_bits;
    if (item->rule && item->rule->min_bits)
        least = item->rule->min_bits;
    if (item->rule && item->rule->max_bits)
        most = item->rule->max_bits;
    for (size_t i = 0; i < n_lists; i++)
        room += (1 + QN_COUNTED_CODERS) * lists[i]->count;
    item->n_codings = 0;
    item->codings = calloc(room ? room : 1, sizeof *item->codings);
    if (!item->codings)
        return qn_fail_memory(err);
    for (size_t i = 0; i < n_lists; i++)
        for (size_t k = 0; k < lists[i]->count; k++) {
            const struct qn_candidate *c = &lists[i]->items[k];
            unsigned bits = qn_code_bits(c->levels);
            if (bits < least || bits > most || !isfinite(c->error))
                continue;
            add(item, c, QN_CODEC_BITPACK, (double)c->packed_bytes, costs);
            for (int id = 0; id < QN_COUNTED_CODERS; id++) {
                uint64_t bytes = qn_candidate_bytes(c, qn_counted_coders[id]);
                if (bytes < c->packed_bytes)
                    add(item, c, qn_counted_coders[id], (double)bytes, costs);
            }
        }
    keep_best(item);
    if (item->n_codings == 0)
        return qn_fail(err, QINS_ERR_UNSUPPORTED,
                       "the policy leaves no way to code it, of %u to %u bits", least, most);
    struct qn_coding *smaller = realloc(item->codings, item->n_codings * sizeof *item->codings);
    item->codings = smaller ? smaller : item->codings;
    return QINS_OK;
}

enum qins_status qn_planned_add(struct qn_planned *item, const struct qn_costs *costs,
                                const struct qn_coding *more, size_t n, struct qins_error *err)
{
    struct qn_coding *larger = realloc(item->codings, (item->n_codings + n) * sizeof *larger);
    if (!larger)
        return qn_fail_memory(err);
    item->codings = larger;
    for (size_t i = 0; i < n; i++)
        add(item, &more[i].candidate, more[i].codec, more[i].bytes, costs);
    keep_best(item);
    return QINS_OK;
}

/* The items as the allocation sees them: decode time, at PRICE a nanosecond, is added to what is
 * to be minimal, so that one more multiplier keeps it in its budget. */
struct market {
    struct qn_planned *items;
    size_t n;
    const struct qn_budget *budget;
    struct qn_choice *choices;
    struct qn_alloc_item *allocation;
    bool packed_only; /* where a token's time is known */
};

static enum qins_status open_market(struct market *m, struct qins_error *err)
{
    size_t total = 0;
    for (size_t i = 0; i < m->n; i++)
        total += m->items[i].n_codings;
    m->choices = calloc(total ? total : 1, sizeof *m->choices);
    m->allocation = calloc(m->n ? m->n : 1, sizeof *m->allocation);
    if (!m->choices || !m->allocation)
        return qn_fail_memory(err);
    total = 0;
    for (size_t i = 0; i < m->n; i++) {
        m->allocation[i] = (struct qn_alloc_item){.choices = m->choices + total,
                                                  .n_choices = m->items[i].n_codings};
        total += m->items[i].n_codings;
    }
    return QINS_OK;
}

static enum qins_status trade(struct market *m, double price, struct qn_choice_summary *out,
                              struct qins_error *err)
{
    struct qn_choice *choice = m->choices;
    struct qn_allocation a;
    bool by_bytes_budget = m->budget->bytes >= 0.0;
    for (size_t i = 0; i < m->n; i++)
        for (size_t k = 0; k < m->items[i].n_codings; k++, choice++) {
            const struct qn_coding *c = &m->items[i].codings[k];
            double time = price * c->decode_ns;
            *choice = (struct qn_choice){c->bytes, c->cost};
            if (time > 0.0 && by_bytes_budget)
                choice->cost += time;
            else if (time > 0.0)
                choice->bytes += time;
            if (m->packed_only && c->decode_ns > 0.0 && c->codec != QN_CODEC_BITPACK)
                choice->cost = INFINITY;
        }
    enum qins_status st = by_bytes_budget
                              ? qn_allocate_bytes(m->allocation, m->n, m->budget->bytes, &a, err)
                              : qn_allocate_cost(m->allocation, m->n, m->budget->cost, &a, err);
    if (st != QINS_OK)
        return st;
    *out = (struct qn_choice_summary){.multiplier = a.multiplier, .met = a.met};
    for (size_t i = 0; i < m->n; i++) {
        m->items[i].chosen = m->allocation[i].chosen;
        const struct qn_coding *c = &m->items[i].codings[m->items[i].chosen];
        out->bytes += c->bytes;
        out->cost += c->cost;
        out->decode_ns += c->decode_ns;
    }
    return QINS_OK;
}

/* The least price of time at which its budget holds. A budget of bytes goes before one of time:
 * where both cannot be met, bytes are. */
static enum qins_status bid(struct market *m, struct qn_choice_summary *out, struct qins_error *err)
{
    enum qins_status st = trade(m, 0.0, out, err);
    if (st != QINS_OK || !out->met || out->decode_ns <= m->budget->decode_ns)
        return st;
    double amount = m->budget->bytes >= 0.0 ? out->cost : out->bytes;
    double low = 0.0, high = amount / (out->decode_ns * 1e6);
    for (int i = 0; i < MOST_DOUBLINGS && st == QINS_OK; i++) {
        st = trade(m, high, out, err);
        if (st != QINS_OK || out->decode_ns <= m->budget->decode_ns)
            break;
        low = high;
        high *= 2.0;
    }
    if (st == QINS_OK && out->decode_ns > m->budget->decode_ns) {
        m->packed_only = true;
        st = trade(m, 0.0, out, err);
        if (st == QINS_OK && !out->met) {
            m->packed_only = false;
            st = trade(m, high, out, err);
        }
        return st;
    }
    for (int i = 0; i < BISECTIONS && st == QINS_OK; i++) {
        double middle = 0.5 * (low + high);
        st = trade(m, middle, out, err);
        if (out->decode_ns <= m->budget->decode_ns)
            high = middle;
        else
            low = middle;
    }
    return st == QINS_OK ? trade(m, high, out, err) : st;
}

enum qins_status qn_plan_choose(struct qn_planned *items, size_t n, const struct qn_budget *budget,
                                struct qn_choice_summary *out, struct qins_error *err)
{
    struct market m = {.items = items, .n = n, .budget = budget};
    *out = (struct qn_choice_summary){0};
    enum qins_status st = open_market(&m, err);
    if (st == QINS_OK)
        st = bid(&m, out, err);
    free(m.choices);
    free(m.allocation);
    return st;
}
