/* Frames: everything comes out as it went in; cut short or with bytes changed, it is refused or
 * gives something within its bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime_support.h"
#include "worker/frames.h"

static FrameReader payload_of(const Strbuf *sb, FrameType type)
{
    assert_true(sb->length > FRAME_HEADER_BYTES);
    assert_int_equal(sb->data[FRAME_HEADER_BYTES], type);
    return frame_reader((const uint8_t *)sb->data + FRAME_HEADER_BYTES + 1,
                        sb->length - FRAME_HEADER_BYTES - 1);
}

static void assert_text(EventText got, EventText expected)
{
    if (!expected.data) {
        assert_null(got.data);
        return;
    }
    assert_non_null(got.data);
    assert_int_equal(got.length, expected.length);
    assert_memory_equal(got.data, expected.data, expected.length);
    assert_int_equal(got.data[got.length], '\0');
}

/* ---- Numbers and texts ------------------------------------------------------------------------
 */

static void test_numbers(void **state)
{
    (void)state;
    const uint64_t values[] = {0,          1,
                               0x7F,       0x80,
                               0x3FFF,     0x4000,
                               UINT32_MAX, UINT64_MAX - 1,
                               UINT64_MAX, (uint64_t)1 << 63,
                               INT64_MAX,  1000,
                               1ull << 35, (1ull << 35) - 1};
    const int ints[] = {0, 1, -1, 63, -64, 64, INT_MAX, INT_MIN};
    Strbuf sb = STRBUF_INIT;
    for (size_t i = 0; i < BASE_ARRAY_COUNT(values); i++)
        frame_put_u64(&sb, values[i]);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(ints); i++)
        frame_put_int(&sb, ints[i]);
    FrameReader r = frame_reader((const uint8_t *)sb.data, sb.length);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(values); i++)
        assert_true(frame_u64(&r) == values[i]);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(ints); i++)
        assert_int_equal(frame_int(&r), ints[i]);
    assert_true(frame_done(&r));
    assert_int_equal(frame_u64(&r), 0);
    assert_true(r.failed);
    strbuf_free(&sb);
}

static void test_bad_numbers(void **state)
{
    (void)state;
    const char *const bad[] = {
        "",                                         /* nothing */
        "\x80",                                     /* goes on, and does not */
        "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02", /* more than 64 bits */
        "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01",
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(bad); i++) {
        FrameReader r = frame_reader((const uint8_t *)bad[i], strlen(bad[i]));
        assert_true(frame_u64(&r) == 0);
        assert_true(r.failed);
    }
    Strbuf sb = STRBUF_INIT;
    frame_put_int(&sb, (int64_t)INT_MAX + 1);
    FrameReader r = frame_reader((const uint8_t *)sb.data, sb.length);
    assert_int_equal(frame_int(&r), 0);
    assert_true(r.failed);
    r = frame_reader((const uint8_t *)"\x02", 1);
    frame_flag(&r);
    assert_true(r.failed);
    strbuf_free(&sb);
}

static void test_texts(void **state)
{
    (void)state;
    Strbuf sb = STRBUF_INIT;
    frame_put_text(&sb, NULL, 0);
    frame_put_text(&sb, "", 0);
    frame_put_text(&sb, "a\0b", 3);
    frame_put_cstr(&sb, "name");
    FrameReader r = frame_reader((const uint8_t *)sb.data, sb.length);
    assert_null(frame_text(&r).data);
    assert_text(frame_text(&r), (EventText){"", 0});
    assert_text(frame_text(&r), (EventText){"a\0b", 3});
    assert_string_equal(frame_cstr(&r, 4), "name");
    assert_true(frame_done(&r));
    const struct {
        const char *bytes;
        size_t length;
    } bad[] = {
        {"\x03"
         "ab",
         3}, /* shorter than it says */
        {"\x03"
         "abc",
         4}, /* no NUL where it must be */
        {"\x04"
         "a\0b",
         5}, /* a NUL inside a C string */
        {"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"
         "a",
         11}, /* longer than all memory */
        {"\x06"
         "abcde",
         7}, /* longer than it may be */
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(bad); i++) {
        r = frame_reader((const uint8_t *)bad[i].bytes, bad[i].length);
        assert_null(frame_cstr(&r, 4));
        assert_true(r.failed);
    }
    strbuf_free(&sb);
}

