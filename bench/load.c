// The bench's own visitors and service: as cheap as can be, so that what is measured is the tunnel. One program, compiled
// at first use (load.ts); every command prints one JSON object on its last line. Times are in microseconds.
//
//   load serve HOST PORT                     the service; the first byte of a connection says what it is for:
//                                            'e' echo, 's' send for ever, 'a' answer 64 bytes once and close
//   load reach HOST PORT MS HEX              connects until a service answers these bytes with one of its own; without
//                                            any bytes, until something listens
//   load ping HOST PORT SECONDS              64 bytes there and back, one after the other
//   load connect HOST PORT CLIENTS SECONDS   connect, 64 bytes, read the answer to its end, close
//   load pull HOST PORT STREAMS SECONDS OMIT bytes received after the first OMIT seconds
//   load hold HOST PORT COUNT                opens idle connections, prints {"held"}, holds them to the end of its input
//   load stall HOST PORT                     asks for everything and reads nothing, to the end of its input
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE 64
#define CHUNK (256 * 1024)
#define HOLDERS 16
#define HOLD_SECONDS 10

static struct sockaddr_in at;
static char message[MESSAGE], chunk[CHUNK];

static uint64_t now_ns(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000ull + t.tv_nsec; }
static void die(const char *what) { fprintf(stderr, "load: %s: %s\n", what, strerror(errno)); exit(1); }

static void quick(int fd) { int on = 1; setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); }

static int dial(void) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (connect(fd, (struct sockaddr *)&at, sizeof at)) { int kept = errno; close(fd); errno = kept; return -1; }
  quick(fd);
  return fd;
}

static int send_all(int fd, const char *from, size_t n) {
  while (n > 0) {
    ssize_t sent = send(fd, from, n, MSG_NOSIGNAL);
    if (sent < 0 && (errno == EINTR)) continue;
    if (sent <= 0) return -1;
    from += sent; n -= sent;
  }
  return 0;
}

static int read_all(int fd, size_t n) {
  static __thread char into[MESSAGE];
  while (n > 0) {
    ssize_t got = recv(fd, into, n < MESSAGE ? n : MESSAGE, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return -1;
    n -= got;
  }
  return 0;
}

// ---- Samples, in nanoseconds.

struct samples { uint64_t *of; size_t n, room; };

static void add(struct samples *s, uint64_t ns) {
  if (s->n == s->room) {
    s->room = s->room ? s->room * 2 : 1 << 16;
    s->of = realloc(s->of, s->room * sizeof *s->of);
    if (!s->of) die("memory");
  }
  s->of[s->n++] = ns;
}

static int order(const void *a, const void *b) { uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b; return x < y ? -1 : x > y; }

static double at_share(const struct samples *s, double share) { return s->n ? s->of[(size_t)(share * (s->n - 1))] / 1e3 : -1; }

static void print_samples(const char *name, struct samples *s) {
  qsort(s->of, s->n, sizeof *s->of, order);
  printf("\"%s\":{\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}", name, at_share(s, .5), at_share(s, .99), at_share(s, .999), at_share(s, 1));
}

// ---- The service.

static void *source(void *arg) {
  int fd = (int)(intptr_t)arg;
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  while (send_all(fd, chunk, CHUNK) == 0);
  close(fd);
  return NULL;
}

static void serve(void) {
  static char kind[1 << 20];
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, ep = epoll_create1(EPOLL_CLOEXEC);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 65535)) die("listen");
  struct epoll_event e = {.events = EPOLLIN, .data.fd = listener}, ready[256];
  epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
  printf("{\"listening\":true}\n"); fflush(stdout);
  for (;;) {
    int n = epoll_wait(ep, ready, 256, -1);
    for (int i = 0; i < n; i++) {
      int fd = ready[i].data.fd;
      if (fd == listener) {
        while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
          quick(fd);
          kind[fd] = 0;
          e = (struct epoll_event){.events = EPOLLIN, .data.fd = fd};
          epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
        }
        continue;
      }
      char got[4096], *from = got;
      ssize_t len = recv(fd, got, sizeof got, 0);
      if (len < 0 && errno == EAGAIN) continue;
      if (len <= 0) { close(fd); continue; }
      if (kind[fd] == 0) {
        kind[fd] = *from++; len--;
        if (kind[fd] == 's') {
          pthread_t thread;
          epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL);
          if (pthread_create(&thread, NULL, source, (void *)(intptr_t)fd)) die("thread");
          pthread_detach(thread);
          continue;
        }
      }
      if (kind[fd] == 'a') { send_all(fd, message, MESSAGE); shutdown(fd, SHUT_WR); close(fd); }
      else if (len > 0 && send_all(fd, from, len)) close(fd);
    }
  }
}

