/* What models are asked to continue: the prompts that ship (examples/prompts.json), or a user's. */
#ifndef QINS_ANALYZE_PROMPTS_H
#define QINS_ANALYZE_PROMPTS_H

#include "core/buf.h"
#include "core/hash.h"

#define QN_PROMPTS_SCHEMA "qins/prompts/1"
/* In place of a file: prompts are cut from the text. */
#define QN_PROMPTS_TEXT "text"
enum {
    QN_MAX_PROMPTS = 1000,
    QN_MAX_PROMPT_BYTES = 1 << 16,
    QN_MAX_PROMPT_KIND = 31,
    QN_MAX_PROMPTS_FILE = 1 << 24 /* bytes */
};

struct qn_prompt {
    char *kind; /* "news"; "given" where the file says nothing */
    char *text; /* not empty; SIZE bytes and a NUL */
    size_t size;
};

struct qn_prompts {
    struct qn_prompt *prompts;
    size_t n;
    struct qn_digest digest; /* of the file's bytes */
};

/* JSON {"schema": QN_PROMPTS_SCHEMA, "prompts": [{"kind", "text"}]} where the first byte that is
 * no blank is '{'; else text, a prompt a line, of which empty ones do not count. QINS_ERR_FORMAT
 * for what breaks the limits above, without any prompt, with a NUL, or where all of it is a JSON
 * array. *P is to be finished
 * whatever is returned. */
enum qins_status qn_prompts_parse(struct qn_prompts *p, const void *data, size_t size,
                                  struct qins_error *err);
/* Of a file, or where PATH is NULL those that ship. */
enum qins_status qn_prompts_read(struct qn_prompts *p, const char *path, struct qins_error *err);
void qn_prompts_finish(struct qn_prompts *p);

#endif