/* ---- Streams ----------------------------------------------------------------------------------
 */

static void feed(FrameStream *stream, const char *data, size_t length)
{
    while (length > 0) {
        size_t size;
        char *room = frame_stream_room(stream, &size);
        assert_non_null(room);
        size_t part = length < size ? length : size;
        memcpy(room, data, part);
        frame_stream_got(stream, part);
        data += part;
        length -= part;
    }
}

/* Frames of many sizes, which come in pieces of each size. */
static void test_stream_in_pieces(void **state)
{
    (void)state;
    Strbuf sb = STRBUF_INIT;
    for (uint64_t i = 0; i < 40; i++)
        assert_true(frame_put_number(&sb, FRAME_FORGET, (uint64_t)1 << i));
    for (size_t piece = 1; piece < 80; piece++) {
        FrameStream stream = {0};
        FrameType type;
        FrameReader payload;
        uint64_t seen = 0, number;
        for (size_t at = 0; at < sb.length; at += piece) {
            feed(&stream, sb.data + at, sb.length - at < piece ? sb.length - at : piece);
            while (frame_stream_next(&stream, &type, &payload) == FRAME_COMPLETE) {
                assert_int_equal(type, FRAME_FORGET);
                assert_true(frame_read_number(&payload, &number));
                assert_true(number == (uint64_t)1 << seen);
                seen++;
            }
        }
        assert_int_equal(seen, 40);
        frame_stream_free(&stream);
    }
    strbuf_free(&sb);
}

static void test_stream_bad(void **state)
{
    (void)state;
    const char *const bad[] = {
        "\0\0\0\0\x05",     /* no type */
        "\x01\0\0\0\0",     /* types begin at 1 */
        "\x01\0\0\0\x7F",   /* and end */
        "\x01\0\0\x01\x05", /* a byte more than a frame may have */
        "\xFF\xFF\xFF\xFF\x05",
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(bad); i++) {
        FrameStream stream = {0};
        FrameType type;
        FrameReader payload;
        feed(&stream, bad[i], 5);
        assert_int_equal(frame_stream_next(&stream, &type, &payload), FRAME_BAD);
        frame_stream_free(&stream);
    }
}

/* A frame that says it is as long as can be takes memory for what came of it, not more. */
static void test_stream_memory(void **state)
{
    (void)state;
    FrameStream stream = {0};
    FrameType type;
    FrameReader payload;
    feed(&stream, "\0\0\0\x01\x05", 5);
    assert_int_equal(frame_stream_next(&stream, &type, &payload), FRAME_NONE_YET);
    size_t size;
    frame_stream_room(&stream, &size);
    assert_true(stream.bytes.capacity < 1 << 18);
    frame_stream_free(&stream);
}

static void test_largest_frame(void **state)
{
    (void)state;
    char *text = malloc(FRAME_BYTES_MAX);
    memset(text, 'x', FRAME_BYTES_MAX);
    FrameLog log = {.guild_id = 1, .template_name = "t", .text = {text, FRAME_BYTES_MAX - 11}};
    Strbuf sb = STRBUF_INIT;
    strbuf_puts(&sb, "before");
    assert_true(frame_put_log(&sb, &log));
    assert_int_equal(sb.length, 6 + FRAME_HEADER_BYTES + FRAME_BYTES_MAX);
    FrameStream stream = {0};
    FrameType type;
    FrameReader payload;
    feed(&stream, sb.data + 6, sb.length - 6);
    assert_int_equal(frame_stream_next(&stream, &type, &payload), FRAME_COMPLETE);
    FrameLog read;
    assert_true(frame_read_log(&payload, &read));
    assert_int_equal(read.text.length, FRAME_BYTES_MAX - 11);
    frame_stream_free(&stream);
    log.text.length++;
    sb.length = 6;
    assert_false(frame_put_log(&sb, &log)); /* one byte too many: nothing is left of it */
    assert_int_equal(sb.length, 6);
    assert_false(sb.failed);
    assert_true(frame_put_plain(&sb, FRAME_STOP));
    strbuf_free(&sb);
    free(text);
}

