/* parse_attr.c: attributes of functions, `@name` and `@[name args, ...]`. They are checked and have
 * no effect. */
#include "luau/parse.h"

#include <string.h>

/* Literals and constructors of literals; recursion is bounded by the depth of the tree. */
static bool is_literal(const AstExpr *expr)
{
    switch (expr->kind) {
    case AST_NIL:
    case AST_TRUE:
    case AST_FALSE:
    case AST_NUMBER:
    case AST_INTEGER:
    case AST_STRING: return true;
    case AST_TABLE:
        for (int i = 0; i < expr->table.count; i++) {
            const AstItem *item = &expr->table.items[i];
            if (item->kind == AST_ITEM_INDEX || !is_literal(item->value))
                return false;
        }
        return true;
    default: return false;
    }
}

static bool is_text(const AstExpr *key, const char *text)
{
    return key->string.length == strlen(text) && memcmp(key->string.data, text, strlen(text)) == 0;
}

static void check_deprecated_item(Parser *p, const AstItem *item)
{
    if (item->kind != AST_ITEM_NAME) {
        luP_report(p, item->value->location,
                   "Only constants keys 'use' and 'reason' are allowed for @deprecated attribute");
        return;
    }
    const char *key = item->key->string.data;
    if (!is_text(item->key, "use") && !is_text(item->key, "reason"))
        luP_report(p, item->key->location,
                   "Unknown argument '%s' for @deprecated. Only string constants for 'use' and "
                   "'reason' are allowed",
                   key);
    else if (item->value->kind != AST_STRING)
        luP_report(p, item->value->location, "Only constant string allowed as value for '%s'", key);
}

static void check_deprecated(Parser *p, Location name, AstExprList args)
{
    if (args.count == 0)
        return;
    if (args.count > 1) {
        luP_report(p, name, "@deprecated can be parametrized only by 1 argument");
        return;
    }
    const AstExpr *arg = args.items[0];
    if (arg->kind != AST_TABLE) {
        luP_report(p, arg->location, "Unknown argument type for @deprecated");
        return;
    }
    for (int i = 0; i < arg->table.count; i++)
        check_deprecated_item(p, &arg->table.items[i]);
}

static void add_attribute(Parser *p, Attributes *found, Binding name, AstExprList args)
{
    const char *text = name.name->text;
    bool *flag = NULL;
    if (strcmp(text, "native") == 0)
        flag = &found->native;
    else if (strcmp(text, "checked") == 0)
        flag = &found->checked;
    else if (strcmp(text, "deprecated") == 0)
        flag = &found->deprecated;
    if (!flag) {
        if (name.name->length == 0)
            luP_report(p, name.location, "Attribute name is missing");
        else
            luP_report(p, name.location, "Invalid attribute '@%s'", text);
        return;
    }
    if (*flag)
        luP_report(p, name.location, "Cannot duplicate attribute '@%s'", text);
    if (flag == &found->deprecated)
        check_deprecated(p, name.location, args);
    *flag = true;
}

/* At the name of one attribute of a list. */
static void listed_attribute(Parser *p, Attributes *found)
{
    Binding name = luP_name(p, "attribute name");
    AstExprList args = {NULL, 0};
    int kind = luP_kind(p);
    if (kind == '(' || kind == '{' || kind == TK_RAW_STRING || kind == TK_QUOTED_STRING) {
        Location location;
        args = luP_args(p, &location);
        for (int i = 0; i < args.count; i++) {
            if (!is_literal(args.items[i]))
                luP_report(p, location, "Only literals can be passed as arguments for attributes");
        }
    }
    add_attribute(p, found, name, args);
}

static void attribute_list(Parser *p, Attributes *found)
{
    Opener opener = luP_opener(p);
    luP_next(p);
    if (luP_kind(p) == ']') {
        luP_report(p, luP_span(opener.position, luP_token(p)->location.end),
                   "Attribute list cannot be empty");
    } else {
        do
            listed_attribute(p, found);
        while (luP_accept(p, ','));
    }
    luP_expect_close(p, ']', opener, NULL);
}

Attributes luP_attributes(Parser *p)
{
    Attributes found = {.location = luP_token(p)->location, .any = true};
    for (;;) {
        if (luP_kind(p) == TK_ATTRIBUTE) {
            Binding name = {luP_token(p)->name, luP_token(p)->location};
            add_attribute(p, &found, name, (AstExprList){NULL, 0});
            luP_next(p);
        } else if (luP_kind(p) == TK_ATTRIBUTE_OPEN) {
            attribute_list(p, &found);
        } else {
            return found;
        }
    }
}
