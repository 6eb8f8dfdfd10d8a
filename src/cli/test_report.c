#include "cli/test_report.h"

#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/jsontext.h"
#include "cli/cli_store.h"

enum { DETAIL_INDENT = 8 };

static const struct {
    const char *label, *colour;
} STATUSES[] = {
    [TEST_OK] = {"ok  ", "\x1B[32m"},
    [TEST_FAILED] = {"FAIL", "\x1B[1;31m"},
    [TEST_SKIPPED] = {"skip", "\x1B[33m"},
};

/* ---- For people -------------------------------------------------------------------------------
 */

static void put_label(const TestReport *report, TestStatus status)
{
    if (report->colours)
        printf("  %s%s\x1B[0m  ", STATUSES[status].colour, STATUSES[status].label);
    else
        printf("  %s  ", STATUSES[status].label);
}

/* Each line with blanks in front, whatever stands in it. */
static void put_lines(Text text, int indent)
{
    const char *p = text.data, *end = p + text.length;
    while (p < end) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        if (!stop)
            stop = end;
        printf("%*s", indent, "");
        cli_print_text((Text){p, (size_t)(stop - p)});
        putchar('\n');
        p = stop + 1;
    }
}

static Text text_of(const Strbuf *buffer)
{
    return (Text){buffer->data ? buffer->data : "", buffer->length};
}

/* The place is told apart. */
static Text without_place(Text message, const char *place)
{
    size_t length = strlen(place);
    if (message.length > length + 2 && memcmp(message.data, place, length) == 0 &&
        memcmp(message.data + length, ": ", 2) == 0)
        return (Text){message.data + length + 2, message.length - length - 2};
    return message;
}

static void put_failure(const TestVerdict *verdict)
{
    char place[160];
    int length = snprintf(place, sizeof(place), "%s:%d", verdict->path, verdict->line);
    put_lines(without_place(text_of(&verdict->message), place), DETAIL_INDENT);
    Text frames = text_of(&verdict->traceback);
    bool begins_there = frames.length >= (size_t)length &&
                        memcmp(frames.data, place, (size_t)length) == 0;
    if (verdict->path[0] != '\0' && !begins_there)
        printf("%*sat %s\n", DETAIL_INDENT, "", place);
    if (frames.length > 0) {
        printf("%*sat ", DETAIL_INDENT, "");
        const char *stop = memchr(frames.data, '\n', frames.length);
        size_t first = stop ? (size_t)(stop - frames.data) : frames.length;
        cli_print_text((Text){frames.data, first});
        putchar('\n');
        if (stop)
            put_lines((Text){stop + 1, frames.length - first - 1}, DETAIL_INDENT + 3);
    }
    if (verdict->logs.length > 0) {
        printf("%*sprinted:\n", DETAIL_INDENT, "");
        put_lines(text_of(&verdict->logs), DETAIL_INDENT + 2);
    }
}

static void put_verdict(const TestReport *report, Text name, const TestVerdict *verdict)
{
    put_label(report, verdict->status);
    cli_print_text(name.data ? name : (Text){"(the file)", 10});
    if (verdict->status == TEST_SKIPPED && verdict->message.length > 0) {
        fputs(": ", stdout);
        cli_print_text(text_of(&verdict->message));
    }
    if (verdict->status != TEST_SKIPPED)
        printf("  (%llu ms)", (unsigned long long)(verdict->took_ns / CLOCK_NS_PER_MS));
    putchar('\n');
    if (verdict->status == TEST_FAILED)
        put_failure(verdict);
}

/* ---- JUnit ------------------------------------------------------------------------------------
 */

/* XML has no way to write most control characters: they are written as people write them. */
static void put_xml(Strbuf *out, Text text)
{
    for (size_t i = 0; i < text.length;) {
        unsigned char c = (unsigned char)text.data[i];
        size_t length = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
        bool fine = length <= text.length - i && json_utf8_valid(text.data + i, length) == length;
        if (fine && length == 3 && memcmp(text.data + i, "\xEF\xBF", 2) == 0)
            fine = (unsigned char)text.data[i + 2] < 0xBE; /* U+FFFE, U+FFFF */
        if (!fine || (c < 0x20 && c != '\n' && c != '\t') || c == 0x7F) {
            strbuf_printf(out, "\\x%02X", c);
            i++;
            continue;
        }
        switch (c) {
        case '<': strbuf_puts(out, "&lt;"); break;
        case '>': strbuf_puts(out, "&gt;"); break;
        case '&': strbuf_puts(out, "&amp;"); break;
        case '"': strbuf_puts(out, "&quot;"); break;
        case '\n': strbuf_puts(out, "&#10;"); break; /* kept in attributes, too */
        default: strbuf_put(out, text.data + i, length);
        }
        i += length;
    }
}

static void put_attribute(Strbuf *out, const char *name, Text text)
{
    strbuf_printf(out, " %s=\"", name);
    put_xml(out, text);
    strbuf_putc(out, '"');
}

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

