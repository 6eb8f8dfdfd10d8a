/* SHA-256 and the authentication code made with it (RFC 2104), by libcrypto. Its contexts are
 * memory outside of the VM, so polls here do not unwind: the context is freed first. */
#include <openssl/evp.h>
#include <string.h>

#include "plugins/datamgmt.h"

enum { HASH_BYTES = 32, BLOCK_BYTES = 64 };

typedef struct Hash {
    lua_State *L;
    EVP_MD_CTX *context; /* NULL: libcrypto had no memory */
    bool killed;
} Hash;

static void hash_begin(Hash *hash, lua_State *L)
{
    hash->L = L;
    hash->killed = false;
    hash->context = EVP_MD_CTX_new();
    if (hash->context && !EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL)) {
        EVP_MD_CTX_free(hash->context);
        hash->context = NULL;
    }
}

static void hash_add(Hash *hash, const void *bytes, size_t length)
{
    const char *p = bytes;
    while (length > 0 && hash->context && !hash->killed) {
        size_t piece = length < DATAMGMT_POLL_BYTES ? length : DATAMGMT_POLL_BYTES;
        EVP_DigestUpdate(hash->context, p, piece);
        p += piece;
        length -= piece;
        hash->killed = luau_pollkill(hash->L);
    }
}

/* May be killed or raise: nothing is held here any more. */
static void hash_end(Hash *hash, unsigned char result[HASH_BYTES])
{
    bool made = hash->context && EVP_DigestFinal_ex(hash->context, result, NULL);
    EVP_MD_CTX_free(hash->context);
    if (hash->killed)
        luau_poll(hash->L);
    if (!made)
        luaL_error(hash->L, "not enough memory for a hash");
}

/* As hexadecimal digits, or as a buffer. */
static int give(lua_State *L, const unsigned char result[HASH_BYTES], bool raw)
{
    static const char DIGITS[] = "0123456789abcdef";
    if (raw) {
        memcpy(lua_newbuffer(L, HASH_BYTES), result, HASH_BYTES);
        return 1;
    }
    char text[2 * HASH_BYTES];
    for (int i = 0; i < HASH_BYTES; i++) {
        text[2 * i] = DIGITS[result[i] >> 4];
        text[2 * i + 1] = DIGITS[result[i] & 15];
    }
    lua_pushlstring(L, text, sizeof(text));
    return 1;
}

/* sha256(data, raw?) */
int datamgmt_sha256(lua_State *L)
{
    DataIn in;
    Hash hash;
    unsigned char result[HASH_BYTES];
    datamgmt_check(L, 1, &in);
    bool raw = luaL_optboolean(L, 2, 0);
    hash_begin(&hash, L);
    hash_add(&hash, in.bytes, in.length);
    hash_end(&hash, result);
    return give(L, result, raw);
}

/* The key as one block: a longer one is hashed. */
static void make_key(lua_State *L, const DataIn *key, unsigned char block[BLOCK_BYTES])
{
    memset(block, 0, BLOCK_BYTES);
    if (key->length <= BLOCK_BYTES) {
        memcpy(block, key->bytes, key->length);
        return;
    }
    Hash hash;
    hash_begin(&hash, L);
    hash_add(&hash, key->bytes, key->length);
    hash_end(&hash, block);
}

static void hash_begin_padded(Hash *hash, lua_State *L, const unsigned char key[BLOCK_BYTES],
                              unsigned char pad)
{
    unsigned char block[BLOCK_BYTES];
    for (int i = 0; i < BLOCK_BYTES; i++)
        block[i] = key[i] ^ pad;
    hash_begin(hash, L);
    hash_add(hash, block, sizeof(block));
}

/* hmac_sha256(key, data, raw?) */
int datamgmt_hmac_sha256(lua_State *L)
{
    DataIn key, in;
    Hash hash;
    unsigned char block[BLOCK_BYTES], result[HASH_BYTES];
    datamgmt_check(L, 1, &key);
    datamgmt_check(L, 2, &in);
    bool raw = luaL_optboolean(L, 3, 0);
    make_key(L, &key, block);
    hash_begin_padded(&hash, L, block, 0x36);
    hash_add(&hash, in.bytes, in.length);
    hash_end(&hash, result);
    hash_begin_padded(&hash, L, block, 0x5c);
    hash_add(&hash, result, sizeof(result));
    hash_end(&hash, result);
    return give(L, result, raw);
}
