/* Faults of disks and clocks, for programs that this library is loaded into (LD_PRELOAD). TRIALOGUE_FAULTS names a folder:
 *
 *   syncs-fail   while a file of this name is there, every fsync and fdatasync of a file or folder whose path contains what
 *                it says fails with EIO; and as on a real system, what was to be synced counts as clean from then on, so that
 *                no later sync writes it unless it is written again
 *   disk/D-I     what is on the disk of the file with device D and inode I: the content that its syncs have made durable.
 *                To simulate a power failure, kill the processes and put these contents back.
 *   clock, clock.P  while a file of this name is there, the wall clock of all processes, or of process P, is ahead by as many
 *                seconds as it says, or behind
 *
 * Names count as durable at once. Files that end in ".log" or "-shm" are left alone: they are never synced. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, FILES_MAX = 4096 };

/* A file that this process has written to: which of its blocks no sync has made durable yet. */
struct file {
  dev_t device;
  ino_t inode;
  int watched;
  unsigned char *dirty;
  size_t blocks;
};

static struct file files[FILES_MAX];
static size_t count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static const char *folder(void) { return getenv("TRIALOGUE_FAULTS"); }

static void disk_path(char *path, size_t size, const struct stat *found) {
  snprintf(path, size, "%s/disk/%lu-%lu", folder(), (unsigned long)found->st_dev, (unsigned long)found->st_ino);
}

static int ends_with(const char *name, const char *end) {
  size_t length = strlen(name), tail = strlen(end);
  return length >= tail && strcmp(name + length - tail, end) == 0;
}

/* The path behind a descriptor. */
static int path_of(int fd, char *name, size_t size) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, name, size - 1);
  if (length < 0) return 0;
  name[length] = 0;
  return 1;
}

static int is_watched(int fd) {
  char name[4096];
  return path_of(fd, name, sizeof name) && !ends_with(name, ".log") && !ends_with(name, "-shm");
}

/* What a file of the folder says; whether it is there. */
static int order(const char *name, char *says, size_t size) {
  char path[4200];
  snprintf(path, sizeof path, "%s/%s", folder(), name);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  ssize_t got = read(file, says, size - 1);
  close(file);
  if (got < 0) abort();
  says[got] = 0;
  return 1;
}

/* Whether syncs of what is behind this descriptor fail now. */
static int sync_fails(int fd) {
  char wanted[256], name[4096];
  if (!order("syncs-fail", wanted, sizeof wanted)) return 0;
  return path_of(fd, name, sizeof name) && strstr(name, wanted) != NULL;
}

/* Copies bytes of an open file to what is on its disk. Says whether all of them are there. */
static int copy(int fd, int disk, off_t from, off_t until) {
  char link[64], bytes[BLOCK];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  int source = open(link, O_RDONLY | O_CLOEXEC);
  while (source >= 0 && from < until) {
    size_t wanted = until - from < BLOCK ? (size_t)(until - from) : BLOCK;
    ssize_t got = pread(source, bytes, wanted, from);
    if (got == 0) from = until; /* the file ends here */
    if (got <= 0 || REAL(pwrite)(disk, bytes, (size_t)got, from) != got) break;
    from += got;
  }
  if (source >= 0) close(source);
  return from >= until;
}

/* The file behind a descriptor, as it is before this process writes to it for the first time; NULL if it is not watched. */
static struct file *find(int fd, struct stat *found) {
  if (!folder() || fstat(fd, found) != 0 || !S_ISREG(found->st_mode)) return NULL;
  for (size_t i = 0; i < count; i++)
    if (files[i].device == found->st_dev && files[i].inode == found->st_ino) {
      if (found->st_size != 0 || !files[i].watched) return files[i].watched ? &files[i] : NULL;
      break; /* empty: perhaps a new file that got an old one's number */
    }
  struct file *file = NULL;
  for (size_t i = 0; i < count && !file; i++)
    if (files[i].device == found->st_dev && files[i].inode == found->st_ino) file = &files[i];
  if (!file) {
    if (count == FILES_MAX) abort();
    file = &files[count++];
    *file = (struct file){.device = found->st_dev, .inode = found->st_ino, .watched = is_watched(fd)};
    if (!file->watched) return NULL;
    char path[4200];
    disk_path(path, sizeof path, found);
    /* What an earlier process has written is there already; what was there before all of them counts as durable. */
    int disk = open(path, O_CREAT | O_WRONLY | O_CLOEXEC | (found->st_size == 0 ? O_TRUNC : O_EXCL), 0600);
    if (disk < 0 && errno == EEXIST) return file;
    if (disk < 0 || !copy(fd, disk, 0, found->st_size)) {
      /* The limit on the size of files is that of this process, too: the next write tries again. */
      REAL(unlink)(path);
      count--;
      file = NULL;
    }
    if (disk >= 0) close(disk);
  }
  return file;
}

