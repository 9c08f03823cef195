/* Attention: softmax(q k' / sqrt(size) + bias) v of every head.
 *
 * The scores of a few heads at a time stay in a core's cache: none are kept, the gradient computes
 * them anew (Dao et al., FlashAttention, arXiv 2205.14135). A thread takes heads, and of each all
 * images, so that the gradient of a bias is summed by one.
 */

#include "native.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SCORES = 1 << 17 };     /* of a thread at a time: 512 kB, with their like in a cache */
enum { LEAST_PRODUCTS = 1 << 21 };  /* of a thread */
enum { SCORES, GRADIENTS, ROUNDED_SCORES, ROUNDED_GRADIENTS, ROOMS };

/* What makes two chunks of work alike: so many heads of so many images. */
typedef struct { int64_t images, heads, tokens, size, width, kind, is_backward; } chunk;

typedef struct plan {
    chunk of;
    piece scores, softmax, out;                                 /* forward; the first two also else */
    piece gradient_of_weights, gradient_of_scores;              /* the weights are the softmax */
    piece gradient_of_q, gradient_of_k, gradient_of_v;
    piece rounding;
    struct plan *next;
} plan;

typedef struct {
    chunk all;
    char *q, *k, *v, *gradient; /* operands of products: of `kind` */
    const float *bias;
    float *out, *of_q, *of_k, *of_v, *of_bias;
    int parts;
} attention;

static plan *known[MOST_THREADS];
static room rooms[MOST_THREADS][ROOMS];

static int64_t bytes_of(const chunk *of) { return of->kind == BFLOAT16 ? 2 : 4; }
static int64_t square(const chunk *of) { return of->tokens * of->tokens; }
static int64_t scores_of(const chunk *of) { return of->images * of->heads * square(of); }

static int make_plan(plan *made) {
    const chunk *of = &made->of;
    const int64_t row = of->width, N = of->tokens, K = of->size;
    const strides rows = {N * row, K, row, 1}, columns = {N * row, K, 1, row};
    const strides matrix = {of->heads * N * N, N * N, N, 1};
    const strides transposed = {of->heads * N * N, N * N, 1, N};
    const float scale = 1 / sqrtf((float)K);
    const heads_product product = {.images = of->images, .heads = of->heads, .kind = of->kind};
    heads_product to_scores = product, from_scores = product;
    to_scores.rows = to_scores.columns = from_scores.rows = from_scores.width = N;
    to_scores.width = from_scores.columns = K;
    form softmax = {.what = SOFTMAX_FORWARD, .rows = of->images * of->heads * N, .columns = N,
                    .out_kind = of->is_backward ? FLOAT32 : of->kind};
    int status = make_heads_product(&made->scores, &to_scores, rows, columns, matrix, scale, 1)
        || make_piece(&made->softmax, &softmax, 0, softmax.rows);
    if (status || !of->is_backward)
        return status
            || make_heads_product(&made->out, &from_scores, matrix, rows, rows, 1, 0);
    const form rounding = {.what = ROUNDING, .elements = scores_of(of)};
    softmax.what = SOFTMAX_BACKWARD;
    return make_heads_product(
               &made->gradient_of_weights, &to_scores, rows, columns, matrix, 1, 0)
        || make_piece(&made->gradient_of_scores, &softmax, 0, softmax.rows)
        || make_piece(&made->rounding, &rounding, 0, rounding.elements)
        || make_heads_product(&made->gradient_of_v, &from_scores, transposed, rows, rows, 1, 0)
        || make_heads_product(&made->gradient_of_k, &from_scores, transposed, rows, rows, scale, 0)
        || make_heads_product(&made->gradient_of_q, &from_scores, matrix, rows, rows, scale, 0);
}

