/* The matcher of patterns.
 *
 * A pattern is matched as it stands, by a recursive matcher that tries alternatives from left to
 * right; MATCH_DEPTH_MAX bounds the recursion, polls bound the time between safepoints (a pattern
 * can take exponential time: that is the caller's own processor time).
 *
 * An item is what matches one byte: a byte, `.`, a class, a set; perhaps with * + - or ? behind.
 * Three things make the usual patterns quick, and none changes what matches:
 *   - a repeated item is scanned by a tight loop of its kind (item_span);
 *   - where the pattern must go on with a certain item (the "ahead" item), places whose next byte
 *     it does not match are passed over without trying. The first try at any place is always a
 *     full one, so the errors of a malformed rest are raised as if nothing were passed over;
 *   - a set that is tested often gets a bitmap. */
#include "luau/lib/lib_strmatch.h"

#include <string.h>

enum {
    MATCH_DEPTH_MAX = 200,
    SET_TESTS_DIRECT = 16, /* tests of a set before its bitmap is made */
    SET_LONG = 1024        /* bytes of a set from which on each test counts as work */
};

void luStr_matchinit(Match *m, lua_State *L, const char *s, size_t length, const char *p,
                     size_t pattern_length)
{
    m->L = L;
    m->start = s;
    m->end = s + length;
    m->pattern_end = p + pattern_length;
    m->steps = STEPS_PER_POLL;
    m->depth = 0;
    m->level = 0;
    for (int i = 0; i < SET_SLOTS; i++)
        m->slots[i].set = NULL;
}

/* ---- Classes (the C locale's) ---- */

enum {
    IS_ALPHA = 1,
    IS_CONTROL = 2,
    IS_DIGIT = 4,
    IS_GRAPH = 8,
    IS_LOWER = 16,
    IS_PUNCT = 32,
    IS_SPACE = 64,
    IS_UPPER = 128,
    IS_ALNUM = 256,
    IS_HEX = 512,
    IS_ZERO = 1024
};

static const uint16_t class_bits[256] = {
    [0] = IS_CONTROL | IS_ZERO,
    [1 ... 8] = IS_CONTROL,
    [9 ... 13] = IS_CONTROL | IS_SPACE,
    [14 ... 31] = IS_CONTROL,
    [' '] = IS_SPACE,
    ['!' ... '/'] = IS_PUNCT | IS_GRAPH,
    ['0' ... '9'] = IS_DIGIT | IS_ALNUM | IS_HEX | IS_GRAPH,
    [':' ... '@'] = IS_PUNCT | IS_GRAPH,
    ['A' ... 'F'] = IS_ALPHA | IS_UPPER | IS_ALNUM | IS_HEX | IS_GRAPH,
    ['G' ... 'Z'] = IS_ALPHA | IS_UPPER | IS_ALNUM | IS_GRAPH,
    ['[' ... '`'] = IS_PUNCT | IS_GRAPH,
    ['a' ... 'f'] = IS_ALPHA | IS_LOWER | IS_ALNUM | IS_HEX | IS_GRAPH,
    ['g' ... 'z'] = IS_ALPHA | IS_LOWER | IS_ALNUM | IS_GRAPH,
    ['{' ... '~'] = IS_PUNCT | IS_GRAPH,
    [127] = IS_CONTROL,
};

/* The class of a letter in either case; 0: the letter stands for itself. */
static unsigned class_mask(unsigned char letter)
{
    switch (letter | 0x20) {
    case 'a': return IS_ALPHA;
    case 'c': return IS_CONTROL;
    case 'd': return IS_DIGIT;
    case 'g': return IS_GRAPH;
    case 'l': return IS_LOWER;
    case 'p': return IS_PUNCT;
    case 's': return IS_SPACE;
    case 'u': return IS_UPPER;
    case 'w': return IS_ALNUM;
    case 'x': return IS_HEX;
    case 'z': return IS_ZERO;
    default: return 0;
    }
}

