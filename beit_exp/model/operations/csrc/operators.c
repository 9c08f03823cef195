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
static int is_open;

static int provide(room *memory, size_t size) {
    if (memory->size >= size)
        return SUCCESS;
    free(memory->start);
    memory->size = 0;
    if (posix_memalign(&memory->start, 64, size))
        return FAILURE;
    memory->size = size;
    return SUCCESS;
}

/* Gives `*array`, rounded, in the memory kept for the left (0) or right (1) operand. */
static int round_operand(int side, void **array, int64_t size) {
    form of = {.what = ROUNDING, .elements = size};
    const work *rounding = find(&of);
    if (rounding == NULL || provide(&rounded[side], 2 * (size_t)size))
        return FAILURE;
    void *starts[2] = {*array, rounded[side].start};
    *array = rounded[side].start;
    return run(rounding, starts);
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

/* `arrays` are the operands of each piece, in order. -> 0 if done, as MindSpore expects. */
static int compute(const form *of, void **arrays) {
    void *starts[MOST_OPERANDS];
    pthread_mutex_lock(&one_at_a_time);
    const work *todo = is_open ? find(of) : NULL;
    int status = todo == NULL;
    for (int number = 0; !status && number < todo->pieces[0].operands; number++)
        starts[number] = arrays[number];
    if (!status && of->what == PRODUCT && of->kind == BFLOAT16)
        status = round_operand(0, &starts[0], of->batch * of->rows * of->width)
            || round_operand(1, &starts[1], of->batch * of->width * of->columns);
    if (!status && of->what == NORM_BACKWARD)
        for (int number = 0; number < 2; number++) {
            size_t most_parts = (size_t)(of->rows / GRAIN + 1);
            status |= provide(&sums[number], 4 * most_parts * (size_t)of->columns);
            starts[6 + number] = sums[number].start;
        }
    status = status || run(todo, starts);
    if (!status && of->what == NORM_BACKWARD)
        for (int number = 0; number < 2; number++)
            add_up(arrays[6 + number], &sums[number], todo, of->columns, 6 + number);
    pthread_mutex_unlock(&one_at_a_time);
    return status;
}

/* Takes the path of oneDNN's library, the number of threads and the epsilon of layer norms; once in
 * a process, before any operator. -> 0 if done. */
int native_open(const char *path, int number_of_threads, float epsilon_of_norms) {
    int threads = number_of_threads < MOST_THREADS ? number_of_threads : MOST_THREADS;
    if (load_onednn(path, threads, epsilon_of_norms) || start_team(threads))
        return FAILURE;
    is_open = 1;
    return SUCCESS;
}

/* The operators. ops.Custom gives them their inputs, then the output, with shapes; all arrays are
 * float32. */

#define OPERATOR(name) \
    int name(int count, void **arrays, int *dimensions, int64_t **shapes, const char **kinds, \
             void *stream, void *extra)

static int64_t product_of(const int64_t *shape, int axes) {
    int64_t product = 1;
    for (int axis = 0; axis < axes; axis++)
        product *= shape[axis];
    return product;
}

/* The last two axes are those of matrices, the others count them. */
static int multiply(
    void **arrays, const int *dimensions, int64_t **shapes, int left_lies_transposed,
    int right_lies_transposed, int has_bias, int kind) {
    int axes = dimensions[0];
    const int64_t *left = shapes[0] + axes - 2, *right = shapes[1] + axes - 2;
    form of = {
        .what = PRODUCT,
        .batch = product_of(shapes[0], axes - 2),
        .rows = left[left_lies_transposed],
        .width = left[1 - left_lies_transposed],
        .columns = right[1 - right_lies_transposed],
        .left_lies_transposed = left_lies_transposed,
        .right_lies_transposed = right_lies_transposed,
        .has_bias = has_bias,
        .kind = kind,
    };
    void *operands[MOST_OPERANDS] = {arrays[0], arrays[1], arrays[2 + has_bias], arrays[2]};
    return compute(&of, operands);
}

#define PRODUCT_OPERATORS(name, ...) /* which operands lie transposed, whether there is a bias */ \
    OPERATOR(name##_float32) { \
        return multiply(arrays, dimensions, shapes, __VA_ARGS__, FLOAT32); \
    } \
    OPERATOR(name##_bfloat16) { \
        return multiply(arrays, dimensions, shapes, __VA_ARGS__, BFLOAT16); \
    }

/* x (R, K), weight (C, K), bias (C) -> x weight' + bias */
PRODUCT_OPERATORS(dense, 0, 1, 1)
/* left (.., R, K), right (.., K, C) -> left right */
PRODUCT_OPERATORS(product, 0, 0, 0)
/* left (.., R, K), right (.., C, K) -> left right' */
PRODUCT_OPERATORS(product_with_transposed, 0, 1, 0)
/* left (.., K, R), right (.., K, C) -> left' right */
PRODUCT_OPERATORS(product_of_transposed, 1, 0, 0)

/* x -> x Phi(x), Phi the normal distribution */
OPERATOR(gelu) {
    form of = {.what = GELU_FORWARD, .elements = product_of(shapes[0], dimensions[0])};
    return compute(&of, arrays);
}

/* x, gradient -> gradient (Phi(x) + x phi(x)) */
OPERATOR(gelu_gradient) {
    form of = {.what = GELU_BACKWARD, .elements = product_of(shapes[0], dimensions[0])};
    return compute(&of, arrays);
}

/* x (R, C), scale (C), shift (C) -> normalised (R, C), mean (R), variance (R) */
OPERATOR(layer_norm) {
    form of = {.what = NORM_FORWARD, .rows = shapes[0][0], .columns = shapes[0][1]};
    return compute(&of, arrays);
}

/* x (R, C), scale (C), mean (R), variance (R), gradient (R, C)
 * -> gradients of x, of scale and of shift */
OPERATOR(layer_norm_gradient) {
    form of = {.what = NORM_BACKWARD, .rows = shapes[0][0], .columns = shapes[0][1]};
    return compute(&of, arrays);
}

/* scores (.., R, C), bias (R, C) with as many axes less as it is the same for
 * -> softmax(scores + bias) along columns */
OPERATOR(softmax_of_sum) {
    int axes = dimensions[0], own = dimensions[1];
    int64_t rows = product_of(shapes[0], axes - 1), columns = shapes[0][axes - 1];
    int64_t batch = product_of(shapes[0], axes - own), elements = product_of(shapes[1], own);
    form sum = {.what = SUMMING, .batch = batch, .elements = elements};
    form softmax = {.what = SOFTMAX_FORWARD, .rows = rows, .columns = columns};
    void *in_place[2] = {arrays[2], arrays[2]};
    return compute(&sum, arrays) || compute(&softmax, in_place);
}

/* softmax (.., C), gradient (.., C) -> gradient of what the softmax was taken of */
OPERATOR(softmax_gradient) {
    int axes = dimensions[0];
    form of = {
        .what = SOFTMAX_BACKWARD,
        .rows = product_of(shapes[0], axes - 1),
        .columns = shapes[0][axes - 1],
    };
    return compute(&of, arrays);
}