/* ---- Messages ---------------------------------------------------------------------------------
 * Each makes its frame; what is read from it is made a frame again, which must be the same. */

static const KhronosLimits ODD_LIMITS = {.memory_max_bytes = SIZE_MAX,
                                         .cpu_max_ns = UINT64_MAX,
                                         .wall_max_ns = 1,
                                         .share_max_ns = UINT64_MAX - 2,
                                         .slice_ns = 0,
                                         .result_max_bytes = 123456789,
                                         .tasks_max = INT_MAX,
                                         .calls_max = INT_MIN + 1,
                                         .log_lines_per_second = INT_MIN,
                                         .log_line_max_bytes = 7,
                                         .log_kept_max_bytes = SIZE_MAX - 1,
                                         .mailbox_max = -1};

static void make_init(Strbuf *sb)
{
    FrameInit init = {.index = 1023,
                      .threads = 1,
                      .slots = UINT32_MAX - 1,
                      .log_level = LOG_ERROR,
                      .wants_logs = true,
                      .wants_calls = true,
                      .limits = ODD_LIMITS,
                      .shrink_idle_ns = 5,
                      .destroy_idle_ns = UINT64_MAX,
                      .broken_max = INT_MAX,
                      .broken_window_ns = 6,
                      .pause_ns = 7};
    assert_true(frame_put_init(sb, &init));
}

static bool again_init(FrameReader *r, Strbuf *sb)
{
    FrameInit init;
    return frame_read_init(r, &init) && frame_put_init(sb, &init);
}

static void make_log(Strbuf *sb)
{
    FrameLog log = {UINT64_MAX, "some.template", 1, {"text\nwith \0 bytes", 17}};
    assert_true(frame_put_log(sb, &log));
}

static bool again_log(FrameReader *r, Strbuf *sb)
{
    FrameLog log;
    return frame_read_log(r, &log) && frame_put_log(sb, &log);
}

static void make_state(Strbuf *sb)
{
    FrameState state = {{1, UINT64_MAX}, VM_DESTROYING, VM_EXPLICIT_DESTROY};
    assert_true(frame_put_state(sb, &state));
}

static bool again_state(FrameReader *r, Strbuf *sb)
{
    FrameState state;
    return frame_read_state(r, &state) && frame_put_state(sb, &state);
}

static void make_call(Strbuf *sb)
{
    FrameCall call = {UINT64_MAX, UINT64_MAX - 1, INT_MIN, {"wanted \0 bytes", 14}};
    assert_true(frame_put_call(sb, &call));
}

static bool again_call(FrameReader *r, Strbuf *sb)
{
    FrameCall call;
    return frame_read_call(r, &call) && frame_put_call(sb, &call);
}

static void make_answer(Strbuf *sb)
{
    FrameCall call = {.id = 1, .bytes = {"", 0}};
    assert_true(frame_put_answer(sb, &call));
}

static bool again_answer(FrameReader *r, Strbuf *sb)
{
    FrameCall call;
    return frame_read_answer(r, &call) && frame_put_answer(sb, &call);
}

static void make_stats(Strbuf *sb)
{
    WorkerStats stats = {.guilds = 1,
                         .vms = UINT64_MAX,
                         .waiting = 3,
                         .executions = 4,
                         .created = 5,
                         .refused = 6,
                         .panics = 7};
    for (int i = 0; i < VM_REASONS; i++)
        stats.broken[i] = 100 + (uint64_t)i;
    assert_true(frame_put_stats(sb, &stats));
}

