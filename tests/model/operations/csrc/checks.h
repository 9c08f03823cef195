/* One call of each operator, and the numbers that it must give. */

#ifndef CHECKS_H
#define CHECKS_H

#include "guarded.h"
#include "native.h"

#include <stdatomic.h>

typedef int operator(int, void **, int *, int64_t **, const char **, void *, void *);
int native_open(const char *, int, float);
operator dense_float32, dense_bfloat16, dense_gradient_float32, dense_gradient_bfloat16;
operator projections_float32, projections_bfloat16;
operator projections_gradient_float32, projections_gradient_bfloat16;
operator product_float32, product_bfloat16;
operator product_with_transposed_float32, product_with_transposed_bfloat16;
operator product_of_transposed_float32, product_of_transposed_bfloat16;
operator attention_float32, attention_bfloat16;
operator attention_gradient_float32, attention_gradient_bfloat16;
operator mlp_float32, mlp_bfloat16, mlp_for_gradient_float32, mlp_for_gradient_bfloat16;
operator mlp_gradient_float32, mlp_gradient_bfloat16;
void native_keep_weights(int);
operator layer_norm, layer_norm_gradient;
operator scaled_addition, scaled_addition_gradient;

int update_by_adam(int64_t, const parameter *, double, double, double, double);
int update_by_momentum(int64_t, const parameter *, double, double, double);
int update_nothing(int64_t, const parameter *);
int gradient_norm(int64_t, const parameter *, double *);

static const float EPSILON_OF_NORMS = 1e-6f;
static atomic_long calls;
enum { MOST_COLUMNS = 1024 };
static __thread int is_at_end; /* every other call */
static int has_bfloat16;

/* What ops.Custom would do: the number of outputs says which arrays are to be overwritten. */
static int call_operator(operator *run, int count, array *arrays, int outputs) {
    void *starts[MOST_ARRAYS];
    int axes[MOST_ARRAYS];
    int64_t *shapes[MOST_ARRAYS];
    const char *kinds[MOST_ARRAYS];
    for (int number = 0; number < count; number++) {
        if (number >= count - outputs)
            fill_with_nan(&arrays[number]);
        starts[number] = arrays[number].start;
        axes[number] = arrays[number].axes;
        shapes[number] = arrays[number].shape;
        kinds[number] = "float32";
    }
    calls++;
    return run(count, starts, axes, shapes, kinds, NULL, NULL);
}

static void release_all(int count, const array *arrays) {
    for (int number = 0; number < count; number++)
        release(&arrays[number]);
    is_at_end = !is_at_end;
}

/* R rows, K summed over, C columns. */
static void check_product(operator *run, int left_lies, int right_lies, int R, int K, int C) {
    array arrays[3] = {
        left_lies ? make(is_at_end, 2, K, R) : make(is_at_end, 2, R, K),
        right_lies ? make(is_at_end, 2, C, K) : make(is_at_end, 2, K, C),
        make(is_at_end, 2, R, C),
    };
    fill_randomly(&arrays[0]);
    fill_randomly(&arrays[1]);
    REQUIRE(call_operator(run, 3, arrays, 1) == SUCCESS, "%d %d %d", R, K, C);
    /* Every element of a small product, some of a large one */
    const int64_t step = arrays[2].elements > 9000 ? 997 : 1;
    for (int64_t number = 0; number < arrays[2].elements; number += step) {
        const int64_t r = number / C, c = number % C;
        const float *left = arrays[0].start, *right = arrays[1].start;
        double exact = 0;
        for (int k = 0; k < K; k++)
            exact += left[left_lies ? k * R + r : r * K + k]
                * right[right_lies ? c * K + k : k * C + c];
        expect(&arrays[2], number, exact, "product");
    }
    release_all(3, arrays);
}

static void check_products(int R, int K, int C) {
    check_product(product_float32, 0, 0, R, K, C);
    check_product(product_with_transposed_float32, 0, 1, R, K, C);
    check_product(product_of_transposed_float32, 1, 0, R, K, C);
    if (has_bfloat16) {
        check_product(product_bfloat16, 0, 0, R, K, C);
        check_product(product_with_transposed_bfloat16, 0, 1, R, K, C);
        check_product(product_of_transposed_bfloat16, 1, 0, R, K, C);
    }
}

/* A layer's rows out of I numbers: O numbers, that are `x weight' + bias`; the step between those
 * that are looked at. */
