/* Operators for a CPU, for MindSpore's `ops.Custom`: matrix products, exact GELU, layer norm and the softmax
 * of attention, all of float32 arrays.
 *
 * The arithmetic is that of the oneDNN library (C interface, version 3) that MindSpore brings and has loaded. An operator
 * is cut into a part for each thread. Primitives and scratch memory are kept as long as the process lives.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, FAILURE = 1, CPU = 1, IN_ORDER = 1, BFLOAT16 = 2, FLOAT32 = 3 };
enum { FORWARD = 64, BACKWARD = 128, WITH_SCALE_AND_SHIFT = 2 | 4 };
enum { GELU = 0x31, SUM = 0x1fff0, SOFTMAX = 0x30000 };
enum { SOURCE = 1, SECOND_SOURCE = 2, OUT = 17, WEIGHTS = 33, BIAS = 41, MEAN = 49, VARIANCE = 50, SCALE = 51, SHIFT = 52 };
enum { SOURCE_GRADIENT = 129, OUT_GRADIENT = 145, SCALE_GRADIENT = 255, SHIFT_GRADIENT = 256 };
enum { MOST_THREADS = 256, MOST_OPERANDS = 8 };
enum { GRAIN = 32 };                                        /* parts begin at multiples of it */
enum { LEAST_ELEMENTS = 1 << 14, LEAST_PRODUCTS = 1 << 21 }; /* of a part: waking a thread takes 10 to 20 us */

typedef void *handle;
typedef struct { int number; handle memory; } argument;

static struct {
    int (*engine_create)(handle *, int, size_t);
    int (*stream_create)(handle *, handle, unsigned);
    int (*stream_wait)(handle);
    int (*memory_desc_create_with_strides)(handle *, int, const int64_t *, int, const int64_t *);
    int (*memory_create)(handle *, handle, handle, void *);
    int (*memory_set_data_handle)(handle, void *);
    int (*reorder_primitive_desc_create)(handle *, handle, handle, handle, handle, handle);
    int (*matmul_primitive_desc_create)(handle *, handle, handle, handle, handle, handle, handle);
    int (*eltwise_forward_primitive_desc_create)(handle *, handle, int, int, handle, handle, float, float, handle);
    int (*eltwise_backward_primitive_desc_create)(
        handle *, handle, int, handle, handle, handle, float, float, handle, handle);
    int (*binary_primitive_desc_create)(handle *, handle, int, handle, handle, handle, handle);
    int (*softmax_forward_primitive_desc_create)(handle *, handle, int, int, handle, handle, int, handle);
    int (*softmax_backward_primitive_desc_create)(handle *, handle, int, handle, handle, handle, int, handle, handle);
    int (*layer_normalization_forward_primitive_desc_create)(
        handle *, handle, int, handle, handle, handle, float, unsigned, handle);
    int (*layer_normalization_backward_primitive_desc_create)(
        handle *, handle, int, handle, handle, handle, handle, float, unsigned, handle, handle);
    int (*primitive_create)(handle *, handle);
    int (*primitive_execute)(handle, handle, int, const argument *);
} dnnl;

/* What makes two calls alike. Products: R rows, K the width summed over, C columns, B times; norms and softmax: R rows,
 * C columns; sums: B times the elements, to which the same are added; else the elements alone. */
enum what {
    ROUNDING, SUMMING, GELU_FORWARD, GELU_BACKWARD, NORM_FORWARD, NORM_BACKWARD, SOFTMAX_FORWARD, SOFTMAX_BACKWARD, PRODUCT
};
typedef struct {
    int64_t what, elements, batch, rows, width, columns, left_lies_transposed, right_lies_transposed, has_bias, kind;
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

static handle engine, streams[MOST_THREADS];
static int threads;
static float epsilon; /* of layer norm */
static work *known;
typedef struct { void *start; size_t size; } room;
static room rounded[2]; /* a product's left and right operand */
static room sums[2];    /* each part's own gradients of a layer norm's scale and shift */
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

/* The threads: the one that calls does part 0, the others wait for theirs. */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t begin, end;
    int64_t round;
    int busy, status;
    const work *work;
    void *const *starts;
} team = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0, NULL, NULL};

static int do_part(const work *todo, int part, void *const *starts) {
    const piece *own = &todo->pieces[part];
    int status = SUCCESS;
    for (int number = 0; number < own->operands && !status; number++)
        status = dnnl.memory_set_data_handle(
            own->arguments[number].memory, (char *)starts[number] + own->offsets[number]);
    if (!status)
        status = dnnl.primitive_execute(own->primitive, streams[part], own->operands, own->arguments);
    return status ? status : dnnl.stream_wait(streams[part]);
}

