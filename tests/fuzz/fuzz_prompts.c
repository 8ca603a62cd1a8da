/* Files of prompts, JSON or lines: what is taken keeps the limits. */
#include "analyze/prompts.h"
#include "tests/unit/archive_reseal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The same as a file; the prompts that ship are taken too. */
static void read_file(const uint8_t *data, size_t size, size_t n)
{
    static struct test_memory_file file = {.fd = -1};
    struct qn_prompts p, shipped;
    if ((file.fd < 0 && !test_memory_file_open(&file)) || !test_memory_file_set(&file, data, size))
        abort();
    if (qn_prompts_read(&p, file.path, NULL) != QINS_OK || p.n != n ||
        qn_prompts_read(&shipped, NULL, NULL) != QINS_OK)
        abort();
    qn_prompts_finish(&p);
    qn_prompts_finish(&shipped);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qn_prompts p;
    if (qn_prompts_parse(&p, data, size, NULL) == QINS_OK) {
        if (p.n == 0 || p.n > QN_MAX_PROMPTS)
            abort();
        for (size_t i = 0; i < p.n; i++)
            if (strlen(p.prompts[i].kind) > QN_MAX_PROMPT_KIND || p.prompts[i].size == 0 ||
                strlen(p.prompts[i].text) != p.prompts[i].size ||
                p.prompts[i].size > QN_MAX_PROMPT_BYTES)
                abort();
        read_file(data, size, p.n);
    }
    qn_prompts_finish(&p);
    return 0;
}