static void expect_layer(const array *x, const array *weight, const array *bias, const array *out) {
    const int64_t I = x->shape[1], O = weight->shape[0], step = out->elements > 9000 ? 997 : 1;
    for (int64_t number = 0; number < out->elements; number += step) {
        double exact = bias == NULL ? 0 : bias->start[number % O];
        for (int64_t i = 0; i < I; i++)
            exact += x->start[number / O * I + i] * weight->start[number % O * I + i];
        expect(out, number, exact, "layer");
    }
}

/* Its gradients of weight and bias; that of x is returned for one number of it. */
static void expect_gradients(
    const array *x, const array *gradient, const array *of_weight, const array *of_bias) {
    const int64_t R = x->shape[0], I = x->shape[1], O = gradient->shape[1];
    const int64_t step = of_weight->elements > 9000 ? 997 : 1;
    for (int64_t number = 0; number < of_weight->elements; number += step) {
        double exact = 0;
        for (int64_t r = 0; r < R; r++)
            exact += gradient->start[r * O + number / I] * x->start[r * I + number % I];
        expect_sum(of_weight, number, exact, (double)R, "gradient of weight");
    }
    for (int64_t o = 0; of_bias != NULL && o < O; o++) {
        double exact = 0;
        for (int64_t r = 0; r < R; r++)
            exact += gradient->start[r * O + o];
        expect_sum(of_bias, o, exact, (double)R, "gradient of bias");
    }
}

static double slope(const array *weight, const array *gradient, int64_t r, int64_t i) {
    const int64_t O = weight->shape[0], I = weight->shape[1];
    double exact = 0;
    for (int64_t o = 0; o < O; o++)
        exact += gradient->start[r * O + o] * weight->start[o * I + i];
    return exact;
}

static void check_dense(operator *forward, operator *backward, int R, int I, int O) {
    const int at = is_at_end;
    array x = make(at, 2, R, I), weight = make(at, 2, O, I), bias = make(at, 1, O);
    array gradient = make(at, 2, R, O), out = make(at, 2, R, O);
    array first[4] = {x, weight, bias, out};
    array second[6] = {x, weight, gradient, make(at, 2, R, I), make(at, 2, O, I), make(at, 1, O)};
    fill_randomly(&x), fill_randomly(&weight), fill_randomly(&bias), fill_randomly(&gradient);
    REQUIRE(call_operator(forward, 4, first, 1) == SUCCESS, "%d %d %d", R, I, O);
    expect_layer(&x, &weight, &bias, &out);
    REQUIRE(call_operator(backward, 6, second, 3) == SUCCESS, "%d %d %d", R, I, O);
    expect_gradients(&x, &gradient, &second[4], &second[5]);
    const int64_t step = second[3].elements > 9000 ? 997 : 1;
    for (int64_t number = 0; number < second[3].elements; number += step)
        expect_sum(&second[3], number, slope(&weight, &gradient, number / I, number % I), O,
                   "gradient of x");
    release(&bias), release(&out);
    release_all(6, second);
}

/* q and v have a bias, k has none. */
static void check_projections(operator *forward, operator *backward, int R, int I, int O) {
    const int at = is_at_end;
    array x = make(at, 2, R, I), weights[3], biases[3], gradients[3], outs[3], of_weights[3];
    array of_biases[3], of_x = make(at, 2, R, I);
    fill_randomly(&x);
    for (int each = 0; each < 3; each++) {
        weights[each] = make(at, 2, O, I), biases[each] = make(at, 1, O);
        gradients[each] = make(at, 2, R, O), outs[each] = make(at, 2, R, O);
        of_weights[each] = make(at, 2, O, I), of_biases[each] = make(at, 1, O);
        fill_randomly(&weights[each]), fill_randomly(&biases[each]);
        fill_randomly(&gradients[each]);
    }
    array first[9] = {x, weights[0], biases[0], weights[1], weights[2], biases[2], outs[0],
                      outs[1], outs[2]};
    array second[13] = {x, weights[0], weights[1], weights[2], gradients[0], gradients[1],
                        gradients[2], of_x, of_weights[0], of_biases[0], of_weights[1],
                        of_weights[2], of_biases[2]};
    REQUIRE(call_operator(forward, 9, first, 3) == SUCCESS, "%d %d %d", R, I, O);
    REQUIRE(call_operator(backward, 13, second, 6) == SUCCESS, "%d %d %d", R, I, O);
    for (int each = 0; each < 3; each++) {
        expect_layer(&x, &weights[each], each == 1 ? NULL : &biases[each], &outs[each]);
        expect_gradients(&x, &gradients[each], &of_weights[each],
                         each == 1 ? NULL : &of_biases[each]);
    }
    for (int64_t number = 0; number < of_x.elements; number++) {
        double exact = 0;
        for (int each = 0; each < 3; each++)
            exact += slope(&weights[each], &gradients[each], number / I, number % I);
        expect_sum(&of_x, number, exact, 3 * O, "gradient of x");
    }
    release(&x), release(&of_x);
    for (int each = 0; each < 3; each++) {
        release(&weights[each]), release(&biases[each]), release(&gradients[each]);
        release(&outs[each]), release(&of_weights[each]), release(&of_biases[each]);
    }
    is_at_end = !is_at_end;
}

