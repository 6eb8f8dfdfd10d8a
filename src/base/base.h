/* base.h: what every layer may use: branch hints, asserts in two tiers, panic.
 *
 * BASE_ASSERT is always on: it guards what would otherwise corrupt another tenant. BASE_DEBUG is
 * compiled out of release builds: it guards what a test run must find. A failed assert calls
 * base_panic(), which never returns; the worker layer may install a hook that retires the thread
 * instead of ending the process (design: panic recovery). */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <stddef.h>
#include <stdint.h>

#define BASE_LIKELY(x) __builtin_expect(!!(x), 1)
#define BASE_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define BASE_UNREACHABLE() __builtin_unreachable()
#define BASE_NOINLINE __attribute__((noinline))
#define BASE_INLINE static inline __attribute__((always_inline))
#define BASE_NORETURN __attribute__((noreturn))
#define BASE_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define BASE_ARRAY_COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Called once by base_panic with the message; may not return (it retires the thread). */
typedef void (*base_PanicHook)(const char *file, int line, const char *message);

/* Sets the hook of the calling thread; NULL restores the default (print and abort). */
void base_set_panic_hook(base_PanicHook hook);

BASE_NORETURN void base_panic(const char *file, int line, const char *format, ...)
    BASE_PRINTF(3, 4);

#define BASE_PANIC(...) base_panic(__FILE__, __LINE__, __VA_ARGS__)
#define BASE_ASSERT(c) (BASE_LIKELY(c) ? (void)0 : base_panic(__FILE__, __LINE__, "%s", #c))
#ifdef LUAU_DEBUG
#define BASE_DEBUG(c) BASE_ASSERT(c)
#else
#define BASE_DEBUG(c) ((void)0)
#endif

#endif
