/* The threads that share out a piece of work: the one that calls does part 0, the others wait for
 * theirs. */

#include "native.h"

#include <pthread.h>

static struct {
    pthread_mutex_t lock;
    pthread_cond_t begin, end;
    int64_t round;
    int busy, status;
    const work *work;
    void *const *starts;
} team = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .begin = PTHREAD_COND_INITIALIZER,
    .end = PTHREAD_COND_INITIALIZER,
};

static void *follow(void *number) {
    int part = (int)(intptr_t)number;
    int64_t seen = 0;
    pthread_mutex_lock(&team.lock);
    for (;;) {
        while (team.round == seen)
            pthread_cond_wait(&team.begin, &team.lock);
        seen = team.round;
        if (part >= team.work->parts)
            continue;
        pthread_mutex_unlock(&team.lock);
        int status = do_part(team.work, part, team.starts);
        pthread_mutex_lock(&team.lock);
        team.status |= status;
        if (--team.busy == 0)
            pthread_cond_signal(&team.end);
    }
    return NULL;
}

int run(const work *todo, void *const *starts) {
    if (todo->parts > 1) {
        pthread_mutex_lock(&team.lock);
        team.work = todo;
        team.starts = starts;
        team.busy = todo->parts - 1;
        team.status = SUCCESS;
        team.round++;
        pthread_cond_broadcast(&team.begin);
        pthread_mutex_unlock(&team.lock);
    }
    int status = do_part(todo, 0, starts);
    if (todo->parts > 1) {
        pthread_mutex_lock(&team.lock);
        while (team.busy > 0)
            pthread_cond_wait(&team.end, &team.lock);
        status |= team.status;
        pthread_mutex_unlock(&team.lock);
    }
    return status;
}

/* All threads but the one that will call. */
int start_team(int number_of_threads) {
    for (int number = 1; number < number_of_threads; number++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, follow, (void *)(intptr_t)number))
            return FAILURE;
    }
    return SUCCESS;
}