static bool class_has(unsigned char letter, unsigned char c)
{
    unsigned mask = class_mask(letter);
    if (mask == 0)
        return letter == c;
    return ((class_bits[c] & mask) != 0) == ((letter & 0x20) != 0); /* upper case negates */
}

/* ---- Items ---- */

/* The end of the item at p (behind it there may be a repetition). */
static const char *item_end(Match *m, const char *p)
{
    if (*p == '%') {
        if (p + 1 == m->pattern_end)
            luaL_error(m->L, "malformed pattern (ends with '%%')");
        return p + 2;
    }
    if (*p++ != '[')
        return p;
    if (*p == '^')
        p++;
    do { /* a `]` in the first place is a member */
        if (p == m->pattern_end)
            luaL_error(m->L, "malformed pattern (missing ']')");
        match_spend(m, 1);
        if (*p++ == '%' && p < m->pattern_end)
            p++;
    } while (*p != ']');
    return p + 1;
}

/* Is c in the set from `[` at p to `]` at last? */
static bool set_has(Match *m, const char *p, const char *last, unsigned char c)
{
    bool found = true, is_long = last - p > SET_LONG;
    if (p[1] == '^') {
        found = false;
        p++;
    }
    while (++p < last) {
        if (BASE_UNLIKELY(is_long))
            match_spend(m, 1);
        if (*p == '%') {
            p++;
            if (class_has((unsigned char)*p, c))
                return found;
        } else if (p[1] == '-' && p + 2 < last) {
            p += 2;
            if ((unsigned char)p[-2] <= c && c <= (unsigned char)*p)
                return found;
        } else if ((unsigned char)*p == c) {
            return found;
        }
    }
    return !found;
}

static void set_make_bits(Match *m, uint8_t bits[32], const char *p, const char *last)
{
    unsigned classes = 0, negated = 0; /* masks */
    uint8_t flip = 0;
    memset(bits, 0, 32);
    if (p[1] == '^') {
        flip = 0xFF;
        p++;
    }
    while (++p < last) {
        unsigned from = (unsigned char)*p, to = from;
        if (*p == '%') {
            from = to = (unsigned char)*++p;
            unsigned mask = class_mask((unsigned char)from);
            *(from & 0x20 ? &classes : &negated) |= mask;
            if (mask)
                continue;
        } else if (p[1] == '-' && p + 2 < last) {
            p += 2;
            to = (unsigned char)*p;
        }
        for (unsigned c = from; c <= to; c++)
            bits[c >> 3] |= (uint8_t)(1 << (c & 7));
        match_spend(m, (int)(to - from) / 8 + 1);
    }
    for (unsigned c = 0; c < 256; c++) {
        if ((class_bits[c] & classes) != 0 || (class_bits[c] & negated) != negated)
            bits[c >> 3] |= (uint8_t)(1 << (c & 7));
    }
    for (int i = 0; i < 32; i++)
        bits[i] ^= flip;
}

/* Does the item from p to end match c? */
static bool item_test(Match *m, const char *p, const char *end, unsigned char c)
{
    switch (*p) {
    case '.': return true;
    case '%': return class_has((unsigned char)p[1], c);
    case '[': return set_has(m, p, end - 1, c);
    default: return (unsigned char)*p == c;
    }
}

/* An item looked at closer, to be tested more than once. A set of one member is no SET here. */
typedef struct Item {
    enum { ITEM_ANY, ITEM_BYTE, ITEM_CLASS, ITEM_SET } kind;
    unsigned char byte; /* BYTE */
    bool positive;      /* BYTE, CLASS: not negated */
    uint16_t mask;      /* CLASS */
    const char *p, *end;
    SetSlot *slot; /* SET: where its bits are if slot->set == p */
} Item;

static void slot_take(SetSlot *slot, const char *set)
{
    if (slot->set == set)
        return;
    slot->set = set;
    slot->tests = 0;
    slot->ready = false;
}