static int find_plan(const chunk *of, int part, const plan **found) {
    for (plan *one = known[part]; one != NULL; one = one->next)
        if (memcmp(&one->of, of, sizeof(chunk)) == 0) {
            *found = one;
            return SUCCESS;
        }
    plan *made = calloc(1, sizeof(plan));
    if (made == NULL)
        return NO_MEMORY;
    made->of = *of;
    if (make_plan(made)) {
        free(made);
        return FAILURE;
    }
    made->next = known[part];
    *found = known[part] = made;
    return SUCCESS;
}

static int do3(const piece *todo, int part, void *first, void *second, void *third) {
    void *const starts[3] = {first, second, third};
    return perform(todo, part, starts);
}

static int do2(const piece *todo, int part, void *first, void *second) {
    return do3(todo, part, first, second, NULL);
}

/* The scores of a chunk, with their bias: what a product adds to lies there before. */
static int score(const plan *by, const attention *todo, int part, int64_t start, int64_t head) {
    const int64_t own = by->of.heads * square(&by->of);
    float *scores = rooms[part][SCORES].start;
    for (int64_t image = 0; image < by->of.images; image++)
        memcpy(scores + image * own, todo->bias + head * square(&by->of), 4 * (size_t)own);
    return do3(&by->scores, part, todo->q + start, todo->k + start, scores);
}

static void add_up(const plan *by, const attention *todo, const float *gradients, int64_t head) {
    const int64_t own = by->of.heads * square(&by->of);
    float *restrict total = todo->of_bias + head * square(&by->of);
    for (int64_t image = 0; image < by->of.images; image++)
        for (int64_t at = 0; at < own; at++)
            total[at] += gradients[image * own + at];
}

static int attend_forward(
    const plan *by, const attention *todo, int part, int64_t place, int64_t head) {
    const int64_t start = place * bytes_of(&by->of);
    void *scores = rooms[part][SCORES].start;
    void *weights = by->of.kind == BFLOAT16 ? rooms[part][ROUNDED_SCORES].start : scores;
    TRY(score(by, todo, part, start, head));
    TRY(do2(&by->softmax, part, scores, weights));
    return do3(&by->out, part, weights, todo->v + start, todo->out + place);
}

static int attend_backward(
    const plan *by, const attention *todo, int part, int64_t place, int64_t head) {
    const int64_t start = place * bytes_of(&by->of);
    void *weights = rooms[part][SCORES].start, *gradients = rooms[part][GRADIENTS].start;
    void *left = weights, *right = gradients;
    TRY(score(by, todo, part, start, head));
    TRY(do2(&by->softmax, part, weights, weights));
    TRY(do3(&by->gradient_of_weights, part, todo->gradient + start, todo->v + start, gradients));
    TRY(do3(&by->gradient_of_scores, part, weights, gradients, gradients));
    add_up(by, todo, gradients, head);
    if (by->of.kind == BFLOAT16) {
        left = rooms[part][ROUNDED_SCORES].start, right = rooms[part][ROUNDED_GRADIENTS].start;
        TRY(do2(&by->rounding, part, weights, left));
        TRY(do2(&by->rounding, part, gradients, right));
    }
    TRY(do3(&by->gradient_of_v, part, left, todo->gradient + start, todo->of_v + place));
    TRY(do3(&by->gradient_of_q, part, right, todo->k + start, todo->of_q + place));
    return do3(&by->gradient_of_k, part, right, todo->q + start, todo->of_k + place);
}

static int provide_rooms(const chunk *most, int part) {
    const size_t size = (size_t)scores_of(most);
    const int rounds = most->kind == BFLOAT16, is_backward = most->is_backward != 0;
    return provide(&rooms[part][SCORES], 4 * size)
        || (is_backward && provide(&rooms[part][GRADIENTS], 4 * size))
        || (rounds && provide(&rooms[part][ROUNDED_SCORES], 2 * size))
        || (rounds && is_backward && provide(&rooms[part][ROUNDED_GRADIENTS], 2 * size))
        ? NO_MEMORY : SUCCESS;
}

