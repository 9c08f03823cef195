/* One call of each operator, and the numbers that it must give. */

#ifndef CHECKS_H
#define CHECKS_H

#include "guarded.h"
#include "native.h"

#include <stdatomic.h>

typedef int operator(int, void **, int *, int64_t **, const char **, void *, void *);
int native_open(const char *, int, float);
operator dense_float32, dense_bfloat16, product_float32, product_bfloat16;
operator product_with_transposed_float32, product_with_transposed_bfloat16;
operator product_of_transposed_float32, product_of_transposed_bfloat16;
operator gelu, gelu_gradient, layer_norm, layer_norm_gradient, softmax_of_sum, softmax_gradient;

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

/* B products of R rows, K summed over, C columns. */
static void check_product(
    operator *run, int left_lies, int right_lies, int B, int R, int K, int C) {
    array arrays[3] = {
        left_lies ? make(is_at_end, 3, B, K, R) : make(is_at_end, 3, B, R, K),
        right_lies ? make(is_at_end, 3, B, C, K) : make(is_at_end, 3, B, K, C),
        make(is_at_end, 3, B, R, C),
    };
    fill_randomly(&arrays[0]);
    fill_randomly(&arrays[1]);
    REQUIRE(call_operator(run, 3, arrays, 1) == SUCCESS, "%d %d %d %d", B, R, K, C);
    /* Every element of a small product, some of a large one */
    const int64_t step = arrays[2].elements > 9000 ? 997 : 1;
    for (int64_t number = 0; number < arrays[2].elements; number += step) {
        const int64_t b = number / ((int64_t)R * C), r = number / C % R, c = number % C;
        const float *left = arrays[0].start + b * R * K, *right = arrays[1].start + b * K * C;
        double exact = 0;
        for (int k = 0; k < K; k++)
            exact += left[left_lies ? k * R + r : r * K + k]
                * right[right_lies ? c * K + k : k * C + c];
        expect(&arrays[2], number, exact, "product");
    }
    release_all(3, arrays);
}

static void check_dense(operator *run, int R, int K, int C) {
    array arrays[4] = {make(is_at_end, 2, R, K), make(is_at_end, 2, C, K), make(is_at_end, 1, C),
                       make(is_at_end, 2, R, C)};
    for (int number = 0; number < 3; number++)
        fill_randomly(&arrays[number]);
    REQUIRE(call_operator(run, 4, arrays, 1) == SUCCESS, "%d %d %d", R, K, C);
    for (int64_t number = 0; number < arrays[3].elements; number++) {
        double exact = arrays[2].start[number % C];
        for (int k = 0; k < K; k++)
            exact += arrays[0].start[number / C * K + k] * arrays[1].start[number % C * K + k];
        expect(&arrays[3], number, exact, "dense");
    }
    release_all(4, arrays);
}

static void check_products(int B, int R, int K, int C) {
    check_product(product_float32, 0, 0, B, R, K, C);
    check_product(product_with_transposed_float32, 0, 1, B, R, K, C);
    check_product(product_of_transposed_float32, 1, 0, B, R, K, C);
    if (has_bfloat16) {
        check_product(product_bfloat16, 0, 0, B, R, K, C);
        check_product(product_with_transposed_bfloat16, 0, 1, B, R, K, C);
        check_product(product_of_transposed_bfloat16, 1, 0, B, R, K, C);
    }
}

static void check_gelu(int N) {
    array arrays[3] = {make(is_at_end, 1, N), make(is_at_end, 1, N), make(is_at_end, 1, N)};
    array forward[2] = {arrays[0], arrays[2]};
    fill_randomly(&arrays[0]);
    fill_randomly(&arrays[1]);
    REQUIRE(call_operator(gelu, 2, forward, 1) == SUCCESS, "%d", N);
    for (int n = 0; n < N; n++) {
        const double x = arrays[0].start[n];
        expect(&arrays[2], n, x * (1 + erf(x * M_SQRT1_2)) / 2, "gelu");
    }
    REQUIRE(call_operator(gelu_gradient, 3, arrays, 1) == SUCCESS, "%d", N);
    for (int n = 0; n < N; n++) {
        const double x = arrays[0].start[n];
        const double slope = (1 + erf(x * M_SQRT1_2)) / 2 + x * exp(-x * x / 2) / sqrt(2 * M_PI);
        expect(&arrays[2], n, arrays[1].start[n] * slope, "slope");
    }
    release_all(3, arrays);
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

/* B times the sum of (H, R, C) scores and a bias, which is the same for all */
static void check_softmax(int B, int H, int R, int C) {
    const int at = is_at_end;
    array arrays[3] = {make(at, 4, B, H, R, C), make(at, 3, H, R, C), make(at, 4, B, H, R, C)};
    fill_randomly(&arrays[0]), fill_randomly(&arrays[1]);
    REQUIRE(call_operator(softmax_of_sum, 3, arrays, 1) == SUCCESS, "%d %d %d %d", B, H, R, C);
    array backward[3] = {arrays[2], arrays[0], make(is_at_end, 4, B, H, R, C)};
    for (int64_t row = 0; row < (int64_t)B * H * R; row++) {
        const float *scores = arrays[0].start + row * C;
        const float *bias = arrays[1].start + row % (H * R) * C;
        double sum = 0;
        for (int c = 0; c < C; c++)
            sum += exp(scores[c] + bias[c]);
        for (int c = 0; c < C; c++)
            expect(&arrays[2], row * C + c, exp(scores[c] + bias[c]) / sum, "softmax");
    }
    REQUIRE(call_operator(softmax_gradient, 3, backward, 1) == SUCCESS, "%d %d %d %d", B, H, R, C);
    for (int64_t row = 0; row < (int64_t)B * H * R; row++) {
        const float *own = arrays[2].start + row * C, *gradient = arrays[0].start + row * C;
        double sum = 0;
        for (int c = 0; c < C; c++)
            sum += own[c] * gradient[c];
        for (int c = 0; c < C; c++)
            expect(&backward[2], row * C + c, own[c] * (gradient[c] - sum), "gradient of softmax");
    }
    release(&backward[2]);
    release_all(3, arrays);
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
