/* Pieces of work made of the primitives of oneDNN (C interface, version 3), the library that
 * MindSpore brings and has loaded.
 */

#include "native.h"

#include <dlfcn.h>

enum { CPU = 1, IN_ORDER = 1, FORWARD = 64, BACKWARD = 128, WITH_SCALE_AND_SHIFT = 2 | 4 };
enum { GELU = 0x31, SUM = 0x1fff0, SOFTMAX = 0x30000 };
enum { SOURCE = 1, SECOND_SOURCE = 2, OUT = 17, WEIGHTS = 33, BIAS = 41 };
enum { MEAN = 49, VARIANCE = 50, SCALE = 51, SHIFT = 52 };
enum { SOURCE_GRADIENT = 129, OUT_GRADIENT = 145, SCALE_GRADIENT = 255, SHIFT_GRADIENT = 256 };

static struct {
    int (*engine_create)(handle *, int, size_t);
    int (*stream_create)(handle *, handle, unsigned);
    int (*stream_wait)(handle);
    int (*memory_desc_create_with_strides)(handle *, int, const int64_t *, int, const int64_t *);
    int (*memory_create)(handle *, handle, handle, void *);
    int (*memory_set_data_handle)(handle, void *);
    int (*reorder_primitive_desc_create)(handle *, handle, handle, handle, handle, handle);
    int (*matmul_primitive_desc_create)(handle *, handle, handle, handle, handle, handle, handle);
    int (*eltwise_forward_primitive_desc_create)(
        handle *, handle, int, int, handle, handle, float, float, handle);
    int (*eltwise_backward_primitive_desc_create)(
        handle *, handle, int, handle, handle, handle, float, float, handle, handle);
    int (*binary_primitive_desc_create)(handle *, handle, int, handle, handle, handle, handle);
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
} dnnl;

static handle engine, streams[MOST_THREADS];
static float epsilon; /* of layer norm */

static int layout(handle *made, const int64_t *shape, const int64_t *strides, int64_t kind) {
    return dnnl.memory_desc_create_with_strides(made, 3, shape, (int)kind, strides);
}

static int row_layout(handle *made, int64_t length, int kind) {
    int64_t shape[3] = {1, 1, length}, strides[3] = {length, length, 1};
    return layout(made, shape, strides, kind);
}

static int add_operand(piece *own, int number, handle layout, int64_t offset) {
    own->arguments[own->operands].number = number;
    own->offsets[own->operands] = offset;
    return dnnl.memory_create(&own->arguments[own->operands++].memory, layout, engine, NULL);
}

static int make_rounding(piece *own, int64_t begin, int64_t length) {
    handle plain, bits, description;
    return row_layout(&plain, length, FLOAT32) || row_layout(&bits, length, BFLOAT16)
        || add_operand(own, SOURCE, plain, 4 * begin) || add_operand(own, OUT, bits, 2 * begin)
        || dnnl.reorder_primitive_desc_create(&description, plain, engine, bits, engine, NULL)
        || dnnl.primitive_create(&own->primitive, description);
}

static int make_sum(piece *own, const form *of, int64_t begin, int64_t length) {
    /* Cut by the batch, for oneDNN is slow where there are gaps; a batch of one has none. */
    int is_batch = of->batch > 1;
    int64_t elements = is_batch ? of->elements : length;
    int64_t shape[3] = {is_batch ? length : 1, 1, elements}, strides[3] = {elements, elements, 1};
    int64_t offset = 4 * begin * (is_batch ? elements : 1);
    handle all, one, description;
    return layout(&all, shape, strides, FLOAT32) || row_layout(&one, elements, FLOAT32)
        || add_operand(own, SOURCE, all, offset)
        || add_operand(own, SECOND_SOURCE, one, is_batch ? 0 : offset)
        || add_operand(own, OUT, all, offset)
        || dnnl.binary_primitive_desc_create(&description, engine, SUM, all, one, all, NULL)
        || dnnl.primitive_create(&own->primitive, description);
}

