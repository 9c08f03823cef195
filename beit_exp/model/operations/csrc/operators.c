/* Operators for a CPU, for MindSpore's `ops.Custom`: matrix products and layer norm; and what all
 * operators share.
 *
 * All arrays are float32. One operator runs at a time, on all threads; scratch memory is kept as
 * long as the process lives.
 */

#include "native.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static room rounded[ROUNDED_AT_ONCE];
static room sums[2];    /* each part's own gradients of a layer norm's scale and shift */
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static int threads; /* 0: not open yet */

/* The old memory goes first, for both need not fit; what it held nobody needs. */
int provide(room *memory, size_t size) {
    if (memory->size >= size)
        return SUCCESS;
    free(memory->start);
    *memory = (room){NULL, 0};
    void *start;
    if (posix_memalign(&start, 64, size))
        return NO_MEMORY;
    *memory = (room){start, size};
    return SUCCESS;
}

/* Gives `*array`, rounded, in the memory kept for an operand of that number. */
int round_operand(int side, void **array, int64_t size) {
    const form of = {.what = ROUNDING, .elements = size};
    const work *rounding;
    int status = find(&of, threads, &rounding);
    if (!status)
        status = provide(&rounded[side], 2 * (size_t)size);
    if (status)
        return status;
    void *starts[2] = {*array, rounded[side].start};
    *array = rounded[side].start;
    return do_work(rounding, starts);
}

static void add_up(
    float *total, const room *parts, const work *todo, int64_t columns, int operand) {
    memset(total, 0, 4 * (size_t)columns);
    for (int number = 0; number < todo->parts; number++) {
        const float *part = (float *)((char *)parts->start + todo->pieces[number].offsets[operand]);
        for (int64_t column = 0; column < columns; column++)
            total[column] += part[column];
    }
}

/* Puts scratch memory in the place of the operands that work needs it for. */
static int prepare(const form *of, void **starts) {
    int status = SUCCESS;
    if (of->what == PRODUCT && of->kind == BFLOAT16) {
        status = round_operand(X, &starts[0], of->rows * of->width);
        status = status ? status : round_operand(WEIGHT, &starts[1], of->width * of->columns);
    }
    for (int number = 0; !status && of->what == NORM_BACKWARD && number < 2; number++) {
        size_t most_parts = (size_t)(of->rows / GRAIN + 1);
        status = provide(&sums[number], 4 * most_parts * (size_t)of->columns);
        starts[6 + number] = sums[number].start;
    }
    return status;
}

/* What is between `begin` and `end`; operands of products are rounded already. */
int compute_as_it_is(const form *of, void *const *starts) {
    const work *todo;
    int status = find(of, threads, &todo);
    return status ? status : do_work(todo, starts);
}

static int compute_alone(const form *of, void **arrays) {
    void *starts[MOST_OPERANDS];
    const work *todo;
    int status = find(of, threads, &todo);
    if (status)
        return status;
    for (int number = 0; number < todo->pieces[0].operands; number++)
        starts[number] = arrays[number];
    status = prepare(of, starts);
    if (!status)
        status = do_work(todo, starts);
    for (int number = 0; !status && of->what == NORM_BACKWARD && number < 2; number++)
        add_up(arrays[6 + number], &sums[number], todo, of->columns, 6 + number);
    return status;
}

/* Between these two no other operator runs. -> SUCCESS if there are threads for it. */
int begin(int *number_of_threads) {
    pthread_mutex_lock(&one_at_a_time);
    *number_of_threads = threads;
    if (threads > 0)
        return SUCCESS;
    pthread_mutex_unlock(&one_at_a_time);
    return FAILURE;
}

void end(void) { pthread_mutex_unlock(&one_at_a_time); }

/* `arrays` are the operands of each piece, in order. -> SUCCESS if done, as MindSpore expects. */
static int compute(const form *of, void **arrays) {
    int number_of_threads, status = begin(&number_of_threads);
    if (status)
        return status;
    status = compute_alone(of, arrays);
    end();
    return status;
}

/* Work that is none of oneDNN's, cut into at most so many parts; it is told how many. */
int run_in_parts(task act, const void *todo, int64_t most, int *parts) {
    int number_of_threads, status = begin(&number_of_threads);
    if (status)
        return status;
    *parts = parts_of(most, number_of_threads);
    status = run(act, todo, *parts, NULL);
    end();
    return status;
}

