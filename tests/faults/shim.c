/* Records what a process does to the files below one folder, and fails what it is told to fail.
 *
 * Preloaded (LD_PRELOAD). $REMIT_SHIM_ROOT is the folder; $REMIT_SHIM_TRACE, where it is set, is the file that gets the
 * trace; $REMIT_SHIM_ORDERS, where it is set, is a file of 4096 bytes that a test may write at any time: lines of
 * "OPERATION ERRNO PART-OF-PATH" (operation: write, sync or open; "clock SECONDS clock" sets the wall clock off by so
 * much; below zero, ERRNO is a signal that the process sends itself there), ended by a zero byte. Everything runs under one
 * lock, so the trace is in the order of the effects. What a process writes to standard output is in the trace too, at
 * its place: that is how it acknowledges. Its children are not traced.
 *
 * An event: type (1 byte), file number (4), offset (8), length of the text (4), text; little endian.
 *   K path   a file that was there before has this number     M path   a folder was made
 *   C path   a file was made (a fresh number)                  R path   a folder was removed
 *   W data   was written at the offset                         U path   a name was removed
 *   T        was cut or stretched to the offset                N a\0b   was renamed
 *   S        the file's bytes are on the disk                  L a\0b   was linked
 *   D path   the folder's names are on the disk                A data   was acknowledged
 * Not traced: SQLite's shared memory (`-shm`), which is made anew; writes through mmap. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FILES 65536
static struct { dev_t device; ino_t inode; uint32_t number; } known[FILES];
static uint32_t count, next_number = 1;
static char root[PATH_MAX];
static size_t root_length;
static int trace = -1;
static volatile char *orders;
static pid_t owner;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void)
{
    const char *folder = getenv("REMIT_SHIM_ROOT"), *file = getenv("REMIT_SHIM_TRACE"), *told = getenv("REMIT_SHIM_ORDERS");
    unsetenv("LD_PRELOAD");
    if (folder == NULL || realpath(folder, root) == NULL)
        return;
    root_length = strlen(root);
    owner = getpid();
    if (told != NULL) {
        int descriptor = syscall(SYS_openat, AT_FDCWD, told, O_RDONLY | O_CLOEXEC);
        void *found = descriptor < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ, MAP_SHARED, descriptor, 0);
        if (found != MAP_FAILED)
            orders = found;
        syscall(SYS_close, descriptor);
    }
    if (file != NULL)
        trace = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void all(const void *data, size_t length)
{
    while (length > 0) {
        ssize_t done = syscall(SYS_write, trace, data, length);
        if (done <= 0)
            abort();
        data = (const char *)data + done;
        length -= done;
    }
}

static void event(char type, uint32_t number, uint64_t offset, const void *text, uint32_t length)
{
    char head[17];
    if (trace < 0 || getpid() != owner)
        return;
    head[0] = type;
    memcpy(head + 1, &number, 4);
    memcpy(head + 5, &offset, 8);
    memcpy(head + 13, &length, 4);
    all(head, sizeof head);
    all(text, length);
}

static const char *below(const char *path)
{
    size_t length = strlen(path);
    if (root_length == 0 || strncmp(path, root, root_length) != 0 || path[root_length] != '/')
        return NULL;
    if (length > 4 && strcmp(path + length - 4, "-shm") == 0)
        return NULL;
    return path + root_length + 1;
}

/* The path of a name relative to a folder's descriptor; its folder's symbolic links are not followed. */
static const char *named(int at, const char *name, char *buffer)
{
    char link[64];
    ssize_t length = 0;
    if (root_length == 0 || name == NULL)
        return NULL;
    if (name[0] == '/')
        snprintf(buffer, PATH_MAX, "%s", name);
    else {
        if (at == AT_FDCWD)
            length = syscall(SYS_getcwd, buffer, PATH_MAX) - 1;
        else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", at);
            length = readlink(link, buffer, PATH_MAX - 1);
        }
        if (length < 0)
            return NULL;
        snprintf(buffer + length, PATH_MAX - length, "/%s", name);
    }
    return below(buffer);
}

