#include "bench/machine.h"

#include "core/cpu.h"
#include "core/linalg.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_CACHES = 16, MAX_LINE = 64 };

/* The kernel's words on cache INDEX; false where there is none. */
static bool read_line(unsigned index, const char *what, char line[MAX_LINE])
{
    char path[128];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%u/%s", index, what);
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    const bool ok = fgets(line, MAX_LINE, f) != NULL;
    (void)fclose(f);
    return ok;
}

/* Not by sysconf(), which adds up the shares of a host's other processors on some of them. */
uint64_t qn_bench_last_cache(void)
{
    char level[MAX_LINE], size[MAX_LINE];
    unsigned last = 0;
    uint64_t bytes = 0;
    for (unsigned i = 0; i < MAX_CACHES && read_line(i, "level", level); i++) {
        unsigned l = 0;
        uint64_t n = 0;
        char unit = 'K';
        if (sscanf(level, "%u", &l) == 1 && l >= last && read_line(i, "size", size) &&
            sscanf(size, "%" SCNu64 "%c", &n, &unit) >= 1) {
            last = l;
            bytes = n << (unit == 'M' ? 20 : 10);
        }
    }
    return bytes;
}

json_t *qn_bench_machine(const struct qn_harness *h)
{
    const uint64_t cache = qn_bench_last_cache();
    json_t *j = json_object();
    qn_json_put(&j, "online_processors", json_integer(qn_cpu_count()));
    qn_json_put(&j, "held_processors", json_integer(h->n_cpus));
    qn_json_put(&j, "cpu_level", json_string(qn_cpu_level_name(qn_cpu_level())));
    qn_json_put(&j, "last_cache_bytes", cache ? json_integer((json_int_t)cache) : json_null());
    qn_json_put(&j, "blas", qn_json_text(qn_linalg_description()));
    return j;
}
