/* tar.h: the blocks of tar archives: POSIX ustar, with pax headers for what does not fit there;
 * those of GNU tar for long names are read, too. Pure: bytes in, bytes out, no memory. */
#ifndef PLUGINS_TAR_H
#define PLUGINS_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TAR_BLOCK_BYTES = 512, TAR_NAME_MAX = 4096 };
#define TAR_MTIME_MAX INT64_C(077777777777) /* 11 octal digits */

/* An archive that is read, member by member. */
typedef struct TarReader {
    const char *bytes;
    size_t length, at;
    char name[TAR_NAME_MAX]; /* told by a header before the member's own; name_length 0: none */
    size_t name_length;
    double mtime; /* likewise, if has_mtime */
    size_t size;  /* likewise, if has_size */
    bool has_mtime, has_size;
} TarReader;

typedef struct TarMember {
    char name[TAR_NAME_MAX];
    size_t name_length;
    const char *data; /* in the archive */
    size_t size;
    int mode;
    double mtime; /* seconds since 1970 */
    bool is_file; /* or else a directory, a link, a device, or what comes before a member */
} TarMember;

typedef enum TarStep { TAR_MEMBER, TAR_END, TAR_BAD } TarStep;
/* The next block that is a member's header, or one for a member to come (is_file is false).
 * TAR_BAD: *error says what is wrong at reader->at. */
TarStep tar_next(TarReader *reader, TarMember *member, const char **error);

/* Bytes of the headers before a member with a name of that length. 0 < length <= TAR_NAME_MAX. */
size_t tar_header_bytes(const char *name, size_t length);
/* Writes them. */
void tar_put_header(char *to, const TarMember *member);
/* Bytes with which data of that size is filled up to whole blocks. */
size_t tar_padding(size_t size);
enum { TAR_TRAILER_BYTES = 2 * TAR_BLOCK_BYTES }; /* zeros */

#endif
