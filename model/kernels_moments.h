/* Running figures of activations, for model/kernels_template.h. */

/* Rows taken together: each channel's sums stay in registers that long. */
enum { MOMENT_ROWS = 16 };

/* The 64 octaves from 2^-44 on, in which activations lie, are counted in tables of our own: in
 * TABLES of them in turn, since a counter that was just stored is slow to load again, and with a
 * cell for each lane behind the others, for values that are not counted. */
enum {
    FIRST_CELL = (127 - 44) << (23 - QN_ABS_SHIFT),
    WINDOW = 64 << (23 - QN_ABS_SHIFT),
    TABLES = 4,
    TABLE_CELLS = WINDOW + LANES,
    TABLE_VALUES = 1 << 30, /* before a counter can overflow */
};

/* Lanes that counted, in turn: finite and not zero, those below zero, zeros. */
struct lane_counts {
    vi nonzero, negative, zero;
};

static void sort_outside(uint64_t *histogram, vi bits)
{
    int32_t lanes[LANES];
    vi_store(lanes, bits);
    for (size_t i = 0; i < LANES; i++) {
        int32_t cell = lanes[i] >> QN_ABS_SHIFT;
        bool inside = cell >= FIRST_CELL && cell < FIRST_CELL + WINDOW;
        if (lanes[i] > 0 && cell < QN_ABS_CELLS && !inside)
            histogram[cell]++;
    }
}

/* Sorts 16 values into the tables, those outside their window into the histogram itself. */
INLINE void sort_lanes(uint64_t *histogram, uint32_t *tables, struct lane_counts *c, vf x)
{
    vi zero = vi_set1(0), bits = vi_and(vf_bits(x), vi_set1(INT32_MAX));
    vm sorted = vm_and(vi_gt(bits, zero), vi_gt(vi_set1(0x7f800000), bits));
    c->nonzero = vi_count(c->nonzero, sorted);
    c->negative = vi_count(c->negative, vm_and(sorted, vi_gt(zero, vf_bits(x))));
    c->zero = vi_count(c->zero, vf_eq(x, vf_set1(0.0F)));
    vi cell = vi_shift_right(bits, QN_ABS_SHIFT);
    vm inside =
        vm_and(vi_gt(cell, vi_set1(FIRST_CELL - 1)), vi_gt(vi_set1(FIRST_CELL + WINDOW), cell));
    int32_t at[LANES];
    vi_store(at, vi_select(inside, vi_add(cell, vi_set1(-FIRST_CELL)),
                           vi_add(vi_lanes(), vi_set1(WINDOW))));
    UNROLL for (size_t i = 0; i < LANES; i++) tables[i % TABLES * TABLE_CELLS + (uint32_t)at[i]]++;
    if (vm_any(vm_without(sorted, inside)))
        sort_outside(histogram, bits);
}

static void merge_tables(uint64_t *histogram, const uint32_t *tables)
{
    for (size_t i = 0; i < WINDOW; i++) {
        uint64_t sum = 0;
        for (size_t t = 0; t < TABLES; t++)
            sum += tables[t * TABLE_CELLS + i];
        histogram[FIRST_CELL + i] += sum;
    }
}

/* What a block of 16 channels adds up to; may lie in the caller's arrays or in a copy. */
struct moment_block {
    double *sum, *sum_abs, *sum_squares;
    float *min, *max;
};

