/* Whether an operator is given arrays that it can mean: the one place that looks at them. */

#include "native.h"

#include <string.h>

static const int64_t MOST_BYTES = INT64_MAX / MOST_THREADS; /* so that no sum of them overflows */

/* The number of elements, or -1 if there is no such array. */
static int64_t elements_of(const int64_t *shape, int axes) {
    int64_t elements = 1;
    for (int axis = 0; axis < axes; axis++)
        if (shape[axis] < 0 || __builtin_mul_overflow(elements, shape[axis], &elements))
            return -1;
    return elements <= MOST_BYTES / 4 ? elements : -1;
}

static int is_array(const call *given, int number) {
    const void *start = given->arrays[number];
    if (given->axes[number] < 0 || given->shapes[number] == NULL
        || given->kinds[number] == NULL || strcmp(given->kinds[number], "float32") != 0)
        return 0;
    const int64_t elements = elements_of(given->shapes[number], given->axes[number]);
    return elements == 0
        || (elements > 0 && start != NULL && (uintptr_t)start % sizeof(float) == 0);
}

/* The shape of one array against its part of the pattern, which ends at a space or at the end. */
static int fits(const int64_t *shape, int axes, const char *part, lengths *measured) {
    if (axes != (int)strcspn(part, " "))
        return 0;
    for (int axis = 0; axis < axes; axis++) {
        int64_t *known = &measured->of[(int)part[axis]];
        if (*known >= 0 && *known != shape[axis])
            return 0;
        *known = shape[axis];
    }
    return 1;
}

/* Measures the arrays of a call by a pattern like "RK KC RC": a part for each array, in it a letter
 * for each axis, alike wherever it stands. */
int measure(const call *given, const char *pattern, lengths *measured) {
    memset(measured->of, -1, sizeof measured->of);
    int number = 0;
    for (const char *part = pattern; part != NULL; number++) {
        if (number >= given->count || !is_array(given, number)
            || !fits(given->shapes[number], given->axes[number], part, measured))
            return WRONG_ARGUMENTS;
        part = strchr(part, ' ');
        part = part == NULL ? NULL : part + 1;
    }
    return number == given->count ? SUCCESS : WRONG_ARGUMENTS;
}