static bool again_stats(FrameReader *r, Strbuf *sb)
{
    WorkerStats stats;
    return frame_read_stats(r, &stats) && frame_put_stats(sb, &stats);
}

static void make_completed(Strbuf *sb)
{
    LuaVmAction action = {.outcome = VM_ACTION_NO_MEMORY, .retry_after_ms = UINT64_MAX};
    action.info = (VmInfo){.state = VM_DESTROYING,
                           .reason = VM_EXPLICIT_DESTROY,
                           .generation = 1,
                           .executions = 2,
                           .cpu_ns = 3,
                           .last_run_ns = UINT64_MAX,
                           .mail = INT_MAX,
                           .tasks = 10000,
                           .task_errors = UINT64_MAX - 3,
                           .account = {1, 2, 3, 4, 5, 6, 7, 8},
                           .limits = ODD_LIMITS};
    assert_true(frame_put_completed(sb, 16383, &action));
}

static bool again_completed(FrameReader *r, Strbuf *sb)
{
    FrameCompleted completed;
    if (!frame_read_completed(r, &completed))
        return false;
    LuaVmAction action = {.outcome = completed.outcome,
                          .retry_after_ms = completed.retry_after_ms,
                          .info = completed.info};
    return frame_put_completed(sb, completed.slot, &action);
}

static void make_result(Strbuf *sb)
{
    KhronosExecution x = {.status = KHRONOS_INTERNAL,
                          .result_count = INT_MAX,
                          .line = INT_MAX,
                          .column = -1,
                          .duration_ns = UINT64_MAX,
                          .cpu_ns = 1,
                          .memory_bytes = SIZE_MAX};
    memset(x.path, 'p', sizeof(x.path) - 1);
    strbuf_puts(&x.message, "it went wrong");
    strbuf_puts(&x.traceback, "a\nb");
    strbuf_puts(&x.logs, "\"a\",\"b\"");
    assert_true(frame_put_result(sb, 5, FRAME_EXECUTIONS_MAX - 1, &x, "[1,2]", 5));
    execution_free(&x);
}

static bool again_result(FrameReader *r, Strbuf *sb)
{
    FrameResult result;
    if (!frame_read_result(r, &result))
        return false;
    Strbuf out = STRBUF_INIT;
    KhronosExecution x = {.out = &out};
    strbuf_puts(&x.message, "of an earlier use");
    frame_result_apply(&result, &x);
    bool good = frame_put_result(sb, result.slot, result.index, &x, result.out.data,
                                 result.out.length);
    if (result.status == KHRONOS_OK)
        assert_int_equal(out.length, result.out.length);
    else
        assert_int_equal(out.length, 0);
    strbuf_free(&out);
    execution_free(&x);
    return good;
}

static void make_limits_action(Strbuf *sb)
{
    LuaVmAction action = {.type = VM_ACTION_SET_LIMITS, .handle = {1, 2}, .limits = &ODD_LIMITS};
    assert_true(frame_put_action(sb, FRAME_NO_SLOT, &action, UINT64_MAX, NULL));
}

static void make_cancel(Strbuf *sb)
{
    LuaVmAction action = {
        .type = VM_ACTION_CANCEL, .handle = {UINT64_MAX, 0}, .execution_id = "some-id"};
    assert_true(frame_put_action(sb, 0, &action, 0, NULL));
}

static void make_panic(Strbuf *sb)
{
    LuaVmAction action = {
        .type = VM_ACTION_PANIC, .handle = {7, 0}, .panic_point = VM_PANIC_COLLECTOR};
    assert_true(frame_put_action(sb, 1, &action, 0, NULL));
}

