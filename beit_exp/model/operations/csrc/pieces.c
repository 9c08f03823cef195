/* Pieces of work made of oneDNN's primitives, for one thread each. */

#include "onednn.h"

static int make_rounding(piece *own, int64_t begin, int64_t length) {
    handle plain, bits, description;
    return row_layout(&plain, length, FLOAT32) || row_layout(&bits, length, BFLOAT16)
        || add_operand(own, SOURCE, plain, 4 * begin) || add_operand(own, OUT, bits, 2 * begin)
        || dnnl.reorder_primitive_desc_create(&description, plain, engine, bits, engine, NULL)
        || dnnl.primitive_create(&own->primitive, description);
}

static int make_softmax(
    piece *own, const form *of, int64_t begin, int64_t length, int is_backward) {
    int64_t columns = of->columns, offset = 4 * begin * columns;
    int64_t shape[3] = {1, length, columns}, strides[3] = {length * columns, columns, 1};
    handle plain, out, forward, backward;
    int status = layout(&plain, shape, strides, FLOAT32) || layout(&out, shape, strides, of->out_kind)
        || dnnl.softmax_forward_primitive_desc_create(
            &forward, engine, FORWARD, SOFTMAX, plain, out, 2, NULL);
    if (status || !is_backward)
        return status || add_operand(own, SOURCE, plain, offset)
            || add_operand(own, OUT, out, offset)
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
