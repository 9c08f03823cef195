/* Operators for a CPU, for MindSpore's `ops.Custom`: matrix products, exact GELU, layer norm and
 * the softmax of attention.
 *
 * All arrays are float32. One operator runs at a time, on all threads; scratch memory is kept as
 * long as the process lives.
 */

#include "native.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct { void *start; size_t size; } room;
static room rounded[2]; /* a product's left and right operand */
static room sums[2];    /* each part's own gradients of a layer norm's scale and shift */
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static int threads; /* 0: not open yet */

/* The old memory goes first, for both need not fit; what it held nobody needs. */
static int provide(room *memory, size_t size) {
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

/* Gives `*array`, rounded, in the memory kept for the left (0) or right (1) operand. */
static int round_operand(int side, void **array, int64_t size) {
    const form of = {.what = ROUNDING, .elements = size};
    const work *rounding;
    int status = find(&of, threads, &rounding);
    if (!status)
        status = provide(&rounded[side], 2 * (size_t)size);
    if (status)
        return status;
    void *starts[2] = {*array, rounded[side].start};
    *array = rounded[side].start;
    return run(do_piece, rounding, rounding->parts, starts);
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
        status = round_operand(0, &starts[0], of->batch * of->rows * of->width);
        status = status ? status
                        : round_operand(1, &starts[1], of->batch * of->width * of->columns);
    }
    for (int number = 0; !status && of->what == NORM_BACKWARD && number < 2; number++) {
        size_t most_parts = (size_t)(of->rows / GRAIN + 1);
        status = provide(&sums[number], 4 * most_parts * (size_t)of->columns);
        starts[6 + number] = sums[number].start;
    }
    return status;
}

static int compute_alone(const form *of, void **arrays) {
    void *starts[MOST_OPERANDS];
    const work *todo;
    int status = threads > 0 ? find(of, threads, &todo) : FAILURE;
    if (status)
        return status;
    for (int number = 0; number < todo->pieces[0].operands; number++)
        starts[number] = arrays[number];
    status = prepare(of, starts);
    if (!status)
        status = run(do_piece, todo, todo->parts, starts);
    for (int number = 0; !status && of->what == NORM_BACKWARD && number < 2; number++)
        add_up(arrays[6 + number], &sums[number], todo, of->columns, 6 + number);
    return status;
}

/* `arrays` are the operands of each piece, in order. -> SUCCESS if done, as MindSpore expects. */
static int compute(const form *of, void **arrays) {
    pthread_mutex_lock(&one_at_a_time);
    int status = compute_alone(of, arrays);
    pthread_mutex_unlock(&one_at_a_time);
    return status;
}

/* Work that is no operator's, cut into as many parts as there are threads, which it is told. */
int run_on_all_threads(task act, const void *todo, int *parts) {
    pthread_mutex_lock(&one_at_a_time);
    *parts = threads;
    int status = threads > 0 ? run(act, todo, threads, NULL) : FAILURE;
    pthread_mutex_unlock(&one_at_a_time);
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

/* The operators. ops.Custom gives them their inputs, then the output, with shapes; all arrays are
 * float32. The pattern of each says their axes, for `measure`. An empty result is nothing to do. */

#define OPERATOR(name, pattern) \
    static int do_##name(void **arrays, const lengths *given); \
    int name(int count, void **arrays, int *axes, int64_t **shapes, const char **kinds, \
             void *stream, void *extra) { \
        const call given = {count, arrays, axes, shapes, kinds}; \
        lengths measured; \
        int status = measure(&given, pattern, &measured); \
        return status ? status : do_##name(arrays, &measured); \
    } \
    static int do_##name(void **arrays, const lengths *given)

/* The sum over no products is the bias, or zero. */
static void fill(float *out, int64_t rows, int64_t columns, const float *bias) {
    for (int64_t row = 0; row < rows; row++)
        for (int64_t column = 0; column < columns; column++)
            out[row * columns + column] = bias == NULL ? 0 : bias[column];
}

/* R rows, K the width summed over, C columns; any axes before them count the matrices. */
static int multiply(
    void **arrays, const lengths *given, int left_lies_transposed, int right_lies_transposed,
    int has_bias, int kind) {
    const form of = {
        .what = PRODUCT,
        .batch = product_of(given->leading, given->leading_axes),
        .rows = given->of['R'],
        .width = given->of['K'],
        .columns = given->of['C'],
        .left_lies_transposed = left_lies_transposed,
        .right_lies_transposed = right_lies_transposed,
        .has_bias = has_bias,
        .kind = kind,
    };
    void *operands[MOST_OPERANDS] = {arrays[0], arrays[1], arrays[2 + has_bias], arrays[2]};
    if (of.batch == 0 || of.rows == 0 || of.columns == 0)
        return SUCCESS;
    if (of.width > 0)
        return compute(&of, operands);
    fill(operands[2], of.batch * of.rows, of.columns, has_bias ? operands[3] : NULL);
    return SUCCESS;
}

#define PRODUCT_OPERATORS(name, pattern, ...) /* which operands lie transposed, is there a bias */ \
    OPERATOR(name##_float32, pattern) { return multiply(arrays, given, __VA_ARGS__, FLOAT32); } \
    OPERATOR(name##_bfloat16, pattern) { return multiply(arrays, given, __VA_ARGS__, BFLOAT16); }

/* x, weight, bias -> x weight' + bias */
PRODUCT_OPERATORS(dense, "RK CK C RC", 0, 1, 1)
/* left, right -> left right */
PRODUCT_OPERATORS(product, ".RK .KC .RC", 0, 0, 0)
/* left, right -> left right' */
PRODUCT_OPERATORS(product_with_transposed, ".RK .CK .RC", 0, 1, 0)
/* left, right -> left' right */
PRODUCT_OPERATORS(product_of_transposed, ".KR .KC .RC", 1, 0, 0)

static int compute_elements(int what, void **arrays, const lengths *given) {
    const form of = {.what = what, .elements = product_of(given->leading, given->leading_axes)};
    return of.elements == 0 ? SUCCESS : compute(&of, arrays);
}

/* x -> x Phi(x), Phi the normal distribution */
OPERATOR(gelu, ". .") { return compute_elements(GELU_FORWARD, arrays, given); }

/* x, gradient -> gradient (Phi(x) + x phi(x)) */
OPERATOR(gelu_gradient, ". . .") { return compute_elements(GELU_BACKWARD, arrays, given); }

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

static int softmax(int what, void **arrays, const lengths *given) {
    if (given->leading_axes == 0)
        return WRONG_ARGUMENTS;
    const int last = given->leading_axes - 1;
    const form of = {
        .what = what,
        .rows = product_of(given->leading, last),
        .columns = given->leading[last],
    };
    return of.rows == 0 || of.columns == 0 ? SUCCESS : compute(&of, arrays);
}

/* scores (.., R, C), bias (R, C) with as many axes less as it is the same for
 * -> softmax(scores + bias) along columns */
OPERATOR(softmax_of_sum, ". : .") {
    const int64_t all = product_of(given->leading, given->leading_axes);
    const int64_t elements = product_of(given->last, given->last_axes);
    if (all == 0)
        return SUCCESS;
    const form sum = {.what = SUMMING, .batch = all / elements, .elements = elements};
    void *in_place[2] = {arrays[2], arrays[2]};
    int status = compute(&sum, arrays);
    return status ? status : softmax(SOFTMAX_FORWARD, in_place, given);
}

/* softmax, gradient -> gradient of what the softmax was taken of, along the last axis */
OPERATOR(softmax_gradient, ". . .") { return softmax(SOFTMAX_BACKWARD, arrays, given); }