INLINE void add_block(const struct moment_block *b, uint64_t *histogram, uint32_t *tables,
                      struct lane_counts *counts, const float *x, size_t rows, size_t channels,
                      size_t stride)
{
    vd s0 = vd_load(b->sum), s1 = vd_load(b->sum + 8);
    vd a0 = vd_load(b->sum_abs), a1 = vd_load(b->sum_abs + 8);
    vd q0 = vd_load(b->sum_squares), q1 = vd_load(b->sum_squares + 8);
    vf min = vf_load(b->min), max = vf_load(b->max);
    struct lane_counts c = *counts;
    for (size_t r = 0; r < rows; r++) {
        vf v = ld(x + r * stride, channels), absolute = v_abs(v);
        vd low = vd_low(v), high = vd_high(v);
        s0 = vd_add(s0, low);
        s1 = vd_add(s1, high);
        a0 = vd_add(a0, vd_low(absolute));
        a1 = vd_add(a1, vd_high(absolute));
        q0 = vd_fma(low, low, q0);
        q1 = vd_fma(high, high, q1);
        min = vf_min(v, min);
        max = vf_max(v, max);
        sort_lanes(histogram, tables, &c, v);
    }
    vd_store(b->sum, s0);
    vd_store(b->sum + 8, s1);
    vd_store(b->sum_abs, a0);
    vd_store(b->sum_abs + 8, a1);
    vd_store(b->sum_squares, q0);
    vd_store(b->sum_squares + 8, q1);
    vf_store(b->min, min);
    vf_store(b->max, max);
    *counts = c;
}

/* Fewer than 16 channels, in a copy of their sums; the lanes behind them read as zeros. */
static void add_narrow_block(const struct moment_block *b, uint64_t *histogram, uint32_t *tables,
                             struct lane_counts *counts, const float *x, size_t rows,
                             size_t channels, size_t stride)
{
    double wide[3][LANES] = {{0}};
    float narrow[2][LANES] = {{0}};
    double *sums[] = {b->sum, b->sum_abs, b->sum_squares};
    float *bounds[] = {b->min, b->max};
    for (size_t i = 0; i < 3; i++)
        __builtin_memcpy(wide[i], sums[i], channels * sizeof(double));
    for (size_t i = 0; i < 2; i++)
        __builtin_memcpy(narrow[i], bounds[i], channels * sizeof(float));
    struct moment_block copy = {wide[0], wide[1], wide[2], narrow[0], narrow[1]};
    add_block(&copy, histogram, tables, counts, x, rows, channels, stride);
    for (size_t i = 0; i < 3; i++)
        __builtin_memcpy(sums[i], wide[i], channels * sizeof(double));
    for (size_t i = 0; i < 2; i++)
        __builtin_memcpy(bounds[i], narrow[i], channels * sizeof(float));
}

static uint64_t sum_of_lanes(vi counts)
{
    int32_t lanes[LANES];
    vi_store(lanes, counts);
    uint64_t sum = 0;
    for (size_t i = 0; i < LANES; i++)
        sum += (uint32_t)lanes[i];
    return sum;
}

/* At most TABLE_VALUES values. */
static void add_moments(struct qn_moment_sums *m, const float *x, size_t rows, size_t channels,
                        size_t stride)
{
    uint32_t tables[TABLES * TABLE_CELLS] = {0};
    size_t padding = (LANES - channels % LANES) % LANES;
    for (size_t row = 0; row < rows; row += MOMENT_ROWS) {
        size_t count = rows - row < MOMENT_ROWS ? rows - row : MOMENT_ROWS;
        struct lane_counts c = {vi_set1(0), vi_set1(0), vi_set1(0)};
        for (size_t i = 0; i < channels; i += LANES) {
            const float *from = x + row * stride + i;
            struct moment_block b = {m->sum + i, m->sum_abs + i, m->sum_squares + i, m->min + i,
                                     m->max + i};
            if (channels - i >= LANES)
                add_block(&b, m->histogram, tables, &c, from, count, LANES, stride);
            else
                add_narrow_block(&b, m->histogram, tables, &c, from, count, channels - i, stride);
        }
        uint64_t nonzero = sum_of_lanes(c.nonzero), negative = sum_of_lanes(c.negative);
        m->counts[0] += negative;
        m->counts[1] += sum_of_lanes(c.zero) - padding * count;
        m->counts[2] += nonzero - negative;
    }
    merge_tables(m->histogram, tables);
}

static void moments(struct qn_moment_sums *m, const float *x, size_t rows, size_t channels,
                    size_t stride)
{
    size_t most = channels < TABLE_VALUES ? TABLE_VALUES / (channels + 1) : 1;
    for (size_t row = 0; row < rows; row += most)
        add_moments(m, x + row * stride, rows - row < most ? rows - row : most, channels, stride);
}
