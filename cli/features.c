#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

enum { NAME_COLUMN = 12, WIDTH = 79 };

/* The words of a line, which go on below it where it is full. */
static void put(size_t *column, const char *word, bool more)
{
    const size_t n = strlen(word) + more;
    if (*column + 1 + n > WIDTH) {
        cli_print("\n%*s", NAME_COLUMN, "");
        *column = NAME_COLUMN;
    } else if (*column > NAME_COLUMN) {
        cli_print(" ");
        ++*column;
    }
    cli_print("%s%s", word, more ? "," : "");
    *column += n;
}

static void put_names(const char *name, const json_t *names)
{
    size_t i, column = NAME_COLUMN;
    const json_t *value;
    cli_print("%-*s", NAME_COLUMN, name);
    json_array_foreach(names, i, value)
        put(&column, json_string_value(value), i + 1 < json_array_size(names));
    cli_print("\n");
}

static void put_libraries(const json_t *libraries)
{
    const char *blas = json_string_value(json_object_get(libraries, "blas"));
    size_t column = NAME_COLUMN;
    const char *key;
    json_t *value;
    char word[128];
    cli_print("%-*s", NAME_COLUMN, "libraries");
    json_object_foreach((json_t *)libraries, key, value)
    {
        const char *text = json_string_value(value);
        if (strcmp(key, "blas") == 0)
            continue;
        snprintf(word, sizeof word, "%s %s", key, text ? text : "?");
        put(&column, word, true);
    }
    put(&column, blas ? blas : "no OpenBLAS (models cannot be run)", false);
    cli_print("\n");
}

static void put_cpu(const json_t *cpu)
{
    const json_t *levels = json_object_get(cpu, "levels");
    cli_print("%-*s%s", NAME_COLUMN, "processor", cli_string(cpu, "level"));
    if (json_is_true(json_object_get(cpu, "vbmi")))
        cli_print(" vbmi");
    if (json_is_true(json_object_get(cpu, "vnni")))
        cli_print(" vnni");
    cli_print(" in use, built for");
    for (size_t i = 0; i < json_array_size(levels); i++)
        cli_print("%s %s", i ? "," : "", json_string_value(json_array_get(levels, i)));
    cli_print("\n");
}

void cli_print_features(const json_t *features)
{
    cli_print("qins %s\n", cli_string(features, "qins_version"));
    put_libraries(json_object_get(features, "libraries"));
    put_cpu(json_object_get(features, "cpu"));
    put_names("coders", json_object_get(features, "coders"));
    put_names("reads", json_object_get(features, "checkpoint_formats"));
}
