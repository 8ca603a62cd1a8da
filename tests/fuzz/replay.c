/* Runs a fuzz target over the files named as arguments, and over the files of folders named so.
 * -m COUNT: also over so many mutants of each file, for targets that have a mutator of their own.
 */
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
__attribute__((weak)) size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size,
                                                     unsigned seed);

/* clang's counters of -fprofile-instr-generate; NULL in other builds. */
extern const uint64_t first_counter[] __asm__("__start___llvm_prf_cnts") __attribute__((weak));
extern const uint64_t last_counter[] __asm__("__stop___llvm_prf_cnts") __attribute__((weak));

enum { MOST_GROWTH = 1 << 12 };

static unsigned mutants;
static bool names_new;
static uint32_t state; /* of LLVMFuzzerMutate */

/* In place of libFuzzer's: one byte changed, or the last bytes left out or added to. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size)
{
    state = state * 1664525 + 1013904223;
    const uint32_t kind = state >> 30, what = state >> 8;
    if (kind == 0 && size > 1)
        return size - 1 - what % (size < 16 ? size - 1 : 15);
    if ((kind == 1 && size < max_size) || size == 0) {
        data[size] = (uint8_t)what;
        return size + 1;
    }
    data[what % size] ^= (uint8_t)(1u << (what >> 16) % 8);
    return size;
}

/* Runs over a mutant of DATA, which has the room that the mutator is told and not a byte more; the
 * same seed must yield the same one. */
static int run_mutant(const uint8_t *data, size_t size, unsigned seed)
{
    const size_t room = size + MOST_GROWTH;
    uint8_t *first = malloc(room), *second = malloc(room);
    size_t n = 0, again = 0;
    int failed = 1;
    if (first && second) {
        memcpy(first, data, size);
        memcpy(second, data, size);
        state = seed;
        n = LLVMFuzzerCustomMutator(first, size, room, seed);
        state = seed;
        again = LLVMFuzzerCustomMutator(second, size, room, seed);
        failed = n == 0 || n > room || n != again || memcmp(first, second, n) != 0;
    }
    if (!failed)
        LLVMFuzzerTestOneInput(first, n);
    else
        fprintf(stderr, "seed %u: the mutator is not sound\n", seed);
    free(first);
    free(second);
    return failed;
}

/* Counters that are not zero. */
static size_t reached(void)
{
    size_t n = 0;
    for (const uint64_t *c = first_counter; c < last_counter; c++)
        n += *c != 0;
    return n;
}

static int replay_file(const char *path)
{
    static size_t before;
    FILE *file = fopen(path, "rb");
    struct stat status;
    uint8_t *data = NULL;
    int failed = 1;

    if (!file || fstat(fileno(file), &status)) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        goto out;
    }
    /* Exactly the file's size, so that a read past it is seen; malloc(0) may be NULL. */
    size_t size = (size_t)status.st_size;
    data = malloc(size ? size : 1);
    if (!data || fread(data, 1, size, file) != size) {
        fprintf(stderr, "%s: cannot read\n", path);
        goto out;
    }
    LLVMFuzzerTestOneInput(data, size);
    if (names_new && reached() > before) {
        before = reached();
        printf("%s\n", path);
    }
    failed = 0;
    for (unsigned seed = 0; seed < mutants && LLVMFuzzerCustomMutator && !failed; seed++)
        failed = run_mutant(data, size, seed);
out:
    free(data);
    if (file)
        fclose(file);
    return failed;
}

/* Names are sorted so that a crash always comes at the same place. */
static int replay_folder(const char *folder, unsigned *replayed)
{
    struct dirent **entries = NULL;
    int failed = 0;
    int count = scandir(folder, &entries, NULL, alphasort);

    if (count < 0) {
        fprintf(stderr, "%s: %s\n", folder, strerror(errno));
        return 1;
    }
    for (int i = 0; i < count; i++) {
        char path[4096];
        struct stat status;
        int length = snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
        if (length < 0 || (size_t)length >= sizeof(path)) {
            fprintf(stderr, "%s: name too long\n", folder);
            failed = 1;
        } else if (!stat(path, &status) && S_ISREG(status.st_mode)) {
            failed |= replay_file(path);
            ++*replayed;
        }
        free(entries[i]);
    }
    free(entries);
    return failed;
}

int main(int argc, char **argv)
{
    unsigned replayed = 0;
    int failed = 0;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-m") == 0 && i + 1 < argc) {
            mutants = (unsigned)strtoul(argv[++i], NULL, 10);
            continue;
        }
        if (strcmp(argv[i], "-n") == 0) {
            names_new = true;
            continue;
        }
        struct stat status;
        if (!stat(argv[i], &status) && S_ISDIR(status.st_mode)) {
            failed |= replay_folder(argv[i], &replayed);
        } else {
            failed |= replay_file(argv[i]);
            replayed++;
        }
    }
    fprintf(names_new ? stderr : stdout, "%u inputs replayed\n", replayed);
    return failed || !replayed;
}
