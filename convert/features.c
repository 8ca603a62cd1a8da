#include "convert/features.h"

#include "core/cpu.h"
#include "core/linalg.h"
#include "formats/checkpoint.h"
#include "formats/codec/codec.h"

#include <hdf5.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>
#include <xxhash.h>
#include <zip.h>
#include <zlib.h>
#include <zstd.h>

enum { MAX_VERSION = 64 };

static json_t *hdf5_version(void)
{
    unsigned major = 0, minor = 0, release = 0;
    char text[MAX_VERSION];
    if (H5get_libversion(&major, &minor, &release) < 0)
        return json_null();
    snprintf(text, sizeof text, "%u.%u.%u", major, minor, release);
    return json_string(text);
}

/* "10.42 2022-12-11" without the date. */
static json_t *pcre2_version(void)
{
    char text[MAX_VERSION] = "";
    if (pcre2_config(PCRE2_CONFIG_VERSION, NULL) > (int)sizeof text)
        return json_null();
    (void)pcre2_config(PCRE2_CONFIG_VERSION, text);
    text[strcspn(text, " ")] = '\0';
    return qn_json_text(text);
}

static json_t *xxhash_version(void)
{
    const unsigned v = XXH_versionNumber();
    char text[MAX_VERSION];
    snprintf(text, sizeof text, "%u.%u.%u", v / 10000, v / 100 % 100, v % 100);
    return json_string(text);
}

/* Those that are loaded now, which need not be those of the build. */
static json_t *libraries(void)
{
    json_t *j = json_object();
    qn_json_put(&j, "hdf5", hdf5_version());
    qn_json_put(&j, "zstd", qn_json_text(ZSTD_versionString()));
    qn_json_put(&j, "jansson", qn_json_text(jansson_version_str()));
    qn_json_put(&j, "libzip", qn_json_text(zip_libzip_version()));
    qn_json_put(&j, "pcre2", pcre2_version());
    qn_json_put(&j, "utf8proc", qn_json_text(utf8proc_version()));
    qn_json_put(&j, "xxhash", xxhash_version());
    qn_json_put(&j, "zlib", qn_json_text(zlibVersion()));
    qn_json_put(&j, "blas",
                qn_linalg_init(NULL) == QINS_OK ? qn_json_text(qn_linalg_description())
                                                : json_null());
    return j;
}

static json_t *cpu(void)
{
    json_t *j = json_object(), *levels = json_array();
    for (int level = QN_CPU_C; level <= (int)qn_cpu_level_built(); level++)
        qn_json_append(&levels, json_string(qn_cpu_level_name((enum qn_cpu_level)level)));
    qn_json_put(&j, "levels", levels);
    qn_json_put(&j, "level", json_string(qn_cpu_level_name(qn_cpu_level())));
    qn_json_put(&j, "vbmi", json_boolean(qn_cpu_has_vbmi()));
    qn_json_put(&j, "vnni", json_boolean(qn_cpu_has_vnni()));
    return j;
}

static json_t *coders(void)
{
    json_t *j = json_array();
    for (int id = 0; id < QN_CODEC_COUNT; id++)
        qn_json_append(&j, json_string(qn_codec_name((enum qn_codec_id)id)));
    return j;
}

static json_t *formats(void)
{
    json_t *j = json_array();
    for (size_t i = 0; qn_checkpoint_format(i); i++)
        qn_json_append(&j, json_string(qn_checkpoint_format(i)));
    return j;
}

json_t *qn_features(void)
{
    json_t *j = qn_report_begin("qins/version/1");
    qn_json_put(&j, "libraries", libraries());
    qn_json_put(&j, "cpu", cpu());
    qn_json_put(&j, "coders", coders());
    qn_json_put(&j, "checkpoint_formats", formats());
    return j;
}
