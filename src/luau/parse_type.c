/* parse_type.c: type annotations. Their syntax is checked, and nothing is kept.
 *
 * `(` is the hard part: what it opens may be a parenthesised type, a list of types (a pack), or a
 * function's parameters, known only after the `)`. So these functions return what they found. */
#include "luau/parse.h"

#include <string.h>

typedef enum TypeKind {
    TYPE_SINGLE,
    TYPE_PACK,       /* a list of types in parentheses */
    TYPE_PACK_OF_ONE /* the same with one type, and no tail: may be a parenthesised type */
} TypeKind;

typedef struct TypeList {
    int count;
    bool has_names, has_tail;
} TypeList;

static TypeKind simple_type(Parser *p, bool allow_pack);
static void return_type(Parser *p);
static void type_suffix(Parser *p, Position begin, int parts);

static void report_here(Parser *p, const char *message)
{
    luP_report(p, luP_token(p)->location, "%s", message);
}

/* ---- packs and lists ---- */

/* `...T` or `T...` */
static bool at_pack(Parser *p)
{
    return luP_kind(p) == TK_DOT3 || (luP_kind(p) == TK_NAME && luP_peek(p) == TK_DOT3);
}

static void type_pack(Parser *p)
{
    if (luP_accept(p, TK_DOT3)) {
        luP_type(p);
    } else {
        luP_next(p);
        luP_next(p);
    }
}

void luP_vararg_type(Parser *p)
{
    if (luP_kind(p) == TK_NAME && luP_peek(p) == TK_DOT3)
        type_pack(p);
    else
        luP_type(p);
}

/* What stands between the parentheses of a type, at least one. */
static TypeList type_list(Parser *p)
{
    TypeList list = {0, false, false};
    for (;;) {
        if (at_pack(p)) {
            type_pack(p);
            list.has_tail = true;
            return list;
        }
        if (luP_kind(p) == TK_NAME && luP_peek(p) == ':') {
            list.has_names = true;
            luP_next(p);
            luP_next(p);
        }
        luP_type(p);
        list.count++;
        if (!luP_accept(p, ','))
            return list;
        if (luP_kind(p) == ')') {
            report_here(p, "Expected type after ',' but got ')' instead");
            return list;
        }
    }
}

/* After the name and `...` of a generic pack. */
static void generic_pack_default(Parser *p, bool with_defaults, bool *seen_default)
{
    if (!with_defaults || luP_kind(p) != '=') {
        if (*seen_default)
            report_here(p, "Expected default type pack after type pack name");
        return;
    }
    *seen_default = true;
    luP_next(p);
    if (at_pack(p)) {
        type_pack(p);
        return;
    }
    int depth = p->depth;
    Location location = luP_token(p)->location;
    if (simple_type(p, true) == TYPE_SINGLE) {
        type_suffix(p, location.begin, 1);
        luP_report(p, location, "Expected type pack after '=', got type");
    }
    p->depth = depth;
}

static void generic_default(Parser *p, bool with_defaults, bool *seen_default)
{
    if (with_defaults && luP_accept(p, '=')) {
        *seen_default = true;
        luP_type(p);
    } else if (*seen_default) {
        report_here(p, "Expected default type after type name");
    }
}

void luP_generics(Parser *p, bool with_defaults)
{
    if (luP_kind(p) != '<')
        return;
    Opener opener = luP_opener(p);
    bool seen_pack = false, seen_default = false;
    luP_next(p);
    for (;;) {
        luP_name(p, "generic name");
        if (luP_kind(p) == TK_DOT3 || seen_pack) {
            seen_pack = true;
            if (!luP_accept(p, TK_DOT3))
                report_here(p, "Generic types come before generic type packs");
            generic_pack_default(p, with_defaults, &seen_default);
        } else {
            generic_default(p, with_defaults, &seen_default);
        }
        if (!luP_accept(p, ','))
            break;
        if (luP_kind(p) == '>') {
            report_here(p, "Expected type after ',' but got '>' instead");
            break;
        }
    }
    luP_expect_close(p, '>', opener, NULL);
}

/* ---- suffixes: unions, intersections, `?` ---- */

static void check_parts(Parser *p, int parts, Location last)
{
    if (parts > PARSE_TYPE_PARTS_MAX)
        luP_fatal(p, last,
                  "Exceeded allowed type length; simplify your type annotation to make "
                  "the code compile");
}

/* What may follow a simple type; `parts` is 1 after one, 0 where `|` or `&` leads. */
static void type_suffix(Parser *p, Position begin, int parts)
{
    bool is_union = false, is_intersection = false;
    luP_enter(p, "type annotation");
    for (;;) {
        int kind = luP_kind(p);
        if (kind == '|' || kind == '&') {
            luP_next(p);
            int depth = p->depth;
            Location part = luP_token(p)->location;
            simple_type(p, false);
            p->depth = depth;
            if (kind == '|')
                is_union = true;
            else
                is_intersection = true;
            check_parts(p, ++parts, part);
        } else if (kind == '?') {
            luP_next(p);
            is_union = true;
        } else if (kind == TK_DOT3) {
            report_here(p, "Unexpected '...' after type annotation");
            luP_next(p);
        } else {
            break;
        }
    }
    if (is_union && is_intersection)
        luP_report(p, luP_span(begin, p->lex.previous.end),
                   "Mixing union and intersection types is not allowed; consider wrapping in "
                   "parentheses.");
}

