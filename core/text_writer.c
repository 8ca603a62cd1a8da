#include "core/text_writer.h"

#include <errno.h>

/* stdio tells of fewer bytes than it gave in ferror(). */
static ssize_t append(void *writer, const char *data, size_t size)
{
    struct qn_text_writer *w = writer;
    if (w->status == QINS_OK)
        w->status = qn_buf_append(&w->text, data, size, &w->error);
    if (w->status == QINS_OK)
        return (ssize_t)size;
    errno = ENOMEM;
    return 0;
}

enum qins_status qn_text_writer_init(struct qn_text_writer *w, struct qins_error *err)
{
    static const cookie_io_functions_t functions = {.write = append};
    *w = (struct qn_text_writer){.to = fopencookie(w, "w", functions)};
    if (!w->to)
        w->status = qn_fail_memory(&w->error);
    if (!w->to && err)
        *err = w->error;
    return w->status;
}

char *qn_text_writer_finish(struct qn_text_writer *w, size_t *size, struct qins_error *err)
{
    bool lost = w->to && ferror(w->to) != 0;
    lost = (w->to && fclose(w->to) != 0) || lost;
    w->to = NULL;
    if (w->status == QINS_OK)
        w->status = lost ? qn_fail_memory(&w->error) : qn_buf_append(&w->text, "", 1, &w->error);
    if (w->status != QINS_OK) {
        qn_buf_finish(&w->text);
        if (err)
            *err = w->error;
        return NULL;
    }
    if (size)
        *size = w->text.size - 1;
    return (char *)w->text.data; /* now the caller's */
}
