/* What happens to all weights between two steps: the norm of their gradients, and their update, each
 * in one pass over memory by all threads. Called by Python, not as operators: an operator of
 * MindSpore's may not write into what it is given. */

#include "native.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

enum { BLOCK = 4096 }; /* elements that one thread works at alone, so that sums do not depend on how
                          many threads there are */

typedef struct pass pass;
typedef void (*visit)(const pass *, const parameter *, int64_t begin, int64_t end, int64_t block);
struct pass {
    visit act;
    const parameter *parameters;
    int64_t count, blocks;
    int parts;
    float factor, average_decay, average_rest; /* the gradients' factor; of averaged weights */
    float beta1, rest1, beta2, rest2;          /* rest: 1 - beta, not rounded before */
    double *squares;                           /* of each block */
};

static int64_t blocks_of(const parameter *one) { return (one->elements + BLOCK - 1) / BLOCK; }

/* The blocks of all weights, numbered from the first, that are this thread's. */
static int visit_part(const void *work, int part, void *const *unused) {
    const pass *own = work;
    const int64_t first = own->blocks * part / own->parts;
    const int64_t last = own->blocks * (part + 1) / own->parts;
    (void)unused;
    for (int64_t number = 0, before = 0; number < own->count && before < last; number++) {
        const parameter *one = &own->parameters[number];
        const int64_t end = least(blocks_of(one), last - before);
        for (int64_t block = first > before ? first - before : 0; block < end; block++)
            own->act(own, one, block * BLOCK, least((block + 1) * BLOCK, one->elements),
                     before + block);
        before += blocks_of(one);
    }
    return SUCCESS;
}

static int64_t all_blocks(int64_t count, const parameter *parameters) {
    int64_t blocks = 0;
    for (int64_t number = 0; number < count; number++)
        blocks += blocks_of(&parameters[number]);
    return blocks;
}

static int visit_all(pass *todo) {
    todo->blocks = all_blocks(todo->count, todo->parameters);
    return run_in_parts(visit_part, todo, todo->blocks, &todo->parts);
}

/* The packed copies of the weights before are dropped. */
static int change_all(pass *todo) {
    int threads, status = begin(&threads);
    if (status)
        return status;
    todo->blocks = all_blocks(todo->count, todo->parameters);
    todo->parts = parts_of(todo->blocks, threads);
    status = run(visit_part, todo, todo->parts, NULL);
    forget_packed();
    end();
    return status;
}

static void follow(const pass *of, const parameter *one, int64_t begin, int64_t end) {
    const float decay = of->average_decay, rest = of->average_rest;
    const float *restrict weight = one->weight;
    float *restrict average = one->average;
    for (int64_t i = begin; average != NULL && i < end; i++)
        average[i] = average[i] * decay + weight[i] * rest;
}

static void change_by_adam(
    const pass *of, const parameter *one, int64_t begin, int64_t end, int64_t block) {
    const float factor = of->factor, rate = one->rate, epsilon = one->epsilon, decay = one->decay;
    const float beta1 = of->beta1, rest1 = of->rest1, beta2 = of->beta2, rest2 = of->rest2;
    const float *restrict gradient = one->gradient;
    float *restrict weight = one->weight, *restrict moment1 = one->moment1;
    float *restrict moment2 = one->moment2;
    (void)block;
    for (int64_t i = begin; i < end; i++) {
        const float scaled = gradient[i] * factor;
        moment1[i] = moment1[i] * beta1 + scaled * rest1;
        moment2[i] = moment2[i] * beta2 + scaled * scaled * rest2;
        weight[i] -= rate * (moment1[i] / (sqrtf(moment2[i]) + epsilon) + decay * weight[i]);
    }
    follow(of, one, begin, end);
}