void luP_type(Parser *p)
{
    int depth = p->depth, parts = 0;
    Position begin = luP_token(p)->location.begin;
    if (luP_kind(p) != '|' && luP_kind(p) != '&') {
        simple_type(p, false);
        p->depth = depth;
        parts = 1;
    }
    type_suffix(p, begin, parts);
    p->depth = depth;
}

void luP_optional_type(Parser *p)
{
    if (luP_accept(p, ':'))
        luP_type(p);
}

/* One argument of a `<...>` which starts with `(`: a pack, unless more of a type follows it. */
static void param_in_parentheses(Parser *p)
{
    int depth = p->depth;
    Position begin = luP_token(p)->location.begin;
    TypeKind kind = simple_type(p, true);
    int next = luP_kind(p);
    bool type_follows = next == '|' || next == '&' || next == '?';
    if (kind == TYPE_SINGLE || (kind == TYPE_PACK_OF_ONE && type_follows))
        type_suffix(p, begin, 1);
    p->depth = depth;
}

void luP_type_params(Parser *p)
{
    Opener opener = luP_opener(p);
    luP_next(p);
    if (luP_kind(p) != '>') {
        do {
            if (at_pack(p))
                type_pack(p);
            else if (luP_kind(p) == '(')
                param_in_parentheses(p);
            else
                luP_type(p);
        } while (luP_accept(p, ','));
    }
    luP_expect_close(p, '>', opener, NULL);
}

/* ---- functions ---- */

/* From the arrow on; `empty`: the parameters are `()` and there are no generics. */
static void function_type_tail(Parser *p, Position begin, bool empty)
{
    luP_enter(p, "type annotation");
    if (luP_kind(p) == ':') {
        report_here(p, "Return types in function type annotations are written after '->' instead "
                       "of ':'");
        luP_next(p);
    } else if (luP_kind(p) != TK_ARROW && empty) {
        luP_report(p, luP_span(begin, p->lex.previous.end),
                   "Expected '->' after '()' when parsing function type; did you mean 'nil'?");
        return;
    } else {
        luP_expect(p, TK_ARROW, "function type");
    }
    return_type(p);
}

/* At `(` or `<`. */
static TypeKind function_type(Parser *p, bool allow_pack)
{
    luP_enter(p, "type annotation");
    Position begin = luP_token(p)->location.begin;
    bool has_generics = luP_kind(p) == '<';
    TypeList list = {0, false, false};
    luP_generics(p, false);
    Opener opener = luP_opener(p);
    luP_expect(p, '(', "function parameters");
    if (luP_kind(p) != ')')
        list = type_list(p);
    luP_expect_close(p, ')', opener, NULL);

    bool is_function = has_generics || list.has_names || luP_kind(p) == TK_ARROW ||
                       luP_kind(p) == ':';
    bool is_one = list.count == 1 && !list.has_tail;
    if (!is_function && allow_pack)
        return is_one ? TYPE_PACK_OF_ONE : TYPE_PACK;
    if (!is_function && is_one)
        return TYPE_SINGLE;
    function_type_tail(p, begin, !has_generics && list.count == 0);
    return TYPE_SINGLE;
}

static void return_type(Parser *p)
{
    luP_enter(p, "type annotation");
    if (luP_kind(p) != '(') {
        if (at_pack(p))
            type_pack(p);
        else
            luP_type(p);
        return;
    }
    Opener opener = luP_opener(p);
    TypeList list = {0, false, false};
    luP_next(p);
    if (luP_kind(p) != ')')
        list = type_list(p);
    luP_expect_close(p, ')', opener, NULL);
    if (luP_kind(p) == TK_ARROW || list.has_names)
        function_type_tail(p, opener.position, list.count == 0);
    else if (list.count == 1)
        type_suffix(p, opener.position, 1); /* it may have been a parenthesised type */
}

void luP_optional_return_type(Parser *p)
{
    if (luP_kind(p) != ':' && luP_kind(p) != TK_ARROW)
        return;
    if (luP_kind(p) == TK_ARROW)
        report_here(p, "Function return type annotations are written after ':' instead of '->'");
    luP_next(p);
    int depth = p->depth;
    return_type(p);
    p->depth = depth;
    if (luP_kind(p) == ',') {
        report_here(p, "Expected a statement, got ','; did you forget to wrap the list of return "
                       "types in parentheses?");
        luP_next(p);
    }
}

/* ---- tables ---- */

