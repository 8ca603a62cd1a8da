/* Rounding of LANES rows, written once over registers of WIDTH floats: feedback.c includes it for
 * each CPU level and defines WIDTH, TARGET (the functions' attribute), LEVEL(name) and PARTS, which
 * is PART() of each of the registers that hold LANES values. No operation differs between levels.
 */
#define BODY TARGET static inline __attribute__((always_inline))

typedef float LEVEL(part) __attribute__((vector_size(4 * WIDTH)));
struct LEVEL(lanes) {
#define PART(m) LEVEL(part)(m);
    PARTS
#undef PART
};

BODY void LEVEL(load)(struct LEVEL(lanes) * x, const float *v)
{
#define PART(m)                                                                                    \
    memcpy(&x->m, v, sizeof x->m);                                                                 \
    v += WIDTH;
    PARTS
#undef PART
}

BODY void LEVEL(store)(float *v, const struct LEVEL(lanes) * x)
{
#define PART(m)                                                                                    \
    memcpy(v, &x->m, sizeof x->m);                                                                 \
    v += WIDTH;
    PARTS
#undef PART
}

/* x -= e weight: a product, rounded, and a difference, rounded. */
BODY void LEVEL(subtract)(struct LEVEL(lanes) * x, const struct LEVEL(lanes) * e, float weight)
{
#define PART(m) x->m -= e->m * weight;
    PARTS
#undef PART
}

/* Error I of the block, of column J, to the columns behind it, up to END. */
BODY void LEVEL(spread_column)(struct panel *p, uint32_t j, uint32_t i, uint32_t end)
{
    const float *row = p->f->factor + (size_t)j * p->f->n;
    struct LEVEL(lanes) e, x;
    LEVEL(load)(&e, p->errors[i]);
    for (uint32_t k = j + 1; k < end; k++) {
        LEVEL(load)(&x, p->v[k]);
        LEVEL(subtract)(&x, &e, row[k]);
        LEVEL(store)(p->v[k], &x);
    }
}

/* The errors of columns BEGIN ... END - 1 to column K. */
BODY void LEVEL(spread_to_one)(struct panel *p, uint32_t begin, uint32_t end, uint32_t k)
{
    struct LEVEL(lanes) e, x;
    LEVEL(load)(&x, p->v[k]);
    for (uint32_t j = begin; j < end; j++) {
        LEVEL(load)(&e, p->errors[j - begin]);
        LEVEL(subtract)(&x, &e, p->f->factor[(size_t)j * p->f->n + k]);
    }
    LEVEL(store)(p->v[k], &x);
}

/* And to columns K ... K + 3, whose values stay in registers. */
BODY void LEVEL(spread_to_four)(struct panel *p, uint32_t begin, uint32_t end, uint32_t k)
{
    float(*v)[LANES] = p->v + k;
    struct LEVEL(lanes) e, x0, x1, x2, x3;
    const float *row = p->f->factor + (size_t)begin * p->f->n + k;
    LEVEL(load)(&x0, v[0]);
    LEVEL(load)(&x1, v[1]);
    LEVEL(load)(&x2, v[2]);
    LEVEL(load)(&x3, v[3]);
    for (uint32_t j = begin; j < end; j++, row += p->f->n) {
        LEVEL(load)(&e, p->errors[j - begin]);
        LEVEL(subtract)(&x0, &e, row[0]);
        LEVEL(subtract)(&x1, &e, row[1]);
        LEVEL(subtract)(&x2, &e, row[2]);
        LEVEL(subtract)(&x3, &e, row[3]);
    }
    LEVEL(store)(v[0], &x0);
    LEVEL(store)(v[1], &x1);
    LEVEL(store)(v[2], &x2);
    LEVEL(store)(v[3], &x3);
}

BODY void LEVEL(spread_block)(struct panel *p, uint32_t begin, uint32_t end)
{
    uint32_t k = end, n = p->f->n;
    for (; n - k >= 4; k += 4)
        LEVEL(spread_to_four)(p, begin, end, k);
    for (; k < n; k++)
        LEVEL(spread_to_one)(p, begin, end, k);
}

TARGET static void LEVEL(round_panel)(struct panel *p, const float *scales, uint32_t group,
                                      uint16_t *codes, size_t count)
{
    const uint32_t n = p->f->n, groups = n / group + (n % group != 0);
    uint32_t loaded = UINT32_MAX;
    for (uint32_t begin = 0; begin < n; begin += BLOCK) {
        uint32_t size = n - begin < BLOCK ? n - begin : BLOCK;
        for (uint32_t i = 0; i < size; i++) {
            uint32_t j = begin + i, c = p->f->order ? p->f->order[j] : j;
            if (p->g->kind == QN_GRID_QINS && c / group != loaded) {
                loaded = c / group;
                load_scales(p, scales, groups, loaded, count);
            }
            round_column(p, j, i);
            for (size_t r = 0; r < count; r++)
                codes[r * n + c] = p->codes[r];
            LEVEL(spread_column)(p, j, i, begin + size);
        }
        LEVEL(spread_block)(p, begin, begin + size);
    }
}

#undef BODY