static void *follow(void *number) {
    int part = (int)(intptr_t)number;
    int64_t seen = 0;
    pthread_mutex_lock(&team.lock);
    for (;;) {
        while (team.round == seen)
            pthread_cond_wait(&team.begin, &team.lock);
        seen = team.round;
        if (part >= team.work->parts)
            continue;
        pthread_mutex_unlock(&team.lock);
        int status = do_part(team.work, part, team.starts);
        pthread_mutex_lock(&team.lock);
        team.status |= status;
        if (--team.busy == 0)
            pthread_cond_signal(&team.end);
    }
    return NULL;
}

static int run(const work *todo, void *const *starts) {
    if (todo->parts > 1) {
        pthread_mutex_lock(&team.lock);
        team.work = todo;
        team.starts = starts;
        team.busy = todo->parts - 1;
        team.status = SUCCESS;
        team.round++;
        pthread_cond_broadcast(&team.begin);
        pthread_mutex_unlock(&team.lock);
    }
    int status = do_part(todo, 0, starts);
    if (todo->parts > 1) {
        pthread_mutex_lock(&team.lock);
        while (team.busy > 0)
            pthread_cond_wait(&team.end, &team.lock);
        status |= team.status;
        pthread_mutex_unlock(&team.lock);
    }
    return status;
}

/* Primitives */

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
        || add_operand(own, SOURCE, all, offset) || add_operand(own, SECOND_SOURCE, one, is_batch ? 0 : offset)
        || add_operand(own, OUT, all, offset)
        || dnnl.binary_primitive_desc_create(&description, engine, SUM, all, one, all, NULL)
        || dnnl.primitive_create(&own->primitive, description);
}

static int make_softmax(piece *own, const form *of, int64_t begin, int64_t length, int is_backward) {
    int64_t shape[3] = {1, length, of->columns}, strides[3] = {length * of->columns, of->columns, 1};
    int64_t offset = 4 * begin * of->columns;
    handle plain, forward, backward;
    int status = layout(&plain, shape, strides, FLOAT32)
        || dnnl.softmax_forward_primitive_desc_create(&forward, engine, FORWARD, SOFTMAX, plain, plain, 2, NULL);
    if (status || !is_backward)
        return status || add_operand(own, SOURCE, plain, offset) || add_operand(own, OUT, plain, offset)
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
        || dnnl.eltwise_forward_primitive_desc_create(&forward, engine, FORWARD, GELU, plain, plain, 0, 0, NULL)
        || add_operand(own, SOURCE, plain, 4 * begin);
    if (status || !is_backward)
        return status || add_operand(own, OUT, plain, 4 * begin) || dnnl.primitive_create(&own->primitive, forward);
    return add_operand(own, OUT_GRADIENT, plain, 4 * begin) || add_operand(own, SOURCE_GRADIENT, plain, 4 * begin)
        || dnnl.eltwise_backward_primitive_desc_create(
            &backward, engine, GELU, plain, plain, plain, 0, 0, forward, NULL)
        || dnnl.primitive_create(&own->primitive, backward);
}

/* The axis along which a product is cut: the batch, else the longer side of the result. */
static int cut_axis(const form *of) { return of->batch > 1 ? 0 : of->rows >= of->columns ? 1 : 2; }

static int make_product(piece *own, const form *of, int64_t begin, int64_t length) {
    int64_t shape[3] = {of->batch, of->rows, of->columns}, at[3] = {0, 0, 0};
    shape[cut_axis(of)] = length;
    at[cut_axis(of)] = begin;
    int64_t left_shape[3] = {shape[0], shape[1], of->width}, right_shape[3] = {shape[0], of->width, shape[2]};
    int64_t left_strides[3] = {of->rows * of->width, of->width, 1};
    int64_t right_strides[3] = {of->width * of->columns, of->columns, 1};
    int64_t out_strides[3] = {of->rows * of->columns, of->columns, 1};
    if (of->left_lies_transposed)
        left_strides[1] = 1, left_strides[2] = of->rows;
    if (of->right_lies_transposed)
        right_strides[1] = 1, right_strides[2] = of->width;
    int64_t bytes = of->kind == BFLOAT16 ? 2 : 4;
    handle left, right, out, bias = NULL, description;
    return layout(&left, left_shape, left_strides, of->kind) || layout(&right, right_shape, right_strides, of->kind)
        || layout(&out, shape, out_strides, FLOAT32) || (of->has_bias && row_layout(&bias, shape[2], FLOAT32))
        || add_operand(own, SOURCE, left, bytes * (at[0] * left_strides[0] + at[1] * left_strides[1]))
        || add_operand(own, WEIGHTS, right, bytes * (at[0] * right_strides[0] + at[2] * right_strides[2]))
        || add_operand(own, OUT, out, 4 * (at[0] * out_strides[0] + at[1] * out_strides[1] + at[2]))
        || (of->has_bias && add_operand(own, BIAS, bias, 4 * at[2]))
        || dnnl.matmul_primitive_desc_create(&description, engine, left, right, bias, out, NULL)
        || dnnl.primitive_create(&own->primitive, description);
}