static Text first_line(Text text)
{
    const char *stop = memchr(text.data, '\n', text.length);
    return (Text){text.data, stop ? (size_t)(stop - text.data) : text.length};
}

static void put_case(TestReport *report, Text name, const TestVerdict *verdict)
{
    Strbuf *out = &report->cases;
    Text message = text_of(&verdict->message);
    strbuf_puts(out, "    <testcase");
    put_attribute(out, "classname", (Text){report->file, strlen(report->file)});
    put_attribute(out, "name", name.data ? name : (Text){"(the file)", 10});
    strbuf_printf(out, " time=\"%.3f\">\n", seconds(verdict->took_ns));
    if (verdict->status == TEST_SKIPPED) {
        strbuf_puts(out, "      <skipped");
        put_attribute(out, "message", message);
        strbuf_puts(out, "/>\n");
    } else if (verdict->status == TEST_FAILED) {
        strbuf_puts(out, "      <failure");
        put_attribute(out, "message", first_line(message));
        strbuf_puts(out, ">");
        put_xml(out, message);
        if (verdict->path[0] != '\0')
            strbuf_printf(out, "&#10;at %s:%d", verdict->path, verdict->line);
        strbuf_puts(out, "&#10;");
        put_xml(out, text_of(&verdict->traceback));
        strbuf_puts(out, "</failure>\n");
    }
    if (verdict->logs.length > 0) {
        strbuf_puts(out, "      <system-out>");
        put_xml(out, text_of(&verdict->logs));
        strbuf_puts(out, "</system-out>\n");
    }
    strbuf_puts(out, "    </testcase>\n");
}

static void put_suite(TestReport *report)
{
    Strbuf *out = &report->suites;
    strbuf_puts(out, "  <testsuite");
    put_attribute(out, "name", (Text){report->file, strlen(report->file)});
    strbuf_printf(out, " tests=\"%d\" failures=\"%d\" errors=\"0\" skipped=\"%d\" time=\"%.3f\">\n",
                  report->file_tests, report->file_failed, report->file_skipped,
                  seconds(report->file_ns));
    strbuf_put(out, report->cases.data, report->cases.length);
    out->failed |= report->cases.failed;
    strbuf_puts(out, "  </testsuite>\n");
}

bool test_report_junit(const TestReport *report, const char *path)
{
    FILE *file = report->suites.failed ? NULL : fopen(path, "w");
    if (!file) {
        cli_fileerror(path, report->suites.failed ? ENOMEM : errno, 0);
        return false;
    }
    fprintf(file,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
            "<testsuites tests=\"%d\" failures=\"%d\" errors=\"0\" skipped=\"%d\" time=\"%.3f\">\n",
            report->passed + report->failed + report->skipped, report->failed, report->skipped,
            seconds(report->took_ns));
    fwrite(text_of(&report->suites).data, 1, report->suites.length, file);
    fputs("</testsuites>\n", file);
    bool ok = !ferror(file);
    if (fclose(file) != 0 || !ok) {
        cli_error("%s: cannot be written", path);
        return false;
    }
    return true;
}

/* ---- The report -------------------------------------------------------------------------------
 */

void test_report_begin(TestReport *report, const char *file)
{
    report->file = file;
    report->file_shown = false;
    report->file_tests = report->file_failed = report->file_skipped = 0;
    report->file_ns = 0;
    strbuf_clear(&report->cases);
}

void test_report_add(TestReport *report, Text name, const TestVerdict *verdict)
{
    if (!report->file_shown) {
        cli_print_text((Text){report->file, strlen(report->file)});
        putchar('\n');
    }
    report->file_shown = true;
    report->file_tests++;
    report->file_failed += verdict->status == TEST_FAILED;
    report->file_skipped += verdict->status == TEST_SKIPPED;
    report->passed += verdict->status == TEST_OK;
    report->failed += verdict->status == TEST_FAILED;
    report->skipped += verdict->status == TEST_SKIPPED;
    report->file_ns += verdict->took_ns;
    report->took_ns += verdict->took_ns;
    put_verdict(report, name, verdict);
    fflush(stdout);
    if (report->junit)
        put_case(report, name, verdict);
}

void test_report_end(TestReport *report)
{
    if (report->junit && report->file_tests > 0)
        put_suite(report);
}

void test_report_summary(const TestReport *report)
{
    if (report->passed + report->failed + report->skipped > 0)
        putchar('\n');
    if (report->colours)
        fputs(STATUSES[report->failed > 0 ? TEST_FAILED : TEST_OK].colour, stdout);
    printf("%d passed, %d failed, %d skipped%s\n", report->passed, report->failed, report->skipped,
           report->colours ? "\x1B[0m" : "");
}

void test_report_free(TestReport *report)
{
    strbuf_free(&report->cases);
    strbuf_free(&report->suites);
}
