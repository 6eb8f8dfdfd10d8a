#include "plugins/plugins.h"

#include "base/base.h"

static const KhronosPlugin PLUGINS[] = {
    {"@antiraid", "datamgmt", plugin_datamgmt_open, NULL, NULL},
    {"@antiraid", "datetime", plugin_datetime_open, NULL, NULL},
    {"@antiraid", "interop", plugin_interop_open, NULL, NULL},
    {"@antiraid", "json", plugin_json_open, NULL, NULL},
    {"@antiraid", "kv", plugin_kv_open, "KV", plugin_kv_new},
    {"@antiraid", "luau", plugin_luau_open, NULL, NULL},
    {"@antiraid", "promise", plugin_promise_open, NULL, NULL},
    {"@antiraid", "templates", plugin_templates_open, "Templates", plugin_templates_new},
    {"@antiraid", "typesext", plugin_typesext_open, NULL, NULL},
};

const KhronosPlugin *plugins_all(int *count)
{
    *count = (int)BASE_ARRAY_COUNT(PLUGINS);
    return PLUGINS;
}