static void check_layers(int R, int I, int O) {
    check_dense(dense_float32, dense_gradient_float32, R, I, O);
    check_projections(projections_float32, projections_gradient_float32, R, I, O);
    if (has_bfloat16) {
        check_dense(dense_bfloat16, dense_gradient_bfloat16, R, I, O);
        check_projections(projections_bfloat16, projections_gradient_bfloat16, R, I, O);
    }
}

static double gelu_of(double x) { return x * (1 + erf(x * M_SQRT1_2)) / 2; }
static double slope_of(double x) {
    return (1 + erf(x * M_SQRT1_2)) / 2 + x * exp(-x * x / 2) / sqrt(2 * M_PI);
}

static void expect_near(const array *one, int64_t number, double exact, double within) {
    const double found = one->start[number];
    REQUIRE(fabs(found - exact) <= within * (1 + fabs(exact)), "[%ld] is %g, not %g", (long)number,
            found, exact);
}

/* R rows of I numbers to H, through GELU, to O; with weights kept, without, and with gradients. */
static void check_mlp(
    operator *alone, operator *with_hidden, operator *backward, double within, int R, int I, int H,
    int O) {
    const int at = is_at_end;
    array x = make(at, 2, R, I), weight1 = make(at, 2, H, I), bias1 = make(at, 1, H);
    array weight2 = make(at, 2, O, H), bias2 = make(at, 1, O), gradient = make(at, 2, R, O);
    array y = make(at, 2, R, O), hidden = make(at, 2, R, H);
    array first[6] = {x, weight1, bias1, weight2, bias2, y};
    array second[7] = {x, weight1, bias1, weight2, bias2, y, hidden};
    array third[10] = {x, weight1, weight2, hidden, gradient, make(at, 2, R, I), make(at, 2, H, I),
                       make(at, 1, H), make(at, 2, O, H), make(at, 1, O)};
    fill_randomly(&x), fill_randomly(&weight1), fill_randomly(&bias1), fill_randomly(&weight2);
    fill_randomly(&bias2), fill_randomly(&gradient);
    double *active = malloc(8 * (size_t)(R * H)), *of_hidden = malloc(8 * (size_t)(R * H));
    for (int r = 0; r < R; r++)
        for (int h = 0; h < H; h++) {
            double sum = bias1.start[h], back = 0;
            for (int i = 0; i < I; i++)
                sum += x.start[r * I + i] * weight1.start[h * I + i];
            for (int o = 0; o < O; o++)
                back += gradient.start[r * O + o] * weight2.start[o * H + h];
            active[r * H + h] = gelu_of(sum), of_hidden[r * H + h] = back * slope_of(sum);
        }
    for (int call = 0; call < 4; call++) {
        if (call == 2)
            native_keep_weights(1);
        int status = call == 1 ? call_operator(with_hidden, 7, second, 2)
                               : call_operator(alone, 6, first, 1);
        REQUIRE(status == SUCCESS, "%d %d %d %d", R, I, H, O);
        for (int n = 0; n < R * O; n++) {
            double sum = bias2.start[n % O];
            for (int h = 0; h < H; h++)
                sum += active[n / O * H + h] * weight2.start[n % O * H + h];
            expect_near(&y, n, sum, within * sqrt((1 + I) * H));
        }
    }
    native_keep_weights(-1);
    REQUIRE(call_operator(backward, 10, third, 5) == SUCCESS, "%d %d %d %d", R, I, H, O);
    const double wide = within * (R + H + O) * sqrt(1 + I);
    for (int n = 0; n < R * I; n++) {
        double sum = 0;
        for (int h = 0; h < H; h++)
            sum += of_hidden[n / I * H + h] * weight1.start[h * I + n % I];
        expect_near(&third[5], n, sum, wide);
    }
    for (int h = 0; h < H; h++) {
        double of_bias = 0;
        for (int i = 0; i < I; i++) {
            double sum = 0;
            for (int r = 0; r < R; r++)
                sum += of_hidden[r * H + h] * x.start[r * I + i];
            expect_near(&third[6], h * I + i, sum, wide);
        }
        for (int r = 0; r < R; r++)
            of_bias += of_hidden[r * H + h];
        expect_near(&third[7], h, of_bias, wide);
        for (int o = 0; o < O; o++) {
            double sum = 0;
            for (int r = 0; r < R; r++)
                sum += gradient.start[r * O + o] * active[r * H + h];
            expect_near(&third[8], o * H + h, sum, wide);
        }
    }
    free(active), free(of_hidden);
    release(&bias1), release(&bias2), release(&y);
    release_all(10, third);
}

