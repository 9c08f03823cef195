/* Dense layers: x weight' + bias, of one weight or of several that share x, and their gradients.
 *
 * What a product of half precision rounds is rounded once for all products that it takes part in.
 */

#include "native.h"

enum { LEAST_SUMMED = 1 << 14 }; /* of a thread */

typedef struct {
    float *weight, *bias, *out; /* one without a bias has none */
    float *gradient, *of_weight, *of_bias;
} projection;

typedef struct {
    layer of; /* each */
    float *x, *of_x;
    int count;
    projection each[3];
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

int sum_columns(const float *x, int64_t rows, int64_t columns, float *sums, int threads) {
    summing todo = {x, sums, rows, columns, parts_of(rows * columns / LEAST_SUMMED, threads)};
    return run(sum_columns_of_part, &todo, todo.parts, NULL);
}

int round_for(int64_t kind, int side, void **array, int64_t elements) {
    return kind == BFLOAT16 ? round_operand(side, array, elements) : SUCCESS;
}

/* x, as products take it; `bias` may be NULL, the result is of `out_kind`. */
int apply_layer(
    const layer *of, int64_t out_kind, int has_gelu, void *x, void *weight, void *bias, void *out) {
    const form product = {
        .what = PRODUCT, .rows = of->rows, .width = of->in, .columns = of->out,
        .right_lies_transposed = 1, .has_bias = bias != NULL, .has_gelu = has_gelu,
        .is_kept = keeps_weights(), .kind = of->kind, .out_kind = out_kind,
    };
    if (!product.is_kept)
        TRY(round_for(of->kind, WEIGHT, &weight, of->out * of->in));
    void *const operands[4] = {x, weight, out, bias};
    return compute_as_it_is(&product, operands);
}

/* The gradient of x from that of the result, as products take it; added to what is there, or not. */
int differentiate_input(
    const layer *of, void *gradient, void *weight, void *of_x, int is_added) {
    const form product = {
        .what = PRODUCT, .rows = of->rows, .width = of->out, .columns = of->in,
        .is_added = is_added, .kind = of->kind, .out_kind = FLOAT32,
    };
    TRY(round_for(of->kind, WEIGHT, &weight, of->out * of->in));
    void *const operands[3] = {gradient, weight, of_x};
    return compute_as_it_is(&product, operands);
}

/* The gradient of the weight from that of the result and x, both as products take them. */
int differentiate_weight(const layer *of, void *gradient, void *x, void *of_weight) {
    const form product = {
        .what = PRODUCT, .rows = of->out, .width = of->rows, .columns = of->in,
        .left_lies_transposed = 1, .kind = of->kind, .out_kind = FLOAT32,
    };
    void *const operands[3] = {gradient, x, of_weight};
    return compute_as_it_is(&product, operands);
}

static int forward(const layers *all) {
    const layer *of = &all->of;
    void *x = all->x;
    TRY(round_for(of->kind, X, &x, of->rows * of->in));
    for (int number = 0; number < all->count; number++) {
        const projection *own = &all->each[number];
        TRY(apply_layer(of, FLOAT32, 0, x, own->weight, own->bias, own->out));
    }
    return SUCCESS;
}

static int backward(const layers *all, int threads) {
    const layer *of = &all->of;
    void *x = all->x;
    TRY(round_for(of->kind, X, &x, of->rows * of->in));
    for (int number = 0; number < all->count; number++) {
        const projection *own = &all->each[number];
        void *gradient = own->gradient;
        TRY(round_for(of->kind, GRADIENT, &gradient, of->rows * of->out));
        TRY(differentiate_input(of, gradient, own->weight, all->of_x, number > 0));
        TRY(differentiate_weight(of, gradient, x, own->of_weight));
        if (own->of_bias != NULL)
            TRY(sum_columns(own->gradient, of->rows, of->out, own->of_bias, threads));
    }
    return SUCCESS;
}

/* A sum over no products is the bias, or zero. */
static void fill_all(const layers *all, int is_backward) {
    for (int number = 0; number < all->count; number++) {
        const projection *own = &all->each[number];
        if (!is_backward) {
            fill(own->out, all->of.rows, all->of.out, own->bias);
            continue;
        }
        fill(own->of_weight, all->of.out, all->of.in, NULL);
        const summing sums = {own->gradient, own->of_bias, all->of.rows, all->of.out, 1};
        if (own->of_bias != NULL)
            sum_columns_of_part(&sums, 0, NULL);
    }
    if (is_backward)
        fill(all->of_x, all->of.rows, all->of.in, NULL);
}

static int apply(layers all, const lengths *given, int kind, int is_backward) {
    all.of = (layer){given->of['R'], given->of['I'], given->of['O'], kind};
    if (all.of.rows == 0 || all.of.in == 0 || all.of.out == 0) {
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
    OPERATORS(name, pattern, apply((layers)__VA_ARGS__, given, kind, is_backward))

/* x, weight, bias -> x weight' + bias */
LAYERS(dense, "RI OI O RO", 0, {
    .x = arrays[0], .count = 1,
    .each = {{.weight = arrays[1], .bias = arrays[2], .out = arrays[3]}},
})

/* x, weight, gradient -> gradients of x, weight and bias */
LAYERS(dense_gradient, "RI OI RO RI OI O", 1, {
    .x = arrays[0], .of_x = arrays[3], .count = 1,
    .each = {{.weight = arrays[1], .gradient = arrays[2], .of_weight = arrays[4],
                .of_bias = arrays[5]}},
})

/* x, weight and bias of q, weight of k, weight and bias of v -> q, k, v */
LAYERS(projections, "RI OI O OI OI O RO RO RO", 0, {
    .x = arrays[0], .count = 3,
    .each = {{.weight = arrays[1], .bias = arrays[2], .out = arrays[6]},
               {.weight = arrays[3], .out = arrays[7]},
               {.weight = arrays[4], .bias = arrays[5], .out = arrays[8]}},
})

/* x, weights of q, k and v, their gradients -> gradients of x and of what `projections` takes */
LAYERS(projections_gradient, "RI OI OI OI RO RO RO RI OI O OI OI O", 1, {
    .x = arrays[0], .of_x = arrays[7], .count = 3,
    .each = {{.weight = arrays[1], .gradient = arrays[4], .of_weight = arrays[8],
                .of_bias = arrays[9]},
               {.weight = arrays[2], .gradient = arrays[5], .of_weight = arrays[10]},
               {.weight = arrays[3], .gradient = arrays[6], .of_weight = arrays[11],
                .of_bias = arrays[12]}},
})
