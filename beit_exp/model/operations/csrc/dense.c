/* Dense layers: x weight' + bias, of one weight or of several that share x, and their gradients.
 *
 * What a product of half precision rounds is rounded once for all products that it takes part in.
 */

#include "native.h"

enum { LEAST_SUMMED = 1 << 14 }; /* of a thread */
enum { X, WEIGHT, GRADIENT };    /* what is rounded */

typedef struct {
    float *weight, *bias, *out;                  /* a layer without a bias has none */
    float *gradient, *of_weight, *of_bias;
} layer;

typedef struct {
    int64_t rows, in, out, kind;
    float *x, *of_x;
    int count;
    layer layers[3];
} layers;

typedef struct { const float *x; float *sums; int64_t rows, columns; int parts; } summing;

static int sum_columns_of_part(const void *work, int part, void *const *unused) {
    const summing *todo = work;
    const int64_t first = todo->columns * part / todo->parts;
    const int64_t last = todo->columns * (part + 1) / todo->parts;
    float *restrict sums = todo->sums;
    (void)unused;
    for (int64_t column = first; column < last; column++)
        sums[column] = 0;
    for (int64_t row = 0; row < todo->rows; row++) {
        const float *restrict x = todo->x + row * todo->columns;
        for (int64_t column = first; column < last; column++)
            sums[column] += x[column];
    }
    return SUCCESS;
}

static int sum_columns(const float *x, int64_t rows, int64_t columns, float *sums, int threads) {
    const int64_t most = rows * columns / LEAST_SUMMED;
    summing todo = {x, sums, rows, columns, (int)(most < 1 ? 1 : most < threads ? most : threads)};
    return run(sum_columns_of_part, &todo, todo.parts, NULL);
}

static int round_if_asked(const layers *all, int side, void **array, int64_t elements) {
    return all->kind == BFLOAT16 ? round_operand(side, array, elements) : SUCCESS;
}

static int forward(const layers *all) {
    void *x = all->x;
    int status = round_if_asked(all, X, &x, all->rows * all->in);
    for (int number = 0; !status && number < all->count; number++) {
        const layer *own = &all->layers[number];
        const form product = {
            .what = PRODUCT, .rows = all->rows, .width = all->in, .columns = all->out,
            .right_lies_transposed = 1, .has_bias = own->bias != NULL, .kind = all->kind,
        };
        void *weight = own->weight;
        status = round_if_asked(all, WEIGHT, &weight, all->out * all->in);
        void *const operands[4] = {x, weight, own->out, own->bias};
        status = status ? status : compute_as_it_is(&product, operands);
    }
    return status;
}

static int backward(const layers *all, int threads) {
    void *x = all->x;
    int status = round_if_asked(all, X, &x, all->rows * all->in);
    for (int number = 0; !status && number < all->count; number++) {
        const layer *own = &all->layers[number];
        const form of_x = {
            .what = PRODUCT, .rows = all->rows, .width = all->out, .columns = all->in,
            .is_added = number > 0, .kind = all->kind,
        };
        const form of_weight = {
            .what = PRODUCT, .rows = all->out, .width = all->rows, .columns = all->in,
            .left_lies_transposed = 1, .kind = all->kind,
        };
        void *weight = own->weight, *gradient = own->gradient;
        status = round_if_asked(all, WEIGHT, &weight, all->out * all->in);
        status = status ? status : round_if_asked(all, GRADIENT, &gradient, all->rows * all->out);
        void *const for_x[3] = {gradient, weight, all->of_x};
        void *const for_weight[3] = {gradient, x, own->of_weight};
        status = status ? status : compute_as_it_is(&of_x, for_x);
        status = status ? status : compute_as_it_is(&of_weight, for_weight);
        if (!status && own->of_bias != NULL)
            status = sum_columns(own->gradient, all->rows, all->out, own->of_bias, threads);
    }
    return status;
}

/* A sum over no products is the bias, or zero. */
static void fill_all(const layers *all, int is_backward) {
    for (int number = 0; number < all->count; number++) {
        const layer *own = &all->layers[number];
        if (!is_backward) {
            fill(own->out, all->rows, all->out, own->bias);
            continue;
        }
        fill(own->of_weight, all->out, all->in, NULL);
        const summing sums = {own->gradient, own->of_bias, all->rows, all->out, 1};
        if (own->of_bias != NULL)
            sum_columns_of_part(&sums, 0, NULL);
    }
    if (is_backward)
        fill(all->of_x, all->rows, all->in, NULL);
}

static int apply(layers all, const lengths *given, int kind, int is_backward) {
    all.rows = given->of['R'], all.in = given->of['I'], all.out = given->of['O'], all.kind = kind;
    if (all.rows == 0 || all.in == 0 || all.out == 0) {
        fill_all(&all, is_backward);
        return SUCCESS;
    }
    int threads, status = begin(&threads);
    if (status)
        return status;
    status = is_backward ? backward(&all, threads) : forward(&all);
    end();
    return status;
}

#define LAYERS(name, pattern, is_backward, ...) \
    OPERATOR(name##_float32, pattern) { \
        return apply((layers)__VA_ARGS__, given, FLOAT32, is_backward); \
    } \
    OPERATOR(name##_bfloat16, pattern) { \
        return apply((layers)__VA_ARGS__, given, BFLOAT16, is_backward); \
    }

/* x, weight, bias -> x weight' + bias */
LAYERS(dense, "RI OI O RO", 0, {
    .x = arrays[0], .count = 1,
    .layers = {{.weight = arrays[1], .bias = arrays[2], .out = arrays[3]}},
})

/* x, weight, gradient -> gradients of x, weight and bias */
LAYERS(dense_gradient, "RI OI RO RI OI O", 1, {
    .x = arrays[0], .of_x = arrays[3], .count = 1,
    .layers = {{.weight = arrays[1], .gradient = arrays[2], .of_weight = arrays[4],
                .of_bias = arrays[5]}},
})

/* x, weight and bias of q, weight of k, weight and bias of v -> q, k, v */
LAYERS(projections, "RI OI O OI OI O RO RO RO", 0, {
    .x = arrays[0], .count = 3,
    .layers = {{.weight = arrays[1], .bias = arrays[2], .out = arrays[6]},
               {.weight = arrays[3], .out = arrays[7]},
               {.weight = arrays[4], .bias = arrays[5], .out = arrays[8]}},
})

/* x, weights of q, k and v, their gradients -> gradients of x and of what `projections` takes */
LAYERS(projections_gradient, "RI OI OI OI RO RO RO RI OI O OI OI O", 1, {
    .x = arrays[0], .of_x = arrays[7], .count = 3,
    .layers = {{.weight = arrays[1], .gradient = arrays[4], .of_weight = arrays[8],
                .of_bias = arrays[9]},
               {.weight = arrays[2], .gradient = arrays[5], .of_weight = arrays[10]},
               {.weight = arrays[3], .gradient = arrays[6], .of_weight = arrays[11],
                .of_bias = arrays[12]}},
})
