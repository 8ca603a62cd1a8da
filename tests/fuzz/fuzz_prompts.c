/* Files of prompts, JSON or lines: what is taken keeps the limits. */
#include "analyze/prompts.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
    }
    qn_prompts_finish(&p);
    return 0;
}
