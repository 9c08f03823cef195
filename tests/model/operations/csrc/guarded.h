/* Arrays between pages that nobody may touch: oneDNN writes its code as it runs, so that a compiler
 * cannot watch over it. What lies beside an array in its own pages must stay as it was.
 */

#ifndef GUARDED_H
#define GUARDED_H

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, PATTERN = 0x5A, MOST_AXES = 4, MOST_ARRAYS = 13 };

typedef struct {
    float *start;
    int axes;
    int64_t shape[MOST_AXES], elements;
    char *pages; /* with one before and one after */
    size_t size;
} array;

#define REQUIRE(condition, ...) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: not " #condition ": ", __FILE__, __LINE__); \
            fprintf(stderr, __VA_ARGS__); \
            fputc('\n', stderr); \
            fflush(stderr); \
            _exit(1); /* other threads may run, for which nothing is to be taken down */ \
        } \
    } while (0)

static __thread unsigned seed = 1;

/* Multiples of 1/8 from -2 to 2: exact in bfloat16, and sums of their products in float32. */
static float draw(void) {
    seed = seed * 1664525u + 1013904223u;
    return (float)((int)(seed >> 24) % 33 - 16) / 8;
}

/* At the end of its pages, or at their beginning; the lengths of the axes follow. */
static array make(int is_at_end, int axes, ...) {
    array made = {.axes = axes, .elements = 1};
    va_list lengths;
    va_start(lengths, axes);
    for (int axis = 0; axis < axes; axis++)
        made.elements *= made.shape[axis] = va_arg(lengths, int);
    va_end(lengths);
    const size_t bytes = (size_t)made.elements * sizeof(float);
    made.size = (bytes + PAGE - 1) / PAGE * PAGE;
    made.pages = mmap(
        NULL, made.size + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(made.pages != MAP_FAILED, "%zu bytes", bytes);
    char *first = made.pages + PAGE;
    if (made.size > 0) {
        REQUIRE(mprotect(first, made.size, PROT_READ | PROT_WRITE) == 0, "%zu bytes", bytes);
        memset(first, PATTERN, made.size);
    }
    made.start = (float *)(is_at_end ? first + made.size - bytes : first);
    return made;
}

static void fill_randomly(const array *one) {
    for (int64_t number = 0; number < one->elements; number++)
        one->start[number] = draw();
}

static void fill_with_nan(const array *one) {
    for (int64_t number = 0; number < one->elements; number++)
        one->start[number] = NAN;
}

/* Gives the pages back, in which nothing else was written. */
static void release(const array *one) {
    const char *first = one->pages + PAGE, *start = (const char *)one->start;
    for (const char *at = first; at < first + one->size; at++)
        REQUIRE((at >= start && at < start + 4 * one->elements) || *at == PATTERN,
                "byte %td is overwritten", at - start);
    munmap(one->pages, one->size + 2 * PAGE);
}

/* `size`: of what was added up to it. */
static void expect_sum(
    const array *one, int64_t number, double exact, double size, const char *what) {
    const double found = one->start[number];
    REQUIRE(fabs(found - exact) <= 2e-5 * (1 + size), "%s[%ld] is %g, not %g", what,
            (long)number, found, exact);
}

static void expect(const array *one, int64_t number, double exact, const char *what) {
    expect_sum(one, number, exact, fabs(exact), what);
}

#endif