static void mark(struct file *file, off_t from, off_t until) {
  size_t needed = (size_t)(until / BLOCK) + 1;
  if (needed > file->blocks) {
    file->dirty = realloc(file->dirty, needed);
    if (!file->dirty) abort();
    memset(file->dirty + file->blocks, 0, needed - file->blocks);
    file->blocks = needed;
  }
  for (off_t at = from / BLOCK; at * BLOCK < until; at++) file->dirty[at] = 1;
}

static int sync_file(int fd, int (*real)(int)) {
  struct stat found;
  if (!folder()) return real(fd);
  char path[4200];
  pthread_mutex_lock(&lock);
  struct file *file = find(fd, &found);
  int fails = sync_fails(fd);
  if (file && !fails) {
    disk_path(path, sizeof path, &found);
    int disk = open(path, O_WRONLY | O_CLOEXEC);
    for (size_t i = 0; disk >= 0 && i < file->blocks; i++)
      if (file->dirty[i] && !copy(fd, disk, (off_t)i * BLOCK, (off_t)(i + 1) * BLOCK)) fails = 1;
    if (disk < 0 || (!fails && REAL(ftruncate)(disk, found.st_size) != 0)) fails = 1;
    if (disk >= 0) close(disk);
  }
  if (file && file->dirty) memset(file->dirty, 0, file->blocks);
  pthread_mutex_unlock(&lock);
  if (fails) {
    errno = EIO;
    return -1;
  }
  /* The processes are killed, and the machine goes on: nothing needs to reach its disk. */
  return 0;
}

int fsync(int fd) { return sync_file(fd, REAL(fsync)); }
int fdatasync(int fd) { return sync_file(fd, REAL(fdatasync)); }

/* Looks at the file before the write, and marks what was written after it. */
static ssize_t written(int fd, const void *bytes, size_t size, off_t at, int placed) {
  struct stat found;
  pthread_mutex_lock(&lock);
  struct file *file = find(fd, &found);
  ssize_t done = placed ? REAL(pwrite)(fd, bytes, size, at) : REAL(write)(fd, bytes, size);
  int error = errno;
  if (file && done > 0) {
    off_t end = placed ? at + done : lseek(fd, 0, SEEK_CUR);
    mark(file, end - done, end);
  }
  pthread_mutex_unlock(&lock);
  errno = error;
  return done;
}

ssize_t write(int fd, const void *bytes, size_t size) {
  struct stat found;
  /* Pipes and sockets may block, and are no disk. */
  if (!folder() || fstat(fd, &found) != 0 || !S_ISREG(found.st_mode)) return REAL(write)(fd, bytes, size);
  return written(fd, bytes, size, 0, 0);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) {
  return folder() ? written(fd, bytes, size, at, 1) : REAL(pwrite)(fd, bytes, size, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) { return pwrite(fd, bytes, size, at); }

/* A name goes: if it is the file's last one, so does what is on the disk of it. */
static void forget(const char *name) {
  struct stat found;
  if (!folder() || lstat(name, &found) != 0 || !S_ISREG(found.st_mode) || found.st_nlink > 1) return;
  char path[4200];
  disk_path(path, sizeof path, &found);
  pthread_mutex_lock(&lock);
  for (size_t i = 0; i < count; i++)
    if (files[i].device == found.st_dev && files[i].inode == found.st_ino) {
      free(files[i].dirty);
      files[i] = files[--count];
      break;
    }
  pthread_mutex_unlock(&lock);
  REAL(unlink)(path);
}

int unlink(const char *name) {
  forget(name);
  return REAL(unlink)(name);
}

int rename(const char *from, const char *to) {
  struct stat one, other;
  if (lstat(from, &one) == 0 && lstat(to, &other) == 0 && one.st_ino != other.st_ino) forget(to);
  return REAL(rename)(from, to);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int outcome = REAL(clock_gettime)(clock, now);
  char own[32], seconds[32];
  if (outcome != 0 || clock != CLOCK_REALTIME || !folder()) return outcome;
  int error = errno;
  snprintf(own, sizeof own, "clock.%d", getpid());
  if (order(own, seconds, sizeof seconds) || order("clock", seconds, sizeof seconds)) now->tv_sec += atol(seconds);
  errno = error;
  return outcome;
}
