/* The course of a measurement. */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 512 };

static void turn(int milliseconds)
{
    struct epoll_event events[BATCH];
    int count = epoll_wait(epoll_fd, events, BATCH, milliseconds);
    for (int i = 0; i < count; i++) {
        struct connection *c = &connections[events[i].data.u32];
        if (c->state == CONNECTING) {
            int error = 0;
            socklen_t length = sizeof error;
            getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
            if ((errno = error))
                lost(c, "connect failed");
            shake_hands(c);
            continue;
        }
        if (c->state == SHAKING) {
            shake_hands(c);
            continue;
        }
        if (events[i].events & EPOLLOUT)
            flush(c);
        if (events[i].events & ~(uint32_t)EPOLLOUT)
            readable(c);
    }
    if (!count && now() - last_progress > options.timeout * 1e9)
        fail("nothing happened for %g s (%llu connections open, %llu operations under way)", options.timeout,
             (unsigned long long)opened, (unsigned long long)under_way);
}

static void open_all(void)
{
    unsigned started = 0;
    last_progress = now();
    while (opened < options.connections) {
        while (started < options.connections && opening < options.concurrency)
            open_connection(&connections[started++]);
        turn(100);
    }
}

static void finish_all(void)
{
    last_progress = now();
    while (under_way)
        turn(100);
}

/* Lets the operations run for so many seconds, and those begun then come to their end. Returns the seconds it took. */
static double run_for(double seconds)
{
    uint64_t begin = now(), end = begin + (uint64_t)(seconds * 1e9);
    running = true;
    last_progress = begin;
    for (unsigned i = 0; i < options.connections; i++) {
        struct connection *c = &connections[i];
        if (options.mode == CONNECT) {
            under_way++;
            open_connection(c);
        } else if (options.mode == ECHO || i == 0) {
            for (unsigned k = 0; k < options.in_flight; k++)
                queue_message(c, now());
            flush(c);
        }
    }
    while (now() < end)
        turn(10);
    running = false;
    finish_all();
    return (double)(now() - begin) / 1e9;
}

static void wait_for_line(void)
{
    int character;
    while ((character = getchar()) != EOF && character != '\n')
        ;
}

/* As wait_for_line, but the connections are served meanwhile. */
static void hold(void)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = 0};
    int both = epoll_create1(EPOLL_CLOEXEC);
    event.data.u32 = 1;
    epoll_ctl(both, EPOLL_CTL_ADD, epoll_fd, &event);
    event.data.u32 = 0;
    bool have_stdin = epoll_ctl(both, EPOLL_CTL_ADD, 0, &event) == 0; /* fails for a file, which is at its end at once */
    puts("ready");
    fflush(stdout);
    while (have_stdin) {
        last_progress = now();
        if (epoll_wait(both, &event, 1, -1) == 1 && event.data.u32 == 0)
            break;
        turn(0);
    }
    close(both);
}

static void report(double seconds)
{
    static const char *const names[] = {"echo", "broadcast", "connect", "idle"};
    printf("{\"mode\": \"%s\", \"connections\": %u, \"in_flight\": %u, \"size\": %zu, \"opcode\": \"%s\", "
           "\"seconds\": %.6f, \"operations\": %llu, ",
           names[options.mode], options.connections, options.in_flight, options.size, options.text ? "text" : "binary",
           seconds, (unsigned long long)operations);
    if (options.mode == BROADCAST)
        printf("\"broadcasts\": %llu, ", (unsigned long long)broadcasts);
    printf("\"throughput\": %.1f, \"latency_us\": {\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"max\": %.1f}}\n",
           seconds > 0 ? (double)operations / seconds : 0, histogram_percentile(&latencies, 50) / 1e3,
           histogram_percentile(&latencies, 90) / 1e3, histogram_percentile(&latencies, 99) / 1e3,
           (double)latencies.maximum / 1e3);
    fflush(stdout);
}

void idle(void)
{
    double seconds = 0;
    open_all();
    if (strcmp(options.message, "none")) {
        uint64_t begin = now();
        for (unsigned i = 0; i < options.connections; i++) {
            queue_message(&connections[i], now());
            flush(&connections[i]);
        }
        if (!strcmp(options.message, "echo"))
            finish_all();
        seconds = (double)(now() - begin) / 1e9;
    }
    hold();
    report(seconds);
}

void measure(void)
{
    if (options.mode != CONNECT)
        open_all();
    if (options.warm_up > 0)
        run_for(options.warm_up);
    if (options.wait) {
        puts("ready");
        fflush(stdout);
        wait_for_line();
    }
    memset(&latencies, 0, sizeof latencies);
    operations = broadcasts = 0;
    report(run_for(options.seconds));
    if (options.wait)
        wait_for_line();
}
