/* Tells which changes of files a process made and which of them it synced.
 *
 * Loaded into the node with LD_PRELOAD. Each change below WITNESS_BELOW becomes a line of WITNESS_LOG, written after the
 * change was made, so that a kill can only hide a change, never invent one: what is not known counts as not synced.
 *
 *   <thread> <what> <path> [<new path>]
 *
 * c created, w written, l linked, r renamed, u unlinked, m folder made, b sync begins, s sync ended well.
 * WITNESS_SILENT=files|folders|all leaves out the end of such syncs: a node on a disk that ignores them. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int log_fd = -1;
static const char *below = "";
static const char *silent = "";

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("WITNESS_LOG");
    if (getenv("WITNESS_BELOW")) below = getenv("WITNESS_BELOW");
    if (getenv("WITNESS_SILENT")) silent = getenv("WITNESS_SILENT");
    if (path) log_fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

static void tell(char what, const char *path, const char *new_path) {
    char line[2 * PATH_MAX + 64];
    if (log_fd < 0 || strncmp(new_path ? new_path : path, below, strlen(below)) != 0) return;
    int length = snprintf(line, sizeof line, "%ld\t%c\t%s\t%s\n", (long)syscall(SYS_gettid), what, path, new_path ? new_path : "");
    if (length <= 0 || length >= (int)sizeof line || syscall(SYS_write, log_fd, line, length) != length) abort();
}

static const char *path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return path;
}

static int open_and_tell(int folder, const char *path, int flags, mode_t mode) {
    int fd = (int)syscall(SYS_openat, folder, path, flags, mode);
    if (fd >= 0 && (flags & O_CREAT)) tell('c', path, NULL);
    return fd;
}

#define OPEN(name, ...)                                     \
    int name(__VA_ARGS__ const char *path, int flags, ...) { \
        va_list more;                                       \
        va_start(more, flags);                              \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more);                                       \
        return open_and_tell(FOLDER, path, flags, mode);    \
    }
#define FOLDER AT_FDCWD
OPEN(open, )
OPEN(open64, )
#undef FOLDER
#define FOLDER folder
OPEN(openat, int folder, )
OPEN(openat64, int folder, )

static ssize_t written(int fd, ssize_t result) {
    char path[PATH_MAX];
    if (log_fd >= 0 && result > 0 && fd > 2) tell('w', path_of(fd, path), NULL);
    return result;
}

ssize_t write(int fd, const void *bytes, size_t count) { return written(fd, syscall(SYS_write, fd, bytes, count)); }
ssize_t writev(int fd, const struct iovec *parts, int count) { return written(fd, syscall(SYS_writev, fd, parts, count)); }

static int sync_and_tell(int fd, long call) {
    char path[PATH_MAX];
    struct stat status;
    path_of(fd, path);
    int is_folder = fstat(fd, &status) == 0 && S_ISDIR(status.st_mode);
    tell('b', path, NULL);
    int result = (int)syscall(call, fd);
    if (result == 0 && strcmp(silent, "all") != 0 && strcmp(silent, is_folder ? "folders" : "files") != 0) tell('s', path, NULL);
    return result;
}

int fsync(int fd) { return sync_and_tell(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_and_tell(fd, SYS_fdatasync); }

static int told(int result, char what, const char *path, const char *new_path) {
    if (result == 0) tell(what, path, new_path);
    return result;
}

int link(const char *path, const char *new_path) { return linkat(AT_FDCWD, path, AT_FDCWD, new_path, 0); }
int linkat(int folder, const char *path, int new_folder, const char *new_path, int flags) {
    return told((int)syscall(SYS_linkat, folder, path, new_folder, new_path, flags), 'l', path, new_path);
}
int rename(const char *path, const char *new_path) {
    return told((int)syscall(SYS_renameat2, AT_FDCWD, path, AT_FDCWD, new_path, 0), 'r', path, new_path);
}
int unlink(const char *path) { return told((int)syscall(SYS_unlinkat, AT_FDCWD, path, 0), 'u', path, NULL); }
int mkdir(const char *path, mode_t mode) { return told((int)syscall(SYS_mkdirat, AT_FDCWD, path, mode), 'm', path, NULL); }
