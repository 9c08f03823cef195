/* Work: how it is cut into a part for each thread, and what was made once, which is kept as long as
 * the process lives.
 */

#include "native.h"

#include <stdlib.h>
#include <string.h>

enum { LEAST_ELEMENTS = 1 << 14, LEAST_PRODUCTS = 1 << 21 }; /* waking a thread takes 10 to 20 us */

static work *known;

/* Whether a product is cut along the columns of the result, or along its rows: the longer side, but
 * a weight that is kept lies packed in one place. */
int is_cut_by_columns(const form *of) { return of->is_kept || of->rows < of->columns; }

/* How work is cut: the length of the axis along which, what each part's begin is a multiple of, and
 * how many parts are large enough to wake a thread for. */
typedef struct { int64_t length, grain, parts; } cut;

static cut way_to_cut(const form *of) {
    switch (of->what) {
    case PRODUCT: {
        /* A number that may be larger than an integer holds, of which a part is known to be less */
        double parts = (double)of->rows * (double)(of->width * of->columns) / LEAST_PRODUCTS;
        return (cut){is_cut_by_columns(of) ? of->columns : of->rows, GRAIN,
                     parts < MOST_THREADS ? (int64_t)parts : MOST_THREADS};
    }
    case NORM_FORWARD:
    case NORM_BACKWARD: return (cut){of->rows, GRAIN, of->rows * of->columns / LEAST_ELEMENTS};
    default: return (cut){of->elements, GRAIN, of->elements / LEAST_ELEMENTS};
    }
}

/* Makes what `find` does not know yet. */
static int make_work(const form *of, int threads, work *made) {
    const cut way = way_to_cut(of);
    const int64_t most = parts_of(way.parts, threads);
    const int64_t part = (way.length + way.grain * most - 1) / (way.grain * most) * way.grain;
    if ((made->pieces = calloc((size_t)most, sizeof(piece))) == NULL)
        return NO_MEMORY;
    made->of = *of;
    for (int64_t begin = 0; begin < way.length; begin += part) {
        const int64_t rest = way.length - begin;
        if (make_piece(&made->pieces[made->parts++], of, begin, rest < part ? rest : part))
            return FAILURE;
    }
    return of->what == PRODUCT ? share_packing(made) : SUCCESS;
}

/* The work of this form for so many threads, made at its first use. No axis of it is empty. */
int find(const form *of, int threads, const work **found) {
    for (work *one = known; one != NULL; one = one->next)
        if (memcmp(&one->of, of, sizeof(form)) == 0) {
            *found = one;
            return SUCCESS;
        }
    work *made = calloc(1, sizeof(work));
    const int status = made == NULL ? NO_MEMORY : make_work(of, threads, made);
    if (status) {
        if (made != NULL)
            free(made->pieces);
        free(made);
        return status;
    }
    made->next = known;
    *found = known = made;
    return SUCCESS;
}
