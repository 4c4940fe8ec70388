// An application that uses hiredis, which knows no Sentinels: it asks them itself.

#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
// docs/clients.md: begin
#include <hiredis/hiredis.h>

// To connect, and for the answer of a Sentinel port: longer than it takes to say that there is no primary.
static const struct timeval quick = {0, 400 * 1000};
// A node that does not answer is left. It must be longer than what a blocking command waits.
static const struct timeval patience = {0, 500 * 1000};

static redisContext *dial(const char *host, int port, struct timeval answers) {
    redisContext *node = redisConnectWithTimeout(host, port, quick);
    if (node != NULL && (node->err != 0 || redisSetTimeout(node, answers) != REDIS_OK)) {
        redisFree(node);
        return NULL;
    }
    return node;
}

// A connection to the primary, or NULL where none is named, from the first Sentinel that knows, or leads to a node that answers. Asked
// again after every error, and after every answer that is one.
static redisContext *primary(char *const hosts[], const int ports[], int sentinels, const char *name) {
    // The one that knew last is asked first: one that is silent costs its time only once.
    static int first = 0;
    redisContext *found = NULL;
    for (int i = 0; i < sentinels && found == NULL; i++, first = found == NULL ? (first + 1) % sentinels : first) {
        redisContext *sentinel = dial(hosts[first], ports[first], quick);
        if (sentinel == NULL) continue;
        redisReply *address = redisCommand(sentinel, "SENTINEL GET-MASTER-ADDR-BY-NAME %s", name);
        if (address != NULL && address->type == REDIS_REPLY_ARRAY && address->elements == 2)
            found = dial(address->element[0]->str, atoi(address->element[1]->str), patience);
        freeReplyObject(address);
        redisFree(sentinel);
    }
    return found;
}
// docs/clients.md: end

#define NODES_MAX 16

static void say(const char *what, const char *more) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    printf("%s %lld %s\n", what, now.tv_sec * 1000000000LL + now.tv_nsec, more);
    fflush(stdout);
}

static void rest(long ms) {
    struct timespec time = {0, ms * 1000000};
    nanosleep(&time, NULL);
}

// Whether the newest connection listens.
static int listens = 0;

// 1: done; 0: nothing came; -1: an error, which was said.
static int outcome(redisContext *node, redisReply *reply, int wanted) {
    int done = -1;
    if (reply == NULL) say("error", node->errstr);
    else if (reply->type == REDIS_REPLY_ERROR) say("error", reply->str);
    else done = wanted < 0 || reply->type == wanted;
    freeReplyObject(reply);
    return done;
}

static int once(redisContext *node, const char *work, long number) {
    long key = number % 1000;
    if (strcmp(work, "write") == 0)
        return outcome(node, redisCommand(node, "SET app:%ld %ld", key, number), -1);
    if (strcmp(work, "script") == 0)
        return outcome(node, redisCommand(node, "EVAL %s 1 app:%ld %ld", "return redis.call('SET', KEYS[1], ARGV[1])", key, number), -1);
    if (strcmp(work, "block") == 0)
        return outcome(node, redisCommand(node, "BLPOP queue 0.3"), REDIS_REPLY_ARRAY);
    if (strcmp(work, "transaction") == 0) {
        redisAppendCommand(node, "MULTI");
        redisAppendCommand(node, "SET app:%ld %ld", key, number);
        redisAppendCommand(node, "INCR count");
        redisAppendCommand(node, "EXEC");
        int done = 1;
        for (int i = 0; i < 4 && done == 1; i++) {
            redisReply *reply = NULL;
            redisGetReply(node, (void **)&reply);
            done = outcome(node, reply, i == 3 ? REDIS_REPLY_ARRAY : -1);
        }
        return done;
    }
    if (!listens) {
        listens = outcome(node, redisCommand(node, "SUBSCRIBE news"), -1) == 1;
        return listens ? 0 : -1;
    }
    redisReply *reply = NULL;
    redisGetReply(node, (void **)&reply);
    return outcome(node, reply, REDIS_REPLY_ARRAY);
}

int main(int count, char **words) {
    const char *way = words[2], *work = words[3], *name = words[4];
    char *hosts[NODES_MAX];
    int ports[NODES_MAX], nodes = 0;
    for (int i = 5; i < count && nodes < NODES_MAX; i++, nodes++) {
        char *colon = strrchr(words[i], ':');
        *colon = 0;
        hosts[nodes] = words[i];
        ports[nodes] = atoi(colon + 1);
    }
    int direct = strcmp(way, "sentinel") != 0, pauses = strcmp(work, "block") != 0 && strcmp(work, "subscribe") != 0;
    redisContext *node = NULL;
    for (long number = 1;; number++) {
        if (node == NULL) {
            listens = 0;
            node = direct ? dial(hosts[0], ports[0], patience) : primary(hosts, ports, nodes, name);
            if (node == NULL) {
                rest(5);
                continue;
            }
        }
        int done = once(node, work, number);
        if (done == 1) say("ack", "");
        if (done < 0) {
            redisFree(node);
            node = NULL;
            rest(5);
        } else if (pauses) {
            rest(1);
        }
    }
}
