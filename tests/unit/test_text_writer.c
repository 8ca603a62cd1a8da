#include "tests/unit/testing.h"

#include "core/text_writer.h"

#include <stdlib.h>
#include <string.h>

static void whole_text(void **state)
{
    enum { LINES = 5000 };
    struct qn_text_writer w;
    size_t size = 0, at = 0;
    (void)state;
    check_ok(qn_text_writer_init(&w, &e_));
    for (int i = 0; i < LINES; i++)
        fprintf(w.to, "%d\n", i);
    char *text = qn_text_writer_finish(&w, &size, NULL);
    assert_non_null(text);
    assert_int_equal(strlen(text), size);
    for (int i = 0; i < LINES; i++) {
        char *end = NULL;
        assert_int_equal(strtol(text + at, &end, 10), i);
        assert_int_equal(*end, '\n');
        at = (size_t)(end + 1 - text);
    }
    assert_int_equal(at, size);
    free(text);
}

static void empty_text(void **state)
{
    struct qn_text_writer w;
    (void)state;
    check_ok(qn_text_writer_init(&w, &e_));
    char *text = qn_text_writer_finish(&w, NULL, NULL);
    assert_string_equal(text, "");
    free(text);
}

/* What could not be made is missed in the end, whatever is written behind it. */
static void reported_loss(void **state)
{
    struct qn_text_writer w;
    struct qins_error err;
    (void)state;
    check_ok(qn_text_writer_init(&w, &e_));
    fputs("before", w.to);
    w.status = qn_fail_at(&w.error, QINS_ERR_IO, "picture", NULL, QN_NO_OFFSET, "cannot be read");
    fputs("behind", w.to);
    assert_null(qn_text_writer_finish(&w, NULL, &err));
    assert_int_equal(err.status, QINS_ERR_IO);
    assert_string_equal(err.file, "picture");
}

/* stdio's own buffer is written when the stream is closed: late, but not too late to be missed. */
static void loss_while_closing(void **state)
{
    struct qn_text_writer w;
    struct qins_error err;
    (void)state;
    check_ok(qn_text_writer_init(&w, &e_));
    fputs("text", w.to);
    w.text.size = SIZE_MAX; /* no room for another byte */
    assert_null(qn_text_writer_finish(&w, NULL, &err));
    assert_int_equal(err.status, QINS_ERR_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_text),
        cmocka_unit_test(empty_text),
        cmocka_unit_test(reported_loss),
        cmocka_unit_test(loss_while_closing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
