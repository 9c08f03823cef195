/* oneDNN, and what pieces of work have in common. */

#include "onednn.h"

#include <dlfcn.h>

functions dnnl;
handle engine, streams[MOST_THREADS];
float epsilon;

int layout(handle *made, const int64_t *shape, const int64_t *strides, int64_t kind) {
    return dnnl.memory_desc_create_with_strides(made, 3, shape, (int)kind, strides);
}

int row_layout(handle *made, int64_t length, int kind) {
    int64_t shape[3] = {1, 1, length}, strides[3] = {length, length, 1};
    return layout(made, shape, strides, kind);
}

int add_operand(piece *own, int number, handle layout, int64_t offset) {
    own->arguments[own->operands].number = number;
    own->offsets[own->operands] = offset;
    return dnnl.memory_create(&own->arguments[own->operands++].memory, layout, engine, NULL);
}

/* On this thread, whose number is `part`; `starts` are the arrays of its operands, in order. */
int perform(const piece *own, int part, void *const *starts) {
    for (int number = 0; number < own->operands; number++) {
        void *start = (char *)starts[number] + own->offsets[number];
        if (number == 1 && own->packed_layout != NULL)
            TRY(pack(own, part, start));
        else
            ONEDNN(dnnl.memory_set_data_handle(own->arguments[number].memory, start));
    }
    ONEDNN(dnnl.primitive_execute(own->primitive, streams[part], own->operands, own->arguments));
    ONEDNN(dnnl.stream_wait(streams[part]));
    return SUCCESS;
}

static int do_piece(const void *todo, int part, void *const *starts) {
    return perform(&((const work *)todo)->pieces[part], part, starts);
}

/* Each piece by its thread. */
int do_work(const work *todo, void *const *starts) {
    TRY(pack_for_all(todo, starts));
    return run(do_piece, todo, todo->parts, starts);
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
    FIND(memory_desc_create_with_tag);
    FIND(memory_desc_create_submemory);
    FIND(memory_desc_get_size);
    FIND(memory_desc_equal);
    FIND(get_effective_cpu_isa);
    FIND(primitive_desc_query_md);
    FIND(memory_create);
    FIND(memory_set_data_handle);
    FIND(reorder_primitive_desc_create);
    FIND(matmul_primitive_desc_create);
    FIND(primitive_attr_create);
    FIND(primitive_attr_destroy);
    FIND(primitive_attr_set_post_ops);
    FIND(post_ops_create);
    FIND(post_ops_destroy);
    FIND(post_ops_append_eltwise);
    FIND(post_ops_append_sum);
    FIND(eltwise_forward_primitive_desc_create);
    FIND(eltwise_backward_primitive_desc_create);
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