static void item_prepare(Match *m, Item *item, const char *p, const char *end)
{
    const char *member = p;
    bool is_set = *p == '[';
    item->p = p;
    item->end = end;
    item->positive = true;
    if (is_set) {
        member++;
        if (*member == '^') {
            item->positive = false;
            member++;
        }
        ptrdiff_t length = end - 1 - member;
        if (length > 2 || (length == 2 && *member != '%')) {
            item->kind = ITEM_SET;
            item->slot = &m->slots[(size_t)(m->pattern_end - p) % SET_SLOTS];
            slot_take(item->slot, p);
            return;
        }
    }
    item->kind = *member == '.' && !is_set ? ITEM_ANY : ITEM_BYTE;
    item->byte = (unsigned char)*member;
    if (*member == '%') {
        item->byte = (unsigned char)member[1];
        item->mask = (uint16_t)class_mask(item->byte);
        if (item->mask) {
            item->kind = ITEM_CLASS;
            item->positive ^= (item->byte & 0x20) == 0;
        }
    }
}

/* Are the bits of the item's set at hand? Not before they pay, nor if another set has the slot. */
BASE_INLINE bool item_has_bits(const Item *item)
{
    return item->slot->ready && item->slot->set == item->p;
}

BASE_INLINE bool item_test_bits(const Item *item, unsigned char c)
{
    return item->slot->bits[c >> 3] >> (c & 7) & 1;
}

/* Notes `tests` direct tests of the set, and makes the bits when they are enough. */
static void item_count_tests(Match *m, const Item *item, int tests)
{
    SetSlot *slot = item->slot;
    match_spend(m, tests * (int)((item->end - item->p) / 4 + 1));
    if (slot->set != item->p || slot->ready)
        return;
    slot->tests += tests;
    if (slot->tests < SET_TESTS_DIRECT)
        return;
    set_make_bits(m, slot->bits, item->p, item->end - 1);
    slot->ready = true;
}

static bool item_has(Match *m, const Item *item, unsigned char c)
{
    switch (item->kind) {
    case ITEM_ANY: return true;
    case ITEM_BYTE: return (item->byte == c) == item->positive;
    case ITEM_CLASS: return ((class_bits[c] & item->mask) != 0) == item->positive;
    case ITEM_SET: break;
    }
    if (item_has_bits(item))
        return item_test_bits(item, c);
    item_count_tests(m, item, 1);
    return set_has(m, item->p, item->end - 1, c);
}

/* The end of the bytes in s..end that are in the set, or are not. */
static const char *item_scan_set(Match *m, const Item *item, const char *s, const char *end,
                                 bool has)
{
    if (!item_has_bits(item)) {
        slot_take(item->slot, item->p);
        const char *from = s, *last = item->end - 1;
        while (s < end && s - from < SET_TESTS_DIRECT &&
               set_has(m, item->p, last, (unsigned char)*s) == has)
            s++;
        item_count_tests(m, item, (int)(s - from) + 1);
        if (s - from < SET_TESTS_DIRECT)
            return s;
        /* As many tests as that made the bits. */
    }
    while (s < end && item_test_bits(item, (unsigned char)*s) == has)
        s++;
    return s;
}

/* The end of the bytes from s on that the item matches (or does not match: `has` false). */
BASE_INLINE const char *item_scan(Match *m, const Item *item, const char *s, bool has)
{
    if (item->kind == ITEM_ANY)
        return has ? m->end : s;
    bool wanted = item->positive == has;
    for (;;) {
        const char *from = s;
        const char *end = m->end - s > STEPS_PER_POLL ? s + STEPS_PER_POLL : m->end;
        if (item->kind == ITEM_SET) {
            s = item_scan_set(m, item, s, end, has);
        } else if (item->kind == ITEM_CLASS) {
            while (s < end && ((class_bits[(unsigned char)*s] & item->mask) != 0) == wanted)
                s++;
        } else if (wanted) {
            while (s < end && (unsigned char)*s == item->byte)
                s++;
        } else {
            const char *hit = memchr(s, item->byte, (size_t)(end - s));
            s = hit ? hit : end;
        }
        if (s < end || s == m->end)
            return s;
        match_spend(m, (int)(s - from));
    }
}

static const char *item_span(Match *m, const Item *item, const char *s)
{
    return item_scan(m, item, s, true);
}

