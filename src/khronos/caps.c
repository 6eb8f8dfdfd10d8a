#include "khronos/caps.h"

#include <string.h>

bool caps_valid(const char *text, size_t length)
{
    if (length == 0 || length > CAPS_TEXT_MAX)
        return false;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7F)
            return false;
    return true;
}

bool caps_grants(const char *grant, const char *cap, size_t length)
{
    size_t size = strlen(grant);
    if (size == length && memcmp(grant, cap, size) == 0)
        return true;
    if (size == 0 || grant[size - 1] != '*')
        return false;
    if (size == 1)
        return true;
    return size > 2 && grant[size - 2] == ':' && length >= size &&
           memcmp(grant, cap, size - 1) == 0;
}

bool caps_allows(KhronosCaps caps, const char *cap, size_t length)
{
    for (int i = 0; i < caps.count; i++)
        if (caps_grants(caps.items[i], cap, length))
            return true;
    return false;
}

bool caps_covers(KhronosCaps caps, KhronosCaps subset, const char **missing)
{
    for (int i = 0; i < subset.count; i++) {
        if (caps_allows(caps, subset.items[i], strlen(subset.items[i])))
            continue;
        if (missing)
            *missing = subset.items[i];
        return false;
    }
    return true;
}

static bool holds(const char *const *items, int count, const char *text)
{
    for (int i = 0; i < count; i++)
        if (strcmp(items[i], text) == 0)
            return true;
    return false;
}

int caps_intersect(KhronosCaps a, KhronosCaps b, const char **out, void (*poll)(void *arg),
                   void *arg)
{
    int count = 0;
    for (int i = 0; i < a.count; i++) {
        if (poll)
            poll(arg);
        const char *grant = a.items[i];
        if (caps_allows(b, grant, strlen(grant)) && !holds(out, count, grant))
            out[count++] = grant;
    }
    for (int i = 0; i < b.count; i++) {
        if (poll)
            poll(arg);
        const char *grant = b.items[i];
        if (caps_allows(a, grant, strlen(grant)) && !holds(out, count, grant))
            out[count++] = grant;
    }
    return count;
}
