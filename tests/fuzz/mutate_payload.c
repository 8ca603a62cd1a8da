#include "core/hash.h"
#include "tests/fuzz/mutate.h"

/* Offsets of docs/chunk-payload.md. */
enum {
    HEADER = 64,
    AT_HASHED = 8,
    AT_CONTENT = 13,
    AT_DTYPE = 14,
    AT_CODEC = 15,
    AT_N = 16,
    AT_SIZE = 20,
    AT_LEVELS = 24,
    AT_RAW_BITS = 26,
    AT_ROUNDING = 27,
    AT_KAPPA = 28,
    AT_N_SCALES = 32,
    AT_ROW = 36,
    AT_GROUP = 40,
    AT_CODED = 44,
    AT_BOUND = 48,
    BLOCKS = 3,
    PLANE_HEADER = 5,
    MAX_PLANES = 8,
    MAX_N = 1 << 13,
};

static void seal(uint8_t *payload, size_t size)
{
    qn_store32(payload + AT_SIZE, (uint32_t)size);
    qn_store64(payload, qn_hash64(payload + AT_HASHED, size - AT_HASHED));
}

/* A field gets another value of those that it may have, or just outside. */
static void change_field(uint8_t *p, struct mutate_random *r)
{
    switch (mutate_below(r, 12)) {
    case 0:
        p[AT_CONTENT] = (uint8_t)mutate_below(r, 5);
        break;
    case 1:
        p[AT_DTYPE] = (uint8_t)mutate_below(r, 17);
        break;
    case 2:
        p[AT_CODEC] = (uint8_t)mutate_below(r, 8);
        break;
    case 3:
        qn_store16(p + AT_LEVELS, (uint16_t)mutate_below(r, 2049));
        break;
    case 4:
        p[AT_RAW_BITS] = (uint8_t)mutate_below(r, 13);
        break;
    case 5:
        p[AT_ROUNDING] = (uint8_t)mutate_below(r, 3);
        break;
    case 6:
        qn_store32(p + AT_KAPPA, qn_float_bits((float)mutate_number(r, 1) * 0.25F));
        break;
    case 7:
        qn_store32(p + AT_BOUND, qn_float_bits((float)mutate_below(r, 8) * 0.125F));
        break;
    default: { /* a count or a size */
        static const unsigned char at[] = {AT_N, AT_N_SCALES, AT_ROW, AT_GROUP, AT_CODED};
        uint8_t *field = p + at[mutate_below(r, sizeof at)];
        qn_store32(field, (uint32_t)mutate_number(r, qn_load32(field)));
    }
    }
}

/* Elements, rows, groups and the number of scales, in agreement: sections grow or shrink with it.
 */
static size_t change_shape(uint8_t *p, size_t size, size_t max_size, struct mutate_random *r)
{
    const size_t group = 1 + mutate_below(r, 40), groups = 1 + mutate_below(r, 4);
    const size_t row = group * groups - mutate_below(r, group), rows = 1 + mutate_below(r, 20);
    const size_t old = (size_t)4 * qn_load32(p + AT_N_SCALES), scales = 4 * rows * groups;
    if (old > size - HEADER || size - old + scales > max_size)
        return 0;
    memmove(p + HEADER + scales, p + HEADER + old, size - HEADER - old);
    if (scales > old)
        memset(p + HEADER + old, 0, scales - old);
    qn_store32(p + AT_N, (uint32_t)(rows * row));
    qn_store32(p + AT_N_SCALES, (uint32_t)(rows * groups));
    qn_store32(p + AT_ROW, (uint32_t)row);
    qn_store32(p + AT_GROUP, (uint32_t)group);
    return size - old + scales;
}

/* Bytes FROM … FROM + LENGTH become others, as many or not. */
static size_t change_bytes(uint8_t *p, size_t size, size_t max_size, size_t from, size_t length,
                           size_t *now)
{
    const size_t room = max_size - (size - length);
    struct qn_buf rest = {0};
    *now = length;
    if (room == 0)
        return size;
    mutate_append(&rest, p + from + length, size - from - length);
    *now = LLVMFuzzerMutate(p + from, length, (size_t)qn_min_u64(room, 2 * length + 16));
    if (rest.size > 0)
        memcpy(p + from + *now, rest.data, rest.size);
    qn_buf_finish(&rest);
    return size - length + *now;
}

/* A section of quantised content. */
static size_t change_section(uint8_t *p, size_t size, size_t max_size, struct mutate_random *r)
{
    size_t now;
    const uint64_t scales = UINT64_C(4) * qn_load32(p + AT_N_SCALES);
    const uint64_t coded = qn_load32(p + AT_CODED);
    if (scales > size - HEADER || coded > size - HEADER - scales)
        return 0;
    if (scales > 0 && mutate_once_in(r, 4)) {
        LLVMFuzzerMutate(p + HEADER, (size_t)scales, (size_t)scales);
        return size;
    }
    size = change_bytes(p, size, max_size, HEADER + (size_t)scales, (size_t)coded, &now);
    qn_store32(p + AT_CODED, (uint32_t)now);
    return size;
}