/* First place from s on that the item matches, or NULL. */
static const char *item_find(Match *m, const Item *item, const char *s)
{
    s = item_scan(m, item, s, false);
    return s < m->end ? s : NULL;
}

/* The item that must match the next byte for the pattern from p on to match at all. false: there is
 * none. Only to be asked when matching has got to p before: then it raises nothing. */
static bool item_ahead(Match *m, const char *p, Item *item)
{
    while (p < m->pattern_end && (*p == '(' || *p == ')')) { /* consume nothing */
        match_spend(m, 1);
        p++;
    }
    if (p == m->pattern_end || (*p == '$' && p + 1 == m->pattern_end))
        return false;
    if (*p == '%' && (p[1] == 'b' || p[1] == 'f' || (class_bits[(unsigned char)p[1]] & IS_DIGIT)))
        return false;
    const char *end = item_end(m, p);
    if (*end == '*' || *end == '?' || *end == '-')
        return false;
    item_prepare(m, item, p, end);
    return item->kind != ITEM_ANY;
}

/* ---- The matcher: each function gives the end of the match, or NULL ---- */

static const char *match_here(Match *m, const char *s, const char *p);

static const char *match_greedy(Match *m, const char *s, const char *p, const char *end)
{
    Item item, ahead;
    item_prepare(m, &item, p, end);
    const char *last = item_span(m, &item, s);
    const char *result = match_here(m, last, end + 1);
    if (result || last == s)
        return result;
    bool known = item_ahead(m, end + 1, &ahead);
    while (last > s) {
        last--;
        match_spend(m, 1);
        if (known && !item_has(m, &ahead, (unsigned char)*last))
            continue;
        result = match_here(m, last, end + 1);
        if (result)
            return result;
    }
    return NULL;
}

static const char *match_lazy(Match *m, const char *s, const char *p, const char *end)
{
    const char *result = match_here(m, s, end + 1);
    if (result)
        return result;
    Item item, ahead;
    item_prepare(m, &item, p, end);
    bool known = item_ahead(m, end + 1, &ahead);
    while (s < m->end && item_has(m, &item, (unsigned char)*s)) {
        s++;
        match_spend(m, 1);
        if (known && item.kind == ITEM_ANY) {
            s = item_find(m, &ahead, s);
            if (!s)
                return NULL;
        } else if (known && !(s < m->end && item_has(m, &ahead, (unsigned char)*s))) {
            continue;
        }
        result = match_here(m, s, end + 1);
        if (result)
            return result;
    }
    return NULL;
}

static const char *match_open(Match *m, const char *s, const char *p, ptrdiff_t kind)
{
    if (m->level >= CAPTURES_MAX)
        luaL_error(m->L, "too many captures");
    m->capture[m->level].start = s;
    m->capture[m->level].length = kind;
    m->level++;
    const char *result = match_here(m, s, p);
    if (!result)
        m->level--;
    return result;
}

static const char *match_close(Match *m, const char *s, const char *p)
{
    int level = m->level - 1;
    while (level >= 0 && m->capture[level].length != CAPTURE_UNFINISHED)
        level--;
    if (level < 0)
        luaL_error(m->L, "invalid pattern capture");
    m->capture[level].length = s - m->capture[level].start;
    const char *result = match_here(m, s, p);
    if (!result)
        m->capture[level].length = CAPTURE_UNFINISHED;
    return result;
}

/* %b: p at its two bytes. */
static const char *match_balance(Match *m, const char *s, const char *p)
{
    if (m->pattern_end - p < 2)
        luaL_error(m->L, "malformed pattern (missing arguments to '%%b')");
    if (s == m->end || *s != *p)
        return NULL;
    size_t open = 1;
    while (++s < m->end) {
        match_spend(m, 1);
        if (*s == p[1]) { /* looked at first: both may be the same byte */
            if (--open == 0)
                return s + 1;
        } else if (*s == *p) {
            open++;
        }
    }
    return NULL;
}

