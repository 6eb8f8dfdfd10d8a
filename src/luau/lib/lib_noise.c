/* lib_noise.c: math.noise: Ken Perlin's improved noise (2002) in 32-bit floats.
 *
 * Space is cut into unit cubes. Each corner has one of sixteen gradients, which a permutation of
 * 0..255, applied to the coordinates in turn, chooses. A smooth curve blends the corners' ramps. */
#include <math.h>

#include "luau/lib/lib.h"

/* Perlin's permutation, with the first value repeated at the end. */
static const uint8_t permutation[257] = {
    151, 160, 137, 91,  90,  15,  131, 13,  201, 95,  96,  53,  194, 233, 7,   225, 140, 36,  103,
    30,  69,  142, 8,   99,  37,  240, 21,  10,  23,  190, 6,   148, 247, 120, 234, 75,  0,   26,
    197, 62,  94,  252, 219, 203, 117, 35,  11,  32,  57,  177, 33,  88,  237, 149, 56,  87,  174,
    20,  125, 136, 171, 168, 68,  175, 74,  165, 71,  134, 139, 48,  27,  166, 77,  146, 158, 231,
    83,  111, 229, 122, 60,  211, 133, 230, 220, 105, 92,  41,  55,  46,  245, 40,  244, 102, 143,
    54,  65,  25,  63,  161, 1,   216, 80,  73,  209, 76,  132, 187, 208, 89,  18,  169, 200, 196,
    135, 130, 116, 188, 159, 86,  164, 100, 109, 198, 173, 186, 3,   64,  52,  217, 226, 250, 124,
    123, 5,   202, 38,  147, 118, 126, 255, 82,  85,  212, 207, 206, 59,  227, 47,  16,  58,  17,
    182, 189, 28,  42,  223, 183, 170, 213, 119, 248, 152, 2,   44,  154, 163, 70,  221, 153, 101,
    155, 167, 43,  172, 9,   129, 22,  39,  253, 19,  98,  108, 110, 79,  113, 224, 232, 178, 185,
    112, 104, 218, 246, 97,  228, 251, 34,  242, 193, 238, 210, 144, 12,  191, 179, 162, 241, 81,
    51,  145, 235, 249, 14,  239, 107, 49,  192, 214, 31,  181, 199, 106, 157, 184, 84,  204, 176,
    115, 121, 50,  45,  127, 4,   150, 254, 138, 236, 205, 93,  222, 114, 67,  29,  24,  72,  243,
    141, 128, 195, 78,  66,  215, 61,  156, 180, 151,
};

/* The twelve edges of a cube, four of them twice. */
static const int8_t gradients[16][3] = {
    {1, 1, 0}, {-1, 1, 0}, {1, -1, 0}, {-1, -1, 0}, {1, 0, 1}, {-1, 0, 1}, {1, 0, -1}, {-1, 0, -1},
    {0, 1, 1}, {0, -1, 1}, {0, 1, -1}, {0, -1, -1}, {1, 1, 0}, {0, -1, 1}, {-1, 1, 0}, {0, -1, -1},
};

static float fade(float t)
{
    return t * t * t * (t * (t * 6 - 15) + 10);
}

static float blend(float t, float a, float b)
{
    return a + t * (b - a);
}

static float ramp(int corner, float x, float y, float z)
{
    const int8_t *g = gradients[permutation[corner] & 15];
    return (float)g[0] * x + (float)g[1] * y + (float)g[2] * z;
}

/* Lattice cell of a coordinate, modulo 256; a cell beyond int counts as -2^31. */
static int cell(float floored)
{
    return val_toint((double)floored) & 255;
}

float lib_perlin(float x, float y, float z)
{
    float x_floor = floorf(x), y_floor = floorf(y), z_floor = floorf(z);
    int xi = cell(x_floor), yi = cell(y_floor), zi = cell(z_floor);
    float xf = x - x_floor, yf = y - y_floor, zf = z - z_floor;
    float u = fade(xf), v = fade(yf), w = fade(zf);

    const uint8_t *p = permutation;
    int a = (p[xi] + yi) & 255, b = (p[xi + 1] + yi) & 255;
    int aa = (p[a] + zi) & 255, ab = (p[a + 1] + zi) & 255;
    int ba = (p[b] + zi) & 255, bb = (p[b + 1] + zi) & 255;

    float near_low = blend(u, ramp(aa, xf, yf, zf), ramp(ba, xf - 1, yf, zf));
    float near_high = blend(u, ramp(ab, xf, yf - 1, zf), ramp(bb, xf - 1, yf - 1, zf));
    float far_low = blend(u, ramp(aa + 1, xf, yf, zf - 1), ramp(ba + 1, xf - 1, yf, zf - 1));
    float far_high = blend(u, ramp(ab + 1, xf, yf - 1, zf - 1),
                           ramp(bb + 1, xf - 1, yf - 1, zf - 1));
    return blend(w, blend(v, near_low, near_high), blend(v, far_low, far_high));
}
