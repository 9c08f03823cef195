/* Two dense layers with an exact GELU between. What GELU gives is computed anew for the gradient:
 * it is four times as large as the rows before. */

#include "native.h"

typedef struct {
    int64_t rows, in, hidden, out, kind;
    float *x, *weight1, *bias1, *weight2, *bias2, *y, *h, *gradient;
    float *of_x, *of_weight1, *of_bias1, *of_weight2, *of_bias2;
} mlp;

static room activated; /* rows of the hidden width: what GELU gives, or its gradient */

static int forward(const mlp *all) {
    const int64_t elements = all->rows * all->hidden;
    const form gelu = {.what = GELU_FORWARD, .elements = elements};
    const layer first = {all->rows, all->in, all->hidden, all->kind};
    const layer second = {all->rows, all->hidden, all->out, all->kind};
    void *x = all->x;
    TRY(provide(&activated, 4 * (size_t)elements));
    void *hidden = activated.start, *const to_gelu[2] = {all->h, hidden};
    TRY(round_for(all->kind, X, &x, all->rows * all->in));
    if (all->h == NULL) /* for no gradient */
        TRY(apply_layer(&first, all->kind, 1, x, all->weight1, all->bias1, hidden));
    else {
        TRY(apply_layer(&first, FLOAT32, 0, x, all->weight1, all->bias1, all->h));
        TRY(compute_as_it_is(&gelu, to_gelu));
        TRY(round_for(all->kind, HIDDEN, &hidden, elements));
    }
    return apply_layer(&second, FLOAT32, 0, hidden, all->weight2, all->bias2, all->y);
}

static int backward(const mlp *all, int threads) {
    const int64_t elements = all->rows * all->hidden;
    const form gelu = {.what = GELU_FORWARD, .elements = elements};
    const form slope = {.what = GELU_BACKWARD, .elements = elements};
    const layer first = {all->rows, all->in, all->hidden, all->kind};
    const layer second = {all->rows, all->hidden, all->out, all->kind};
    void *x = all->x, *gradient = all->gradient;
    TRY(provide(&activated, 4 * (size_t)elements));
    void *hidden = activated.start, *of_hidden = activated.start;
    void *const to_gelu[2] = {all->h, hidden}, *const to_slope[3] = {all->h, of_hidden, of_hidden};
    TRY(compute_as_it_is(&gelu, to_gelu));
    TRY(round_for(all->kind, HIDDEN, &hidden, elements));
    TRY(round_for(all->kind, GRADIENT, &gradient, all->rows * all->out));
    TRY(differentiate_weight(&second, gradient, hidden, all->of_weight2));
    TRY(sum_columns(all->gradient, all->rows, all->out, all->of_bias2, threads));
    TRY(differentiate_input(&second, gradient, all->weight2, of_hidden, 0));
    TRY(compute_as_it_is(&slope, to_slope));
    TRY(sum_columns(of_hidden, all->rows, all->hidden, all->of_bias1, threads));
    TRY(round_for(all->kind, HIDDEN, &of_hidden, elements));
    TRY(round_for(all->kind, X, &x, all->rows * all->in));
    TRY(differentiate_weight(&first, of_hidden, x, all->of_weight1));
    return differentiate_input(&first, of_hidden, all->weight1, all->of_x, 0);
}

/* The gradients of weights from no rows. */
static void fill_nothing(const mlp *all) {
    fill(all->of_weight1, all->hidden, all->in, NULL);
    fill(all->of_bias1, 1, all->hidden, NULL);
    fill(all->of_weight2, all->out, all->hidden, NULL);
    fill(all->of_bias2, 1, all->out, NULL);
}

static int apply(mlp all, const lengths *given, int kind, int is_backward) {
    all.rows = given->of['R'], all.in = given->of['I'], all.hidden = given->of['H'];
    all.out = given->of['O'], all.kind = kind;
    if (all.in == 0 || all.hidden == 0 || all.out == 0)
        return WRONG_ARGUMENTS;
    if (all.rows == 0) {
        if (is_backward)
            fill_nothing(&all);
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
    OPERATORS(name, pattern, apply((mlp)__VA_ARGS__, given, kind, is_backward))

#define INPUTS \
    .x = arrays[0], .weight1 = arrays[1], .bias1 = arrays[2], .weight2 = arrays[3], \
    .bias2 = arrays[4]

/* x, weight and bias of two layers -> what the second gives; then what the first gives, too */
LAYERS(mlp, "RI HI H OH O RO", 0, {INPUTS, .y = arrays[5]})
LAYERS(mlp_for_gradient, "RI HI H OH O RO RH", 0,
       {INPUTS, .y = arrays[5], .h = arrays[6]})

/* x, weights, what the first layer gave, gradient -> gradients of what `mlp` takes */
LAYERS(mlp_gradient, "RI HI OH RH RO RI HI H OH O", 1, {
    .x = arrays[0], .weight1 = arrays[1], .weight2 = arrays[2], .h = arrays[3],
    .gradient = arrays[4], .of_x = arrays[5], .of_weight1 = arrays[6], .of_bias1 = arrays[7],
    .of_weight2 = arrays[8], .of_bias2 = arrays[9],
})