static void check_both_mlps(int R, int I, int H, int O) {
    check_mlp(mlp_float32, mlp_for_gradient_float32, mlp_gradient_float32, 1e-5, R, I, H, O);
    if (has_bfloat16)
        check_mlp(mlp_bfloat16, mlp_for_gradient_bfloat16, mlp_gradient_bfloat16, 0.01, R, I, H, O);
}

/* B images' rows, each image with a factor of its own */
static void check_addition(int B, int rows_of_image, int D) {
    const int at = is_at_end, R = B * rows_of_image;
    array x = make(at, 2, R, D), branch = make(at, 2, R, D), scale = make(at, 1, D);
    array keep = make(at, 1, B), gradient = make(at, 2, R, D);
    array forward[5] = {x, branch, scale, keep, make(at, 2, R, D)};
    array backward[6] = {branch, scale, keep, gradient, make(at, 2, R, D), make(at, 1, D)};
    fill_randomly(&x), fill_randomly(&branch), fill_randomly(&scale), fill_randomly(&keep);
    fill_randomly(&gradient);
    REQUIRE(call_operator(scaled_addition, 5, forward, 1) == SUCCESS, "%d %d %d", B, R, D);
    REQUIRE(call_operator(scaled_addition_gradient, 6, backward, 2) == SUCCESS, "%d %d", R, D);
    for (int64_t n = 0; n < (int64_t)R * D; n++) {
        const double factor = keep.start[n / D / rows_of_image] * scale.start[n % D];
        expect(&forward[4], n, x.start[n] + factor * branch.start[n], "sum");
        expect(&backward[4], n, factor * gradient.start[n], "gradient of branch");
    }
    for (int d = 0; d < D; d++) {
        double exact = 0;
        for (int r = 0; r < R; r++)
            exact += (double)keep.start[r / rows_of_image] * gradient.start[r * D + d]
                * branch.start[r * D + d];
        expect_sum(&backward[5], d, exact, R, "gradient of scale");
    }
    release(&x), release(&forward[4]);
    release_all(6, backward);
}

/* x, scale, shift -> normalised, mean, variance; then the gradients of the first three */
static void check_norm(int R, int C) {
    const int at = is_at_end, refused = C == 0 && R > 0;
    array x = make(at, 2, R, C), scale = make(at, 1, C), shift = make(at, 1, C);
    array out = make(at, 2, R, C), mean = make(at, 1, R), variance = make(at, 1, R);
    array gradient = make(at, 2, R, C), of_x = make(at, 2, R, C);
    array forward[6] = {x, scale, shift, out, mean, variance};
    array backward[8] = {
        x, scale, mean, variance, gradient, of_x, make(at, 1, C), make(at, 1, C)};
    fill_randomly(&x), fill_randomly(&scale), fill_randomly(&shift), fill_randomly(&gradient);
    int status = call_operator(layer_norm, 6, forward, 3);
    REQUIRE(status == (refused ? WRONG_ARGUMENTS : SUCCESS), "%d %d", R, C);
    status = call_operator(layer_norm_gradient, 8, backward, 3);
    REQUIRE(status == (refused ? WRONG_ARGUMENTS : SUCCESS), "%d %d", R, C);
    double sums[2 * MOST_COLUMNS] = {0};
    REQUIRE(C <= MOST_COLUMNS, "%d", C);
    for (int r = 0; r < R && !refused; r++) {
        double m = 0, v = 0, g = 0, gx = 0;
        for (int c = 0; c < C; c++)
            m += x.start[r * C + c] / C;
        for (int c = 0; c < C; c++)
            v += (x.start[r * C + c] - m) * (x.start[r * C + c] - m) / C;
        const double deviation = sqrt(v + EPSILON_OF_NORMS);
        expect(&mean, r, m, "mean");
        expect(&variance, r, v, "variance");
        for (int c = 0; c < C; c++) {
            const double own = (x.start[r * C + c] - m) / deviation, d = gradient.start[r * C + c];
            expect(&out, r * C + c, own * scale.start[c] + shift.start[c], "normalised");
            g += d * scale.start[c] / C, gx += d * scale.start[c] * own / C;
            sums[c] += d * own, sums[C + c] += d;
        }
        /* A row that is constant has no deviation, by which rounding is divided */
        for (int c = 0; c < C && v > 0; c++) {
            const double own = (x.start[r * C + c] - m) / deviation;
            const double d = gradient.start[r * C + c] * scale.start[c];
            expect(&of_x, r * C + c, (d - g - own * gx) / deviation, "gradient");
        }
    }
    for (int c = 0; c < C && !refused; c++) {
        expect_sum(&backward[6], c, sums[c], R, "gradient of scale");
        expect_sum(&backward[7], c, sums[C + c], R, "gradient of shift");
    }
    release(&shift), release(&out);
    release_all(8, backward);
}

