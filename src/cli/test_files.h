/* test_files.h: the test files below a folder of templates, as templates of their own.
 *
 * A test file NAME.test.luau stands beside NAME.luau, or somewhere in a template's folder; then it
 * may require that template's files as its init.luau does. */
#ifndef CLI_TEST_FILES_H
#define CLI_TEST_FILES_H

#include "khronos/template.h"

typedef struct TestFiles {
    char **paths; /* relative to the folder, sorted */
    int count;
} TestFiles;

/* False: a complaint was printed. */
bool test_files_find(const char *folder, TestFiles *files);
void test_files_free(TestFiles *files);
/* One reference; a file that cannot be read is a template with a problem. NULL: no memory. */
KhronosTemplate *test_files_load(KhronosSandbox *sandbox, const char *folder, const char *path);

#endif
