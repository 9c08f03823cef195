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
/* Which room an operand is rounded into; the four of attention take them in order. */
enum { X, WEIGHT, GRADIENT, HIDDEN, ROUNDED_AT_ONCE };
enum { GRAIN = 32 }; /* parts of rows and elements begin at multiples of it */

typedef void *handle; /* of something of oneDNN's */
typedef struct { int number; handle memory; } argument;

/* What makes two calls alike. Products: R rows, K the width summed over, C columns; norms
 * and softmax: R rows, C columns; else the elements alone. `kind`: of a product's operands;
 * `out_kind`: of what a product or a softmax gives. */
enum what {
    ROUNDING, GELU_FORWARD, GELU_BACKWARD, NORM_FORWARD, NORM_BACKWARD, SOFTMAX_FORWARD,
    SOFTMAX_BACKWARD, PRODUCT
};
typedef struct {
    int64_t what, elements, rows, width, columns;
    int64_t left_lies_transposed, right_lies_transposed, has_bias, has_gelu, is_added, is_kept;
    int64_t kind, out_kind;
} form;

/* A primitive for one thread's part, and where in each array that part begins. */
typedef struct {
    handle primitive;
    int operands;
    argument arguments[MOST_OPERANDS];
    int64_t offsets[MOST_OPERANDS]; /* bytes */
    handle packing, packed_layout;  /* of a product's right operand; NULL if it is not packed */
    argument packed[2];             /* from, to */
    int is_kept;                    /* packed once for as long as weights are kept */
    int is_shared;                  /* packed for all pieces by all threads, each its columns */
    int64_t right_span;             /* elements from the right operand's first to its last */
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
typedef struct { int64_t of['Z' + 1]; } lengths;

/* A weight with what belongs to it, all float32 and of its size; NULL is what there is none of. */
typedef struct {
    float *weight, *moment1, *moment2, *average;
    const float *gradient;
    int64_t elements;
    float rate, epsilon, decay;
} parameter;

/* Memory that is kept for the next time. */
typedef struct { void *start; size_t size; } room;

/* Products of heads: of each image's heads so many rows, the width summed over, columns. Operands
 * lie at strides of an image, a head, a row and a column. */
typedef int64_t strides[4];
typedef struct { int64_t images, heads, rows, width, columns, kind; } heads_product;

/* A dense layer: `rows` of `in` numbers, to as many of `out`; operands of products are of `kind`. */
typedef struct { int64_t rows, in, out, kind; } layer;

/* What a thread does of some work: its part, counted from 0. */
typedef int (*task)(const void *work, int part, void *const *starts);

/* arguments.c */
int measure(const call *given, const char *pattern, lengths *measured);

/* onednn.c, pieces.c, products.c */
int load_onednn(const char *path, int number_of_threads, float epsilon_of_norms);
int make_piece(piece *own, const form *of, int64_t begin, int64_t length);
int make_heads_product(
    piece *own, const heads_product *of, const strides left, const strides right, const strides out,
    float factor, int is_added);
int perform(const piece *own, int part, void *const *starts);
int do_work(const work *todo, void *const *starts);
int share_packing(work *of);
int pack_for_all(const work *todo, void *const *starts);

int keeps_weights(void);
void keep_weights(int more);
void forget_packed(void);

/* dense.c */
int round_for(int64_t kind, int side, void **array, int64_t elements);
int sum_columns(const float *x, int64_t rows, int64_t columns, float *sums, int threads);
int apply_layer(
    const layer *of, int64_t out_kind, int has_gelu, void *x, void *weight, void *bias, void *out);
int differentiate_input(const layer *of, void *gradient, void *weight, void *of_x, int is_added);
int differentiate_weight(const layer *of, void *gradient, void *x, void *of_weight);

/* work.c */
int is_cut_by_columns(const form *of);
int find(const form *of, int threads, const work **found);

/* team.c */
int start_team(int number_of_threads);
void forget_team(void);
int run(task act, const void *todo, int parts, void *const *starts);

/* operators.c */
int begin(int *number_of_threads);
void end(void);
int provide(room *memory, size_t size);
int round_operand(int side, void **array, int64_t size);
int run_in_parts(task act, const void *todo, int64_t most, int *parts);
int compute_as_it_is(const form *of, void *const *starts);
void fill(float *out, int64_t rows, int64_t columns, const float *bias);

#pragma GCC visibility pop

static inline int64_t least(int64_t one, int64_t other) { return one < other ? one : other; }

/* Into how many parts work is cut of which `most` are large enough to wake a thread for. */
static inline int parts_of(int64_t most, int threads) {
    return most < 1 ? 1 : (int)least(most, threads);
}

/* Ends a function with the status of what fails. */
#define TRY(action) \
    do { \
        const int status_ = (action); \
        if (status_) \
            return status_; \
    } while (0)

/* An operator: what `ops.Custom` gives it, all arrays float32, measured by the pattern. */
#define OPERATOR(name, pattern) \
    static int do_##name(void **arrays, const lengths *given); \
    int name(int count, void **arrays, int *axes, int64_t **shapes, const char **kinds, \
             void *stream, void *extra) { \
        const call given = {count, arrays, axes, shapes, kinds}; \
        lengths measured; \
        int status = measure(&given, pattern, &measured); \
        return status ? status : do_##name(arrays, &measured); \
    } \
    static int do_##name(void **arrays, const lengths *given)

/* Two of them, whose products take operands of the kind that `result` is computed for. */
#define OPERATORS(name, pattern, result) \
    OPERATOR(name##_float32, pattern) { const int kind = FLOAT32; return result; } \
    OPERATOR(name##_bfloat16, pattern) { const int kind = BFLOAT16; return result; }

#endif
