/* What the files of this folder share: work for the threads, made of oneDNN's primitives. */

#ifndef NATIVE_H
#define NATIVE_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

enum { SUCCESS = 0, FAILURE = 1 };
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

/* onednn.c */
int load_onednn(const char *path, int number_of_threads, float epsilon_of_norms);
const work *find(const form *of);
int do_part(const work *todo, int part, void *const *starts);

/* team.c */
int start_team(int number_of_threads);
int run(const work *todo, void *const *starts);

#pragma GCC visibility pop

#endif
