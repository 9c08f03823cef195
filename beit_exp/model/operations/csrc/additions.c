/* x + keep scale branch: a branch added to what it branched from, scaled per channel, kept per
 * image. */

#include "native.h"

#include <string.h>

enum { LEAST_ADDED = 1 << 14 }; /* of a thread */

typedef struct {
    int64_t rows, columns, rows_of_image;
    const float *x, *branch, *scale, *keep, *gradient;
    float *out, *of_branch;
    float *sums; /* each part's own gradient of the scale */
    int parts;
} addition;

static room sums;

static int64_t first_row(const addition *todo, int part) { return todo->rows * part / todo->parts; }

static int add_part(const void *work, int part, void *const *unused) {
    const addition *todo = work;
    const float *restrict scale = todo->scale;
    (void)unused;
    for (int64_t row = first_row(todo, part); row < first_row(todo, part + 1); row++) {
        const float keep = todo->keep[row / todo->rows_of_image];
        const int64_t at = row * todo->columns;
        const float *restrict x = todo->x + at, *restrict branch = todo->branch + at;
        float *restrict out = todo->out + at;
        for (int64_t column = 0; column < todo->columns; column++)
            out[column] = x[column] + branch[column] * (keep * scale[column]);
    }
    return SUCCESS;
}

static int differentiate_part(const void *work, int part, void *const *unused) {
    const addition *todo = work;
    const float *restrict scale = todo->scale;
    float *restrict own = todo->sums + part * todo->columns;
    (void)unused;
    memset(own, 0, 4 * (size_t)todo->columns);
    for (int64_t row = first_row(todo, part); row < first_row(todo, part + 1); row++) {
        const float keep = todo->keep[row / todo->rows_of_image];
        const int64_t at = row * todo->columns;
        const float *restrict branch = todo->branch + at, *restrict gradient = todo->gradient + at;
        float *restrict of_branch = todo->of_branch + at;
        for (int64_t column = 0; column < todo->columns; column++) {
            const float kept = keep * gradient[column];
            of_branch[column] = kept * scale[column];
            own[column] += kept * branch[column];
        }
    }
    return SUCCESS;
}

static int measured(const lengths *given, addition *todo) {
    todo->rows = given->of['R'], todo->columns = given->of['D'];
    if (given->of['B'] == 0 ? todo->rows > 0 : todo->rows % given->of['B'] > 0)
        return WRONG_ARGUMENTS;
    todo->rows_of_image = todo->rows == 0 ? 1 : todo->rows / given->of['B'];
    return SUCCESS;
}

static int64_t most_parts(const addition *todo) {
    return least(todo->rows * todo->columns / LEAST_ADDED, todo->rows);
}

/* x, branch, scale, keep of each image -> x + keep scale branch */
OPERATOR(scaled_addition, "RD RD D B RD") {
    addition todo = {
        .x = arrays[0], .branch = arrays[1], .scale = arrays[2], .keep = arrays[3],
        .out = arrays[4],
    };
    int status = measured(given, &todo);
    return status ? status : run_in_parts(add_part, &todo, most_parts(&todo), &todo.parts);
}

/* branch, scale, keep, gradient -> gradients of branch and scale */
OPERATOR(scaled_addition_gradient, "RD D B RD RD D") {
    addition todo = {
        .branch = arrays[0], .scale = arrays[1], .keep = arrays[2], .gradient = arrays[3],
        .of_branch = arrays[4],
    };
    int threads, status = measured(given, &todo);
    if (!status)
        status = begin(&threads);
    if (status)
        return status;
    todo.parts = parts_of(most_parts(&todo), threads);
    status = provide(&sums, 4 * (size_t)(todo.parts * todo.columns + 1));
    todo.sums = sums.start;
    status = status ? status : run(differentiate_part, &todo, todo.parts, NULL);
    memset(arrays[5], 0, 4 * (size_t)todo.columns);
    for (int64_t at = 0; !status && at < todo.parts * todo.columns; at++)
        ((float *)arrays[5])[at % todo.columns] += todo.sums[at];
    end();
    return status;
}
