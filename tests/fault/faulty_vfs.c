#include "faulty_vfs.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct File {
    sqlite3_file base;
    sqlite3_file *real; /* behind this struct */
} File;

static struct {
    pthread_mutex_t lock;
    sqlite3_vfs vfs, *real;
    FaultyPlan plan;
    int left; /* calls until it fails; 0: not armed */
    bool fired;
    void (*happens)(void *userdata); /* instead of a failure; NULL: that */
    void *userdata;
    int64_t space;
} faulty = {.lock = PTHREAD_MUTEX_INITIALIZER, .space = -1};

static bool fails(FaultyCall call)
{
    pthread_mutex_lock(&faulty.lock);
    bool now = false;
    if (faulty.plan.call == call && faulty.left > 0 && --faulty.left == 0) {
        now = faulty.fired = true;
        if (faulty.plan.for_good)
            faulty.left = 1;
    }
    pthread_mutex_unlock(&faulty.lock);
    if (!now || !faulty.happens)
        return now;
    faulty.happens(faulty.userdata);
    return false;
}

static bool take_space(int64_t size, int64_t end)
{
    pthread_mutex_lock(&faulty.lock);
    int64_t growth = end > size ? end - size : 0;
    bool has = faulty.space < 0 || growth <= faulty.space;
    if (has && faulty.space >= 0)
        faulty.space -= growth;
    pthread_mutex_unlock(&faulty.lock);
    return has;
}

static bool has_space(sqlite3_file *real, int64_t end)
{
    sqlite3_int64 size = 0;
    return real->pMethods->xFileSize(real, &size) != SQLITE_OK || take_space(size, end);
}

/* In place of the C library's, in programs that use this file. */
int fallocate(int fd, int mode, off_t offset, off_t length)
{
    struct stat found;
    if (fstat(fd, &found) == 0 && !take_space(found.st_size, offset + length)) {
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_fallocate, fd, mode, offset, length);
}

#define REAL(file) (((File *)(file))->real)
#define CALL(file, method, ...) REAL(file)->pMethods->method(REAL(file), __VA_ARGS__)

static int file_close(sqlite3_file *file)
{
    return REAL(file)->pMethods->xClose(REAL(file));
}

static int file_read(sqlite3_file *file, void *bytes, int count, sqlite3_int64 offset)
{
    return fails(FAULTY_READ) ? faulty.plan.code : CALL(file, xRead, bytes, count, offset);
}

static int file_write(sqlite3_file *file, const void *bytes, int count, sqlite3_int64 offset)
{
    if (fails(FAULTY_WRITE)) {
        if (faulty.plan.partly)
            CALL(file, xWrite, bytes, count / 2, offset);
        return faulty.plan.code;
    }
    if (!has_space(REAL(file), offset + count))
        return SQLITE_FULL;
    return CALL(file, xWrite, bytes, count, offset);
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    return CALL(file, xTruncate, size);
}

static int file_sync(sqlite3_file *file, int flags)
{
    (void)file;
    (void)flags;
    return fails(FAULTY_SYNC) ? faulty.plan.code : SQLITE_OK;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return CALL(file, xFileSize, size);
}

static int file_lock(sqlite3_file *file, int level)
{
    return CALL(file, xLock, level);
}

static int file_unlock(sqlite3_file *file, int level)
{
    return CALL(file, xUnlock, level);
}

static int file_reserved(sqlite3_file *file, int *result)
{
    return CALL(file, xCheckReservedLock, result);
}

static int file_control(sqlite3_file *file, int op, void *argument)
{
    if (op == SQLITE_FCNTL_SIZE_HINT && !has_space(REAL(file), *(sqlite3_int64 *)argument))
        return SQLITE_FULL;
    return CALL(file, xFileControl, op, argument);
}

static int file_sector(sqlite3_file *file)
{
    return REAL(file)->pMethods->xSectorSize(REAL(file));
}

static int file_device(sqlite3_file *file)
{
    return REAL(file)->pMethods->xDeviceCharacteristics(REAL(file));
}

static int file_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **where)
{
    return CALL(file, xShmMap, page, size, extend, where);
}

static int file_shm_lock(sqlite3_file *file, int offset, int count, int flags)
{
    return CALL(file, xShmLock, offset, count, flags);
}

static void file_shm_barrier(sqlite3_file *file)
{
    REAL(file)->pMethods->xShmBarrier(REAL(file));
}

static int file_shm_unmap(sqlite3_file *file, int delete)
{
    return CALL(file, xShmUnmap, delete);
}

static const sqlite3_io_methods METHODS = {
    .iVersion = 2, /* without mapped files: reads would go past us */
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector,
    .xDeviceCharacteristics = file_device,
    .xShmMap = file_shm_map,
    .xShmLock = file_shm_lock,
    .xShmBarrier = file_shm_barrier,
    .xShmUnmap = file_shm_unmap,
};

static int open_file(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *base, int flags,
                     int *out_flags)
{
    (void)vfs;
    File *file = (File *)base;
    file->base.pMethods = NULL;
    file->real = (sqlite3_file *)(file + 1);
    if (fails(FAULTY_OPEN))
        return faulty.plan.code;
    int code = faulty.real->xOpen(faulty.real, name, file->real, flags, out_flags);
    if (file->real->pMethods)
        file->base.pMethods = &METHODS;
    return code;
}

void faulty_install(void)
{
    faulty.real = sqlite3_vfs_find(NULL);
    faulty.vfs = *faulty.real;
    faulty.vfs.zName = "faulty";
    faulty.vfs.szOsFile = (int)sizeof(File) + faulty.real->szOsFile;
    faulty.vfs.xOpen = open_file;
    sqlite3_vfs_register(&faulty.vfs, 1);
}

void faulty_remove(void)
{
    sqlite3_vfs_unregister(&faulty.vfs);
    sqlite3_vfs_register(faulty.real, 1);
}

static void arm(const FaultyPlan *plan, int k, void (*happens)(void *userdata), void *userdata)
{
    pthread_mutex_lock(&faulty.lock);
    faulty.plan = *plan;
    faulty.left = k;
    faulty.fired = false;
    faulty.happens = happens;
    faulty.userdata = userdata;
    pthread_mutex_unlock(&faulty.lock);
}

void faulty_arm(const FaultyPlan *plan, int k)
{
    arm(plan, k, NULL, NULL);
}

void faulty_arm_event(FaultyCall call, int k, void (*happens)(void *userdata), void *userdata)
{
    arm(&(FaultyPlan){.call = call}, k, happens, userdata);
}

bool faulty_disarm(void)
{
    pthread_mutex_lock(&faulty.lock);
    bool fired = faulty.fired;
    faulty.left = 0;
    faulty.fired = false;
    pthread_mutex_unlock(&faulty.lock);
    return fired;
}

void faulty_space(int64_t bytes)
{
    pthread_mutex_lock(&faulty.lock);
    faulty.space = bytes;
    pthread_mutex_unlock(&faulty.lock);
}