static int make_norm(piece *own, const form *of, int64_t begin, int64_t length, int is_backward) {
    int64_t columns = of->columns, shape[3] = {1, length, columns}, strides[3] = {length * columns, columns, 1};
    int64_t rows[3] = {1, length, 1}, one[1] = {1}, along[1] = {columns}, steps[2] = {length, 1};
    handle plain, of_rows, of_columns, forward, backward;
    int status = layout(&plain, shape, strides, FLOAT32)
        || dnnl.memory_desc_create_with_strides(&of_rows, 2, rows, FLOAT32, steps)
        || dnnl.memory_desc_create_with_strides(&of_columns, 1, along, FLOAT32, one)
        || dnnl.layer_normalization_forward_primitive_desc_create(
            &forward, engine, FORWARD, plain, plain, of_rows, epsilon, WITH_SCALE_AND_SHIFT, NULL)
        || add_operand(own, SOURCE, plain, 4 * begin * columns) || add_operand(own, SCALE, of_columns, 0);
    if (status || !is_backward)
        return status || add_operand(own, SHIFT, of_columns, 0) || add_operand(own, OUT, plain, 4 * begin * columns)
            || add_operand(own, MEAN, of_rows, 4 * begin) || add_operand(own, VARIANCE, of_rows, 4 * begin)
            || dnnl.primitive_create(&own->primitive, forward);
    int64_t part = begin / GRAIN * columns; /* room for the sums of each part, of which none is shorter than the grain */
    return add_operand(own, MEAN, of_rows, 4 * begin) || add_operand(own, VARIANCE, of_rows, 4 * begin)
        || add_operand(own, OUT_GRADIENT, plain, 4 * begin * columns)
        || add_operand(own, SOURCE_GRADIENT, plain, 4 * begin * columns)
        || add_operand(own, SCALE_GRADIENT, of_columns, 4 * part)
        || add_operand(own, SHIFT_GRADIENT, of_columns, 4 * part)
        || dnnl.layer_normalization_backward_primitive_desc_create(
            &backward, engine, BACKWARD, plain, plain, plain, of_rows, epsilon, WITH_SCALE_AND_SHIFT, forward, NULL)
        || dnnl.primitive_create(&own->primitive, backward);
}

/* The work of this form, made at its first use; NULL if oneDNN refuses it. */
static work *find(const form *of) {
    for (work *one = known; one != NULL; one = one->next)
        if (memcmp(&one->of, of, sizeof(form)) == 0)
            return one;
    const int64_t sides[3] = {of->batch, of->rows, of->columns};
    int64_t length = of->elements, amount = of->elements / LEAST_ELEMENTS, grain = GRAIN;
    if (of->what == PRODUCT) {
        length = sides[cut_axis(of)];
        amount = of->batch * of->rows * of->width * of->columns / LEAST_PRODUCTS;
        grain = of->batch > 1 ? 1 : GRAIN;
    }
    if (of->what == SUMMING && of->batch > 1) {
        length = of->batch;
        grain = 1;
    }
    if (of->rows > 0 && of->what != PRODUCT) {
        length = of->rows;
        amount = of->rows * of->columns / LEAST_ELEMENTS;
    }
    int64_t most = amount < 1 ? 1 : amount < threads ? amount : threads;
    int64_t part = (length + grain * most - 1) / (grain * most) * grain;
    work *made = calloc(1, sizeof(work));
    if (made == NULL || (made->pieces = calloc((size_t)most, sizeof(piece))) == NULL)
        return NULL;
    made->of = *of;
    for (int64_t begin = 0; begin < length; begin += part) {
        int64_t own = length - begin < part ? length - begin : part;
        piece *next = &made->pieces[made->parts++];
        int status = FAILURE;
        switch (of->what) {
        case ROUNDING: status = make_rounding(next, begin, own); break;
        case SUMMING: status = make_sum(next, of, begin, own); break;
        case SOFTMAX_FORWARD: status = make_softmax(next, of, begin, own, 0); break;
        case SOFTMAX_BACKWARD: status = make_softmax(next, of, begin, own, 1); break;
        case GELU_FORWARD: status = make_gelu(next, begin, own, 0); break;
        case GELU_BACKWARD: status = make_gelu(next, begin, own, 1); break;
        case NORM_FORWARD: status = make_norm(next, of, begin, own, 0); break;
        case NORM_BACKWARD: status = make_norm(next, of, begin, own, 1); break;
        case PRODUCT: status = make_product(next, of, begin, own); break;
        }
        if (status)
            return NULL;
    }
    made->next = known;
    return known = made;
}