// ---- Visitors.

static int reach(double ms, const char *hex) {
  uint64_t began = now_ns(), end = began + (uint64_t)(ms * 1e6);
  char bytes[MESSAGE]; size_t n = 0;
  for (; hex[n * 2] && n < sizeof bytes; n++) sscanf(hex + n * 2, "%2hhx", (unsigned char *)bytes + n);
  while (now_ns() < end) {
    int fd = dial();
    if (fd >= 0) {
      struct timeval limit = {.tv_sec = 2};
      setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
      int good = n == 0 || (send_all(fd, bytes, n) == 0 && read_all(fd, 1) == 0);
      close(fd);
      if (good) { printf("{\"reached\":true}\n"); return 0; }
    }
    usleep(1000);
  }
  errno = ETIMEDOUT;
  die("reach");
  return 1;
}

static int ping(double seconds) {
  struct samples times = {0};
  int fd = dial();
  if (fd < 0) die("connect");
  if (send_all(fd, "e", 1)) die("send");
  uint64_t end = now_ns() + (uint64_t)(seconds * 1e9), before, after;
  do {
    before = now_ns();
    if (send_all(fd, message, MESSAGE) || read_all(fd, MESSAGE)) die("ping");
    add(&times, (after = now_ns()) - before);
  } while (after < end);
  printf("{\"count\":%zu,", times.n);
  print_samples("us", &times);
  printf("}\n");
  return 0;
}

struct caller { pthread_t thread; uint64_t end; struct samples first, whole; size_t failed; };

static void *caller(void *arg) {
  struct caller *c = arg;
  char asked[MESSAGE] = {'a'}, got[MESSAGE];
  while (now_ns() < c->end) {
    uint64_t before = now_ns(), first = 0;
    size_t have = 0;
    int fd = dial();
    if (fd < 0 || send_all(fd, asked, MESSAGE)) { c->failed++; if (fd >= 0) close(fd); continue; }
    for (ssize_t n; (n = recv(fd, got, MESSAGE, 0)) > 0; have += n) if (!first) first = now_ns();
    close(fd);
    if (have != MESSAGE) { c->failed++; continue; }
    add(&c->first, first - before);
    add(&c->whole, now_ns() - before);
  }
  return NULL;
}

static int connects(int clients, double seconds) {
  struct caller *callers = calloc(clients, sizeof *callers);
  struct samples first = {0}, whole = {0};
  size_t failed = 0;
  uint64_t began = now_ns();
  for (int i = 0; i < clients; i++) {
    callers[i].end = began + (uint64_t)(seconds * 1e9);
    if (pthread_create(&callers[i].thread, NULL, caller, &callers[i])) die("thread");
  }
  for (int i = 0; i < clients; i++) {
    pthread_join(callers[i].thread, NULL);
    for (size_t k = 0; k < callers[i].whole.n; k++) { add(&first, callers[i].first.of[k]); add(&whole, callers[i].whole.of[k]); }
    failed += callers[i].failed;
  }
  double took = (now_ns() - began) / 1e9;
  printf("{\"count\":%zu,\"failed\":%zu,\"rate\":%.1f,", whole.n, failed, whole.n / took);
  print_samples("first", &first); printf(","); print_samples("us", &whole);
  printf("}\n");
  return 0;
}

