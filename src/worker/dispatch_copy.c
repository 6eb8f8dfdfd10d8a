#include "worker/dispatch_copy.h"

#include <string.h>

EventText dispatch_copy_bytes(char **at, const char *data, size_t length)
{
    if (!data)
        return (EventText){NULL, 0};
    char *copy = *at;
    memcpy(copy, data, length);
    copy[length] = '\0';
    *at += length + 1;
    return (EventText){copy, length};
}

EventText dispatch_copy_text(char **at, EventText text)
{
    return dispatch_copy_bytes(at, text.data, text.length);
}

const char *dispatch_copy_string(char **at, const char *text)
{
    return text ? dispatch_copy_bytes(at, text, strlen(text)).data : NULL;
}

size_t dispatch_text_room(EventText text)
{
    return text.data ? text.length + 1 : 0;
}

size_t dispatch_event_room(const KhronosEvent *event)
{
    return dispatch_text_room(event->base_name) + dispatch_text_room(event->name) +
           dispatch_text_room(event->author) + dispatch_text_room(event->data) +
           dispatch_text_room(event->scopes);
}

KhronosEvent dispatch_copy_event(char **at, const KhronosEvent *event)
{
    return (KhronosEvent){
        .base_name = dispatch_copy_text(at, event->base_name),
        .name = dispatch_copy_text(at, event->name),
        .author = dispatch_copy_text(at, event->author),
        .data = dispatch_copy_text(at, event->data),
        .scopes = dispatch_copy_text(at, event->scopes),
    };
}

int dispatch_caller_pointers(const KhronosCaller *caller)
{
    return caller && caller->capabilities ? caller->capability_count : 0;
}

size_t dispatch_caller_room(const KhronosCaller *caller)
{
    size_t room = caller && caller->current_user ? strlen(caller->current_user) + 1 : 0;
    for (int i = 0; i < dispatch_caller_pointers(caller); i++)
        room += strlen(caller->capabilities[i]) + 1;
    return room;
}

KhronosCaller dispatch_copy_caller(char **at, const KhronosCaller *caller, const char **pointers)
{
    KhronosCaller copy = *caller;
    copy.current_user = dispatch_copy_string(at, caller->current_user);
    for (int i = 0; i < dispatch_caller_pointers(caller); i++)
        pointers[i] = dispatch_copy_string(at, caller->capabilities[i]);
    if (caller->capabilities)
        copy.capabilities = pointers;
    return copy;
}
