#include "plugins/tar.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"

/* A header, as it stands in an archive. Numbers are octal digits. */
typedef struct TarHeader {
    char name[100];
    char mode[8], uid[8], gid[8];
    char size[12], mtime[12];
    char checksum[8];
    char type;
    char link_name[100];
    char magic[6], version[2];
    char user_name[32], group_name[32];
    char device_major[8], device_minor[8];
    char prefix[155];
    char unused[12];
} TarHeader;
_Static_assert(sizeof(TarHeader) == TAR_BLOCK_BYTES, "a header is a block");

enum { PAX_RECORD_EXTRA = 16 }; /* at most: "4110 path=" and a newline */

static unsigned sum_of(const TarHeader *header)
{
    const unsigned char *p = (const unsigned char *)header;
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof(*header); i++) {
        bool blank = i >= offsetof(TarHeader, checksum) && i < offsetof(TarHeader, type);
        sum += blank ? ' ' : p[i];
    }
    return sum;
}

/* ---- Reading ----------------------------------------------------------------------------------
 */

/* Blanks, octal digits, then blanks or NULs; or with the highest bit set a binary number. */
static bool read_number(const char *field, size_t length, uint64_t *value)
{
    size_t i = 0;
    *value = 0;
    if ((unsigned char)field[0] == 0x80) {
        for (i = 1; i < length; i++) {
            if (*value > UINT64_MAX >> 8)
                return false;
            *value = *value << 8 | (unsigned char)field[i];
        }
        return true;
    }
    while (i < length && field[i] == ' ')
        i++;
    for (; i < length && field[i] >= '0' && field[i] <= '7'; i++)
        *value = *value << 3 | (unsigned)(field[i] - '0');
    for (; i < length; i++)
        if (field[i] != ' ' && field[i] != '\0')
            return false;
    return true;
}