/* What attention gives for one row of one head: N weights, K sums. */
typedef struct { const float *q, *k, *v, *bias; int64_t N, K, width; double scale; } one_head;

static void weigh(const one_head *of, int64_t row, double *weights) {
    double most = -INFINITY, sum = 0;
    for (int64_t n = 0; n < of->N; n++) {
        double score = 0;
        for (int64_t k = 0; k < of->K; k++)
            score += of->q[row * of->width + k] * of->k[n * of->width + k];
        weights[n] = score * of->scale + of->bias[row * of->N + n];
        most = fmax(most, weights[n]);
    }
    for (int64_t n = 0; n < of->N; n++)
        sum += weights[n] = exp(weights[n] - most);
    for (int64_t n = 0; n < of->N; n++)
        weights[n] /= sum;
}

/* B images of N tokens, H heads of K numbers side by side; all is far from rounding's reach. */
static void check_attention(
    operator *forward, operator *backward, double within, int B, int H, int N, int K) {
    const int at = is_at_end, R = B * N, D = H * K;
    array of[4], sum = make(at, 2, R, D), gradient = make(at, 2, R, D), gradients[4];
    for (int each = 0; each < 4; each++) {
        of[each] = each < 3 ? make(at, 2, R, D) : make(at, 3, H, N, N);
        gradients[each] = each < 3 ? make(at, 2, R, D) : make(at, 3, H, N, N);
        fill_randomly(&of[each]);
    }
    fill_randomly(&gradient);
    array first[5] = {of[0], of[1], of[2], of[3], sum};
    array second[9] = {of[0], of[1], of[2], of[3], gradient, gradients[0], gradients[1],
                       gradients[2], gradients[3]};
    REQUIRE(call_operator(forward, 5, first, 1) == SUCCESS, "%d %d %d %d", B, H, N, K);
    REQUIRE(call_operator(backward, 9, second, 4) == SUCCESS, "%d %d %d %d", B, H, N, K);
    double *weights = malloc(8 * (size_t)N), *slopes = malloc(8 * (size_t)N);
    double *exact[4]; /* of the gradients */
    for (int each = 0; each < 4; each++)
        exact[each] = calloc((size_t)gradients[each].elements + 1, 8);
    for (int64_t image = 0; image < B; image++)
        for (int64_t head = 0; head < H; head++) {
            const int64_t start = image * N * D + head * K;
            const one_head own = {of[0].start + start, of[1].start + start, of[2].start + start,
                                  of[3].start + head * N * N, N, K, D, 1 / sqrt(K)};
            for (int64_t row = 0; row < N; row++) {
                double mean = 0;
                weigh(&own, row, weights);
                for (int64_t k = 0; k < K; k++) {
                    double total = 0;
                    for (int64_t n = 0; n < N; n++)
                        total += weights[n] * own.v[n * D + k];
                    expect_near(&sum, start + row * D + k, total, within);
                }
                const float *g = gradient.start + start + row * D;
                for (int64_t n = 0; n < N; n++) {
                    slopes[n] = 0;
                    for (int64_t k = 0; k < K; k++) {
                        slopes[n] += g[k] * own.v[n * D + k];
                        exact[2][start + n * D + k] += weights[n] * g[k];
                    }
                    mean += weights[n] * slopes[n];
                }
                for (int64_t n = 0; n < N; n++) {
                    const double of_score = weights[n] * (slopes[n] - mean);
                    exact[3][(head * N + row) * N + n] += of_score;
                    for (int64_t k = 0; k < K; k++) {
                        exact[0][start + row * D + k] += of_score * own.k[n * D + k] * own.scale;
                        exact[1][start + n * D + k] += of_score * own.q[row * D + k] * own.scale;
                    }
                }
            }
        }
    for (int each = 0; each < 4; each++) {
        for (int64_t number = 0; number < gradients[each].elements; number++)
            expect_near(&gradients[each], number, exact[each][number], 8 * within);
        release(&gradients[each]), free(exact[each]);
    }
    free(weights), free(slopes);
    release(&sum), release(&gradient);
    release_all(4, of);
}

