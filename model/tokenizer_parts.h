/* What the readers of the parts of tokenizer.json share. */
#ifndef QINS_MODEL_TOKENIZER_PARTS_H
#define QINS_MODEL_TOKENIZER_PARTS_H

#include "core/json.h"
#include "model/pattern.h"

/* What a family's parts become: an array of a type of its own. */
struct qn_step_list {
    void *items;
    size_t count;
};

/* One type of a family of parts. */
struct qn_part_kind {
    const char *type;
    /* Of a part of that type; NULL: it has no effect on ids or text. */
    enum qins_status (*parse)(void *ctx, const json_t *part, struct qins_error *err);
};

/* A family: "normalizer", "pre-tokenizer", ... */
struct qn_part_family {
    const char *name;
    const char *members; /* key of what a Sequence is made of */
    const struct qn_part_kind *kinds;
    size_t n_kinds;
};

/* Calls the kind's parse for PART, or for each member of a Sequence, in order; null or NULL is
 * no part. */
enum qins_status qn_parse_parts(const struct qn_part_family *family, const json_t *part, void *ctx,
                                struct qins_error *err);

/* Members of a part. A missing one or a null takes the default (NULL: it must be there); another
 * type is QINS_ERR_FORMAT. */
enum qins_status qn_part_bool(const json_t *part, const char *key, bool otherwise, bool *out,
                              struct qins_error *err);
enum qins_status qn_part_string(const json_t *part, const char *key, const char *otherwise,
                                const char **out, struct qins_error *err);
/* A count of characters, at most a few. */
enum qins_status qn_part_count(const json_t *part, const char *key, uint32_t *out,
                               struct qins_error *err);
/* "pattern": {"String": ...} or {"Regex": ...}. */
enum qins_status qn_part_pattern(struct qn_pattern *p, const json_t *part, struct qins_error *err);

/* Adds a step of SIZE bytes, zeroed. NULL and *err when out of memory. */
void *qn_step_add(struct qn_step_list *list, size_t size, struct qins_error *err);

#endif
