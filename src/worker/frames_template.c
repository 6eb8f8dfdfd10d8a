/* A template version as a frame: all its files with their sources, and what it says of itself. */
#include <stdlib.h>

#include "base/log.h"
#include "worker/frames.h"

bool frame_template_complete(const KhronosTemplate *t)
{
    size_t length;
    for (int i = 0; i < template_count(t); i++)
        if (!template_source(t, i, &length))
            return false;
    return true;
}

static void put_list(Strbuf *sb, const char *const *texts, int count)
{
    frame_put_u64(sb, (uint64_t)count);
    for (int i = 0; i < count; i++)
        frame_put_cstr(sb, texts[i]);
}

bool frame_put_template(Strbuf *sb, uint64_t id, const KhronosTemplate *t)
{
    const TemplateMeta *meta = template_meta(t);
    size_t start = frame_begin(sb, FRAME_TEMPLATE);
    frame_put_u64(sb, id);
    frame_put_cstr(sb, template_name(t));
    frame_put_u64(sb, template_version(t));
    frame_put_cstr(sb, template_problem(t));
    frame_put_cstr(sb, meta->description);
    put_list(sb, meta->events, meta->event_count);
    put_list(sb, meta->capabilities, meta->capability_count);
    frame_put_u64(sb, meta->enabled);
    frame_put_u64(sb, (uint64_t)template_count(t));
    for (int i = 0; i < template_count(t); i++) {
        size_t length = 0;
        const char *source = template_source(t, i, &length);
        frame_put_cstr(sb, template_path(t, i));
        frame_put_cstr(sb, template_shown(t, i));
        frame_put_text(sb, source, length);
    }
    return frame_end(sb, start);
}

/* False: too many, or one that is absent. */
static bool get_list(FrameReader *r, const char **texts, int max, int *count)
{
    *count = (int)frame_below(r, (uint64_t)max + 1);
    for (int i = 0; i < *count; i++)
        if (!(texts[i] = frame_cstr(r, FRAME_TEXT_MAX)))
            return false;
    return true;
}

static bool read_meta(FrameReader *r, KhronosTemplate *t, char *error, size_t error_size)
{
    const char *events[TEMPLATE_EVENTS_MAX], *capabilities[TEMPLATE_CAPABILITIES_MAX];
    TemplateMeta meta = {.events = events, .capabilities = capabilities};
    meta.description = frame_cstr(r, FRAME_BYTES_MAX);
    if (!get_list(r, events, TEMPLATE_EVENTS_MAX, &meta.event_count) ||
        !get_list(r, capabilities, TEMPLATE_CAPABILITIES_MAX, &meta.capability_count))
        return false;
    meta.enabled = frame_flag(r);
    return !r->failed && template_setmeta(t, &meta, error, error_size);
}

static bool read_file(FrameReader *r, KhronosTemplate *t, char *error, size_t error_size)
{
    const char *path = frame_cstr(r, FRAME_TEXT_MAX), *shown = frame_cstr(r, FRAME_TEXT_MAX);
    EventText source = frame_text(r);
    if (!path || !shown || !source.data)
        return false;
    char *copy = malloc(source.length + 1);
    if (!copy)
        return false;
    memcpy(copy, source.data, source.length + 1);
    return template_addfile(t, path, shown, copy, source.length, error, error_size);
}

KhronosTemplate *frame_read_template(FrameReader *r, KhronosSandbox *sandbox, bool keep_sources,
                                     uint64_t *id)
{
    char error[256] = "";
    *id = frame_u64(r);
    const char *name = frame_cstr(r, TEMPLATE_NAME_MAX);
    uint64_t version = frame_below(r, (uint64_t)UINT32_MAX + 1);
    const char *problem = frame_cstr(r, FRAME_BYTES_MAX);
    if (r->failed || *id == 0 || !name || !template_name_valid(name, strlen(name)))
        return NULL;
    KhronosTemplate *t = template_new(sandbox, name, (uint32_t)version, "");
    if (!t)
        return NULL;
    if (keep_sources)
        template_keepsources(t);
    bool good = read_meta(r, t, error, sizeof(error));
    int files = (int)frame_below(r, TEMPLATE_FILES_MAX + 1);
    for (int i = 0; good && i < files; i++)
        good = read_file(r, t, error, sizeof(error));
    if (good && problem)
        good = template_setproblem(t, problem);
    if (!good || !frame_done(r)) {
        if (error[0] != '\0')
            log_message(LOG_ERROR, "worker process: template %s: %s", name, error);
        template_release(t);
        return NULL;
    }
    return t;
}
