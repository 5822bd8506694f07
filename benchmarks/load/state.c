/* The options, the connections, the counters, and how it fails. */
#include "load.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct options options = {
    .host = "127.0.0.1", .path = "/", .message = "none", .connections = 64, .in_flight = 1, .concurrency = 64,
    .size = 20, .core = -1, .warm_up = 1, .seconds = 3, .timeout = 20,
};

struct connection *connections;
int epoll_fd;
bool running;
uint64_t opened, operations, under_way, broadcasts, last_progress;
unsigned opening;
struct histogram latencies;

void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

unsigned number_of(const struct connection *c)
{
    return (unsigned)(c - connections);
}

void lost(const struct connection *c, const char *what)
{
    fail("connection %u: %s (%s)", number_of(c), what, errno ? strerror(errno) : "end of stream");
}
