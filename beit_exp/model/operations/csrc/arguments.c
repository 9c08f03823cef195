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

int64_t product_of(const int64_t *shape, int axes) {
    int64_t product = 1;
    for (int axis = 0; axis < axes; axis++)
        product *= shape[axis];
    return product;
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

/* The axes that '.' or ':' stands for against those that '.' stood for first. */
static int are_leading(const int64_t *shape, int axes, char sign, lengths *measured) {
    if (sign == ':') {
        measured->last = shape;
        measured->last_axes = axes;
    } else if (measured->leading == NULL) {
        measured->leading = shape;
        measured->leading_axes = axes;
    }
    const int missing = measured->leading_axes - axes;
    if (missing < 0 || (missing > 0 && sign == '.'))
        return 0;
    for (int axis = 0; axis < axes; axis++)
        if (shape[axis] != measured->leading[missing + axis])
            return 0;
    return 1;
}

/* The shape of one array against its part of the pattern, which ends at a space or at the end. */
static int fits(const int64_t *shape, int axes, const char *part, lengths *measured) {
    const int has_leading = *part == '.' || *part == ':';
    const char *letters = part + has_leading;
    const int leading = axes - (int)strcspn(letters, " ");
    if (has_leading ? leading < 0 || !are_leading(shape, leading, *part, measured) : leading)
        return 0;
    for (int axis = leading; axis < axes; axis++) {
        int64_t *known = &measured->of[(int)letters[axis - leading]];
        if (*known >= 0 && *known != shape[axis])
            return 0;
        *known = shape[axis];
    }
    return 1;
}

/* Measures the arrays of a call by a pattern like ".RK .KC .RC": a part for each array, in it a
 * letter for each axis, alike wherever it stands. A '.' stands for any axes before, alike wherever
 * it stands; a ':' for the last of those, or none. */
int measure(const call *given, const char *pattern, lengths *measured) {
    *measured = (lengths){.leading = NULL};
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