/* A thread's heads, as many of them and of the images at a time as have few enough scores. */
static int attend_part(const void *work, int part, void *const *unused) {
    const attention *todo = work;
    const chunk *all = &todo->all;
    const int64_t first = all->heads * part / todo->parts;
    const int64_t last = all->heads * (part + 1) / todo->parts;
    const int64_t fitting = MOST_SCORES / square(all) > 1 ? MOST_SCORES / square(all) : 1;
    chunk most = *all;
    (void)unused;
    most.heads = least(last - first, fitting);
    most.images = most.heads < last - first ? 1 : least(all->images, fitting / most.heads);
    int status = provide_rooms(&most, part);
    if (todo->of_bias != NULL)
        memset(todo->of_bias + first * square(all), 0, 4 * (size_t)((last - first) * square(all)));
    for (int64_t head = first; head < last; head += most.heads)
        for (int64_t image = 0; !status && image < all->images; image += most.images) {
            chunk own = most;
            const plan *by;
            own.heads = least(most.heads, last - head);
            own.images = least(most.images, all->images - image);
            const int64_t place = image * all->tokens * all->width + head * all->size;
            status = find_plan(&own, part, &by);
            if (!status)
                status = all->is_backward ? attend_backward(by, todo, part, place, head)
                                          : attend_forward(by, todo, part, place, head);
        }
    return status;
}

static int attend(attention *todo, int threads) {
    const chunk *all = &todo->all;
    char **const operands[4] = {&todo->q, &todo->k, &todo->v, &todo->gradient};
    const int64_t elements = all->images * all->tokens * all->width;
    for (int number = 0; number < (all->is_backward ? 4 : 3) && all->kind == BFLOAT16; number++) {
        int status = round_operand(number, (void **)operands[number], elements);
        if (status)
            return status;
    }
    const double products = (double)scores_of(all) * (double)all->size;
    todo->parts = (int)least(least(threads, all->heads), 1 + (int64_t)(products / LEAST_PRODUCTS));
    return run(attend_part, todo, todo->parts, NULL);
}

static int measured(const lengths *given, int kind, int is_backward, chunk *all) {
    const int64_t heads = given->of['H'], tokens = given->of['N'], width = given->of['D'];
    if (heads == 0 || tokens == 0 || width == 0 || width % heads || given->of['R'] % tokens)
        return WRONG_ARGUMENTS;
    *all = (chunk){given->of['R'] / tokens, heads, tokens, width / heads, width, kind, is_backward};
    return SUCCESS;
}

static int attend_if_any(attention *todo) {
    int threads, status = begin(&threads);
    if (status)
        return status;
    status = attend(todo, threads);
    end();
    return status;
}

static int forward(void **arrays, const lengths *given, int kind) {
    attention todo = {
        .q = arrays[0], .k = arrays[1], .v = arrays[2], .bias = arrays[3], .out = arrays[4],
    };
    int status = measured(given, kind, 0, &todo.all);
    return status || todo.all.images == 0 ? status : attend_if_any(&todo);
}

static int backward(void **arrays, const lengths *given, int kind) {
    attention todo = {
        .q = arrays[0], .k = arrays[1], .v = arrays[2], .bias = arrays[3], .gradient = arrays[4],
        .of_q = arrays[5], .of_k = arrays[6], .of_v = arrays[7], .of_bias = arrays[8],
    };
    int status = measured(given, kind, 1, &todo.all);
    if (status || todo.all.images > 0)
        return status ? status : attend_if_any(&todo);
    memset(arrays[8], 0, 4 * (size_t)(todo.all.heads * square(&todo.all)));
    return SUCCESS;
}

/* q, k, v of images' tokens, a row for each with all heads side by side; a bias for each head
 * -> rows as those */
OPERATORS(attention, "RD RD RD HNN RD", forward(arrays, given, kind))

/* q, k, v, bias, gradient of the rows -> gradients of the first four */
OPERATORS(attention_gradient, "RD RD RD HNN RD RD RD RD HNN", backward(arrays, given, kind))
