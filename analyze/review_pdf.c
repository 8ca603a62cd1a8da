/* review.pdf, printed from the page by a browser. */
#include "analyze/child.h"
#include "analyze/review.h"

#include "core/file.h"
#include "core/folder.h"
#include "core/text_writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SECONDS = 60,         /* a page takes about two */
    PDF_LIMIT = 256 << 20 /* bytes */
};

static const char *const browsers[] = {"chromium", "chromium-browser", "google-chrome",
                                       "google-chrome-stable", "chrome"};

/* PATH as the address of a file; heap. */
static char *file_address(const char *path, struct qins_error *err)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
    struct qn_text_writer w;
    char *whole = realpath(path, NULL);
    if (!whole) {
        qn_fail_errno(err, path, "find the file");
        return NULL;
    }
    if (qn_text_writer_init(&w, err) == QINS_OK) {
        fputs("file://", w.to);
        for (const char *c = whole; *c; c++)
            fprintf(w.to, strchr(plain, *c) ? "%c" : "%%%02X", (unsigned char)*c);
    }
    free(whole);
    return qn_text_writer_finish(&w, NULL, err);
}

/* The time of printing would make each PDF another: (D:20260131120000+00'00') at NAME becomes the
 * epoch, byte for byte. */
static void clear_date(struct qn_buf *pdf, const char *name)
{
    static const char epoch[] = "19700101000000";
    const size_t length = strlen(name);
    uint8_t *at = pdf->data, *end = at + pdf->size;
    while ((at = memmem(at, (size_t)(end - at), name, length))) {
        at += length;
        if ((size_t)(end - at) < sizeof epoch - 1)
            break;
        size_t digits = 0;
        while (digits < sizeof epoch - 1 && at[digits] >= '0' && at[digits] <= '9')
            digits++;
        if (digits == sizeof epoch - 1)
            memcpy(at, epoch, digits);
    }
}

/* Moves what the browser wrote, if that is a whole PDF. */
static enum qins_status take(const char *printed, const char *path, bool *ok,
                             struct qins_error *err)
{
    static const char head[] = "%PDF-", tail[] = "%%EOF";
    enum { TAIL_BYTES = 16 };
    struct qn_buf pdf = {0};
    enum qins_status st = qn_find_regular(printed, ok, err);
    if (st == QINS_OK && *ok)
        st = qn_read_whole(printed, PDF_LIMIT, &pdf, err);
    if (st == QINS_OK && *ok)
        *ok = pdf.size > TAIL_BYTES && memcmp(pdf.data, head, strlen(head)) == 0 &&
              memmem(pdf.data + pdf.size - TAIL_BYTES, TAIL_BYTES, tail, strlen(tail));
    if (st == QINS_OK && *ok) {
        clear_date(&pdf, "/CreationDate (D:");
        clear_date(&pdf, "/ModDate (D:");
        st = qn_write_whole(path, pdf.data, pdf.size, err);
    }
    qn_buf_finish(&pdf);
    return st;
}

/* *FOUND: the browser is there. SANDBOX: with its own; a root, or a container, may not have one,
 * and the page is ours and loads nothing. */
static enum qins_status print_by(const char *browser, bool sandbox, const char *address,
                                 const char *work, const char *path,
                                 const struct qn_monitor *monitor, bool *found, bool *ok,
                                 struct qins_error *err)
{
    char *profile = qn_format(err, "--user-data-dir=%s/profile", work);
    char *printed = qn_path_join(work, "printed.pdf", err);
    char *output = printed ? qn_format(err, "--print-to-pdf=%s", printed) : NULL;
    const char *const argv[] = {browser,
                                "--headless",
                                "--disable-gpu",
                                "--disable-extensions",
                                "--disable-sync",
                                "--disable-quic",
                                "--disable-background-networking",
                                "--disable-component-update",
                                "--no-first-run",
                                "--no-pdf-header-footer", /* and its older name */
                                "--print-to-pdf-no-header",
                                sandbox ? "--no-default-browser-check" : "--no-sandbox",
                                profile,
                                output,
                                address,
                                NULL};
    const struct qn_child child = {.argv = argv, .folder = work, .home = work, .seconds = SECONDS};
    enum qins_status st = profile && output ? QINS_OK : QINS_ERR_MEMORY;
    if (st == QINS_OK)
        st = qn_child_run(&child, monitor, ok, err);
    *found = st != QINS_ERR_UNSUPPORTED;
    if (st == QINS_OK && *ok)
        st = take(printed, path, ok, err);
    free(profile);
    free(printed);
    free(output);
    return *found ? st : QINS_OK;
}

enum qins_status qn_review_print(const char *page, const char *path, const struct qn_stage *stage,
                                 const struct qn_monitor *monitor, struct qins_error *err)
{
    char *address = file_address(page, err);
    bool found = false, ok = false;
    enum qins_status st = address ? QINS_OK : err ? err->status : QINS_ERR_MEMORY;
    for (size_t i = 0; i < sizeof browsers / sizeof *browsers && st == QINS_OK && !found; i++)
        for (int plain = geteuid() == 0; plain < 2 && st == QINS_OK && !ok; plain++) {
            st = print_by(browsers[i], !plain, address, stage->path, path, monitor, &found, &ok,
                          err);
            if (!found)
                break;
        }
    if (st == QINS_OK && found && !ok)
        st = qn_stage_check_space(stage, "print review.pdf", err);
    if (st == QINS_OK && !ok)
        qn_notice(monitor,
                  found ? "the browser could not print review.pdf; index.html prints from any"
                        : "there is no Chromium to print review.pdf; index.html prints from any "
                          "browser");
    free(address);
    return st;
}