/* A process may be forked by any thread, but not while an operator runs on others. */
static void before_fork(void) { pthread_mutex_lock(&one_at_a_time); }
static void after_fork_in_parent(void) { pthread_mutex_unlock(&one_at_a_time); }
static void after_fork_in_child(void) {
    forget_team();
    pthread_mutex_init(&one_at_a_time, NULL);
}

static int open_alone(const char *path, int number_of_threads, float epsilon_of_norms) {
    if (threads > 0)
        return SUCCESS;
    if (number_of_threads < 1)
        return WRONG_ARGUMENTS;
    int most = number_of_threads < MOST_THREADS ? number_of_threads : MOST_THREADS;
    int status = load_onednn(path, most, epsilon_of_norms);
    if (!status)
        status = start_team(most);
    if (!status && pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child))
        status = NO_MEMORY;
    threads = status ? 0 : most;
    return status;
}

/* Takes the path of oneDNN's library, the number of threads and the epsilon of layer norms, which
 * are those of the first call in a process; before any operator. -> SUCCESS if done. */
int native_open(const char *path, int number_of_threads, float epsilon_of_norms) {
    pthread_mutex_lock(&one_at_a_time);
    int status = open_alone(path, number_of_threads, epsilon_of_norms);
    pthread_mutex_unlock(&one_at_a_time);
    return status;
}

/* From `more` = 1 on until as many calls with -1, weights of layers do not change: each is packed
 * at its first use, and its packing kept. */
void native_keep_weights(int more) {
    pthread_mutex_lock(&one_at_a_time);
    keep_weights(more);
    pthread_mutex_unlock(&one_at_a_time);
}

/* The operators. ops.Custom gives them their inputs, then the output, with shapes; all arrays are
 * float32. The pattern of each says their axes, for `measure`. An empty result is nothing to do. */

/* The sum over no products is the bias, or zero. */
void fill(float *out, int64_t rows, int64_t columns, const float *bias) {
    for (int64_t row = 0; row < rows; row++)
        for (int64_t column = 0; column < columns; column++)
            out[row * columns + column] = bias == NULL ? 0 : bias[column];
}

/* R rows, K the width summed over, C columns. */
static int multiply(
    void **arrays, const lengths *given, int left_lies_transposed, int right_lies_transposed,
    int kind) {
    const form of = {
        .what = PRODUCT,
        .rows = given->of['R'],
        .width = given->of['K'],
        .columns = given->of['C'],
        .left_lies_transposed = left_lies_transposed,
        .right_lies_transposed = right_lies_transposed,
        .kind = kind,
        .out_kind = FLOAT32,
    };
    if (of.rows == 0 || of.columns == 0)
        return SUCCESS;
    if (of.width > 0)
        return compute(&of, arrays);
    fill(arrays[2], of.rows, of.columns, NULL);
    return SUCCESS;
}

#define PRODUCT_OPERATORS(name, pattern, ...) /* which operands lie transposed */ \
    OPERATORS(name, pattern, multiply(arrays, given, __VA_ARGS__, kind))

/* left, right -> left right */
PRODUCT_OPERATORS(product, "RK KC RC", 0, 0)
/* left, right -> left right' */
PRODUCT_OPERATORS(product_with_transposed, "RK CK RC", 0, 1)
/* left, right -> left' right */
PRODUCT_OPERATORS(product_of_transposed, "KR KC RC", 1, 0)

/* x, scale, shift -> normalised, mean, variance; a row of nothing has no mean */
OPERATOR(layer_norm, "RC C C RC R R") {
    const form of = {.what = NORM_FORWARD, .rows = given->of['R'], .columns = given->of['C']};
    if (of.rows == 0)
        return SUCCESS;
    return of.columns == 0 ? WRONG_ARGUMENTS : compute(&of, arrays);
}

/* x, scale, mean, variance, gradient -> gradients of x, of scale and of shift */
OPERATOR(layer_norm_gradient, "RC C R R RC RC C C") {
    const form of = {.what = NORM_BACKWARD, .rows = given->of['R'], .columns = given->of['C']};
    if (of.rows > 0)
        return of.columns == 0 ? WRONG_ARGUMENTS : compute(&of, arrays);
    fill(arrays[6], 1, of.columns, NULL);
    fill(arrays[7], 1, of.columns, NULL);
    return SUCCESS;
}
