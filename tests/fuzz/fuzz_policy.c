/* Policy files, and every glob of one that is taken on names of all sorts. */
#include "policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"", "model.layers.0.mlp.up_proj.weight", "a\xff/\xc3\xbc`'",
                                        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"};
    struct qn_policy p;
    if (qn_policy_parse(data, size, &p, NULL) == QINS_OK)
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            (void)qn_policy_match(&p, names[i]);
    qn_policy_finish(&p);
    return 0;
}