/* Five executions: events and callers of their own, shared ones, one that is left out. */
static void make_action(Strbuf *sb)
{
    const char *const capabilities[] = {"one", "two:*", ""};
    const KhronosCaller caller = {77, "user", capabilities, 3};
    const KhronosCaller none = {.capabilities = capabilities, .capability_count = 0};
    const KhronosEvent event = {{"B", 1}, {"N", 1},         {"A", 1},
                                {"I", 1}, {"{\"a\":1}", 7}, {"[]", 2}};
    const KhronosEvent bare = {.name = {"N", 1}};
    KhronosExecution x[5] = {{.id = "a", .event = &event, .caller = &caller},
                             {.id = "b", .event = &event, .caller = &caller, .keep_logs = true},
                             {.id = "left out", .event = &bare},
                             {.id = "d", .event = &event, .caller = &none},
                             {.id = "", .event = &bare}};
    const uint64_t ids[5] = {1, UINT64_MAX, 0, 3, 1};
    LuaVmAction action = {.type = VM_ACTION_DISPATCH_EVENT,
                          .handle.guild_id = 42,
                          .executions = x,
                          .execution_count = 5};
    assert_true(frame_put_action(sb, 9, &action, 11, ids));
}

static bool again_action(FrameReader *r, Strbuf *sb)
{
    FrameAction f;
    uint64_t ids[FRAME_EXECUTIONS_MAX] = {0};
    if (!frame_read_action(r, &f))
        return false;
    /* As in the action that was sent: the executions that came are at their indices. */
    KhronosExecution *all = calloc(FRAME_EXECUTIONS_MAX, sizeof(*all));
    for (int i = 0; i < f.run_count; i++) {
        ids[f.runs[i].index] = f.runs[i].template_id;
        all[f.runs[i].index] = f.action.executions[i];
    }
    LuaVmAction action = f.action;
    action.executions = all;
    action.execution_count = FRAME_EXECUTIONS_MAX;
    bool good = frame_put_action(sb, f.slot, &action, f.action.handle.generation, ids);
    free(all);
    frame_action_free(&f);
    return good;
}

static void make_number(Strbuf *sb)
{
    assert_true(frame_put_number(sb, FRAME_LOG_DROPPED, UINT64_MAX));
}

static bool again_number(FrameReader *r, Strbuf *sb)
{
    uint64_t number;
    return frame_read_number(r, &number) && frame_put_number(sb, FRAME_LOG_DROPPED, number);
}

static void make_template(Strbuf *sb)
{
    char error[256] = "";
    const char *const events[] = {"A", "B[x]"}, *const capabilities[] = {"kv:*", "*"};
    TemplateMeta meta = {"what it is", events, 2, capabilities, 2, false};
    KhronosSandbox *sandbox = support_sandbox();
    KhronosTemplate *t = template_new(sandbox, "Name.1_$-", UINT32_MAX, "prefix/");
    assert_non_null(t);
    template_keepsources(t);
    assert_true(template_addfile(t, "a/b.luau", NULL, strdup("return 1"), 8, error, sizeof(error)));
    assert_true(template_addfile(t, "init.luau", "as shown", strdup(""), 0, error, sizeof(error)));
    assert_true(template_setmeta(t, &meta, error, sizeof(error)));
    assert_true(template_setproblem(t, "it cannot be read"));
    assert_true(frame_template_complete(t));
    assert_true(frame_put_template(sb, 12345, t));
    template_release(t);
    sandbox_release(sandbox);
}

static bool again_template(FrameReader *r, Strbuf *sb)
{
    uint64_t id;
    KhronosSandbox *sandbox = support_sandbox();
    KhronosTemplate *t = frame_read_template(r, sandbox, true, &id);
    bool good = t && frame_put_template(sb, id, t);
    template_release(t);
    sandbox_release(sandbox);
    return good;
}

static const struct Message {
    const char *name;
    FrameType type;
    void (*make)(Strbuf *sb);
    bool (*again)(FrameReader *r, Strbuf *sb); /* false: refused */
} MESSAGES[] = {
    {"init", FRAME_INIT, make_init, again_init},
    {"log", FRAME_LOG, make_log, again_log},
    {"state", FRAME_STATE, make_state, again_state},
    {"stats", FRAME_STATS, make_stats, again_stats},
    {"call", FRAME_CALL, make_call, again_call},
    {"answer", FRAME_ANSWER, make_answer, again_answer},
    {"completed", FRAME_COMPLETED, make_completed, again_completed},
    {"result", FRAME_RESULT, make_result, again_result},
    {"action", FRAME_ACTION, make_action, again_action},
    {"set limits", FRAME_ACTION, make_limits_action, again_action},
    {"cancel", FRAME_ACTION, make_cancel, again_action},
    {"panic", FRAME_ACTION, make_panic, again_action},
    {"number", FRAME_LOG_DROPPED, make_number, again_number},
    {"template", FRAME_TEMPLATE, make_template, again_template},
};

