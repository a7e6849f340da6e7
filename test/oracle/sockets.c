// The few socket calls that the oracle's endpoints make, so thin that nothing stands between a script and the kernel:
// what a call reports is its result, or its errno as a negative number. A runtime's own sockets would not do: they fold
// a reset that a write has met first into a plain close, and the oracle has to tell a reset from an end for certain.
//
// Compiled at run time by the compiler inside Bun, which needs no header and no library on the machine: the functions
// of libc come in by address. Linux only, x86-64 and arm64.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

struct address { u16 family; u16 port_be; u32 host_be; u8 zero[8]; };
struct linger { int on; int seconds; };
#ifdef __x86_64__
struct event { u32 events; u64 key; } __attribute__((packed));
#else
struct event { u32 events; u64 key; };
#endif

static struct {
  int *(*errno_at)(void);
  int (*socket)(int, int, int);
  int (*bind)(int, void *, u32);
  int (*listen)(int, int);
  int (*accept4)(int, void *, void *, int);
  int (*connect)(int, void *, u32);
  long (*recv)(int, void *, unsigned long, int);
  long (*send)(int, void *, unsigned long, int);
  int (*shutdown)(int, int);
  int (*setsockopt)(int, int, int, void *, u32);
  int (*getsockopt)(int, int, int, void *, u32 *);
  int (*getsockname)(int, void *, u32 *);
  int (*close)(int);
  int (*epoll_create1)(int);
  int (*epoll_ctl)(int, int, int, void *);
  int (*epoll_wait)(int, void *, int, int);
  int (*open)(char *, int);
  int (*setns)(int, int);
} c;

#define NONBLOCK_CLOEXEC (04000 | 02000000)
#define SOL_SOCKET 1
#define EINPROGRESS 115

static int answer(long r) { return r < 0 ? -*c.errno_at() : (int)r; }
static int set(int fd, int level, int name, int value) { return c.setsockopt(fd, level, name, &value, sizeof value); }
static u16 swap16(int v) { return (u16)(((v & 255) << 8) | ((v >> 8) & 255)); }

static void shape(int fd, int buffer) {
  set(fd, 6, 1, 1); // TCP_NODELAY: a script's pauses are its own, not Nagle's
  if (buffer > 0) {
    set(fd, SOL_SOCKET, 8, buffer); // SO_RCVBUF
    set(fd, SOL_SOCKET, 7, buffer); // SO_SNDBUF
  }
}

void use(void **table) {
  void **to = (void **)&c;
  for (int i = 0; i < (int)(sizeof c / sizeof(void *)); i++) to[i] = table[i];
}

int listen_at(int host_be, int port) {
  struct address a = {2, swap16(port), (u32)host_be, {0}};
  int fd = c.socket(2, 1 | NONBLOCK_CLOEXEC, 0);
  if (fd < 0) return answer(fd);
  set(fd, SOL_SOCKET, 2, 1); // SO_REUSEADDR
  int r = c.bind(fd, &a, sizeof a);
  if (r == 0) r = c.listen(fd, 4096);
  if (r == 0) return fd;
  r = answer(r);
  c.close(fd);
  return r;
}

int port_of(int fd) {
  struct address a;
  u32 size = sizeof a;
  int r = c.getsockname(fd, &a, &size);
  return r < 0 ? answer(r) : swap16(a.port_be);
}

int accept_from(int fd, int buffer) {
  int r = c.accept4(fd, 0, 0, NONBLOCK_CLOEXEC);
  if (r < 0) return answer(r);
  shape(r, buffer);
  return r;
}

int dial_to(int host_be, int port, int buffer) {
  struct address a = {2, swap16(port), (u32)host_be, {0}};
  int fd = c.socket(2, 1 | NONBLOCK_CLOEXEC, 0);
  if (fd < 0) return answer(fd);
  shape(fd, buffer);
  int r = c.connect(fd, &a, sizeof a);
  if (r == 0 || (r = answer(r)) == -EINPROGRESS) return fd;
  c.close(fd);
  return r;
}

int receive(int fd, void *to, int most) { return answer(c.recv(fd, to, (unsigned long)most, 0)); }
int transmit(int fd, u8 *from, int at, int n) { return answer(c.send(fd, from + at, (unsigned long)n, 0x4000)); } // MSG_NOSIGNAL
int finish(int fd) { return answer(c.shutdown(fd, 1)); }
int shut(int fd) { return answer(c.close(fd)); }

int reset(int fd) {
  struct linger now = {1, 0};
  int r = c.setsockopt(fd, SOL_SOCKET, 13, &now, sizeof now);
  int closed = c.close(fd);
  return answer(r < 0 ? r : closed);
}

/** The error that is pending on a socket, as a negative number, or 0. Reading it clears it. */
int pending_error(int fd) {
  int error = 0;
  u32 size = sizeof error;
  int r = c.getsockopt(fd, SOL_SOCKET, 4, &error, &size);
  return r < 0 ? answer(r) : -error;
}

int poll_new(void) { return answer(c.epoll_create1(02000000)); }

int poll_watch(int poll, int fd, int key) {
  struct event e = {1 | 4 | 0x80000000u, (u64)key}; // EPOLLIN, EPOLLOUT, EPOLLET
  return answer(c.epoll_ctl(poll, 1, fd, &e));
}

/** Fills `out` with pairs (key, events); returns how many pairs. */
int poll_wait(int poll, int *out, int most, int ms) {
  struct event e[256];
  int n = c.epoll_wait(poll, e, most < 256 ? most : 256, ms);
  if (n < 0) return answer(n);
  for (int i = 0; i < n; i++) out[2 * i] = (int)e[i].key, out[2 * i + 1] = (int)e[i].events;
  return n;
}

int namespace_open(char *path) { return answer(c.open(path, 02000000)); }
int namespace_enter(int fd) { return answer(c.setns(fd, 0x40000000)); } // CLONE_NEWNET
