/* The files of policy/ as the build puts them into the program (tools/embed.py). */
#ifndef QINS_POLICY_BUILTIN_H
#define QINS_POLICY_BUILTIN_H

#include <stddef.h>

extern const char qn_policy_default_json[], qn_policy_archive_json[], qn_policy_costs_json[];
extern const size_t qn_policy_default_json_size, qn_policy_archive_json_size,
    qn_policy_costs_json_size;

#endif
