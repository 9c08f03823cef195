/* What the files of this folder share: work for the threads, made of oneDNN's primitives. */

#ifndef NATIVE_H
#define NATIVE_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/* What an operator returns; MindSpore tells any number but 0 in the error that it raises. FAILURE
 * is oneDNN's. */
enum { SUCCESS = 0, FAILURE = 1, NO_MEMORY = 2, WRONG_ARGUMENTS = 3, NO_THREADS = 4 };
enum { BFLOAT16 = 2, FLOAT32 = 3 }; /* kinds of elements, by oneDNN's numbers */
enum { MOST_THREADS = 256, MOST_OPERANDS = 8 };
enum { GRAIN = 32 }; /* parts of rows and elements begin at multiples of it */

typedef void *handle; /* of something of oneDNN's */
typedef struct { int number; handle memory; } argument;

/* What makes two calls alike. Products: R rows, K the width summed over, C columns, B times; norms
 * and softmax: R rows, C columns; sums: B times the elements, to which the same are added; else the
 * elements alone. */
enum what {
    ROUNDING, SUMMING, GELU_FORWARD, GELU_BACKWARD, NORM_FORWARD, NORM_BACKWARD, SOFTMAX_FORWARD,
    SOFTMAX_BACKWARD, PRODUCT
};
typedef struct {
    int64_t what, elements, batch, rows, width, columns;
    int64_t left_lies_transposed, right_lies_transposed, has_bias, kind;
} form;

/* A primitive for one thread's part, and where in each array that part begins. */
typedef struct {
    handle primitive;
    int operands;
    argument arguments[MOST_OPERANDS];
    int64_t offsets[MOST_OPERANDS]; /* bytes */
} piece;

typedef struct work {
    form of;
    int parts;
    piece *pieces;
    struct work *next;
} work;

/* What `ops.Custom` gives an operator: its inputs, then its outputs. */
typedef struct {
    int count;
    void **arrays;
    const int *axes;
    int64_t **shapes;
    const char **kinds;
} call;

/* Lengths of the axes that the arrays of a call share, by the letter of each. */
typedef struct {
    int64_t of['Z' + 1];
    const int64_t *leading, *last; /* the axes that '.' and ':' stand for */
    int leading_axes, last_axes;
} lengths;

/* A weight with what belongs to it, all float32 and of its size; NULL is what there is none of. */
typedef struct {
    float *weight, *moment1, *moment2, *average;
    const float *gradient;
    int64_t elements;
    float rate, epsilon, decay;
} parameter;

/* What a thread does of some work: its part, counted from 0. */
typedef int (*task)(const void *work, int part, void *const *starts);

/* arguments.c */
int measure(const call *given, const char *pattern, lengths *measured);
int64_t product_of(const int64_t *shape, int axes);

/* onednn.c */
int load_onednn(const char *path, int number_of_threads, float epsilon_of_norms);
int make_piece(piece *own, const form *of, int64_t begin, int64_t length);
int do_piece(const void *todo, int part, void *const *starts);

/* work.c */
int cut_axis(const form *of);
int find(const form *of, int threads, const work **found);

/* team.c */
int start_team(int number_of_threads);
void forget_team(void);
int run(task act, const void *todo, int parts, void *const *starts);

/* operators.c */
int run_on_all_threads(task act, const void *todo, int *parts);

#pragma GCC visibility pop

#endif
