/* Runs a fuzz target over the files named as arguments, and over the files of folders named so. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
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
    failed = 0;
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
        struct stat status;
        if (!stat(argv[i], &status) && S_ISDIR(status.st_mode)) {
            failed |= replay_folder(argv[i], &replayed);
        } else {
            failed |= replay_file(argv[i]);
            replayed++;
        }
    }
    printf("%u inputs replayed\n", replayed);
    return failed || !replayed;
}