static const char *opened(int descriptor, char *buffer)
{
    char link[64];
    ssize_t length;
    if (root_length == 0)
        return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    length = readlink(link, buffer, PATH_MAX - 1);
    if (length < 0)
        return NULL;
    buffer[length] = 0;
    return below(buffer);
}

static int fails(const char *operation, const char *path)
{
    char told[4096], *line, *rest = told;
    if (orders == NULL || orders[0] == 0 || path == NULL)
        return 0;
    memcpy(told, (const void *)orders, sizeof told);
    told[sizeof told - 1] = 0;
    while ((line = strsep(&rest, "\n")) != NULL) {
        char what[16] = "", part[1024] = "";
        int number = 0;
        if (sscanf(line, "%15s %d %1023s", what, &number, part) == 3 && strcmp(what, operation) == 0 && strstr(path, part)) {
            if (number < 0 && strcmp(what, "clock") != 0)
                kill(getpid(), -number);
            return number;
        }
    }
    return 0;
}

static uint32_t number_of(int descriptor, const char *path, int fresh)
{
    struct stat found;
    uint32_t at;
    if (fstat(descriptor, &found) != 0)
        return 0;
    for (at = 0; at < count; at++)
        if (known[at].inode == found.st_ino && known[at].device == found.st_dev)
            break;
    if (at < count && !fresh)
        return known[at].number;
    if (at == count && count++ >= FILES)
        abort();
    known[at].device = found.st_dev;
    known[at].inode = found.st_ino;
    known[at].number = next_number++;
    event(fresh ? 'C' : 'K', known[at].number, 0, path, strlen(path));
    return known[at].number;
}

static int open_at(int at, const char *name, int flags, mode_t mode)
{
    char buffer[PATH_MAX];
    const char *path = named(at, name, buffer);
    int writes = (flags & O_ACCMODE) != O_RDONLY, descriptor, fresh, error;
    struct stat found;
    if (path == NULL || (!writes && !orders))
        return syscall(SYS_openat, at, name, flags, mode);
    if ((error = fails("open", path)) && writes) {
        errno = error;
        return -1;
    }
    pthread_mutex_lock(&lock);
    fresh = (flags & O_CREAT) && lstat(buffer, &found) != 0;
    descriptor = syscall(SYS_openat, at, name, flags, mode);
    if (descriptor >= 0 && writes) {
        uint32_t number = number_of(descriptor, path, fresh);
        if (flags & (O_SYNC | O_DSYNC))
            abort();
        if ((flags & O_TRUNC) && !fresh)
            event('T', number, 0, "", 0);
    }
    pthread_mutex_unlock(&lock);
    return descriptor;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }
