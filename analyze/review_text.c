/* Figures of a review as people read them. */
#include "analyze/page.h"
#include "analyze/report_json.h"
#include "analyze/review_page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DECIMALS = 8 };

static int exponent_of(double value)
{
    return (int)floor(log10(fabs(value)));
}

/* A figure between 0.9 WHOLE and WHOLE shows two digits of what is missing. */
static int missing_decimals(double value, double whole)
{
    return 1 - exponent_of(whole - value);
}

/* One or two digits of the standard error; three of a figure that has none. */
static int decimals_of(double value, double error, bool per_cent)
{
    static const double most_of_two = 3.55; /* the Particle Data Group's rule */
    const double whole = per_cent ? 100.0 : 1.0, most_plain = 1e5;
    int decimals;
    if (error > 0.0 && isfinite(error))
        decimals = (error / pow(10.0, exponent_of(error)) < most_of_two) - exponent_of(error);
    else if (value == 0.0 || (value == floor(value) && fabs(value) < most_plain))
        decimals = 0;
    else if (value > 0.9 * whole && value < whole)
        decimals = missing_decimals(value, whole);
    else
        decimals = 2 - exponent_of(value);
    return decimals < 0 ? 0 : decimals > MAX_DECIMALS ? MAX_DECIMALS : decimals;
}

/* Whether VALUE, so shown, is read as THRESHOLD, which is shown in full. */
static bool looks_equal(double value, double threshold, int decimals)
{
    char shown[64], bar[64];
    snprintf(shown, sizeof shown, "%.*f", decimals, value);
    snprintf(bar, sizeof bar, "%.6g", threshold);
    return strtod(shown, NULL) == strtod(bar, NULL);
}

static void put_scientific(FILE *to, double value)
{
    const int exponent = exponent_of(value);
    fprintf(to,
            "%.1f\xc2\xb7"
            "10<sup>\xe2\x88\x92%d</sup>",
            value / pow(10.0, exponent), -exponent);
}

static void put_number(FILE *to, int decimals, double value)
{
    if (value < 0.0)
        fputs("\xe2\x88\x92", to);
    qn_page_number(to, decimals, fabs(value));
}

/* Units of reports that people write otherwise. */
static const struct unit {
    const char *name, *shown;
    double scale;
} units[] = {{"share", "\xc2\xa0%", 100.0}, {"times", "\xc3\x97", 1.0}, {"x", "\xc3\x97", 1.0}};

static const struct unit *find_unit(const char *name)
{
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(units[i].name, name) == 0)
            return &units[i];
    return NULL;
}

static void put_unit(FILE *to, const char *name)
{
    const struct unit *unit = find_unit(name);
    if (!unit && *name)
        fputs("\xc2\xa0", to);
    qn_page_text(to, unit ? unit->shown : name);
}

static double scale_of(const char *name)
{
    const struct unit *unit = find_unit(name);
    return unit ? unit->scale : 1.0;
}

void qn_review_put_figure(FILE *to, double value, double error, double threshold, const char *unit)
{
    static const double least_plain = 1e-3, most = 1e15;
    const double scale = scale_of(unit);
    if (!isfinite(value) || fabs(value) >= most) {
        fputs("\xe2\x80\x93", to);
        return;
    }
    value *= scale;
    error *= scale;
    threshold *= scale;
    int decimals = decimals_of(value, error, scale == 100.0 || strcmp(unit, "%") == 0);
    /* what is not equal does not look it, or a verdict would seem wrong */
    while (isfinite(threshold) && value != threshold && decimals < MAX_DECIMALS &&
           looks_equal(value, threshold, decimals))
        decimals++;
    if (value != 0.0 && fabs(value) < least_plain && !(error > 0.0)) {
        put_scientific(to, value);
    } else {
        put_number(to, decimals, value);
        if (error > 0.0 && isfinite(error)) {
            fputs("\xc2\xa0\xc2\xb1\xc2\xa0", to);
            put_number(to, decimals, error);
        }
    }
    put_unit(to, unit);
}

/* In HTML. */
static const char *sign_of(const char *comparison)
{
    static const char *const signs[][2] = {
        {">=", "\xe2\x89\xa5"}, {"<=", "\xe2\x89\xa4"}, {"=", "="},   {"==", "="},
        {"!=", "\xe2\x89\xa0"}, {"<", "&lt;"},          {">", "&gt;"}};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (strcmp(comparison, signs[i][0]) == 0)
            return signs[i][1];
    return "";
}

void qn_review_put_threshold(FILE *to, const json_t *criterion)
{
    const json_t *threshold = json_object_get(criterion, "threshold");
    const char *text = qn_report_text(criterion, "threshold_text"),
               *comparison = qn_report_text(criterion, "comparison"),
               *unit = qn_report_text(criterion, "unit");
    if (json_is_number(threshold)) {
        const double value = json_number_value(threshold) * scale_of(unit);
        fprintf(to, "%s\xc2\xa0", sign_of(comparison));
        if (value == floor(value))
            put_number(to, 0, value);
        else
            fprintf(to, "%s%.6g", value < 0.0 ? "\xe2\x88\x92" : "", fabs(value));
        put_unit(to, unit);
    } else if (json_is_boolean(threshold)) {
        fputs(json_is_true(threshold) ? "yes" : "no", to);
    } else {
        qn_page_text(to, text);
    }
}

void qn_review_put_command(FILE *to, const char *command)
{
    fputs("<code>", to);
    while (*command) {
        const size_t n = strcspn(command, " "), spaces = strspn(command + n, " ");
        char word[64];
        const bool whole = n > 0 && n < sizeof word;
        for (size_t at = 0; at < n;) {
            size_t part = n - at < sizeof word - 1 ? n - at : sizeof word - 1;
            while (part > 1 && ((unsigned char)command[at + part] & 0xc0) == 0x80)
                part--; /* not inside a character */
            memcpy(word, command + at, part);
            word[part] = '\0';
            fputs(whole ? "<span class=\"word\">" : "", to);
            qn_page_text(to, word);
            fputs(whole ? "</span>" : "", to);
            at += part;
        }
        fputs(spaces > 0 ? " " : "", to);
        command += n + spaces;
    }
    fputs("</code>", to);
}
