/* Allocations that fail. */
#include "shim.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <unwind.h>

/* NOLINTBEGIN(bugprone-reserved-identifier): glibc's own, by the names under which a replacement of
 * malloc() still reaches them. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
/* NOLINTEND(bugprone-reserved-identifier) */

struct search {
    enum shim_target found;
    uintptr_t place;
};

static _Unwind_Reason_Code look(struct _Unwind_Context *context, void *search)
{
    struct search *s = search;
    s->found = shim_owner((const void *)_Unwind_GetIP(context), &s->place);
    return s->found == SHIM_TARGETS ? _URC_NO_REASON : _URC_END_OF_STACK;
}

/* Whether the allocation for CALLER fails. What libc or zlib allocate is asked for by somebody. */
static bool fails(const void *caller)
{
    if (shim_busy)
        return false;
    struct search s = {SHIM_TARGETS, 0};
    shim_busy = true;
    s.found = shim_owner(caller, &s.place);
    if (s.found == SHIM_TARGETS) {
        _Unwind_Backtrace(look, &s);
        if (s.found == SHIM_OWN || s.found == SHIM_TARGETS)
            s.found = SHIM_LIBRARY;
    }
    shim_busy = false;
    if (!shim_due(s.found, KIND_NONE, s.place))
        return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}

/* Making smaller does not fail in practice, but may. */
void *realloc(void *old, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, size);
}

void *memalign(size_t alignment, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    void *made = fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, size);
    if (!made)
        return ENOMEM;
    *out = made;
    return 0;
}