static int make_softmax(
    piece *own, const form *of, int64_t begin, int64_t length, int is_backward) {
    int64_t columns = of->columns, offset = 4 * begin * columns;
    int64_t shape[3] = {1, length, columns}, strides[3] = {length * columns, columns, 1};
    handle plain, forward, backward;
    int status = layout(&plain, shape, strides, FLOAT32)
        || dnnl.softmax_forward_primitive_desc_create(
            &forward, engine, FORWARD, SOFTMAX, plain, plain, 2, NULL);
    if (status || !is_backward)
        return status || add_operand(own, SOURCE, plain, offset)
            || add_operand(own, OUT, plain, offset)
            || dnnl.primitive_create(&own->primitive, forward);
    return add_operand(own, OUT, plain, offset) || add_operand(own, OUT_GRADIENT, plain, offset)
        || add_operand(own, SOURCE_GRADIENT, plain, offset)
        || dnnl.softmax_backward_primitive_desc_create(
            &backward, engine, SOFTMAX, plain, plain, plain, 2, forward, NULL)
        || dnnl.primitive_create(&own->primitive, backward);
}

static int make_gelu(piece *own, int64_t begin, int64_t length, int is_backward) {
    handle plain, forward, backward;
    int status = row_layout(&plain, length, FLOAT32)
        || dnnl.eltwise_forward_primitive_desc_create(
            &forward, engine, FORWARD, GELU, plain, plain, 0, 0, NULL)
        || add_operand(own, SOURCE, plain, 4 * begin);
    if (status || !is_backward)
        return status || add_operand(own, OUT, plain, 4 * begin)
            || dnnl.primitive_create(&own->primitive, forward);
    return add_operand(own, OUT_GRADIENT, plain, 4 * begin)
        || add_operand(own, SOURCE_GRADIENT, plain, 4 * begin)
        || dnnl.eltwise_backward_primitive_desc_create(
            &backward, engine, GELU, plain, plain, plain, 0, 0, forward, NULL)
        || dnnl.primitive_create(&own->primitive, backward);
}

static int make_product(piece *own, const form *of, int64_t begin, int64_t length) {
    int64_t shape[3] = {of->batch, of->rows, of->columns}, at[3] = {0, 0, 0};
    shape[cut_axis(of)] = length;
    at[cut_axis(of)] = begin;
    int64_t left_shape[3] = {shape[0], shape[1], of->width};
    int64_t right_shape[3] = {shape[0], of->width, shape[2]};
    int64_t left_strides[3] = {of->rows * of->width, of->width, 1};
    int64_t right_strides[3] = {of->width * of->columns, of->columns, 1};
    int64_t out_strides[3] = {of->rows * of->columns, of->columns, 1};
    if (of->left_lies_transposed)
        left_strides[1] = 1, left_strides[2] = of->rows;
    if (of->right_lies_transposed)
        right_strides[1] = 1, right_strides[2] = of->width;
    int64_t bytes = of->kind == BFLOAT16 ? 2 : 4;
    handle left, right, out, bias = NULL, description;
    int64_t left_offset = bytes * (at[0] * left_strides[0] + at[1] * left_strides[1]);
    int64_t right_offset = bytes * (at[0] * right_strides[0] + at[2] * right_strides[2]);
    int64_t out_offset = 4 * (at[0] * out_strides[0] + at[1] * out_strides[1] + at[2]);
    return layout(&left, left_shape, left_strides, of->kind)
        || layout(&right, right_shape, right_strides, of->kind)
        || layout(&out, shape, out_strides, FLOAT32)
        || (of->has_bias && row_layout(&bias, shape[2], FLOAT32))
        || add_operand(own, SOURCE, left, left_offset)
        || add_operand(own, WEIGHTS, right, right_offset)
        || add_operand(own, OUT, out, out_offset)
        || (of->has_bias && add_operand(own, BIAS, bias, 4 * at[2]))
        || dnnl.matmul_primitive_desc_create(&description, engine, left, right, bias, out, NULL)
        || dnnl.primitive_create(&own->primitive, description);
}

