/* The parent's side of formats/hdf5_child.h, fed with bytes as if they came from the process
 * that runs libhdf5. */
#include "formats/hdf5_child.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct qn_checkpoint_ops no_ops = {.format = "hdf5"};

static void converse(struct qn_checkpoint *ck, int fd)
{
    static uint8_t dst[1 << 16];
    struct qins_error err;
    struct qn_hdf5_listing listing;
    struct qn_hdf5_child child = {.fd = fd, .limits = {5, 5, 0}};
    enum qins_status st = qn_hdf5_listing_init(&listing, ck, 1u << 20, NULL, &err);
    if (st == QINS_OK)
        st = qn_hdf5_child_list(&child, &listing, &err);
    for (size_t i = 0; st == QINS_OK && i < ck->tensors.count && i < 8; i++) {
        uint64_t n = ck->tensors.items[i].n_bytes;
        st = qn_hdf5_child_read(&child, i, 0, dst, n < sizeof dst ? (size_t)n : sizeof dst, &err);
    }
    qn_hdf5_listing_finish(&listing);
    qn_hdf5_child_end(&child);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qn_checkpoint ck;
    int ends[2];
    if (size > 100000 || socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
        return 0;
    ssize_t sent = send(ends[1], data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    shutdown(ends[1], SHUT_WR);
    if (sent == (ssize_t)size && qn_checkpoint_base_init(&ck, &no_ops, ".", NULL) == QINS_OK) {
        converse(&ck, ends[0]);
        qn_checkpoint_base_finish(&ck);
    } else {
        close(ends[0]);
    }
    close(ends[1]);
    return 0;
}