static void read_name(const TarHeader *header, TarMember *member)
{
    size_t length = strnlen(header->name, sizeof(header->name));
    size_t prefix = memcmp(header->magic, "ustar", 6) == 0
                        ? strnlen(header->prefix, sizeof(header->prefix))
                        : 0;
    member->name_length = length;
    if (prefix > 0) {
        memcpy(member->name, header->prefix, prefix);
        member->name[prefix] = '/';
        prefix++;
        member->name_length += prefix;
    }
    memcpy(member->name + prefix, header->name, length);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The whole text, in decimal; for times also with a sign and a fraction. */
static bool read_decimal(const char *text, size_t length, bool is_time, double *value)
{
    const char *p = text, *end = text + length;
    bool negative = is_time && p < end && *p == '-';
    double n = 0, unit = 1;
    p += negative;
    const char *digits = p;
    for (; p < end && is_digit(*p); p++)
        n = n * 10 + (*p - '0');
    if (p == digits || p - digits > 18)
        return false;
    if (is_time && p < end && *p == '.')
        for (p++; p < end && is_digit(*p); p++)
            n += (*p - '0') * (unit /= 10);
    *value = negative ? -n : n;
    return p == end;
}

/* One `keyword=value` of a pax header. Unknown ones do not matter. */
static bool read_record(TarReader *r, const char *record, size_t length)
{
    const char *equals = memchr(record, '=', length);
    if (!equals)
        return false;
    size_t keyword = (size_t)(equals - record), size = length - keyword - 1;
    const char *value = equals + 1;
    double number;
    if (keyword == 4 && memcmp(record, "path", 4) == 0) {
        if (size == 0 || size > TAR_NAME_MAX)
            return false;
        memcpy(r->name, value, size);
        r->name_length = size;
    } else if (keyword == 5 && memcmp(record, "mtime", 5) == 0) {
        r->has_mtime = true;
        return read_decimal(value, size, true, &r->mtime);
    } else if (keyword == 4 && memcmp(record, "size", 4) == 0) {
        if (!read_decimal(value, size, false, &number) || number > (double)r->length)
            return false;
        r->has_size = true;
        r->size = (size_t)number;
    }
    return true;
}

/* Records are `LENGTH keyword=value\n`; the length is that of the whole. */
static bool read_pax(TarReader *r, const char *data, size_t size)
{
    while (size > 0) {
        size_t length = 0, i = 0;
        for (; i < size && i < 8 && is_digit(data[i]); i++)
            length = length * 10 + (size_t)(data[i] - '0');
        if (i == 0 || i == size || data[i] != ' ' || length > size || length < i + 3 ||
            data[length - 1] != '\n' || !read_record(r, data + i + 1, length - i - 2))
            return false;
        data += length;
        size -= length;
    }
    return true;
}

/* Headers for the member to come. */
static bool read_ahead(TarReader *r, char type, const TarMember *member)
{
    if (type == 'x')
        return read_pax(r, member->data, member->size);
    if (type == 'L') {
        r->name_length = strnlen(member->data, member->size);
        if (r->name_length == 0 || r->name_length > TAR_NAME_MAX)
            return false;
        memcpy(r->name, member->data, r->name_length);
    }
    return true;
}

/* The member's own header gives way to what was said before. */
static void apply_ahead(TarReader *r, TarMember *member)
{
    if (r->name_length > 0) {
        memcpy(member->name, r->name, r->name_length);
        member->name_length = r->name_length;
    }
    if (r->has_mtime)
        member->mtime = r->mtime;
    r->name_length = 0;
    r->has_mtime = r->has_size = false;
}

static bool is_zero(const char *block)
{
    for (int i = 0; i < TAR_BLOCK_BYTES; i++)
        if (block[i] != '\0')
            return false;
    return true;
}

static bool has_data(char type)
{
    return strchr("123456", type) == NULL; /* links, devices, directories, pipes have none */
}

static const char *read_header(const TarReader *r, const TarHeader *header, TarMember *member)
{
    uint64_t sum, size, mode, mtime;
    if (!read_number(header->checksum, sizeof(header->checksum), &sum) || sum != sum_of(header))
        return "a header with a wrong checksum";
    if (!read_number(header->size, sizeof(header->size), &size) ||
        !read_number(header->mode, sizeof(header->mode), &mode) ||
        !read_number(header->mtime, sizeof(header->mtime), &mtime))
        return "a header with a number that is none";
    bool ahead = header->type == 'x' || header->type == 'g' || header->type == 'L' ||
                 header->type == 'K';
    if (r->has_size && !ahead)
        size = r->size;
    if (header->type != '\0' && !has_data(header->type))
        size = 0;
    if (size > r->length - r->at - TAR_BLOCK_BYTES)
        return "a member that is longer than the rest of the archive";
    member->data = r->bytes + r->at + TAR_BLOCK_BYTES;
    member->size = (size_t)size;
    member->mode = (int)(mode & 07777);
    member->mtime = (double)mtime;
    member->is_file = header->type == '0' || header->type == '\0' || header->type == '7';
    read_name(header, member);
    return NULL;
}

TarStep tar_next(TarReader *r, TarMember *member, const char **error)
{
    TarHeader header;
    size_t left = r->length - r->at;
    *error = "a block that is cut off";
    if (left == 0)
        return TAR_END;
    if (left < TAR_BLOCK_BYTES)
        return TAR_BAD;
    if (is_zero(r->bytes + r->at))
        return TAR_END;
    memcpy(&header, r->bytes + r->at, sizeof(header));
    *error = read_header(r, &header, member);
    if (*error)
        return TAR_BAD;
    if (header.type == 'x' || header.type == 'g' || header.type == 'L' || header.type == 'K') {
        *error = "a bad extended header";
        if (!read_ahead(r, header.type, member))
            return TAR_BAD;
    } else {
        apply_ahead(r, member);
        /* Old archives mark directories by their names alone. */
        if (member->is_file && member->name_length > 0 &&
            member->name[member->name_length - 1] == '/')
            member->is_file = false;
    }
    size_t used = TAR_BLOCK_BYTES + member->size;
    used += tar_padding(member->size);
    r->at += used < left ? used : left; /* the last padding may be missing */
    return TAR_MEMBER;
}

/* ---- Writing ----------------------------------------------------------------------------------
 */

size_t tar_padding(size_t size)
{
    return (TAR_BLOCK_BYTES - size % TAR_BLOCK_BYTES) % TAR_BLOCK_BYTES;
}

/* Where the name is cut in two so that both parts fit, the slash between them left out. 0: it fits
 * as a whole; SIZE_MAX: no way. */
static size_t find_split(const char *name, size_t length)
{
    const TarHeader *h = NULL;
    if (length <= sizeof(h->name))
        return 0;
    size_t from = length - sizeof(h->name) - 1;
    for (size_t i = from > 0 ? from : 1; i <= sizeof(h->prefix) && i + 1 < length; i++)
        if (name[i] == '/')
            return i;
    return SIZE_MAX;
}

/* "LENGTH path=NAME\n", whose length counts its own digits. */
static size_t pax_length(size_t name_length)
{
    size_t rest = strlen(" path=\n") + name_length, length = rest + 1;
    for (size_t power = 10; length >= power; power *= 10)
        length++;
    return length;
}

size_t tar_header_bytes(const char *name, size_t length)
{
    if (find_split(name, length) != SIZE_MAX)
        return TAR_BLOCK_BYTES;
    size_t record = pax_length(length);
    return TAR_BLOCK_BYTES + record + tar_padding(record) + TAR_BLOCK_BYTES;
}

static void put_octal(char *field, size_t length, uint64_t value)
{
    for (size_t i = length - 1; i-- > 0; value >>= 3)
        field[i] = (char)('0' + (value & 7));
    field[length - 1] = '\0';
}

static void put_block(char *to, const TarMember *member, char type, size_t split)
{
    TarHeader header;
    memset(&header, 0, sizeof(header));
    size_t start = split == 0 || split == SIZE_MAX ? 0 : split + 1;
    size_t length = member->name_length - start;
    if (start > 0)
        memcpy(header.prefix, member->name, split);
    memcpy(header.name, member->name + start,
           length < sizeof(header.name) ? length : sizeof(header.name));
    put_octal(header.mode, sizeof(header.mode), (unsigned)member->mode);
    put_octal(header.uid, sizeof(header.uid), 0);
    put_octal(header.gid, sizeof(header.gid), 0);
    put_octal(header.size, sizeof(header.size), member->size);
    put_octal(header.mtime, sizeof(header.mtime), (uint64_t)member->mtime);
    header.type = type;
    memcpy(header.magic, "ustar", 6);
    memcpy(header.version, "00", 2);
    put_octal(header.checksum, 7, sum_of(&header));
    header.checksum[7] = ' ';
    memcpy(to, &header, sizeof(header));
}

void tar_put_header(char *to, const TarMember *member)
{
    size_t split = find_split(member->name, member->name_length);
    if (split == SIZE_MAX) {
        TarMember pax = {.name = "pax_header", .name_length = 10, .mode = 0644};
        size_t record = pax_length(member->name_length);
        char length[24];
        pax.size = record;
        pax.mtime = member->mtime;
        put_block(to, &pax, 'x', 0);
        to += TAR_BLOCK_BYTES;
        memset(to, 0, record + tar_padding(record));
        int digits = snprintf(length, sizeof(length), "%zu path=", record);
        memcpy(to, length, (size_t)digits);
        memcpy(to + digits, member->name, member->name_length);
        to[record - 1] = '\n';
        to += record + tar_padding(record);
    }
    put_block(to, member, '0', split);
}