static void change_by_momentum(
    const pass *of, const parameter *one, int64_t begin, int64_t end, int64_t block) {
    const float factor = of->factor, rate = one->rate, decay = one->decay, momentum = of->beta1;
    const float *restrict gradient = one->gradient;
    float *restrict weight = one->weight, *restrict velocity = one->moment1;
    (void)block;
    for (int64_t i = begin; i < end; i++) {
        velocity[i] = velocity[i] * momentum + (gradient[i] * factor + decay * weight[i]);
        weight[i] -= rate * velocity[i];
    }
    follow(of, one, begin, end);
}

static void add_squares(
    const pass *of, const parameter *one, int64_t begin, int64_t end, int64_t block) {
    enum { LANES = 8 }; /* sums that the compiler may keep side by side */
    double lanes[LANES] = {0}, total = 0;
    const float *restrict gradient = one->gradient;
    int64_t i = begin;
    for (; i + LANES <= end; i += LANES)
        for (int lane = 0; lane < LANES; lane++)
            lanes[lane] += (double)gradient[i + lane] * (double)gradient[i + lane];
    for (; i < end; i++)
        total += (double)gradient[i] * (double)gradient[i];
    for (int lane = 0; lane < LANES; lane++)
        total += lanes[lane];
    of->squares[block] = total;
}

/* What an update reads and writes, and nothing done to it: what the memory alone takes. */
static void read_and_write(
    const pass *of, const parameter *one, int64_t begin, int64_t end, int64_t block) {
    float *const kept[4] = {one->weight, one->moment1, one->moment2, one->average};
    const float *restrict gradient = one->gradient;
    const float none = of->factor;
    (void)block;
    for (int number = 0; number < 4; number++) {
        float *restrict values = kept[number];
        for (int64_t i = begin; values != NULL && i < end; i++)
            values[i] += none * gradient[i];
    }
}

/* w - rate (m / (sqrt(v) + epsilon) + decay w), with the moments of the gradients times `factor`.
 * -> SUCCESS if done. */
int update_by_adam(
    int64_t count, const parameter *parameters, double factor, double beta1, double beta2,
    double average_decay) {
    pass todo = {
        .act = change_by_adam, .parameters = parameters, .count = count, .factor = (float)factor,
        .beta1 = (float)beta1, .rest1 = (float)(1 - beta1), .beta2 = (float)beta2,
        .rest2 = (float)(1 - beta2), .average_decay = (float)average_decay,
        .average_rest = (float)(1 - average_decay),
    };
    return change_all(&todo);
}

/* w - rate v, with v the sum of momentum times the last one, the gradient times `factor`, and
 * decay w. -> SUCCESS if done. */
int update_by_momentum(
    int64_t count, const parameter *parameters, double factor, double momentum,
    double average_decay) {
    pass todo = {
        .act = change_by_momentum, .parameters = parameters, .count = count,
        .factor = (float)factor, .beta1 = (float)momentum, .average_decay = (float)average_decay,
        .average_rest = (float)(1 - average_decay),
    };
    return change_all(&todo);
}

/* Reads and writes what an update does, and changes nothing. -> SUCCESS if done. */
int update_nothing(int64_t count, const parameter *parameters) {
    pass todo = {.act = read_and_write, .parameters = parameters, .count = count, .factor = 0};
    return visit_all(&todo);
}

/* The Euclidean norm of all gradients together; infinite where float32 does not hold its square, as
 * devices sum it: the same steps are skipped on all. -> SUCCESS if done. */
int gradient_norm(int64_t count, const parameter *parameters, double *norm) {
    pass todo = {.act = add_squares, .parameters = parameters, .count = count};
    const int64_t blocks = all_blocks(count, parameters);
    if ((todo.squares = calloc((size_t)blocks + 1, sizeof(double))) == NULL)
        return NO_MEMORY;
    int status = visit_all(&todo);
    double total = 0;
    for (int64_t block = 0; block < blocks; block++)
        total += todo.squares[block];
    free(todo.squares);
    *norm = total > FLT_MAX ? INFINITY : sqrt(total);
    return status;
}