static int provide(room *memory, size_t size) {
    if (memory->size >= size)
        return SUCCESS;
    free(memory->start);
    memory->size = 0;
    if (posix_memalign(&memory->start, 64, size))
        return FAILURE;
    memory->size = size;
    return SUCCESS;
}

/* Gives `*array`, rounded, in the memory kept for the left (0) or right (1) operand. */
static int round_operand(int side, void **array, int64_t size) {
    form of = {.what = ROUNDING, .elements = size};
    const work *rounding = find(&of);
    if (rounding == NULL || provide(&rounded[side], 2 * (size_t)size))
        return FAILURE;
    void *starts[2] = {*array, rounded[side].start};
    *array = rounded[side].start;
    return run(rounding, starts);
}

static void add_up(float *total, const room *parts, const work *todo, int64_t columns, int operand) {
    memset(total, 0, 4 * (size_t)columns);
    for (int number = 0; number < todo->parts; number++) {
        const float *part = (float *)((char *)parts->start + todo->pieces[number].offsets[operand]);
        for (int64_t column = 0; column < columns; column++)
            total[column] += part[column];
    }
}

/* `arrays` are the operands of each piece, in order. -> 0 if done, as MindSpore expects. */
static int compute(const form *of, void **arrays) {
    void *starts[MOST_OPERANDS];
    pthread_mutex_lock(&one_at_a_time);
    const work *todo = engine == NULL ? NULL : find(of);
    int status = todo == NULL;
    for (int number = 0; !status && number < todo->pieces[0].operands; number++)
        starts[number] = arrays[number];
    if (!status && of->what == PRODUCT && of->kind == BFLOAT16)
        status = round_operand(0, &starts[0], of->batch * of->rows * of->width)
            || round_operand(1, &starts[1], of->batch * of->width * of->columns);
    if (!status && of->what == NORM_BACKWARD)
        for (int number = 0; number < 2; number++) {
            status |= provide(&sums[number], 4 * (size_t)(of->rows / GRAIN + 1) * (size_t)of->columns);
            starts[6 + number] = sums[number].start;
        }
    status = status || run(todo, starts);
    if (!status && of->what == NORM_BACKWARD)
        for (int number = 0; number < 2; number++)
            add_up(arrays[6 + number], &sums[number], todo, of->columns, 6 + number);
    pthread_mutex_unlock(&one_at_a_time);
    return status;
}

/* Takes the path of oneDNN's library, the number of threads and the epsilon of layer norms; once in a process, before any
 * operator. -> 0 if done. */
int native_open(const char *path, int number_of_threads, float epsilon_of_norms) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return FAILURE;
#define FIND(name) if ((*(void **)&dnnl.name = dlsym(library, "dnnl_" #name)) == NULL) return FAILURE
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
    handle made;
    if (dnnl.engine_create(&made, CPU, 0))
        return FAILURE;
    threads = number_of_threads < MOST_THREADS ? number_of_threads : MOST_THREADS;
    for (int number = 0; number < threads; number++) {
        pthread_t thread;
        if (dnnl.stream_create(&streams[number], made, IN_ORDER))
            return FAILURE;
        if (number > 0 && pthread_create(&thread, NULL, follow, (void *)(intptr_t)number))
            return FAILURE;
    }
    engine = made;
    return SUCCESS;
}

/* The operators. ops.Custom gives them their inputs, then the output, with shapes; all arrays are float32. */

