/* A PKCS#11 module that hands every call on to another one, METERGRAPH_SHIM_MODULE, and
 *   - appends a line with the hex of what was signed to METERGRAPH_SHIM_COUNT for each signature made;
 *   - behaves as if the token had been pulled out while the file METERGRAPH_SHIM_GONE is there.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long ulong_t;
typedef ulong_t (*any_fn)(void);

enum {
    OK = 0,
    FUNCTION_FAILED = 0x06,
    DEVICE_REMOVED = 0x32,
    /* Places in CK_FUNCTION_LIST (PKCS#11 v2.40). */
    GET_TOKEN_INFO = 6,
    OPEN_SESSION = 12,
    GET_ATTRIBUTE_VALUE = 24,
    SIGN_INIT = 42,
    SIGN = 43,
    UNWRAP_KEY = 61,
    DERIVE_KEY = 62,
    FUNCTIONS = 68
};

typedef struct {
    unsigned char version[2];
    any_fn function[FUNCTIONS];
} list_t;

static list_t *real;
static list_t ours;

static int gone(void) {
    const char *file = getenv("METERGRAPH_SHIM_GONE");
    return file != NULL && access(file, F_OK) == 0;
}

static int note(const unsigned char *data, ulong_t length) {
    const char *file = getenv("METERGRAPH_SHIM_COUNT");
    if (file == NULL) return 0;
    char line[2 * 128 + 1];
    if (length > 128) length = 128;
    for (ulong_t i = 0; i < length; i++) sprintf(line + 2 * i, "%02x", data[i]);
    line[2 * length] = '\n';
    int out = open(file, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (out < 0) return -1;
    ssize_t written = write(out, line, 2 * length + 1);
    close(out);
    return written == (ssize_t)(2 * length + 1) ? 0 : -1;
}

static ulong_t get_token_info(ulong_t slot, void *info) {
    if (gone()) return DEVICE_REMOVED;
    return ((ulong_t(*)(ulong_t, void *))real->function[GET_TOKEN_INFO])(slot, info);
}

static ulong_t open_session(ulong_t slot, ulong_t flags, void *application, void *notify, ulong_t *session) {
    if (gone()) return DEVICE_REMOVED;
    return ((ulong_t(*)(ulong_t, ulong_t, void *, void *, ulong_t *))real->function[OPEN_SESSION])(
        slot, flags, application, notify, session);
}

static ulong_t get_attribute_value(ulong_t session, ulong_t object, void *template, ulong_t count) {
    if (gone()) return DEVICE_REMOVED;
    return ((ulong_t(*)(ulong_t, ulong_t, void *, ulong_t))real->function[GET_ATTRIBUTE_VALUE])(
        session, object, template, count);
}

static ulong_t sign_init(ulong_t session, void *mechanism, ulong_t key) {
    if (gone()) return DEVICE_REMOVED;
    return ((ulong_t(*)(ulong_t, void *, ulong_t))real->function[SIGN_INIT])(session, mechanism, key);
}

/* Without a place for the signature only its length was asked. */
static ulong_t sign(ulong_t session, unsigned char *data, ulong_t length, unsigned char *signature,
                    ulong_t *signature_length) {
    if (gone()) return DEVICE_REMOVED;
    ulong_t result = ((ulong_t(*)(ulong_t, unsigned char *, ulong_t, unsigned char *, ulong_t *))
                          real->function[SIGN])(session, data, length, signature, signature_length);
    if (result == OK && signature != NULL && note(data, length) != 0) return FUNCTION_FAILED;
    return result;
}

static ulong_t unwrap_key(ulong_t session, void *mechanism, ulong_t key, void *wrapped, ulong_t length,
                          void *template, ulong_t count, ulong_t *object) {
    if (gone()) return DEVICE_REMOVED;
    return ((ulong_t(*)(ulong_t, void *, ulong_t, void *, ulong_t, void *, ulong_t, ulong_t *))
                real->function[UNWRAP_KEY])(session, mechanism, key, wrapped, length, template, count, object);
}

static ulong_t derive_key(ulong_t session, void *mechanism, ulong_t key, void *template, ulong_t count,
                          ulong_t *object) {
    if (gone()) return DEVICE_REMOVED;
    return ((ulong_t(*)(ulong_t, void *, ulong_t, void *, ulong_t, ulong_t *))real->function[DERIVE_KEY])(
        session, mechanism, key, template, count, object);
}

ulong_t C_GetFunctionList(list_t **list) {
    if (real == NULL) {
        const char *path = getenv("METERGRAPH_SHIM_MODULE");
        void *module = path == NULL ? NULL : dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (module == NULL) {
            fprintf(stderr, "shim: METERGRAPH_SHIM_MODULE: %s\n", path == NULL ? "not set" : dlerror());
            return FUNCTION_FAILED;
        }
        ulong_t (*get)(list_t **) = (ulong_t(*)(list_t **))dlsym(module, "C_GetFunctionList");
        if (get == NULL) return FUNCTION_FAILED;
        ulong_t result = get(&real);
        if (result != OK) return result;
        ours = *real;
        ours.function[GET_TOKEN_INFO] = (any_fn)get_token_info;
        ours.function[OPEN_SESSION] = (any_fn)open_session;
        ours.function[GET_ATTRIBUTE_VALUE] = (any_fn)get_attribute_value;
        ours.function[SIGN_INIT] = (any_fn)sign_init;
        ours.function[SIGN] = (any_fn)sign;
        ours.function[UNWRAP_KEY] = (any_fn)unwrap_key;
        ours.function[DERIVE_KEY] = (any_fn)derive_key;
    }
    *list = &ours;
    return OK;
}