static void test_round_trips(void **state)
{
    (void)state;
    for (size_t i = 0; i < BASE_ARRAY_COUNT(MESSAGES); i++) {
        Strbuf first = STRBUF_INIT, second = STRBUF_INIT;
        MESSAGES[i].make(&first);
        FrameReader r = payload_of(&first, MESSAGES[i].type);
        if (!MESSAGES[i].again(&r, &second))
            fail_msg("%s: refused", MESSAGES[i].name);
        if (first.length != second.length || memcmp(first.data, second.data, first.length) != 0)
            fail_msg("%s: comes back as something else", MESSAGES[i].name);
        strbuf_free(&first);
        strbuf_free(&second);
    }
}

/* In memory of its own length, so that a sanitizer sees a byte too many. */
static bool try_bytes(const struct Message *message, const char *payload, size_t length)
{
    uint8_t *copy = malloc(length > 0 ? length : 1);
    memcpy(copy, payload, length);
    FrameReader r = frame_reader(copy, length);
    Strbuf sb = STRBUF_INIT;
    bool good = message->again(&r, &sb);
    strbuf_free(&sb);
    free(copy);
    return good;
}

static void test_truncated(void **state)
{
    (void)state;
    for (size_t i = 0; i < BASE_ARRAY_COUNT(MESSAGES); i++) {
        Strbuf sb = STRBUF_INIT;
        MESSAGES[i].make(&sb);
        const char *payload = sb.data + FRAME_HEADER_BYTES + 1;
        size_t length = sb.length - FRAME_HEADER_BYTES - 1;
        for (size_t cut = 0; cut < length; cut++)
            if (try_bytes(&MESSAGES[i], payload, cut))
                fail_msg("%s: %zu of %zu bytes are taken for all", MESSAGES[i].name, cut, length);
        strbuf_putc(&sb, '\0');
        if (try_bytes(&MESSAGES[i], sb.data + FRAME_HEADER_BYTES + 1, length + 1))
            fail_msg("%s: a byte too many is overlooked", MESSAGES[i].name);
        strbuf_free(&sb);
    }
}

static void test_corrupted(void **state)
{
    (void)state;
    enum { TRIES = 4000, TEMPLATE_TRIES = 300 };
    uint64_t random = 88172645463325252u;
    for (size_t i = 0; i < BASE_ARRAY_COUNT(MESSAGES); i++) {
        Strbuf sb = STRBUF_INIT;
        MESSAGES[i].make(&sb);
        size_t length = sb.length - FRAME_HEADER_BYTES - 1;
        char *payload = malloc(length);
        int refused = 0, tries = MESSAGES[i].type == FRAME_TEMPLATE ? TEMPLATE_TRIES : TRIES;
        for (int n = 0; n < tries; n++) {
            memcpy(payload, sb.data + FRAME_HEADER_BYTES + 1, length);
            for (unsigned changes = 1 + (unsigned)n % 4; changes > 0; changes--) {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                payload[(random >> 8) % length] = (char)random;
            }
            refused += !try_bytes(&MESSAGES[i], payload, length);
        }
        if (refused == 0 && MESSAGES[i].type != FRAME_LOG_DROPPED)
            fail_msg("%s: nothing was ever refused", MESSAGES[i].name);
        free(payload);
        strbuf_free(&sb);
    }
}

/* ---- Contents ---------------------------------------------------------------------------------
 */

