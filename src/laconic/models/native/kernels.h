#ifndef LACONIC_KERNELS_H
#define LACONIC_KERNELS_H
#include "lanes.h"
#include "packed.h"

/* Units of neighbours among the entries of a past, of which a node reads those that promise most (models/units.py). */
typedef struct {
    const int64_t *starts;    /* [units + 1], the first entry of each */
    const bf16 *low, *high;   /* [units, kv_heads, dim], between which its keys lie */
    long units, most;         /* no more than `most` entries are read, but for a first unit that has more */
} Units;

/* Attention of the nodes of some rows to their caches. */
typedef struct {
    const bf16 *query, *key, *value; /* query[nodes, heads, dim], key and value[rows, keys, kv_heads, dim] */
    const uint8_t *mask;             /* [rows, width, keys], whether a node sees a key, or NULL: all see all */
    const int64_t *starts;           /* [rows + 1], the first node of each row, or NULL: width nodes each */
    bf16 *out;                       /* [nodes, heads, dim] */
    const int64_t *shared;           /* [rows], how many of a row's first keys lie in its stem and not in the cache, */
    const bf16 *const *stem_key, *const *stem_value; /* [rows], which is [keys, kv_heads, dim]; or NULL: none does */
    const int64_t *past;             /* [rows], entries before all these keys, which no mask speaks of, or NULL: none. */
    const bf16 *const *past_key, *const *past_value; /* [rows], which is [entries, kv_heads, dim] */
    const Packed *const *packed;     /* [rows], in place of these where a row's past is of four bits, or NULL: none is */
    const uint8_t *past_mask;        /* [rows, width, pasts], whether a node sees one of them, or NULL: all see all */
    const Units *const *units;       /* [rows], where a row's past is read in part, each or all NULL: it is read whole */
    long pasts;                      /* no row has more of them */
    long rows, width, keys, heads, kv_heads, dim;
    long query_node, cache_row, cache_key; /* from one node, row and key to the next: values */
    float scale;
} Pass;

/* Tables of n-grams; level l has its places from starts[l] on, by the highest 64 - shifts[l] bits of a key. */
typedef struct {
    uint64_t *keys;      /* [places] */
    int32_t *tokens;     /* [places, k] */
    uint16_t *logits;    /* [places, k], in half precision */
    const int64_t *orders, *starts;
    const uint64_t *shifts, *factors;
    uint64_t mix;
    long levels, k, heard; /* windows are of `heard` tokens, the newest last */
} Grams;

int linear(const bf16 *x, const bf16 *w, const bf16 *bias, const bf16 *more, bf16 *y, long rows, long in, long out,
           int threads);
void rms_norm(const bf16 *x, const float *gain, bf16 *y, long rows, long dim, float eps, int threads);
void heads(const bf16 *x, const float *gain, const bf16 *cos, const bf16 *sin, const int64_t *places, bf16 *query,
           bf16 *key, bf16 *value, long nodes, long heads, long kv_heads, long dim, float eps, int threads);
void swiglu(const bf16 *x, bf16 *y, long rows, long width, int threads);
int attention(const Pass *p, int threads);
void units_read(const Units *u, long kv_heads, long head, const bf16 *query, long step, long count, long dim, some bits,
                some *chosen, float *promise, int32_t *heap);
void largest(const void *x, int wide, long rows, long width, long k, float *value, int64_t *place, int threads);
void ngrams_look(const Grams *g, const int64_t *windows, long n, double heat, long wide, uint8_t *known,
                 int64_t *tokens, double *shares);
void ngrams_learn(const Grams *g, const int64_t *windows, long n, const int64_t *tokens, const double *logits);
void entries_move(char *const *buffers, const int64_t *bytes, long count, long at, const int64_t *source, long n);
void shares_add(int64_t *tokens, double *shares, long n, long wide, double least, int64_t *found);

#endif
