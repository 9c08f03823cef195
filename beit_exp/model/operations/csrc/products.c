/* Pieces of products of matrices. */

#include "onednn.h"

#include <stdlib.h>

typedef struct kept {
    const void *right;
    room memory;
    struct kept *next;
} kept;

static room packed[MOST_THREADS];
static int keepers; /* how many wish that weights are kept */

static int bias_layout(handle *made, int64_t length) {
    int64_t shape[2] = {1, length}, strides[2] = {length, 1};
    return dnnl.memory_desc_create_with_strides(made, 2, shape, FLOAT32, strides);
}

/* What is done to a product: times a factor, through GELU, and added to what lies there. */
static int make_epilogue(handle *made, float factor, int has_gelu, int is_added) {
    handle post;
    int status = dnnl.primitive_attr_create(made) || dnnl.post_ops_create(&post);
    if (status)
        return FAILURE;
    status = (factor != 1 && dnnl.post_ops_append_eltwise(post, LINEAR, factor, 0))
        || (has_gelu && dnnl.post_ops_append_eltwise(post, GELU, 0, 0))
        || (is_added && dnnl.post_ops_append_sum(post, 1, 0, FLOAT32))
        || dnnl.primitive_attr_set_post_ops(*made, post);
    dnnl.post_ops_destroy(post);
    return status;
}

/* oneDNN's kernels for AVX-512 read a right operand up to twice as fast from a layout of their own,
 * that of `right`; others have none. */
static int make_packing(piece *own, handle plain, handle right) {
    own->packed[0].number = SOURCE, own->packed[1].number = OUT;
    own->packed_size = dnnl.memory_desc_get_size(right);
    handle description;
    return dnnl.memory_create(&own->packed[0].memory, plain, engine, NULL)
        || dnnl.memory_create(&own->packed[1].memory, right, engine, NULL)
        || dnnl.reorder_primitive_desc_create(&description, plain, engine, right, engine, NULL)
        || dnnl.primitive_create(&own->packing, description);
}

static int has_layouts(void) {
    return (dnnl.get_effective_cpu_isa() & ISA_AVX512) == ISA_AVX512;
}

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
    const int kind = (int)of->kind, packs = of->is_kept
        || (kind == FLOAT32 && !of->right_lies_transposed && has_layouts());
    const int given_kind = of->is_kept ? FLOAT32 : kind; /* a weight that is not rounded before */
    const int64_t bytes = kind == BFLOAT16 ? 2 : 4, given_bytes = given_kind == BFLOAT16 ? 2 : 4;
    const int64_t out_bytes = of->out_kind == BFLOAT16 ? 2 : 4;
    handle left, plain, right, out, bias = NULL, epilogue, description;
    own->is_kept = (int)of->is_kept;
    int status = dnnl.memory_desc_create_with_strides(&left, 2, left_shape, kind, left_strides)
        || dnnl.memory_desc_create_with_strides(
            &plain, 2, right_shape, given_kind, right_strides)
        || dnnl.memory_desc_create_with_tag(&right, 2, right_shape, kind, ANY_LAYOUT)
        || dnnl.memory_desc_create_with_strides(&out, 2, shape, (int)of->out_kind, out_strides)
        || (of->has_bias && bias_layout(&bias, columns))
        || make_epilogue(&epilogue, 1, (int)of->has_gelu, (int)of->is_added)
        || dnnl.matmul_primitive_desc_create(
            &description, engine, left, packs ? right : plain, bias, out, epilogue)
        || dnnl.primitive_attr_destroy(epilogue);
    if (!status && packs)
        right = dnnl.primitive_desc_query_md(description, LAYOUT_OF_WEIGHTS, 0);
    return status
        || add_operand(own, SOURCE, left, bytes * row * left_strides[0])
        || add_operand(
            own, WEIGHTS, packs ? right : plain, given_bytes * column * right_strides[1])
        || add_operand(own, OUT, out, out_bytes * (row * of->columns + column))
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
        || add_operand(own, OUT, operands[2], 0) || make_epilogue(&epilogue, factor, 0, is_added)
        || dnnl.matmul_primitive_desc_create(
            &description, engine, operands[0], operands[1], NULL, operands[2], epilogue)
        || dnnl.primitive_attr_destroy(epilogue)
        || dnnl.primitive_create(&own->primitive, description);
}

static int pack_into(const piece *own, int part, void *right, void *to) {
    return dnnl.memory_set_data_handle(own->packed[0].memory, right)
        || dnnl.memory_set_data_handle(own->packed[1].memory, to)
        || dnnl.primitive_execute(own->packing, streams[part], 2, own->packed)
        || dnnl.stream_wait(streams[part])
        ? FAILURE : SUCCESS;
}

/* A weight that was packed before, or is now. */
static int find_kept(piece *own, int part, void *right, void **packed_right) {
    for (const kept *one = own->kept; one != NULL; one = one->next)
        if (one->right == right) {
            *packed_right = one->memory.start;
            return SUCCESS;
        }
    kept *made = calloc(1, sizeof(kept));
    int status = made == NULL ? NO_MEMORY : provide(&made->memory, own->packed_size);
    status = status ? status : pack_into(own, part, right, made->memory.start);
    if (status) {
        if (made != NULL)
            free(made->memory.start);
        free(made);
        return status;
    }
    *made = (kept){right, made->memory, own->kept};
    own->kept = made;
    *packed_right = made->memory.start;
    return SUCCESS;
}

/* The right operand in the layout that its product wants: in memory of this thread, or kept. */
int pack(piece *own, int part, void *right) {
    void *to = NULL;
    int status;
    if (own->is_kept)
        status = find_kept(own, part, right, &to);
    else {
        status = provide(&packed[part], own->packed_size);
        to = packed[part].start;
        status = status ? status : pack_into(own, part, right, to);
    }
    if (!status && dnnl.memory_set_data_handle(own->arguments[1].memory, to))
        status = FAILURE;
    return status;
}

void forget_packed(piece *own) {
    while (own->kept != NULL) {
        kept *one = own->kept;
        own->kept = one->next;
        free(one->memory.start);
        free(one);
    }
}

int keeps_weights(void) { return keepers > 0 && has_layouts(); }

void keep_weights(int more) {
    keepers += more;
    if (keepers == 0)
        forget_all_packed();
}