static void check_both_attentions(int B, int H, int N, int K) {
    check_attention(attention_float32, attention_gradient_float32, 2e-5, B, H, N, K);
    if (has_bfloat16)
        check_attention(attention_bfloat16, attention_gradient_bfloat16, 0.02, B, H, N, K);
}

/* Two weights of these lengths, the second without averages: two updates, and the norm. */
static void check_updates(int first, int second) {
    enum { WEIGHTS = 2, ARRAYS = 5 };
    const int lengths[WEIGHTS] = {first, second};
    array arrays[WEIGHTS][ARRAYS], before[WEIGHTS][ARRAYS];
    parameter parameters[WEIGHTS];
    double squares = 0, norm = -1;
    for (int each = 0; each < WEIGHTS; each++) {
        for (int number = 0; number < ARRAYS; number++) {
            is_at_end = !is_at_end;
            arrays[each][number] = make(is_at_end, 1, lengths[each]);
            before[each][number] = make(is_at_end, 1, lengths[each]);
            fill_randomly(&arrays[each][number]);
            for (int at = 0; at < lengths[each]; at++) {
                float *value = &arrays[each][number].start[at];
                *value = number == 2 ? *value * *value : *value; /* of squares */
                before[each][number].start[at] = *value;
                squares += number == 4 ? (double)*value * *value : 0;
            }
        }
        array *own = arrays[each];
        parameters[each] = (parameter){
            own[0].start, own[1].start, own[2].start, each == 0 ? own[3].start : NULL,
            own[4].start, lengths[each], 0.5f, 0.25f, 0.125f * (float)each,
        };
    }
    calls += 4;
    REQUIRE(gradient_norm(WEIGHTS, parameters, &norm) == SUCCESS, "norm");
    REQUIRE(fabs(norm - sqrt(squares)) <= 1e-12 * (1 + norm), "norm %g", norm);
    REQUIRE(update_nothing(WEIGHTS, parameters) == SUCCESS, "nothing");
    REQUIRE(update_by_momentum(WEIGHTS, parameters, 0, 1, 1) == SUCCESS, "momentum");
    for (int each = 0; each < WEIGHTS; each++) /* v + decay w, then w - rate v */
        for (int at = 0; at < lengths[each]; at++) {
            const double w = before[each][0].start[at], decay = parameters[each].decay;
            const double v = before[each][1].start[at] + decay * w;
            expect(&arrays[each][1], at, v, "velocity");
            expect_sum(&arrays[each][0], at, w - 0.5 * v, 4, "weight");
            arrays[each][0].start[at] = (float)w, arrays[each][1].start[at] = 0;
        }
    REQUIRE(update_by_adam(WEIGHTS, parameters, 2, 0.5, 0.75, 0.25) == SUCCESS, "adam");
    for (int each = 0; each < WEIGHTS; each++)
        for (int at = 0; at < lengths[each]; at++) {
            const double w = before[each][0].start[at], g = 2 * before[each][4].start[at];
            const double v = 0.75 * before[each][2].start[at] + 0.25 * g * g;
            const double change = 0.5 * g / (sqrt(v) + 0.25) + parameters[each].decay * w;
            const double average = before[each][3].start[at], changed = w - 0.5 * change;
            expect_sum(&arrays[each][0], at, changed, 4, "weight");
            expect_sum(&arrays[each][3], at,
                       each == 0 ? 0.25 * average + 0.75 * changed : average, 4, "average");
        }
    for (int each = 0; each < WEIGHTS; each++)
        for (int number = 0; number < ARRAYS; number++)
            release(&arrays[each][number]), release(&before[each][number]);
}

#endif
