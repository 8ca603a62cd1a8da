/* Plan files; and what is accepted must survive the way back and fit a checkpoint of its own
 * tensors or be refused. */
#include "core/buf.h"
#include "formats/plan.h"
#include "tests/unit/archive_reseal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* A source that is not quite the plan's: a tensor of another type, of another shape, or missing. */
static void check_others(const struct qn_plan *p, struct qn_tensor_list *list)
{
    struct qins_error err;
    if (list->count == 0)
        return;
    struct qn_tensor *last = &list->items[list->count - 1];
    const struct qn_tensor own = *last;
    last->dtype = own.dtype == QINS_F32 ? QINS_F16 : QINS_F32;
    require(qn_plan_check(p, "plan.json", list, &err) != QINS_OK);
    *last = own;
    last->rank = own.rank == 1 ? 2 : 1;
    last->shape[0] = last->shape[1] = 1;
    require(qn_plan_check(p, "plan.json", list, &err) != QINS_OK);
    *last = own;
    list->count--;
    require(qn_plan_check(p, "plan.json", list, &err) != QINS_OK);
    list->count++;
}

static void check_own_tensors(const struct qn_plan *p)
{
    struct qn_tensor_list list = {0};
    struct qins_error err;
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < p->count && st == QINS_OK; i++) {
        const struct qn_plan_tensor *t = &p->tensors[i];
        st = qn_tensor_list_add(&list, t->name, strlen(t->name), t->dtype, NULL, t->rank, t->shape,
                                NULL, &err);
    }
    require(st == QINS_OK);
    if (qn_plan_check(p, "plan.json", &list, &err) != QINS_OK)
        require(err.message[0] != '\0');
    check_others(p, &list);
    qn_tensor_list_finish(&list);
}

/* As a file, whose lines are found by name. */
static void load(const uint8_t *data, size_t size)
{
    static struct test_memory_file file = {.fd = -1};
    struct qn_plan p;
    require(file.fd >= 0 || test_memory_file_open(&file));
    require(test_memory_file_set(&file, data, size));
    require(qn_plan_load(file.path, &p, NULL) == QINS_OK);
    for (size_t i = 0; i < p.count; i++) {
        const struct qn_plan_tensor *found = qn_plan_find(&p, p.tensors[i].name);
        require(found && strcmp(found->name, p.tensors[i].name) == 0);
        require(qn_plan_at(&p, i, p.tensors[i].name) == &p.tensors[i]);
        require(qn_plan_at(&p, p.count, p.tensors[i].name) == found);
    }
    require(qn_plan_find(&p, "") == NULL || p.count > 0);
    qn_plan_finish(&p);
}

static void round_trip(const struct qn_plan *p)
{
    struct qn_plan again;
    json_t *j = qn_plan_to_json(p);
    char *text = j ? json_dumps(j, JSON_REAL_PRECISION(12)) : NULL;
    require(text != NULL);
    json_t *parsed = qn_json_parse(text, strlen(text), 0, NULL);
    require(parsed != NULL && qn_plan_from_json(parsed, &again, NULL) == QINS_OK);
    require(again.count == p->count);
    json_t *twice = qn_plan_to_json(&again);
    char *other = twice ? json_dumps(twice, JSON_REAL_PRECISION(12)) : NULL;
    require(other != NULL && strcmp(text, other) == 0);
    qn_plan_finish(&again);
    json_decref(j);
    json_decref(parsed);
    json_decref(twice);
    free(text);
    free(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qn_plan p;
    struct qins_error err;
    json_t *j = qn_json_parse(data, size, 0, &err);
    if (!j)
        return 0;
    if (qn_plan_from_json(j, &p, &err) == QINS_OK) {
        round_trip(&p);
        check_own_tensors(&p);
        load(data, size);
    } else {
        require(p.count == 0 && err.message[0] != '\0');
    }
    qn_plan_finish(&p);
    json_decref(j);
    return 0;
}
