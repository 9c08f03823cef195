/* The threads that share out a piece of work: the one that calls does part 0, the others wait for
 * theirs. */

#include "native.h"

#include <pthread.h>

static struct {
    pthread_mutex_t lock;
    pthread_cond_t begin, end;
    int64_t round, seen[MOST_THREADS];
    int threads, busy, status; /* `threads` counts the one that calls */
    task act;
    const void *work;
    int parts;
    void *const *starts;
} team = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .begin = PTHREAD_COND_INITIALIZER,
    .end = PTHREAD_COND_INITIALIZER,
    .threads = 1,
};

static void *follow(void *number) {
    const int part = (int)(intptr_t)number;
    pthread_mutex_lock(&team.lock);
    for (;;) {
        while (team.round == team.seen[part])
            pthread_cond_wait(&team.begin, &team.lock);
        team.seen[part] = team.round;
        if (part >= team.parts)
            continue;
        pthread_mutex_unlock(&team.lock);
        int status = team.act(team.work, part, team.starts);
        pthread_mutex_lock(&team.lock);
        team.status = team.status ? team.status : status;
        if (--team.busy == 0)
            pthread_cond_signal(&team.end);
    }
    return NULL;
}

/* Gives each part of the work to a thread; those that a fork left behind are started anew. */
int run(task act, const void *todo, int parts, void *const *starts) {
    int status = start_team(parts);
    if (status || parts == 1)
        return status ? status : act(todo, 0, starts);
    pthread_mutex_lock(&team.lock);
    team.act = act;
    team.work = todo;
    team.parts = parts;
    team.starts = starts;
    team.busy = parts - 1;
    team.status = SUCCESS;
    team.round++;
    pthread_cond_broadcast(&team.begin);
    pthread_mutex_unlock(&team.lock);
    status = act(todo, 0, starts);
    pthread_mutex_lock(&team.lock);
    while (team.busy > 0)
        pthread_cond_wait(&team.end, &team.lock);
    status = status ? status : team.status;
    pthread_mutex_unlock(&team.lock);
    return status;
}

/* As many threads as that, with the one that will call. */
int start_team(int number_of_threads) {
    while (team.threads < number_of_threads) {
        pthread_t thread;
        team.seen[team.threads] = team.round; /* or it would take up work that is done */
        if (pthread_create(&thread, NULL, follow, (void *)(intptr_t)team.threads))
            return NO_THREADS;
        pthread_detach(thread);
        team.threads++;
    }
    return SUCCESS;
}

/* To be called in a process that was forked: none of its threads is there but the one that forked,
 * and a lock may be held by one that is not. */
void forget_team(void) {
    pthread_mutex_init(&team.lock, NULL);
    pthread_cond_init(&team.begin, NULL);
    pthread_cond_init(&team.end, NULL);
    team.threads = 1;
}