static int make_norm(piece *own, const form *of, int64_t begin, int64_t length, int is_backward) {
    int64_t columns = of->columns, offset = 4 * begin * columns;
    int64_t shape[3] = {1, length, columns}, strides[3] = {length * columns, columns, 1};
    int64_t rows[3] = {1, length, 1}, one[1] = {1}, along[1] = {columns}, steps[2] = {length, 1};
    handle plain, of_rows, of_columns, forward, backward;
    int status = layout(&plain, shape, strides, FLOAT32)
        || dnnl.memory_desc_create_with_strides(&of_rows, 2, rows, FLOAT32, steps)
        || dnnl.memory_desc_create_with_strides(&of_columns, 1, along, FLOAT32, one)
        || dnnl.layer_normalization_forward_primitive_desc_create(
            &forward, engine, FORWARD, plain, plain, of_rows, epsilon, WITH_SCALE_AND_SHIFT, NULL)
        || add_operand(own, SOURCE, plain, offset) || add_operand(own, SCALE, of_columns, 0);
    if (status || !is_backward)
        return status || add_operand(own, SHIFT, of_columns, 0)
            || add_operand(own, OUT, plain, offset) || add_operand(own, MEAN, of_rows, 4 * begin)
            || add_operand(own, VARIANCE, of_rows, 4 * begin)
            || dnnl.primitive_create(&own->primitive, forward);
    /* Room for the sums of each part, of which none is shorter than the grain. */
    int64_t part = begin / GRAIN * columns;
    return add_operand(own, MEAN, of_rows, 4 * begin)
        || add_operand(own, VARIANCE, of_rows, 4 * begin)
        || add_operand(own, OUT_GRADIENT, plain, offset)
        || add_operand(own, SOURCE_GRADIENT, plain, offset)
        || add_operand(own, SCALE_GRADIENT, of_columns, 4 * part)
        || add_operand(own, SHIFT_GRADIENT, of_columns, 4 * part)
        || dnnl.layer_normalization_backward_primitive_desc_create(
            &backward, engine, BACKWARD, plain, plain, plain, of_rows, epsilon,
            WITH_SCALE_AND_SHIFT, forward, NULL)
        || dnnl.primitive_create(&own->primitive, backward);
}

/* What a thread does: `length` from `begin` on, along the axis that the work is cut by. */
int make_piece(piece *own, const form *of, int64_t begin, int64_t length) {
    switch (of->what) {
    case ROUNDING: return make_rounding(own, begin, length);
    case SUMMING: return make_sum(own, of, begin, length);
    case SOFTMAX_FORWARD: return make_softmax(own, of, begin, length, 0);
    case SOFTMAX_BACKWARD: return make_softmax(own, of, begin, length, 1);
    case GELU_FORWARD: return make_gelu(own, begin, length, 0);
    case GELU_BACKWARD: return make_gelu(own, begin, length, 1);
    case NORM_FORWARD: return make_norm(own, of, begin, length, 0);
    case NORM_BACKWARD: return make_norm(own, of, begin, length, 1);
    case PRODUCT: return make_product(own, of, begin, length);
    default: return FAILURE;
    }
}

int do_piece(const void *todo, int part, void *const *starts) {
    const piece *own = &((const work *)todo)->pieces[part];
    for (int number = 0; number < own->operands; number++)
        if (dnnl.memory_set_data_handle(
                own->arguments[number].memory, (char *)starts[number] + own->offsets[number]))
            return FAILURE;
    return dnnl.primitive_execute(own->primitive, streams[part], own->operands, own->arguments)
            || dnnl.stream_wait(streams[part])
        ? FAILURE : SUCCESS;
}

/* To be called once, before anything else. */
int load_onednn(const char *path, int number_of_threads, float epsilon_of_norms) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return FAILURE;
#define FIND(name) \
    if ((*(void **)&dnnl.name = dlsym(library, "dnnl_" #name)) == NULL) \
        return FAILURE
    FIND(engine_create);
    FIND(stream_create);
    FIND(stream_wait);
    FIND(memory_desc_create_with_strides);
    FIND(memory_create);
    FIND(memory_set_data_handle);
    FIND(reorder_primitive_desc_create);
    FIND(matmul_primitive_desc_create);
    FIND(eltwise_forward_primitive_desc_create);
    FIND(eltwise_backward_primitive_desc_create);
    FIND(binary_primitive_desc_create);
    FIND(softmax_forward_primitive_desc_create);
    FIND(softmax_backward_primitive_desc_create);
    FIND(layer_normalization_forward_primitive_desc_create);
    FIND(layer_normalization_backward_primitive_desc_create);
    FIND(primitive_create);
    FIND(primitive_execute);
#undef FIND
    epsilon = epsilon_of_norms;
    if (dnnl.engine_create(&engine, CPU, 0))
        return FAILURE;
    for (int number = 0; number < number_of_threads; number++)
        if (dnnl.stream_create(&streams[number], engine, IN_ORDER))
            return FAILURE;
    return SUCCESS;
}