#define OPERATOR(name) \
    int name(int count, void **arrays, int *dimensions, int64_t **shapes, const char **kinds, void *stream, void *extra)

static int64_t product_of(const int64_t *shape, int axes) {
    int64_t product = 1;
    for (int axis = 0; axis < axes; axis++)
        product *= shape[axis];
    return product;
}

/* The last two axes are those of matrices, the others count them. */
static int multiply(void **arrays, const int *dimensions, int64_t **shapes, int left_lies_transposed,
                    int right_lies_transposed, int has_bias, int kind) {
    int axes = dimensions[0];
    const int64_t *left = shapes[0] + axes - 2, *right = shapes[1] + axes - 2;
    form of = {
        .what = PRODUCT,
        .batch = product_of(shapes[0], axes - 2),
        .rows = left[left_lies_transposed],
        .width = left[1 - left_lies_transposed],
        .columns = right[1 - right_lies_transposed],
        .left_lies_transposed = left_lies_transposed,
        .right_lies_transposed = right_lies_transposed,
        .has_bias = has_bias,
        .kind = kind,
    };
    void *operands[MOST_OPERANDS] = {arrays[0], arrays[1], arrays[2 + has_bias], arrays[2]};
    return compute(&of, operands);
}

#define PRODUCT_OPERATORS(name, left_lies_transposed, right_lies_transposed, has_bias) \
    OPERATOR(name##_float32) { \
        return multiply(arrays, dimensions, shapes, left_lies_transposed, right_lies_transposed, has_bias, FLOAT32); \
    } \
    OPERATOR(name##_bfloat16) { \
        return multiply(arrays, dimensions, shapes, left_lies_transposed, right_lies_transposed, has_bias, BFLOAT16); \
    }

PRODUCT_OPERATORS(dense, 0, 1, 1)                   /* x (R, K), weight (C, K), bias (C) -> x weight' + bias */
PRODUCT_OPERATORS(product, 0, 0, 0)                 /* left (.., R, K), right (.., K, C) -> left right */
PRODUCT_OPERATORS(product_with_transposed, 0, 1, 0) /* left (.., R, K), right (.., C, K) -> left right' */
PRODUCT_OPERATORS(product_of_transposed, 1, 0, 0)   /* left (.., K, R), right (.., K, C) -> left' right */

/* x -> x Phi(x), Phi the normal distribution */
OPERATOR(gelu) {
    form of = {.what = GELU_FORWARD, .elements = product_of(shapes[0], dimensions[0])};
    return compute(&of, arrays);
}

/* x, gradient -> gradient (Phi(x) + x phi(x)) */
OPERATOR(gelu_gradient) {
    form of = {.what = GELU_BACKWARD, .elements = product_of(shapes[0], dimensions[0])};
    return compute(&of, arrays);
}

/* x (R, C), scale (C), shift (C) -> normalised (R, C), mean (R), variance (R) */
OPERATOR(layer_norm) {
    form of = {.what = NORM_FORWARD, .rows = shapes[0][0], .columns = shapes[0][1]};
    return compute(&of, arrays);
}

/* x (R, C), scale (C), mean (R), variance (R), gradient (R, C) -> gradients of x, of scale and of shift */
OPERATOR(layer_norm_gradient) {
    form of = {.what = NORM_BACKWARD, .rows = shapes[0][0], .columns = shapes[0][1]};
    return compute(&of, arrays);
}

/* scores (.., R, C), bias (R, C) with as many axes less as it is the same for -> softmax(scores + bias) along columns */
OPERATOR(softmax_of_sum) {
    int axes = dimensions[0], own = dimensions[1];
    int64_t columns = shapes[0][axes - 1], elements = product_of(shapes[1], own);
    form sum = {.what = SUMMING, .batch = product_of(shapes[0], axes - own), .elements = elements};
    form softmax = {.what = SOFTMAX_FORWARD, .rows = product_of(shapes[0], axes - 1), .columns = columns};
    void *in_place[2] = {arrays[2], arrays[2]};
    return compute(&sum, arrays) || compute(&softmax, in_place);
}

/* softmax (.., C), gradient (.., C) -> gradient of what the softmax was taken of */
OPERATOR(softmax_gradient) {
    int axes = dimensions[0];
    form of = {
        .what = SOFTMAX_BACKWARD,
        .rows = product_of(shapes[0], axes - 1),
        .columns = shapes[0][axes - 1],
    };
    return compute(&of, arrays);
}
