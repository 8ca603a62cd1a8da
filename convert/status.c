#include "convert/status.h"

#include "convert/sources.h"
#include "convert/status_scan.h"
#include "core/folder.h"

#include <stdlib.h>
#include <string.h>

static const char *const state_names[QN_PART_STATES] = {"missing", "interrupted", "running",
                                                        "done",    "stale",       "damaged"};
static const char *const kind_names[] = {"convert", "calibrate", "validate", "unknown"};

/* One output with one number of parts: ITEMS[n] of the files. */
struct set {
    struct qn_status_part *items;
    size_t n;
    const struct qn_status_part *newest; /* that says which job is meant */
    const char *source;                  /* "same", "changed", or "unknown": what it is now */
    bool there;                          /* the output, made after all of its parts */
    uint32_t counts[QN_PART_STATES];
};

static bool is_later(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

static const struct qn_status_part *newest_of(const struct set *s)
{
    const struct qn_status_part *newest = NULL;
    for (size_t i = 0; i < s->n; i++)
        if (s->items[i].has_job && (!newest || is_later(&s->items[i].changed, &newest->changed)))
            newest = &s->items[i];
    return newest;
}

/* Whether the checkpoint that the newest part was made from is still what it was. */
static enum qins_status look_at_source(struct set *s, struct qins_error *err)
{
    struct qn_checkpoint *ck = NULL;
    struct qn_digest d;
    struct stat info;
    const char *source = s->newest ? s->newest->source : NULL;
    bool there = false;
    enum qins_status st = source ? qn_look_at(source, &info, &there, err) : QINS_OK;
    if (st != QINS_OK || !there)
        return st;
    st = qn_checkpoint_open(&ck, source, NULL, err);
    if (st == QINS_OK)
        st = qn_source_digest(ck, &d, err);
    if (st == QINS_OK)
        s->source = memcmp(&d, &s->newest->source_digest, sizeof d) == 0 ? "same" : "changed";
    qn_checkpoint_destroy(ck);
    /* What is no checkpoint any more is not known; what cannot be read may be the same. */
    return st == QINS_ERR_IO || st == QINS_ERR_MEMORY ? st : QINS_OK;
}

/* Parts of another job than the newest, or of a source that is no more, are good for nothing. */
static void mark_stale(struct set *s)
{
    const bool all = strcmp(s->source, "changed") == 0;
    for (size_t i = 0; i < s->n && s->newest; i++) {
        struct qn_status_part *p = &s->items[i];
        if (p->has_job && p->state != QN_PART_RUNNING &&
            (all || memcmp(&p->job, &s->newest->job, sizeof p->job) != 0))
            p->state = QN_PART_STALE;
    }
}

/* The state of a shard that ITEMS[*at], and the one behind it, are of: what is done counts. */
static const struct qn_status_part *next_shard(const struct set *s, size_t *at)
{
    const struct qn_status_part *p = &s->items[(*at)++];
    const unsigned index = p->shard.index;
    while (*at < s->n && s->items[*at].shard.index == index) {
        if (p->state != QN_PART_DONE && s->items[*at].state == QN_PART_RUNNING)
            p = &s->items[*at];
        ++*at;
    }
    return p;
}

static void count_states(struct set *s)
{
    unsigned seen = 0;
    for (size_t at = 0; at < s->n; seen++)
        s->counts[next_shard(s, &at)->state]++;
    s->counts[QN_PART_MISSING] = s->items->shard.count > seen ? s->items->shard.count - seen : 0;
}

static const char *verdict(const struct set *s)
{
    const uint32_t *n = s->counts;
    if (s->items->finished)
        return n[QN_PART_DONE] ? "complete" : "damaged";
    if (s->there)
        return "complete";
    if (n[QN_PART_DAMAGED])
        return "damaged";
    if (n[QN_PART_STALE])
        return "stale";
    if (s->items->shard.count > 0 && n[QN_PART_DONE] == s->items->shard.count)
        return "unmerged";
    return n[QN_PART_RUNNING] ? "running" : "incomplete";
}

/* [first, last] of runs of shards that are not there. */
static json_t *missing_runs(const struct set *s)
{
    json_t *runs = json_array();
    unsigned next = 1;
    const unsigned count = s->items->shard.count;
    for (size_t i = 0; i <= s->n && count > 0; i++) {
        const unsigned index = i < s->n ? s->items[i].shard.index : count + 1;
        if (index > next)
            qn_json_append(&runs, json_pack("[i,i]", (int)next, (int)(index - 1)));
        next = index >= next ? index + 1 : next;
    }
    return runs;
}

static json_t *part_to_json(const struct qn_status_part *p)
{
    struct timespec now;
    json_t *j = json_object();
    clock_gettime(CLOCK_REALTIME, &now);
    qn_json_put(&j, "part", json_integer(p->shard.index));
    qn_json_put(&j, "state", json_string(state_names[p->state]));
    qn_json_put(&j, "path", qn_json_text(p->path));
    qn_json_put(&j, "bytes", json_integer((json_int_t)p->bytes));
    qn_json_put(&j, "changed_seconds_ago",
                json_integer((json_int_t)(now.tv_sec - p->changed.tv_sec)));
    if (p->has_job)
        qn_json_put(&j, "job", qn_json_digest(&p->job));
    if (p->counts) {
        qn_json_put(&j, "chunks", json_integer((json_int_t)p->chunks));
        qn_json_put(&j, "chunks_done", json_integer((json_int_t)p->chunks_done));
    }
    return j;
}

static json_t *set_to_json(const struct set *s)
{
    const struct qn_status_part *first = s->items;
    enum qn_work_kind kind = QN_WORK_OTHER;
    json_t *j = json_object(), *parts = json_array();
    for (size_t i = 0; i < s->n && kind == QN_WORK_OTHER; i++)
        kind = s->items[i].kind;
    qn_json_put(&j, "output", qn_json_text(first->output));
    qn_json_put(&j, "kind", json_string(kind_names[kind]));
    qn_json_put(&j, "state", json_string(verdict(s)));
    qn_json_put(&j, "output_exists", json_boolean(s->there || first->finished));
    qn_json_put(&j, "parts", json_integer(first->shard.count));
    if (s->newest)
        qn_json_put(&j, "job", qn_json_digest(&s->newest->job));
    if (s->newest && s->newest->source)
        qn_json_put(&j, "source", qn_json_text(s->newest->source));
    qn_json_put(&j, "source_state", json_string(s->source));
    for (int state = 0; state < QN_PART_STATES; state++)
        qn_json_put(&j, state_names[state], json_integer(s->counts[state]));
    qn_json_put(&j, "missing_parts", missing_runs(s));
    for (size_t at = 0; at < s->n && !first->finished;)
        qn_json_append(&parts, part_to_json(next_shard(s, &at)));
    qn_json_put(&j, "found", parts);
    return j;
}

/* An output whose parts are listed is not listed once more as a file. */
static bool has_parts(const struct qn_status_files *files, const struct qn_status_part *p)
{
    const size_t at = (size_t)(p - files->items);
    const bool before = at > 0 && strcmp(files->items[at - 1].output, p->output) == 0;
    const bool behind = at + 1 < files->n && strcmp(files->items[at + 1].output, p->output) == 0;
    return p->finished && (before || behind);
}

static enum qins_status study(struct set *s, struct qins_error *err)
{
    struct stat info;
    const struct qn_status_part *first = s->items;
    bool older = false, exists = false;
    s->newest = newest_of(s);
    s->source = "unknown";
    enum qins_status st =
        first->finished ? QINS_OK : qn_look_at(first->output, &info, &exists, err);
    for (size_t i = 0; i < s->n && exists; i++)
        older = older || is_later(&s->items[i].changed, &info.st_mtim);
    s->there = exists && !older;
    if (st == QINS_OK && !s->there)
        st = look_at_source(s, err);
    if (!s->there)
        mark_stale(s);
    count_states(s);
    return st;
}

static enum qins_status report_sets(struct qn_status_files *files, json_t **j,
                                    struct qins_error *err)
{
    json_t *outputs = json_array();
    size_t complete = 0, total = 0;
    enum qins_status st = QINS_OK;
    for (size_t i = 0, end; i < files->n && st == QINS_OK; i = end) {
        const struct qn_status_part *first = &files->items[i];
        for (end = i + 1; end < files->n && !first->finished &&
                          files->items[end].shard.count == first->shard.count &&
                          !files->items[end].finished &&
                          strcmp(files->items[end].output, first->output) == 0;)
            end++;
        struct set s = {.items = &files->items[i], .n = end - i};
        if (has_parts(files, first))
            continue;
        st = study(&s, err);
        total++;
        complete += strcmp(verdict(&s), "complete") == 0;
        qn_json_append(&outputs, set_to_json(&s));
    }
    qn_json_put(j, "outputs", outputs);
    qn_json_put(j, "complete", json_integer((json_int_t)complete));
    if (st == QINS_OK && !*j)
        st = qn_fail_memory(err);
    if (st != QINS_OK)
        return st;
    return complete == total ? QINS_OK
                             : qn_fail(err, QINS_ERR_CHECK, "%zu of %zu outputs are not complete",
                                       total - complete, total);
}

enum qins_status qn_status(const char *dir, json_t **report, struct qins_error *err)
{
    struct qn_status_files files;
    json_t *j = NULL;
    enum qins_status st = qn_status_scan(dir, &files, err);
    if (st == QINS_OK) {
        j = qn_report_begin("qins/status/1");
        qn_json_put(&j, "folder", qn_json_text(dir));
        qn_json_put(&j, "leftovers", json_integer((json_int_t)files.leftovers));
        qn_json_put(&j, "leftover_bytes", json_integer((json_int_t)files.leftover_bytes));
        st = report_sets(&files, &j, err);
    }
    *report = j;
    qn_status_files_finish(&files);
    return st;
}