/* %f: p at its set. */
static const char *match_frontier(Match *m, const char *s, const char *p, const char **rest)
{
    if (*p != '[')
        luaL_error(m->L, "missing '[' after '%%f' in pattern");
    *rest = item_end(m, p);
    const char *last = *rest - 1;
    unsigned char before = s == m->start ? 0 : (unsigned char)s[-1];
    unsigned char after = s == m->end ? 0 : (unsigned char)*s;
    return !set_has(m, p, last, before) && set_has(m, p, last, after) ? s : NULL;
}

static const char *match_back_reference(Match *m, const char *s, char digit)
{
    int level = digit - '1';
    if (level < 0 || level >= m->level || m->capture[level].length == CAPTURE_UNFINISHED)
        luaL_error(m->L, "invalid capture index %%%d", level + 1);
    ptrdiff_t length = m->capture[level].length;
    if (length == CAPTURE_POSITION) /* refers to no bytes: never matches */
        return NULL;
    if (m->end - s < length)
        return NULL;
    for (ptrdiff_t done = 0; done < length;) {
        ptrdiff_t piece = length - done < STEPS_PER_POLL ? length - done : STEPS_PER_POLL;
        if (memcmp(m->capture[level].start + done, s + done, (size_t)piece) != 0)
            return NULL;
        done += piece;
        match_spend(m, (int)piece);
    }
    return s + length;
}

/* An item and its repetition at p. *rest: where to go on with the result, or NULL: it is final. */
static const char *match_item(Match *m, const char *s, const char *p, const char **rest)
{
    const char *end = item_end(m, p), *result;
    bool matches = s < m->end && item_test(m, p, end, (unsigned char)*s);
    *rest = end + 1;
    switch (*end) {
    case '?':
        if (matches && (result = match_here(m, s + 1, end + 1)) != NULL) {
            *rest = NULL;
            return result;
        }
        return s;
    case '*':
        if (!matches)
            return s;
        *rest = NULL;
        return match_greedy(m, s, p, end);
    case '+': *rest = NULL; return matches ? match_greedy(m, s + 1, p, end) : NULL;
    case '-':
        if (!matches)
            return s;
        *rest = NULL;
        return match_lazy(m, s, p, end);
    default: *rest = end; return matches ? s + 1 : NULL;
    }
}

static const char *match_here(Match *m, const char *s, const char *p)
{
    if (m->depth++ == MATCH_DEPTH_MAX)
        luaL_error(m->L, "pattern too complex");
    while (s && p && p != m->pattern_end) {
        match_spend(m, 1);
        if (*p == '(') {
            s = p[1] == ')' ? match_open(m, s, p + 2, CAPTURE_POSITION)
                            : match_open(m, s, p + 1, CAPTURE_UNFINISHED);
            break;
        }
        if (*p == ')') {
            s = match_close(m, s, p + 1);
            break;
        }
        if (*p == '$' && p + 1 == m->pattern_end) {
            s = s == m->end ? s : NULL;
            break;
        }
        if (*p == '%' && p[1] == 'b') {
            s = match_balance(m, s, p + 2);
            p += 4;
        } else if (*p == '%' && p[1] == 'f') {
            s = match_frontier(m, s, p + 2, &p);
        } else if (*p == '%' && (class_bits[(unsigned char)p[1]] & IS_DIGIT)) {
            s = match_back_reference(m, s, p[1]);
            p += 2;
        } else {
            s = match_item(m, s, p, &p);
        }
    }
    m->depth--;
    return s;
}

const char *luStr_matchsearch(Match *m, const char **s, const char *p, bool anchored)
{
    const char *at = *s;
    m->level = 0;
    m->depth = 0;
    const char *end = match_here(m, at, p);
    if (end || anchored)
        return end;
    Item ahead;
    bool known = item_ahead(m, p, &ahead);
    while (at < m->end) {
        at++;
        if (known && !(at = item_find(m, &ahead, at)))
            return NULL;
        m->level = 0;
        end = match_here(m, at, p);
        if (end) {
            *s = at;
            return end;
        }
    }
    return NULL;
}