/* `["name"]: T` or `[K]: V`, at the bracket. */
static void table_type_field(Parser *p, bool *has_name, bool *has_indexer)
{
    Opener opener = luP_opener(p);
    luP_next(p);
    bool is_string = luP_kind(p) == TK_RAW_STRING || luP_kind(p) == TK_QUOTED_STRING;
    if (is_string && luP_peek(p) == ']') {
        const char *data;
        uint32_t length;
        bool valid = luX_string_value(p->arena, luP_token(p), &data, &length);
        luP_next(p);
        luP_expect_close(p, ']', opener, NULL);
        luP_expect(p, ':', "table field");
        luP_type(p);
        if (!valid || memchr(data, 0, length))
            luP_report(p, luP_span(opener.position, opener.position),
                       "String literal contains malformed escape sequence or \\0");
        *has_name = true;
        return;
    }
    luP_type(p);
    luP_expect_close(p, ']', opener, NULL);
    luP_expect(p, ':', "table field");
    luP_type(p);
    if (*has_indexer)
        luP_report(p, luP_span(opener.position, p->lex.previous.end),
                   "Cannot have more than one table indexer");
    *has_indexer = true;
}

static bool at_named_field(Parser *p)
{
    return luP_kind(p) == TK_NAME && luP_peek(p) == ':';
}

static void table_type(Parser *p)
{
    luP_enter(p, "type annotation");
    Opener opener = luP_opener(p);
    bool has_name = false, has_indexer = false;
    luP_expect(p, '{', "table type");
    while (luP_kind(p) != '}') {
        const AstName *access = luP_kind(p) == TK_NAME ? luP_token(p)->name : NULL;
        if ((access == p->names.read || access == p->names.write) && access && !at_named_field(p))
            luP_next(p);
        if (luP_kind(p) == '[') {
            table_type_field(p, &has_name, &has_indexer);
        } else if (!has_name && !has_indexer && !at_named_field(p)) {
            luP_type(p); /* {T}: an array */
            break;
        } else {
            if (luP_kind(p) != TK_NAME) {
                luP_name(p, "table field");
                break;
            }
            luP_next(p);
            luP_expect(p, ':', "table field");
            luP_type(p);
            has_name = true;
        }
        if (!luP_accept(p, ',') && !luP_accept(p, ';'))
            break;
    }
    luP_expect_close(p, '}', opener, NULL);
}

/* ---- simple types ---- */

/* `typeof(expr)`, after the name: the expression makes no code. */
static void typeof_type(Parser *p)
{
    Opener opener = luP_opener(p);
    luP_expect(p, '(', "typeof type");
    p->typeof_depth++;
    luP_expr(p);
    p->typeof_depth--;
    luP_expect_close(p, ')', opener, NULL);
}

static void named_type(Parser *p)
{
    const AstName *name = luP_token(p)->name;
    luP_next(p);
    if (luP_kind(p) == '.') {
        int line = luP_token(p)->location.begin.line;
        luP_next(p);
        luP_index_name(p, "field name", line);
    } else if (luP_kind(p) == TK_DOT3) {
        report_here(p, "Unexpected '...' after type name; type pack is not allowed in this "
                       "context");
        luP_next(p);
    } else if (name == p->names.typeof_) {
        typeof_type(p);
        return;
    }
    if (luP_kind(p) == '<')
        luP_type_params(p);
}

static void string_type(Parser *p)
{
    Location start = luP_token(p)->location;
    switch (luP_kind(p)) {
    case TK_BAD_STRING:
        luP_next(p);
        luP_report(p, start, "Malformed string; did you forget to finish it?");
        break;
    case TK_INTERP_BEGIN:
    case TK_INTERP_SIMPLE:
        luP_interp(p);
        luP_report(p, start, "Interpolated string literals cannot be used as types");
        break;
    default: luP_string(p); break;
    }
}

static TypeKind simple_type(Parser *p, bool allow_pack)
{
    luP_enter(p, "type annotation");
    Location start = luP_token(p)->location;
    switch (luP_kind(p)) {
    case TK_NAME: named_type(p); break;
    case TK_NIL:
    case TK_TRUE:
    case TK_FALSE: luP_next(p); break;
    case '{': table_type(p); break;
    case '(':
    case '<': return function_type(p, allow_pack);
    case TK_RAW_STRING:
    case TK_QUOTED_STRING:
    case TK_INTERP_BEGIN:
    case TK_INTERP_SIMPLE:
    case TK_BAD_STRING: string_type(p); break;
    case TK_FUNCTION:
        luP_next(p);
        luP_report(p, start,
                   "Using 'function' as a type annotation is not supported, consider replacing "
                   "with a function type annotation e.g. '(...any) -> ...any'");
        break;
    case TK_ATTRIBUTE: report_here(p, "attributes are not allowed in declaration context"); break;
    default:
        /* The place is where the type is missing: it begins after the token before. */
        luP_report(p, luP_span(p->lex.previous.end, start.end), "Expected type, got %s",
                   luP_token_text(p));
    }
    return TYPE_SINGLE;
}