static void test_action_contents(void **state)
{
    (void)state;
    Strbuf sb = STRBUF_INIT;
    make_action(&sb);
    FrameReader r = payload_of(&sb, FRAME_ACTION);
    FrameAction f;
    assert_true(frame_read_action(&r, &f));
    assert_int_equal(f.slot, 9);
    assert_int_equal(f.action.type, VM_ACTION_DISPATCH_EVENT);
    assert_int_equal(f.action.handle.guild_id, 42);
    assert_int_equal(f.action.handle.generation, 11);
    assert_int_equal(f.run_count, 4);
    const KhronosExecution *x = f.action.executions;
    const int indices[] = {0, 1, 3, 4};
    for (int i = 0; i < 4; i++)
        assert_int_equal(f.runs[i].index, indices[i]);
    assert_true(f.runs[1].template_id == UINT64_MAX);
    assert_string_equal(x[0].id, "a");
    assert_string_equal(x[3].id, "");
    assert_false(x[0].keep_logs);
    assert_true(x[1].keep_logs);
    assert_text(x[1].event->base_name, (EventText){"B", 1});
    assert_text(x[1].event->data, (EventText){"{\"a\":1}", 7});
    assert_text(x[1].event->scopes, (EventText){"[]", 2});
    assert_text(x[3].event->scopes, (EventText){0});
    assert_int_equal(x[1].caller->owner_guild_id, 77);
    assert_string_equal(x[1].caller->current_user, "user");
    assert_int_equal(x[1].caller->capability_count, 3);
    assert_string_equal(x[1].caller->capabilities[1], "two:*");
    assert_null(x[2].caller->current_user);
    assert_non_null(x[2].caller->capabilities); /* narrowed to nothing: not the same as all */
    assert_int_equal(x[2].caller->capability_count, 0);
    assert_null(x[3].caller);
    frame_action_free(&f);
    strbuf_free(&sb);
}

static void test_result_contents(void **state)
{
    (void)state;
    Strbuf sb = STRBUF_INIT, out = STRBUF_INIT;
    KhronosExecution sent = {.status = KHRONOS_OK,
                             .result_count = 2,
                             .line = 3,
                             .column = 4,
                             .duration_ns = 5,
                             .cpu_ns = 6,
                             .memory_bytes = 7,
                             .path = "init.luau"};
    assert_true(frame_put_result(&sb, 1, 2, &sent, "[1,\"x\"]", 7));
    FrameReader r = payload_of(&sb, FRAME_RESULT);
    FrameResult result;
    assert_true(frame_read_result(&r, &result));
    KhronosExecution x = {.out = &out};
    out.max = 18; /* one result, and not two */
    strbuf_puts(&out, "before:");
    frame_result_apply(&result, &x);
    assert_string_equal(strbuf_cstr(&out), "before:[1,\"x\"]");
    assert_int_equal(x.result_count, 2);
    assert_string_equal(x.path, "init.luau");
    assert_int_equal(x.line, 3);
    assert_int_equal(x.column, 4);
    assert_int_equal(x.duration_ns, 5);
    assert_int_equal(x.cpu_ns, 6);
    assert_int_equal(x.memory_bytes, 7);
    /* The owner's ceiling holds here as well. */
    frame_result_apply(&result, &x);
    assert_int_equal(x.status, KHRONOS_INTERNAL);
    assert_string_equal(strbuf_cstr(&out), "before:[1,\"x\"]");
    strbuf_free(&sb);
    strbuf_free(&out);
    execution_free(&x);
}

