/* Calls every operator of csrc/ in one of several ways; to be compiled together with it, by a
 * compiler that watches over memory or threads.
 *
 * calls shapes|faults|refusals|threads|forks LIBRARY NUMBER_OF_THREADS, LIBRARY being oneDNN's
 */

#include "checks.h"

#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

/* The linker puts these in the place of what they are named for: the call that the countdown comes
 * to is refused. */
static int until_refusal = -1;
static int is_refused(void) { return until_refusal >= 0 && until_refusal-- == 0; }
int __real_posix_memalign(void **, size_t, size_t);
void *__real_calloc(size_t, size_t);
int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int __wrap_posix_memalign(void **start, size_t alignment, size_t size) {
    return is_refused() ? ENOMEM : __real_posix_memalign(start, alignment, size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return is_refused() ? NULL : __real_calloc(count, size);
}

int __wrap_pthread_create(
    pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
    return is_refused() ? EAGAIN : __real_pthread_create(thread, attributes, run, argument);
}

static const int SIZES[] = {0, 1, 2, 15, 16, 17, 33, 65};
#define LENGTH(array) (sizeof array / sizeof *array)
#define EACH_SIZE(name) for (const int *name = SIZES; name < SIZES + LENGTH(SIZES); name++)

static void call_with_shapes(void) {
    EACH_SIZE(R) EACH_SIZE(K) EACH_SIZE(C) {
        check_products(*R, *K, *C);
        check_layers(*R, *K, *C);
    }
    check_products(1100, 300, 200);
    check_products(200, 300, 1000);
    check_layers(300, 129, 515);
    check_products(1990, 70, 515), check_products(2090, 700, 33); /* blocks of columns: 9, one */
    for (const int *R = SIZES + 1; R < SIZES + LENGTH(SIZES); R++)
        for (const int *H = SIZES + 1; H < SIZES + LENGTH(SIZES); H++)
            check_both_mlps(*R, 5, *H, 7), check_both_mlps(*R, 33, *H, 1);
    check_both_mlps(200, 65, 260, 65);
    for (int B = 0; B < 4; B++)
        EACH_SIZE(D)
            check_addition(B, 5, *D), check_addition(B, 0, *D);
    check_addition(3, 700, 129);
    EACH_SIZE(R) EACH_SIZE(C)
        check_norm(*R, *C);
    check_norm(1100, 770), check_norm(2049, 65);
    for (const int *N = SIZES + 1; N < SIZES + LENGTH(SIZES); N++)
        for (int B = 0; B < 3; B++)
            for (int H = 1; H < 4; H++)
                check_both_attentions(B, H, *N, 8), check_both_attentions(B, H, *N, 5);
    check_both_attentions(3, 5, 197, 16), check_both_attentions(1, 1, 515, 8);
    const int lengths[] = {0, 1, 7, 4095, 4096, 4097, 40001};
    for (size_t first = 0; first < LENGTH(lengths); first++)
        for (size_t second = 0; second < LENGTH(lengths); second++)
            check_updates(lengths[first], lengths[second]);
}

typedef struct {
    operator *run;
    int count, axes[MOST_ARRAYS], shapes[MOST_ARRAYS][MOST_AXES + 1];
} example;

/* No length is that of another axis. */
static const example EXAMPLES[] = {
    {dense_float32, 4, {2, 2, 1, 2}, {{3, 5}, {7, 5}, {7}, {3, 7}}},
    {dense_gradient_float32, 6, {2, 2, 2, 2, 2, 1},
     {{3, 5}, {7, 5}, {3, 7}, {3, 5}, {7, 5}, {7}}},
    {projections_float32, 9, {2, 2, 1, 2, 2, 1, 2, 2, 2},
     {{3, 5}, {7, 5}, {7}, {7, 5}, {7, 5}, {7}, {3, 7}, {3, 7}, {3, 7}}},
    {projections_gradient_float32, 13, {2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 2, 2, 1},
     {{3, 5}, {7, 5}, {7, 5}, {7, 5}, {3, 7}, {3, 7}, {3, 7}, {3, 5}, {7, 5}, {7}, {7, 5}, {7, 5},
      {7}}},
    {mlp_float32, 6, {2, 2, 1, 2, 1, 2}, {{3, 5}, {7, 5}, {7}, {2, 7}, {2}, {3, 2}}},
    {mlp_for_gradient_float32, 7, {2, 2, 1, 2, 1, 2, 2},
     {{3, 5}, {7, 5}, {7}, {2, 7}, {2}, {3, 2}, {3, 7}}},
    {mlp_gradient_float32, 10, {2, 2, 2, 2, 2, 2, 2, 1, 2, 1},
     {{3, 5}, {7, 5}, {2, 7}, {3, 7}, {3, 2}, {3, 5}, {7, 5}, {7}, {2, 7}, {2}}},
    {product_float32, 3, {2, 2, 2}, {{3, 5}, {5, 7}, {3, 7}}},
    {product_with_transposed_bfloat16, 3, {2, 2, 2}, {{3, 5}, {7, 5}, {3, 7}}},
    {product_of_transposed_float32, 3, {2, 2, 2}, {{5, 3}, {5, 7}, {3, 7}}},
    {layer_norm, 6, {2, 1, 1, 2, 1, 1}, {{3, 5}, {5}, {5}, {3, 5}, {3}, {3}}},
    {layer_norm_gradient, 8, {2, 1, 1, 1, 2, 2, 1, 1},
     {{3, 5}, {5}, {3}, {3}, {3, 5}, {3, 5}, {5}, {5}}},
    {attention_float32, 5, {2, 2, 2, 3, 2}, {{6, 8}, {6, 8}, {6, 8}, {2, 3, 3}, {6, 8}}},
    {attention_gradient_float32, 9, {2, 2, 2, 3, 2, 2, 2, 2, 3},
     {{6, 8}, {6, 8}, {6, 8}, {2, 3, 3}, {6, 8}, {6, 8}, {6, 8}, {6, 8}, {2, 3, 3}}},
    {scaled_addition, 5, {2, 2, 1, 1, 2}, {{6, 5}, {6, 5}, {5}, {3}, {6, 5}}},
    {scaled_addition_gradient, 6, {2, 1, 1, 2, 2, 1}, {{6, 5}, {5}, {3}, {6, 5}, {6, 5}, {5}}},
};

enum {
    NO_PLACE, BETWEEN_NUMBERS, OTHER_KIND, NO_KIND, NO_SHAPE, ONE_MORE, NEGATIVE, HUGE_LENGTH,
    AXIS_MORE, AXIS_LESS, NEGATIVE_AXES, ARRAY_LESS, NO_ARRAYS, NO_FAULT, FAULTS = NO_FAULT
};

/* One thing of one array is wrong, or nothing: NO_FAULT. */
static int call_with_fault(const example *of, int fault, int number, int axis) {
    static float place[4096]; /* more than any of them reaches */
    void *starts[MOST_ARRAYS];
    int axes[MOST_ARRAYS], count = of->count;
    int64_t lengths[MOST_ARRAYS][MOST_AXES + 1], *shapes[MOST_ARRAYS];
    const char *kinds[MOST_ARRAYS];
    for (int each = 0; each < count; each++) {
        for (int at = 0; at <= MOST_AXES; at++)
            lengths[each][at] = at < of->axes[each] ? of->shapes[each][at] : 11;
        starts[each] = place + 128 * each;
        axes[each] = of->axes[each];
        shapes[each] = lengths[each];
        kinds[each] = "float32";
    }
    switch (fault) {
    case NO_PLACE: starts[number] = NULL; break;
    case BETWEEN_NUMBERS: starts[number] = (char *)starts[number] + 1; break;
    case OTHER_KIND: kinds[number] = "float16"; break;
    case NO_KIND: kinds[number] = NULL; break;
    case NO_SHAPE: shapes[number] = NULL; break;
    case ONE_MORE: lengths[number][axis]++; break;
    case NEGATIVE: lengths[number][axis] = -1; break; /* MindSpore's sign of an open length */
    case HUGE_LENGTH: lengths[number][axis] = INT64_MAX / 3; break;
    case AXIS_MORE: axes[number]++; break;
    case AXIS_LESS: axes[number]--; break;
    case NEGATIVE_AXES: axes[number] = -1; break;
    case ARRAY_LESS: count--; break;
    case NO_ARRAYS: count = 0; break;
    default: break;
    }
    calls++;
    return of->run(count, starts, axes, shapes, kinds, NULL, NULL);
}

static void call_with_faults(void) {
    for (size_t each = 0; each < LENGTH(EXAMPLES); each++) {
        const example *of = &EXAMPLES[each];
        if (of->run != product_with_transposed_bfloat16 || has_bfloat16)
            REQUIRE(call_with_fault(of, NO_FAULT, 0, 0) == SUCCESS, "example %zu", each);
        for (int fault = 0; fault < FAULTS; fault++)
            for (int number = 0; number < of->count; number++)
                for (int axis = 0; axis < of->axes[number]; axis++)
                    REQUIRE(call_with_fault(of, fault, number, axis) == WRONG_ARGUMENTS,
                            "example %zu: fault %d, array %d, axis %d", each, fault, number, axis);
    }
}

static int take_gradient(int R, int C) {
    array arrays[8] = {make(1, 2, R, C), make(1, 1, C), make(1, 1, R), make(1, 1, R),
                       make(1, 2, R, C), make(1, 2, R, C), make(1, 1, C), make(1, 1, C)};
    for (int number = 0; number < 5; number++)
        fill_randomly(&arrays[number]);
    int status = call_operator(layer_norm_gradient, 8, arrays, 3);
    release_all(8, arrays);
    return status;
}

static int multiply_rounded(int K, int C) {
    array arrays[3] = {make(1, 2, C, K), make(1, 2, K, C), make(1, 2, C, C)};
    fill_randomly(&arrays[0]), fill_randomly(&arrays[1]);
    int status = call_operator(product_bfloat16, 3, arrays, 1);
    release_all(3, arrays);
    return status;
}

/* Of one head, so that one thread asks. */
static int attend(int length, int K) {
    const int N = length / GRAIN;
    array arrays[9] = {make(1, 2, N, K), make(1, 2, N, K), make(1, 2, N, K), make(1, 3, 1, N, N),
                       make(1, 2, N, K), make(1, 2, N, K), make(1, 2, N, K), make(1, 2, N, K),
                       make(1, 3, 1, N, N)};
    for (int number = 0; number < 5; number++)
        fill_randomly(&arrays[number]);
    int status = call_operator(attention_gradient_float32, 9, arrays, 4);
    release_all(9, arrays);
    return status;
}

/* Refuses the first, the second ... that a call asks for, in a call that asks for all of them: for
 * another form of work, and for more room than any before. */
static void refuse_each(int (*one_call)(int, int), int asks) {
    static int length = 1;
    for (int granted = 0; granted <= asks; granted++) {
        length += 2 * GRAIN;
        until_refusal = granted;
        const int status = one_call(length, 17), expected = granted < asks ? NO_MEMORY : SUCCESS;
        REQUIRE(status == expected, "%d granted: %d", granted, status);
        REQUIRE((until_refusal < 0) == (granted < asks), "asked for other than %d", asks);
        until_refusal = -1;
        REQUIRE(one_call(length, 17) == SUCCESS, "after a refusal");
    }
}

static void call_without_memory(void) {
    for (int round = 0; round < 10; round++) {
        refuse_each(take_gradient, 4); /* the work, its pieces, two rooms of sums */
        refuse_each(attend, 3);        /* two rooms of scores, the plan */
        if (has_bfloat16)
            refuse_each(multiply_rounded, 6); /* two works, their pieces, two rooms of operands */
        check_norm(100 * round, 33);
    }
}

static void *call_often(void *number) {
    for (int round = 0; round < 6; round++) {
        check_products(1097 + (int)(intptr_t)number, 64, 97);
        check_layers(297 + (int)(intptr_t)number, 64, 97), check_addition(3, 301, 65 + round);
        check_norm(1100, 65 + round), check_both_attentions(2, 6, 65, 8);
        check_both_mlps(70, 33, 65, 40 + round);
        check_updates(9001, 20003 + round);
    }
    return NULL;
}

/* A child, and a child of it, each with a team of its own. */
static void call_in_children(int depth) {
    pid_t child = fork();
    if (child == 0) {
        alarm(30); /* what waits for threads that are not there ends by a signal */
        check_products(1197, 64, 197);
        if (depth > 0)
            call_in_children(depth - 1);
        check_norm(1100, 65);
        _exit(0);
    }
    int status = -1;
    REQUIRE(child > 0 && waitpid(child, &status, 0) == child, "no child");
    REQUIRE(status == 0, "a child ended by %d", status);
}

/* Several threads call at once; with `forks` the process forks meanwhile. */
static void call_from_threads(int forks) {
    pthread_t callers[3];
    for (int number = 0; number < 3; number++)
        REQUIRE(pthread_create(&callers[number], NULL, call_often, (void *)(intptr_t)number) == 0,
                "thread %d", number);
    for (int fork = 0; fork < forks; fork++)
        call_in_children(1);
    for (int number = 0; number < 3; number++)
        pthread_join(callers[number], NULL);
}

/* Threads that are refused may be started later, and only those that lack. */
static void open_operators(const char *library, int threads) {
    REQUIRE(call_with_fault(&EXAMPLES[0], NO_FAULT, 0, 0) == FAILURE, "open");
    REQUIRE(native_open("/nowhere", threads, EPSILON_OF_NORMS) == FAILURE, "a library");
    REQUIRE(native_open(library, 0, EPSILON_OF_NORMS) == WRONG_ARGUMENTS, "no threads");
    for (int started = 0; started < threads - 1; started++) {
        until_refusal = started == 0 ? 0 : 1;
        REQUIRE(native_open(library, threads, EPSILON_OF_NORMS) == NO_THREADS, "%d", started);
    }
    until_refusal = -1;
    REQUIRE(native_open(library, threads, EPSILON_OF_NORMS) == SUCCESS, "%s", library);
    REQUIRE(native_open(library, threads, EPSILON_OF_NORMS) == SUCCESS, "%s once more", library);
    has_bfloat16 = multiply_rounded(3, 5) == SUCCESS;
}

int main(int count, char **words) {
    REQUIRE(count == 4, "calls MODE LIBRARY THREADS");
    open_operators(words[2], atoi(words[3]));
    if (strcmp(words[1], "shapes") == 0)
        call_with_shapes();
    else if (strcmp(words[1], "faults") == 0)
        call_with_faults();
    else if (strcmp(words[1], "refusals") == 0)
        call_without_memory();
    else
        call_from_threads(strcmp(words[1], "forks") == 0 ? 20 : 0);
    printf("%s: %ld calls, products of bfloat16 %s\n", words[1], (long)calls,
           has_bfloat16 ? "too" : "not known to this processor");
}
