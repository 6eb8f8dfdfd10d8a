#include "plugins/plugins.h"

#include "base/base.h"

static const KhronosPlugin PLUGINS[] = {
    {"@antiraid", "datamgmt", plugin_datamgmt_open},
    {"@antiraid", "datetime", plugin_datetime_open},
    {"@antiraid", "interop", plugin_interop_open},
    {"@antiraid", "json", plugin_json_open},
    {"@antiraid", "luau", plugin_luau_open},
    {"@antiraid", "promise", plugin_promise_open},
    {"@antiraid", "typesext", plugin_typesext_open},
};

const KhronosPlugin *plugins_all(int *count)
{
    *count = (int)BASE_ARRAY_COUNT(PLUGINS);
    return PLUGINS;
}