/* A plane of lossless content: its coder or its coded bytes. */
static size_t change_plane(uint8_t *p, size_t size, size_t max_size, struct mutate_random *r)
{
    size_t at[MAX_PLANES], n = 0, now;
    for (size_t next = HEADER; n < MAX_PLANES && size - next >= PLANE_HEADER;) {
        const uint64_t length = qn_load32(p + next + 1);
        if (length > size - next - PLANE_HEADER)
            break;
        at[n++] = next;
        next += PLANE_HEADER + (size_t)length;
    }
    if (n == 0)
        return 0;
    const size_t plane = at[mutate_below(r, n)], length = qn_load32(p + plane + 1);
    if (mutate_once_in(r, 4)) {
        p[plane] = (uint8_t)mutate_below(r, 8);
        if (plane == HEADER)
            p[AT_CODEC] = p[plane];
        return size;
    }
    size = change_bytes(p, size, max_size, plane + PLANE_HEADER, length, &now);
    qn_store32(p + plane + 1, (uint32_t)now);
    return size;
}

/* A payload that has no parts. */
static size_t change_plain(uint8_t *p, size_t size, size_t max_size, struct mutate_random *r)
{
    size_t now = size;
    const size_t kind = mutate_below(r, 8);
    if (kind == 0)
        now = p[AT_CONTENT] == 0 ? 0 : change_shape(p, size, max_size, r);
    else if (kind == 1)
        qn_store32(p + AT_N, (uint32_t)(1 + mutate_below(r, MAX_N)));
    else if (kind < 4)
        change_field(p, r);
    else if (p[AT_CONTENT] == 0)
        now = change_plane(p, size, max_size, r);
    else
        now = change_section(p, size, max_size, r);
    if (now > 0)
        seal(p, now);
    return now;
}

struct part {
    size_t at, size;
};

static size_t list_parts(const uint8_t *p, size_t size, struct part *parts, size_t most)
{
    size_t n = 0;
    for (size_t at = HEADER; n < most && size - at >= HEADER;) {
        const size_t part = qn_load32(p + at + AT_SIZE);
        if (part < HEADER || part > size - at)
            break;
        parts[n++] = (struct part){at, part};
        at += part;
    }
    return n;
}

/* The head's numbers are those of its parts. */
static void count_parts(uint8_t *p, size_t size)
{
    struct part parts[64];
    const size_t n = list_parts(p, size, parts, 64);
    uint32_t elements = 0;
    for (size_t i = 0; i < n; i++)
        elements += qn_load32(p + parts[i].at + AT_N);
    qn_store32(p + AT_N, elements);
    qn_store32(p + AT_N_SCALES, (uint32_t)n);
    if (n > 0) {
        p[AT_DTYPE] = p[parts[0].at + AT_DTYPE];
        p[AT_CODEC] = p[parts[0].at + AT_CODEC];
    }
}

/* One part left out, doubled or changed. */
static size_t change_blocks(uint8_t *p, size_t size, size_t max_size, struct mutate_random *r)
{
    struct part parts[64];
    const size_t n = list_parts(p, size, parts, 64);
    if (n == 0)
        return 0;
    const struct part part = parts[mutate_below(r, n)];
    const size_t behind = part.at + part.size, kind = mutate_below(r, 8);
    if (kind == 0) {
        memmove(p + part.at, p + behind, size - behind);
        size -= part.size;
    } else if (kind == 1 && max_size - size >= part.size) {
        memmove(p + behind, p + part.at, size - part.at);
        size += part.size;
    } else if (kind > 1) {
        struct qn_buf rest = {0};
        mutate_append(&rest, p + behind, size - behind);
        const size_t now = change_plain(p + part.at, part.size, max_size - part.at - rest.size, r);
        if (now > 0 && rest.size > 0)
            memcpy(p + part.at + now, rest.data, rest.size);
        size = now ? part.at + now + rest.size : 0;
        qn_buf_finish(&rest);
    }
    if (size > 0 && !mutate_once_in(r, 10))
        count_parts(p, size);
    return size;
}

/* The payload becomes one of blocks, with itself as the only part, or two of it. */
static size_t wrap(uint8_t *p, size_t size, size_t max_size, struct mutate_random *r)
{
    const size_t copies = 2 + mutate_below(r, 2);
    if (size > (max_size - HEADER) / copies)
        return 0;
    memmove(p + HEADER, p, size);
    for (size_t i = 1; i < copies; i++)
        memcpy(p + HEADER + i * size, p + HEADER, size);
    memset(p + AT_LEVELS, 0, HEADER - AT_LEVELS);
    p[AT_CONTENT] = BLOCKS;
    count_parts(p, HEADER + copies * size);
    return HEADER + copies * size;
}

size_t mutate_payload(uint8_t *payload, size_t size, size_t max_size, struct mutate_random *r)
{
    size_t now = size;
    if (size < HEADER || max_size < size)
        return 0;
    for (size_t edits = 1 + mutate_below(r, 2); edits-- > 0 && now >= HEADER;) {
        if (payload[AT_CONTENT] == BLOCKS)
            now = change_blocks(payload, now, max_size, r);
        else if (mutate_once_in(r, 30))
            now = wrap(payload, now, max_size, r);
        else
            now = change_plain(payload, now, max_size, r);
    }
    if (now >= HEADER && !mutate_once_in(r, 30))
        seal(payload, now);
    return now;
}
