/* test_report.h: what `template-worker test` prints, and the same as JUnit XML. */
#ifndef CLI_TEST_REPORT_H
#define CLI_TEST_REPORT_H

#include "cli/test_host.h"

typedef struct TestReport {
    bool colours;
    bool junit; /* keep what test_report_junit writes */
    int passed, failed, skipped;
    uint64_t took_ns;
    /* -- its own -- */
    const char *file;
    bool file_shown;
    int file_tests, file_failed, file_skipped;
    uint64_t file_ns;
    Strbuf cases, suites;
} TestReport;

void test_report_begin(TestReport *report, const char *file);
/* name absent: it is about the file as a whole. */
void test_report_add(TestReport *report, Text name, const TestVerdict *verdict);
void test_report_end(TestReport *report); /* of the file */
void test_report_summary(const TestReport *report);
/* False: a complaint was printed. */
bool test_report_junit(const TestReport *report, const char *path);
void test_report_free(TestReport *report);

#endif