int open(const char *name, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, name, flags, mode); }
int openat(int at, const char *name, int flags, ...) { MODE(flags) return open_at(at, name, flags, mode); }
int openat64(int at, const char *name, int flags, ...) { MODE(flags) return open_at(at, name, flags, mode); }
int creat(const char *name, mode_t mode) { return open_at(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *name, mode_t mode) { return open_at(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode); }

static ssize_t put(int descriptor, const void *data, size_t length, off_t offset, int placed)
{
    char buffer[PATH_MAX];
    const char *path = descriptor == 1 ? NULL : opened(descriptor, buffer);
    ssize_t done;
    int error;
    if (path == NULL && descriptor != 1)
        return placed ? syscall(SYS_pwrite64, descriptor, data, length, offset) : syscall(SYS_write, descriptor, data, length);
    if ((error = fails("write", path))) {
        errno = error;
        return -1;
    }
    pthread_mutex_lock(&lock);
    if (path == NULL)
        event('A', 0, 0, data, length);
    else if (!placed)
        offset = fcntl(descriptor, F_GETFL) & O_APPEND ? lseek(descriptor, 0, SEEK_END) : lseek(descriptor, 0, SEEK_CUR);
    done = placed ? syscall(SYS_pwrite64, descriptor, data, length, offset) : syscall(SYS_write, descriptor, data, length);
    if (done > 0 && path != NULL)
        event('W', number_of(descriptor, path, 0), offset, data, done);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int descriptor, const void *data, size_t length) { return put(descriptor, data, length, 0, 0); }
ssize_t pwrite(int descriptor, const void *data, size_t length, off_t at) { return put(descriptor, data, length, at, 1); }
ssize_t pwrite64(int descriptor, const void *data, size_t length, off64_t at) { return put(descriptor, data, length, at, 1); }

static ssize_t put_all(int descriptor, const struct iovec *parts, int number, off_t offset, int placed)
{
    char buffer[PATH_MAX];
    ssize_t sum = 0, done;
    if (opened(descriptor, buffer) == NULL && descriptor != 1)
        return placed ? syscall(SYS_pwritev, descriptor, parts, number, offset, 0) : syscall(SYS_writev, descriptor, parts, number);
    for (int at = 0; at < number; at++) {
        done = put(descriptor, parts[at].iov_base, parts[at].iov_len, offset + sum, placed);
        if (done < 0)
            return sum ? sum : -1;
        sum += done;
        if ((size_t)done < parts[at].iov_len)
            break;
    }
    return sum;
}

ssize_t writev(int descriptor, const struct iovec *parts, int number) { return put_all(descriptor, parts, number, 0, 0); }
ssize_t pwritev(int descriptor, const struct iovec *parts, int number, off_t at) { return put_all(descriptor, parts, number, at, 1); }
ssize_t pwritev64(int descriptor, const struct iovec *parts, int number, off64_t at) { return put_all(descriptor, parts, number, at, 1); }

static int cut(int descriptor, off_t length)
{
    char buffer[PATH_MAX];
    const char *path = opened(descriptor, buffer);
    int done, error;
    if ((error = fails("write", path))) {
        errno = error;
        return -1;
    }
    pthread_mutex_lock(&lock);
    done = syscall(SYS_ftruncate, descriptor, length);
    if (done == 0 && path != NULL)
        event('T', number_of(descriptor, path, 0), length, "", 0);
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate(int descriptor, off_t length) { return cut(descriptor, length); }
int ftruncate64(int descriptor, off64_t length) { return cut(descriptor, length); }

static int stretch(int descriptor, off_t offset, off_t length)
{
    char buffer[PATH_MAX];
    struct stat found;
    if (opened(descriptor, buffer) != NULL && fstat(descriptor, &found) == 0 && found.st_size < offset + length)
        return cut(descriptor, offset + length);
    return 0;
}

int posix_fallocate(int descriptor, off_t offset, off_t length) { return stretch(descriptor, offset, length) ? errno : 0; }
int posix_fallocate64(int descriptor, off64_t offset, off64_t length) { return stretch(descriptor, offset, length) ? errno : 0; }
int fallocate(int descriptor, int mode, off_t offset, off_t length) { return mode ? (errno = EOPNOTSUPP, -1) : stretch(descriptor, offset, length); }
int fallocate64(int descriptor, int mode, off64_t offset, off64_t length) { return fallocate(descriptor, mode, offset, length); }

static int brought(int descriptor, long call)
{
    char buffer[PATH_MAX];
    const char *path = opened(descriptor, buffer);
    struct stat found;
    int done, error;
    if ((error = fails("sync", path))) {
        errno = error;
        return -1;
    }
    pthread_mutex_lock(&lock);
    done = trace < 0 ? syscall(call, descriptor) : 0;  /* what counts is the trace */
    if (done == 0 && path != NULL && fstat(descriptor, &found) == 0) {
        if (S_ISDIR(found.st_mode))
            event('D', 0, 0, path, strlen(path));
        else
            event('S', number_of(descriptor, path, 0), 0, "", 0);
    }
    pthread_mutex_unlock(&lock);
    return done;
}

int fsync(int descriptor) { return brought(descriptor, SYS_fsync); }
int fdatasync(int descriptor) { return brought(descriptor, SYS_fdatasync); }
int sync_file_range(int descriptor, off64_t offset, off64_t length, unsigned flags) { (void)descriptor, (void)offset, (void)length, (void)flags; return 0; }

static void names(char type, const char *one, const char *two)
{
    char text[2 * PATH_MAX];
    size_t length = strlen(one);
    memcpy(text, one, length + 1);
    if (two != NULL) {
        memcpy(text + length + 1, two, strlen(two) + 1);
        length += 1 + strlen(two);
    }
    event(type, 0, 0, text, length);
}

static int rename_at(int from, const char *old, int to, const char *new, unsigned flags)
{
    char first[PATH_MAX], second[PATH_MAX];
    const char *one = named(from, old, first), *two = named(to, new, second);
    int done, error;
    if (flags != 0 || (one == NULL) != (two == NULL))
        abort();
    if ((error = fails("write", two))) {
        errno = error;
        return -1;
    }
    pthread_mutex_lock(&lock);
    done = syscall(SYS_renameat2, from, old, to, new, 0);
    if (done == 0 && one != NULL)
        names('N', one, two);
    pthread_mutex_unlock(&lock);
    return done;
}

int rename(const char *old, const char *new) { return rename_at(AT_FDCWD, old, AT_FDCWD, new, 0); }
int renameat(int from, const char *old, int to, const char *new) { return rename_at(from, old, to, new, 0); }
int renameat2(int from, const char *old, int to, const char *new, unsigned flags) { return rename_at(from, old, to, new, flags); }

static int link_at(int from, const char *old, int to, const char *new, int flags)
{
    char first[PATH_MAX], second[PATH_MAX];
    const char *one = named(from, old, first), *two = named(to, new, second);
    int done;
    pthread_mutex_lock(&lock);
    done = syscall(SYS_linkat, from, old, to, new, flags);
    if (done == 0 && one != NULL && two != NULL)
        names('L', one, two);
    pthread_mutex_unlock(&lock);
    return done;
}

int link(const char *old, const char *new) { return link_at(AT_FDCWD, old, AT_FDCWD, new, 0); }
int linkat(int from, const char *old, int to, const char *new, int flags) { return link_at(from, old, to, new, flags); }

static int unlink_at(int at, const char *name, int flags)
{
    char buffer[PATH_MAX];
    const char *path = named(at, name, buffer);
    int done;
    pthread_mutex_lock(&lock);
    done = syscall(SYS_unlinkat, at, name, flags);
    if (done == 0 && path != NULL)
        names(flags & AT_REMOVEDIR ? 'R' : 'U', path, NULL);
    pthread_mutex_unlock(&lock);
    return done;
}

int unlink(const char *name) { return unlink_at(AT_FDCWD, name, 0); }
int unlinkat(int at, const char *name, int flags) { return unlink_at(at, name, flags); }
int rmdir(const char *name) { return unlink_at(AT_FDCWD, name, AT_REMOVEDIR); }

static int make_folder(int at, const char *name, mode_t mode)
{
    char buffer[PATH_MAX];
    const char *path = named(at, name, buffer);
    int done;
    pthread_mutex_lock(&lock);
    done = syscall(SYS_mkdirat, at, name, mode);
    if (done == 0 && path != NULL)
        names('M', path, NULL);
    pthread_mutex_unlock(&lock);
    return done;
}

int mkdir(const char *name, mode_t mode) { return make_folder(AT_FDCWD, name, mode); }
int mkdirat(int at, const char *name, mode_t mode) { return make_folder(at, name, mode); }

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int done = syscall(SYS_clock_gettime, clock, now);
    if (done == 0 && clock == CLOCK_REALTIME && orders != NULL)
        now->tv_sec += fails("clock", "clock");
    return done;
}