static volatile int counting, over;

static void *puller(void *arg) {
  int fd = dial();
  uint64_t counted = 0;
  if (fd < 0 || send_all(fd, "s", 1)) die("pull");
  while (!over) {
    // Received and thrown away by the kernel: the reader is not what is measured.
    ssize_t n = recv(fd, NULL, CHUNK, MSG_TRUNC);
    if (n <= 0) { if (over) break; die("pull"); }
    if (counting) counted += n;
  }
  close(fd);
  *(uint64_t *)arg = counted;
  return NULL;
}

static int pull(int streams, double seconds, double omit) {
  pthread_t *threads = calloc(streams, sizeof *threads);
  uint64_t *bytes = calloc(streams, sizeof *bytes), total = 0;
  for (int i = 0; i < streams; i++) if (pthread_create(&threads[i], NULL, puller, &bytes[i])) die("thread");
  usleep(omit * 1e6);
  uint64_t began = now_ns();
  counting = 1;
  usleep(seconds * 1e6);
  counting = 0; over = 1;
  double took = (now_ns() - began) / 1e9;
  for (int i = 0; i < streams; i++) { pthread_join(threads[i], NULL); total += bytes[i]; }
  printf("{\"bytes\":%llu,\"seconds\":%.4f}\n", (unsigned long long)total, took);
  return 0;
}

static void wait_for_end(void) { char c; while (read(0, &c, 1) > 0); }

static int count_each;

static void *holder(void *arg) {
  int *failed = arg;
  struct timeval limit = {.tv_sec = HOLD_SECONDS};
  // One that is not answered in time says that no more fit: the rest would only wait as long.
  for (int i = 0; i < count_each && !*failed; i++) {
    int fd = dial();
    if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (fd < 0 || send_all(fd, "ex", 2) || read_all(fd, 1)) *failed = count_each - i;
  }
  return NULL;
}

static int hold(int count) {
  pthread_t threads[HOLDERS];
  int failed[HOLDERS] = {0}, all = 0;
  count_each = count / HOLDERS;
  for (int i = 0; i < HOLDERS; i++) if (pthread_create(&threads[i], NULL, holder, &failed[i])) die("thread");
  for (int i = 0; i < HOLDERS; i++) { pthread_join(threads[i], NULL); all += failed[i]; }
  printf("{\"held\":%d,\"failed\":%d}\n", count_each * HOLDERS - all, all); fflush(stdout);
  wait_for_end();
  return 0;
}

static int stall(void) {
  int fd = dial();
  if (fd < 0 || send_all(fd, "s", 1)) die("stall");
  printf("{\"stalled\":true}\n"); fflush(stdout);
  wait_for_end();
  return 0;
}

int main(int argc, char **argv) {
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files); files.rlim_cur = files.rlim_max; setrlimit(RLIMIT_NOFILE, &files);
  if (argc < 4) { fprintf(stderr, "load: see load.c\n"); return 2; }
  at = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(argv[3]))};
  if (inet_pton(AF_INET, argv[2], &at.sin_addr) != 1) die("address");
  const char *what = argv[1];
  if (!strcmp(what, "serve")) serve();
  if (!strcmp(what, "reach") && argc == 6) return reach(atof(argv[4]), argv[5]);
  if (!strcmp(what, "ping") && argc == 5) return ping(atof(argv[4]));
  if (!strcmp(what, "connect") && argc == 6) return connects(atoi(argv[4]), atof(argv[5]));
  if (!strcmp(what, "pull") && argc == 7) return pull(atoi(argv[4]), atof(argv[5]), atof(argv[6]));
  if (!strcmp(what, "hold") && argc == 5) return hold(atoi(argv[4]));
  if (!strcmp(what, "stall")) return stall();
  fprintf(stderr, "load: see load.c\n");
  return 2;
}
