/* Pieces of products of matrices. */

#include "onednn.h"

#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 64 }; /* of a weight, by which another is told that lies where it lay */
enum { BLOCK = 64 };   /* columns that no layout of oneDNN's takes apart */

typedef struct kept {
    const void *right;
    handle layout;
    float samples[SAMPLES];
    room memory;
    struct kept *next;
} kept;

static room packed[MOST_THREADS], packed_for_all;
static kept *kept_by[MOST_THREADS]; /* each thread's part of the weights */
static int keepers;                 /* how many wish that weights are kept */

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
    own->packed_layout = right;
    handle description;
    return dnnl.memory_create(&own->packed[0].memory, plain, engine, NULL)
        || dnnl.memory_create(&own->packed[1].memory, right, engine, NULL)
        || dnnl.reorder_primitive_desc_create(&description, plain, engine, right, engine, NULL)
        || dnnl.primitive_create(&own->packing, description);
}

/* Of the right operand these columns alone; none are nothing to pack. */
static int make_slice(piece *own, handle plain, const form *of, int64_t begin, int64_t end) {
    const int64_t shape[2] = {of->width, end - begin}, start[2] = {0, begin};
    handle from, to;
    own->packing = NULL;
    if (begin >= end)
        return SUCCESS;
    return dnnl.memory_desc_create_submemory(&from, plain, shape, start)
        || dnnl.memory_desc_create_submemory(&to, own->packed_layout, shape, start)
        || make_packing(own, from, to);
}

/* Pieces that are cut by rows share their right operand: packed by each, the threads of a large
 * machine would pack for longer than they multiply. */
int share_packing(work *of) {
    const int64_t blocks = (of->of.columns + BLOCK - 1) / BLOCK;
    const handle whole = of->pieces[0].packed_layout;
    const int64_t shape[2] = {of->of.width, of->of.columns}, strides[2] = {of->of.columns, 1};
    handle plain;
    if (of->parts == 1 || is_cut_by_columns(&of->of) || whole == NULL)
        return SUCCESS;
    for (int part = 1; part < of->parts; part++)
        if (!dnnl.memory_desc_equal(of->pieces[part].packed_layout, whole))
            return SUCCESS;
    int status = dnnl.memory_desc_create_with_strides(&plain, 2, shape, (int)of->of.kind, strides);
    for (int part = 0; !status && part < of->parts; part++) {
        piece *own = &of->pieces[part];
        const int64_t begin = blocks * part / of->parts * BLOCK;
        const int64_t end = blocks * (part + 1) / of->parts * BLOCK;
        own->is_shared = 1;
        own->packed_layout = whole;
        status = make_slice(own, plain, &of->of, begin, least(end, of->of.columns));
        own->packed_layout = whole;
    }
    return status ? FAILURE : SUCCESS;
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
    own->right_span = (of->width - 1) * right_strides[0] + (columns - 1) * right_strides[1] + 1;
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
    ONEDNN(dnnl.memory_set_data_handle(own->packed[0].memory, right));
    ONEDNN(dnnl.memory_set_data_handle(own->packed[1].memory, to));
    ONEDNN(dnnl.primitive_execute(own->packing, streams[part], 2, own->packed));
    ONEDNN(dnnl.stream_wait(streams[part]));
    return SUCCESS;
}

static int pack_slice(const void *todo, int part, void *const *starts) {
    const piece *own = &((const work *)todo)->pieces[part];
    return own->packing ? pack_into(own, part, starts[1], packed_for_all.start) : SUCCESS;
}

int pack_for_all(const work *todo, void *const *starts) {
    if (!todo->pieces[0].is_shared)
        return SUCCESS;
    TRY(provide(&packed_for_all, dnnl.memory_desc_get_size(todo->pieces[0].packed_layout)));
    return run(pack_slice, todo, todo->parts, starts);
}

/* Numbers of a weight that lie evenly over all that a piece takes of it. */
static void sample(const piece *own, const float *right, float *samples) {
    for (int number = 0; number < SAMPLES; number++)
        samples[number] = right[(own->right_span - 1) * number / (SAMPLES - 1)];
}

/* Where a weight lies packed: from before, unless another lies there now. */
static int find_kept(const piece *own, int part, void *right, void **packed_right) {
    float samples[SAMPLES];
    kept *found = kept_by[part];
    sample(own, right, samples);
    while (found != NULL
           && !(found->right == right && dnnl.memory_desc_equal(found->layout, own->packed_layout)))
        found = found->next;
    if (found == NULL) {
        if ((found = calloc(1, sizeof(kept))) == NULL)
            return NO_MEMORY;
        *found = (kept){.right = right, .layout = own->packed_layout, .next = kept_by[part]};
        kept_by[part] = found;
    }
    *packed_right = found->memory.start;
    if (found->memory.start != NULL && memcmp(found->samples, samples, sizeof samples) == 0)
        return SUCCESS;
    TRY(provide(&found->memory, dnnl.memory_desc_get_size(own->packed_layout)));
    memset(found->samples, -1, sizeof samples); /* not a number: what is half packed is none's */
    TRY(pack_into(own, part, right, found->memory.start));
    memcpy(found->samples, samples, sizeof samples);
    *packed_right = found->memory.start;
    return SUCCESS;
}

/* The right operand in the layout that its product wants: in memory of this thread, or kept. */
int pack(const piece *own, int part, void *right) {
    void *to;
    if (own->is_shared)
        to = packed_for_all.start;
    else if (own->is_kept)
        TRY(find_kept(own, part, right, &to));
    else {
        TRY(provide(&packed[part], dnnl.memory_desc_get_size(own->packed_layout)));
        to = packed[part].start;
        TRY(pack_into(own, part, right, to));
    }
    ONEDNN(dnnl.memory_set_data_handle(own->arguments[1].memory, to));
    return SUCCESS;
}

void forget_packed(void) {
    for (int part = 0; part < MOST_THREADS; part++)
        while (kept_by[part] != NULL) {
            kept *one = kept_by[part];
            kept_by[part] = one->next;
            free(one->memory.start);
            free(one);
        }
}

int keeps_weights(void) { return keepers > 0 && has_layouts(); }

void keep_weights(int more) {
    keepers += more;
    if (more < 0)
        forget_packed();
}
