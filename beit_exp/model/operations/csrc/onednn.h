/* The functions of oneDNN (C interface, version 3) that pieces of work are made with, the library
 * that MindSpore brings and has loaded. */

#ifndef ONEDNN_H
#define ONEDNN_H

#include "native.h"

#pragma GCC visibility push(hidden)

enum { ANY_LAYOUT = 1, LAYOUT_OF_WEIGHTS = 131, ISA_AVX512 = 0x27 };
enum { CPU = 1, IN_ORDER = 1, FORWARD = 64, BACKWARD = 128, WITH_SCALE_AND_SHIFT = 2 | 4 };
enum { LINEAR = 0x26, GELU = 0x31, SOFTMAX = 0x30000 };
enum { SOURCE = 1, OUT = 17, WEIGHTS = 33, BIAS = 41 };
enum { MEAN = 49, VARIANCE = 50, SCALE = 51, SHIFT = 52 };
enum { SOURCE_GRADIENT = 129, OUT_GRADIENT = 145, SCALE_GRADIENT = 255, SHIFT_GRADIENT = 256 };

typedef struct {
    int (*engine_create)(handle *, int, size_t);
    int (*stream_create)(handle *, handle, unsigned);
    int (*stream_wait)(handle);
    int (*memory_desc_create_with_strides)(handle *, int, const int64_t *, int, const int64_t *);
    int (*memory_desc_create_with_tag)(handle *, int, const int64_t *, int, int);
    int (*memory_desc_create_submemory)(handle *, handle, const int64_t *, const int64_t *);
    size_t (*memory_desc_get_size)(handle);
    int (*memory_desc_equal)(handle, handle);
    int (*get_effective_cpu_isa)(void);
    handle (*primitive_desc_query_md)(handle, int, int);
    int (*memory_create)(handle *, handle, handle, void *);
    int (*memory_set_data_handle)(handle, void *);
    int (*reorder_primitive_desc_create)(handle *, handle, handle, handle, handle, handle);
    int (*matmul_primitive_desc_create)(handle *, handle, handle, handle, handle, handle, handle);
    int (*primitive_attr_create)(handle *);
    int (*primitive_attr_destroy)(handle);
    int (*primitive_attr_set_post_ops)(handle, handle);
    int (*post_ops_create)(handle *);
    int (*post_ops_destroy)(handle);
    int (*post_ops_append_eltwise)(handle, int, float, float);
    int (*post_ops_append_sum)(handle, float, int, int);
    int (*eltwise_forward_primitive_desc_create)(
        handle *, handle, int, int, handle, handle, float, float, handle);
    int (*eltwise_backward_primitive_desc_create)(
        handle *, handle, int, handle, handle, handle, float, float, handle, handle);
    int (*softmax_forward_primitive_desc_create)(
        handle *, handle, int, int, handle, handle, int, handle);
    int (*softmax_backward_primitive_desc_create)(
        handle *, handle, int, handle, handle, handle, int, handle, handle);
    int (*layer_normalization_forward_primitive_desc_create)(
        handle *, handle, int, handle, handle, handle, float, unsigned, handle);
    int (*layer_normalization_backward_primitive_desc_create)(
        handle *, handle, int, handle, handle, handle, handle, float, unsigned, handle, handle);
    int (*primitive_create)(handle *, handle);
    int (*primitive_execute)(handle, handle, int, const argument *);
} functions;

extern functions dnnl;
extern handle engine, streams[MOST_THREADS];
extern float epsilon; /* of layer norm */

/* Ends a function with our status of a call of oneDNN's that fails; its 1 is a lack of memory. */
#define ONEDNN(action) TRY(status_of(action))
static inline int status_of(int found) {
    return found == 0 ? SUCCESS : found == 1 ? NO_MEMORY : FAILURE;
}

int layout(handle *made, const int64_t *shape, const int64_t *strides, int64_t kind);
int row_layout(handle *made, int64_t length, int kind);
int add_operand(piece *own, int number, handle layout, int64_t offset);

/* products.c */
int make_product(piece *own, const form *of, int64_t begin, int64_t length);
int pack(const piece *own, int part, void *right);

#pragma GCC visibility pop

#endif
