/* fuzz_num.c: any text as a number, any eight bytes as a double. Reading agrees with the C library,
 * printing reads back as the same double. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int same(double a, double b)
{
    return isnan(a) ? isnan(b) : memcmp(&a, &b, sizeof(a)) == 0;
}

static void check_print(double value)
{
    char text[NUM_TEXT_MAX];
    int length = num_format(value, text);
    if (length <= 0 || length >= NUM_TEXT_MAX || text[length] != '\0')
        abort();
    const char *end;
    double back = num_strtod(text, &end);
    if (*end != '\0' || !same(back, value))
        abort();
    if (isfinite(value)) {
        back = num_read_decimal(text, (size_t)length, &end);
        if (end != text + length || !same(back, value))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size >= sizeof(double)) {
        double value;
        memcpy(&value, data, sizeof(value));
        check_print(value);
    }
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    const char *end;
    char *libc_end;
    double ours = num_strtod(text, &end);
    double libc = strtod(text, &libc_end);
    if (end != libc_end || !same(ours, libc))
        abort();
    ours = num_read_decimal(text, size, &end);
    if (end < text || end > text + size || isnan(ours))
        abort();
    if (end > text)
        check_print(ours);
    free(text);
    return 0;
}
