/* XXH3 as compiled for each CPU level against libxxhash's own functions. */
#include "core/cpu.h"
#include "core/hash_functions.h"
#include "core/random.h"
#include "tests/unit/kernel_testing.h"

#include <xxhash.h>

enum { MOST = 5000 };

struct tables {
    const struct qn_hash_functions *items[2];
    size_t n;
};

static struct tables all_tables(void)
{
    struct tables t = {{&qn_hash_c}, 1};
#if defined(__x86_64__)
    if (qn_cpu_level() >= QN_CPU_AVX2)
        t.items[t.n++] = &qn_hash_avx2;
#endif
    return t;
}

static void fill(uint8_t *bytes, size_t n)
{
    uint64_t seed = 3;
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)qn_random_u64(&seed);
}

static void digest_of(const uint8_t *bytes, size_t n, uint8_t out[16])
{
    XXH128_canonical_t c;
    XXH128_canonicalFromHash(&c, XXH3_128bits(bytes, n));
    memcpy(out, c.digest, 16);
}

/* At both ends of a buffer between guard pages; at its end unaligned. */
static void all_at_once(void **state)
{
    (void)state;
    uint8_t expected[16];
    const struct tables t = all_tables();
    struct fenced buffer = fenced_create(MOST);
    fill(buffer.body, buffer.size);
    for (size_t n = 0; n < MOST; n += n < 600 ? 1 : 97) {
        for (int at_end = 0; at_end < 2; at_end++) {
            const uint8_t *bytes = fenced_place(&buffer, at_end == 1, n);
            digest_of(bytes, n, expected);
            for (size_t i = 0; i < t.n; i++) {
                struct qn_digest d = t.items[i]->hash128(bytes, n);
                assert_memory_equal(d.bytes, expected, 16);
                assert_true(t.items[i]->hash64(bytes, n) == XXH3_64bits(bytes, n));
            }
        }
    }
    fenced_destroy(&buffer);
}

static void in_pieces(void **state)
{
    (void)state;
    uint8_t bytes[MOST], expected[16];
    const struct tables t = all_tables();
    fill(bytes, sizeof bytes);
    for (size_t i = 0; i < t.n; i++) {
        void *h = t.items[i]->create();
        size_t used = 0;
        assert_non_null(h);
        for (size_t step = 1; used + step <= sizeof bytes; used += step, step += 37) {
            t.items[i]->add(h, bytes + used, step);
            digest_of(bytes, used + step, expected);
            struct qn_digest d = t.items[i]->digest(h);
            assert_memory_equal(d.bytes, expected, 16);
        }
        t.items[i]->destroy(h);
        t.items[i]->destroy(NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_at_once),
        cmocka_unit_test(in_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
