/* Pieces of products of matrices. */

#include "onednn.h"

#include <string.h>

static room packed[MOST_THREADS];

static int bias_layout(handle *made, int64_t length) {
    int64_t shape[2] = {1, length}, strides[2] = {length, 1};
    return dnnl.memory_desc_create_with_strides(made, 2, shape, FLOAT32, strides);
}

/* What is done to a product: times a factor, and added to what lies there. */
static int make_epilogue(handle *made, float factor, int is_added) {
    handle post;
    int status = dnnl.primitive_attr_create(made) || dnnl.post_ops_create(&post);
    if (status)
        return FAILURE;
    status = (factor != 1 && dnnl.post_ops_append_eltwise(post, LINEAR, factor, 0))
        || (is_added && dnnl.post_ops_append_sum(post, 1, 0, FLOAT32))
        || dnnl.primitive_attr_set_post_ops(*made, post);
    dnnl.post_ops_destroy(post);
    return status;
}

/* A right operand whose rows lie one after the other: oneDNN's kernels for AVX-512 read it twice as
 * fast from a layout of their own, that of `right`. Only they have one. */
static int make_packing(piece *own, handle plain, handle right) {
    own->packed[0].number = SOURCE, own->packed[1].number = OUT;
    own->packed_size = dnnl.memory_desc_get_size(right);
    handle description;
    return dnnl.memory_create(&own->packed[0].memory, plain, engine, NULL)
        || dnnl.memory_create(&own->packed[1].memory, right, engine, NULL)
        || dnnl.reorder_primitive_desc_create(&description, plain, engine, right, engine, NULL)
        || dnnl.primitive_create(&own->packing, description);
}

static int is_packed(const char *name_of_kernel) { return !strncmp(name_of_kernel, "brg", 3); }

int make_product(piece *own, const form *of, int64_t begin, int64_t length) {
    const int by_columns = is_cut_by_columns(of);
    const int64_t rows = by_columns ? of->rows : length, row = by_columns ? 0 : begin;
    const int64_t columns = by_columns ? length : of->columns, column = by_columns ? begin : 0;
    const int64_t left_shape[2] = {rows, of->width}, right_shape[2] = {of->width, columns};
    const int64_t shape[2] = {rows, columns}, out_strides[2] = {of->columns, 1};
    const int64_t plain_left[2] = {of->width, 1}, transposed_left[2] = {1, of->rows};
    const int64_t plain_right[2] = {of->columns, 1}, transposed_right[2] = {1, of->width};
    const int64_t *left_strides = of->left_lies_transposed ? transposed_left : plain_left;
    const int64_t *right_strides = of->right_lies_transposed ? transposed_right : plain_right;
    const int64_t bytes = of->kind == BFLOAT16 ? 2 : 4;
    const int kind = (int)of->kind, may_pack = kind == FLOAT32 && !of->right_lies_transposed;
    handle left, plain, right, out, bias = NULL, epilogue, description;
    const char *name = "";
    int status = dnnl.memory_desc_create_with_strides(&left, 2, left_shape, kind, left_strides)
        || dnnl.memory_desc_create_with_strides(&plain, 2, right_shape, kind, right_strides)
        || dnnl.memory_desc_create_with_tag(&right, 2, right_shape, kind, ANY_LAYOUT)
        || dnnl.memory_desc_create_with_strides(&out, 2, shape, FLOAT32, out_strides)
        || (of->has_bias && bias_layout(&bias, columns))
        || make_epilogue(&epilogue, 1, (int)of->is_added)
        || dnnl.matmul_primitive_desc_create(
            &description, engine, left, may_pack ? right : plain, bias, out, epilogue)
        || dnnl.primitive_desc_query(description, NAME_OF_KERNEL, 0, &name);
    const int packs = !status && may_pack && is_packed(name);
    if (packs)
        right = dnnl.primitive_desc_query_md(description, LAYOUT_OF_WEIGHTS, 0);
    else if (!status && may_pack)
        status = dnnl.matmul_primitive_desc_create(
            &description, engine, left, plain, bias, out, epilogue);
    return status || dnnl.primitive_attr_destroy(epilogue)
        || add_operand(own, SOURCE, left, bytes * row * left_strides[0])
        || add_operand(own, WEIGHTS, packs ? right : plain, bytes * column * right_strides[1])
        || add_operand(own, OUT, out, 4 * (row * of->columns + column))
        || (of->has_bias && add_operand(own, BIAS, bias, 4 * column))
        || (packs && make_packing(own, plain, right))
        || dnnl.primitive_create(&own->primitive, description);
}

int make_heads_product(
    piece *own, const heads_product *of, const strides left, const strides right, const strides out,
    float factor, int is_added) {
    const int64_t left_shape[4] = {of->images, of->heads, of->rows, of->width};
    const int64_t right_shape[4] = {of->images, of->heads, of->width, of->columns};
    const int64_t out_shape[4] = {of->images, of->heads, of->rows, of->columns};
    const int kind = (int)of->kind;
    handle operands[3], description, epilogue;
    return dnnl.memory_desc_create_with_strides(&operands[0], 4, left_shape, kind, left)
        || dnnl.memory_desc_create_with_strides(&operands[1], 4, right_shape, kind, right)
        || dnnl.memory_desc_create_with_strides(&operands[2], 4, out_shape, FLOAT32, out)
        || add_operand(own, SOURCE, operands[0], 0) || add_operand(own, WEIGHTS, operands[1], 0)
        || add_operand(own, OUT, operands[2], 0) || make_epilogue(&epilogue, factor, is_added)
        || dnnl.matmul_primitive_desc_create(
            &description, engine, operands[0], operands[1], NULL, operands[2], epilogue)
        || dnnl.primitive_attr_destroy(epilogue)
        || dnnl.primitive_create(&own->primitive, description);
}

/* The right operand in the layout that its product wants, in memory of this thread. */
int pack(const piece *own, int part, void *right) {
    int status = provide(&packed[part], own->packed_size);
    if (status)
        return status;
    void *to = packed[part].start;
    return dnnl.memory_set_data_handle(own->packed[0].memory, right)
        || dnnl.memory_set_data_handle(own->packed[1].memory, to)
        || dnnl.memory_set_data_handle(own->arguments[1].memory, to)
        || dnnl.primitive_execute(own->packing, streams[part], 2, own->packed)
        || dnnl.stream_wait(streams[part]);
}
