/* The load generator: thousands of WebSocket clients in one thread, on epoll.
 *
 *     load echo      --port P [--connections N] [--in-flight K] [--size B] [--text] [--warm-up S] [--seconds S]
 *     load broadcast --port P [--connections N] [--in-flight K] [--size B] [--text] [--warm-up S] [--seconds S]
 *     load connect   --port P [--connections C] [--warm-up S] [--seconds S]
 *     load idle      --port P [--connections N] [--message none|send|echo] [--size B]
 *
 * echo: every connection keeps K messages on their way and sends the next when one comes back.
 * broadcast: the first connection sends, and each message is expected on all N (the sender's own too).
 * connect: C at a time open a connection, shake hands, close with a close frame, and wait until the server has ended
 *     the TCP connection; over and over.
 * idle: N connections are opened, each sends one message (send) and has it answered (echo), and are held until a line
 *     (or the end) comes on stdin. Pings are answered meanwhile.
 * For all: [--host A] [--path P] [--core N: run on that core] [--concurrency C: handshakes at a time] [--sources A: come
 *     from A addresses 127.0.0.1, 127.0.0.2, ...] [--wait] [--timeout S: fail after so long without progress]
 *     [--deflated FILE: permessage-deflate without context takeover
 *     is asked for, and the messages are those of FILE] [--tls: TLS 1.3 with one cipher, whoever the server says it is].
 *
 * The file of --deflated: three numbers of 32 bits, lowest octet first (how many messages, octets of each, octets of each when
 * compressed), all messages, all of them compressed. What comes back must be compressed too, and inflate to what was sent; of
 * each message the ways in which a server compresses it are remembered, for there are few of them.
 *
 * --wait is for measuring the server: after the warm-up everything under way is finished, the line "ready" is printed, and
 * measuring starts with a line on stdin. At the end too everything is finished before the result is printed, and then
 * the connections are held until stdin ends. So what the server did between the two lines belongs to exactly the counted
 * operations. In idle mode "ready" is printed when the connections are held.
 *
 * The result is one line of JSON. Every octet that comes back is compared with what must come; anything else, and a
 * lost connection, ends the program with a message and status 1.
 */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>

static void parse_options(int argc, char **argv)
{
    enum { HOST, PORT, PATH, CONNECTIONS, IN_FLIGHT, SIZE, TEXT, WARM_UP, SECONDS, CORE, CONCURRENCY, SOURCES, WAIT, MESSAGE, TIMEOUT, DEFLATED, TLS };
    static const struct option names[] = {
        {"host", 1, NULL, HOST}, {"port", 1, NULL, PORT}, {"path", 1, NULL, PATH},
        {"connections", 1, NULL, CONNECTIONS}, {"in-flight", 1, NULL, IN_FLIGHT}, {"size", 1, NULL, SIZE},
        {"text", 0, NULL, TEXT}, {"warm-up", 1, NULL, WARM_UP}, {"seconds", 1, NULL, SECONDS}, {"core", 1, NULL, CORE},
        {"concurrency", 1, NULL, CONCURRENCY}, {"sources", 1, NULL, SOURCES}, {"wait", 0, NULL, WAIT},
        {"message", 1, NULL, MESSAGE}, {"timeout", 1, NULL, TIMEOUT}, {"deflated", 1, NULL, DEFLATED}, {"tls", 0, NULL, TLS},
        {NULL, 0, NULL, 0},
    };
    int port = 0, option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case HOST: options.host = optarg; break;
        case PORT: port = atoi(optarg); break;
        case PATH: options.path = optarg; break;
        case CONNECTIONS: options.connections = (unsigned)atoi(optarg); break;
        case IN_FLIGHT: options.in_flight = (unsigned)atoi(optarg); break;
        case SIZE: options.size = (size_t)atol(optarg); break;
        case TEXT: options.text = true; break;
        case WARM_UP: options.warm_up = atof(optarg); break;
        case SECONDS: options.seconds = atof(optarg); break;
        case CORE: options.core = atoi(optarg); break;
        case CONCURRENCY: options.concurrency = (unsigned)atoi(optarg); break;
        case SOURCES: options.sources = (unsigned)atoi(optarg); break;
        case WAIT: options.wait = true; break;
        case MESSAGE: options.message = optarg; break;
        case TIMEOUT: options.timeout = atof(optarg); break;
        case DEFLATED: options.deflated = optarg; break;
        case TLS: options.tls = true; break;
        default: exit(2);
        }
    }
    const char *mode = optind < argc ? argv[optind] : "";
    if (!strcmp(mode, "echo"))
        options.mode = ECHO;
    else if (!strcmp(mode, "broadcast"))
        options.mode = BROADCAST;
    else if (!strcmp(mode, "connect"))
        options.mode = CONNECT;
    else if (!strcmp(mode, "idle"))
        options.mode = IDLE;
    else
        fail("the first argument is echo, broadcast, connect or idle");
    if (port <= 0 || port > 65535 || !options.connections || !options.in_flight || !options.concurrency)
        fail("--port is needed; --connections, --in-flight and --concurrency are at least 1");
    if (strcmp(options.message, "none") && strcmp(options.message, "send") && strcmp(options.message, "echo"))
        fail("--message is none, send or echo");
    if (!options.sources) /* 28,000 ports per address are usual; in connect mode they are used up in a second or two */
        options.sources = options.mode == CONNECT ? 16 : options.connections / 20000 + 1;
    options.server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, options.host, &options.server.sin_addr) != 1)
        fail("--host is an IPv4 address");
    build_request(port);
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    if (options.core >= 0) {
        cpu_set_t cores;
        CPU_ZERO(&cores);
        CPU_SET(options.core, &cores);
        if (sched_setaffinity(0, sizeof cores, &cores) < 0)
            fail("core %d: %s", options.core, strerror(errno));
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (options.tls)
        prepare_tls();
    build_messages();
    connections = calloc(options.connections, sizeof *connections);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!connections || epoll_fd < 0)
        fail("no memory for %u connections", options.connections);
    if (options.mode == IDLE)
        idle();
    else
        measure();
    return 0;
}