/* No limit is left out on both sides. */
static void test_limits_contents(void **state)
{
    (void)state;
    Strbuf sb = STRBUF_INIT;
    KhronosLimits limits;
    memset(&limits, 0x55, sizeof(limits));
    frame_put_limits(&sb, &ODD_LIMITS);
    FrameReader r = frame_reader((const uint8_t *)sb.data, sb.length);
    frame_get_limits(&r, &limits);
    assert_true(frame_done(&r));
    assert_true(limits.memory_max_bytes == ODD_LIMITS.memory_max_bytes);
    assert_true(limits.cpu_max_ns == ODD_LIMITS.cpu_max_ns);
    assert_true(limits.wall_max_ns == ODD_LIMITS.wall_max_ns);
    assert_true(limits.share_max_ns == ODD_LIMITS.share_max_ns);
    assert_true(limits.slice_ns == ODD_LIMITS.slice_ns);
    assert_true(limits.result_max_bytes == ODD_LIMITS.result_max_bytes);
    assert_int_equal(limits.tasks_max, ODD_LIMITS.tasks_max);
    assert_int_equal(limits.calls_max, ODD_LIMITS.calls_max);
    assert_int_equal(limits.log_lines_per_second, ODD_LIMITS.log_lines_per_second);
    assert_true(limits.log_line_max_bytes == ODD_LIMITS.log_line_max_bytes);
    assert_true(limits.log_kept_max_bytes == ODD_LIMITS.log_kept_max_bytes);
    assert_int_equal(limits.mailbox_max, ODD_LIMITS.mailbox_max);
    strbuf_free(&sb);
}

static void test_call_contents(void **state)
{
    (void)state;
    Strbuf sb = STRBUF_INIT;
    make_call(&sb);
    FrameReader r = payload_of(&sb, FRAME_CALL);
    FrameCall call;
    assert_true(frame_read_call(&r, &call));
    assert_true(call.id == UINT64_MAX && call.guild_id == UINT64_MAX - 1);
    assert_int_equal(call.kind, INT_MIN);
    assert_text(call.bytes, (EventText){"wanted \0 bytes", 14});
    const FrameCall bad[] = {{0, 1, 1, {"", 0}}, {1, 0, 1, {"", 0}}, {1, 1, 1, {NULL, 0}}};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(bad); i++) {
        strbuf_clear(&sb);
        assert_true(frame_put_call(&sb, &bad[i]));
        r = payload_of(&sb, FRAME_CALL);
        assert_false(frame_read_call(&r, &call));
        strbuf_clear(&sb);
        assert_true(frame_put_answer(&sb, &bad[i]));
        r = payload_of(&sb, FRAME_ANSWER);
        assert_int_equal(frame_read_answer(&r, &call), i == 1);
    }
    strbuf_free(&sb);
}

static void test_template_contents(void **state)
{
    (void)state;
    Strbuf sb = STRBUF_INIT;
    make_template(&sb);
    FrameReader r = payload_of(&sb, FRAME_TEMPLATE);
    KhronosSandbox *sandbox = support_sandbox();
    uint64_t id;
    size_t length;
    KhronosTemplate *t = frame_read_template(&r, sandbox, true, &id);
    assert_non_null(t);
    assert_int_equal(id, 12345);
    assert_string_equal(template_name(t), "Name.1_$-");
    assert_true(template_version(t) == UINT32_MAX);
    assert_string_equal(template_problem(t), "it cannot be read");
    assert_int_equal(template_count(t), 2);
    assert_string_equal(template_path(t, 0), "a/b.luau");
    assert_string_equal(template_shown(t, 0), "prefix/a/b.luau");
    assert_string_equal(template_shown(t, 1), "as shown");
    assert_string_equal(template_source(t, 0, &length), "return 1");
    assert_int_equal(length, 8);
    assert_false(template_meta(t)->enabled);
    assert_string_equal(template_meta(t)->description, "what it is");
    assert_string_equal(template_meta(t)->events[1], "B[x]");
    assert_string_equal(template_meta(t)->capabilities[0], "kv:*");
    template_release(t);
    sandbox_release(sandbox);
    strbuf_free(&sb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_bad_numbers),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_stream_in_pieces),
        cmocka_unit_test(test_stream_bad),
        cmocka_unit_test(test_stream_memory),
        cmocka_unit_test(test_largest_frame),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_corrupted),
        cmocka_unit_test(test_action_contents),
        cmocka_unit_test(test_result_contents),
        cmocka_unit_test(test_limits_contents),
        cmocka_unit_test(test_call_contents),
        cmocka_unit_test(test_template_contents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
