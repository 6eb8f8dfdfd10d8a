/* image.h: frozen libraries shared by VMs (luau_image_* in luau.h).
 *
 * An image is the frozen heap of a VM in which libraries were opened: every object in it carries
 * MARK_SHARED, every table is read-only, nothing in it is ever written again. Its objects live as
 * long as the image, which every VM and module made for it retains. Each table and function
 * reachable from the globals has a stable id, the path to it: "string.format". */
#ifndef LUAU_IMAGE_H
#define LUAU_IMAGE_H

#include "luau/object.h"

/* The image's base globals (frozen), and the frozen metatable { __index = base }. */
Table *luI_base(const luau_Image *image);
Table *luI_basemeta(const luau_Image *image);
/* The frozen metatable of a type (strings, vectors), or NULL. */
Table *luI_typemeta(const luau_Image *image, int type);

/* The image's (or core's) string with these bytes, or NULL. image may be NULL: core only. */
const String *luI_string(const luau_Image *image, const char *data, size_t length, uint32_t hash);
/* Value of base[names[0]][names[1]].. through plain tables; nil if there is none. */
Value luI_lookup(const luau_Image *image, const char *const *names, int count);

#endif
