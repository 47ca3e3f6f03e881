/* Attention in bfloat16 of few queries to many keys, for passes over token trees.
 *
 * Sixteen queries that share a key head are the lanes of one register. A query adds up its keys one after the other, in
 * the order in which they lie in the cache, and skips those that it does not see: its result is the same alone and in a
 * pass of many, on a chain and on a branch.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels.h"

#ifdef __AVX512BF16__
#define QUERIES_ARE_FOUR 1
#endif

enum {
    LANES = 16,
#ifdef QUERIES_ARE_FOUR
    KEYS = 8,     /* keys whose products with the queries are under way together */
    QUERIES = 4,  /* queries whose sums of values are under way together, */
    VALUES = 64,  /* over this many dimensions: 16 registers */
#else
    KEYS = 4,     /* of 16 registers, two a sum */
    QUERIES = 2,
    VALUES = 32,
#endif
    AHEAD = 24,   /* keys and values that are asked for so many places before they are read: they lie in strides */
    SMALL = 1 << 11 /* products of a query with a key below which threads are not worth waking */
};

/* Ask for a row of `dim` values before it is read; beyond the end nothing happens. */
INLINE void fetch(const bf16 *row, long dim)
{
    for (long d = 0; d < dim; d += 32) _mm_prefetch((const char *)(row + d), _MM_HINT_T1);
}

/* score[k][lane] = q . k for `count` keys, a constant; q[dim / 2][lane] are pairs of a query's values. */
INLINE void products(const int count, const pairs *q, const bf16 *key, long step, long half, lanes *score)
{
    lanes sum[KEYS];
    UNROLL for (int k = 0; k < count; k++) sum[k] = all(0.0f);
    for (long d = 0; d < half; d++) {
        UNROLL for (int k = 0; k < count; k++) {
            const int32_t pair = ((const int32_t *)(key + k * step))[d];
            sum[k] = dot(sum[k], q[d], pair_of(pair));
        }
    }
    UNROLL for (int k = 0; k < count; k++) score[k] = sum[k];
}

/* Some keys or values in a row. */
typedef struct {
    const bf16 *at;
    long count;
} Stretch;

enum { PARTS = 3 }; /* stretches that the keys of a row lie in: what is left of its past, a stem, its own */

/* out[query] = the sum over keys of weight[key][query] value[key], for `count` queries, a constant, and VALUES
 * dimensions from `d0` on, of which `left` exist. The values are stretches, one behind the other; `before`, if it is not
 * NULL, are sums over earlier ones. */
INLINE void mix(const int count, const float *weight, const Stretch *values, long d0, long step, long left,
                float (*before)[512], bf16 **out)
{
    lanes sum[QUERIES][VALUES / 16];
    UNROLL for (int q = 0; q < count; q++) UNROLL for (int d = 0; d < VALUES / 16; d++)
        sum[q][d] = before ? floats(before[q] + d0 + 16 * d, first(smaller(16, left > 16 * d ? left - 16 * d : 0))) : all(0.0f);
    for (int part = 0; part < PARTS; part++) {
        const bf16 *value = values[part].at + d0;
        for (long k = values[part].count; k > 0; k--, value += step, weight += LANES) {
            fetch(value + AHEAD * step, VALUES);
            UNROLL for (int d = 0; d < VALUES / 16; d++) {
                const lanes v = widen(value + 16 * d, first(smaller(16, left > 16 * d ? left - 16 * d : 0)));
                UNROLL for (int q = 0; q < count; q++) sum[q][d] = multiply_add(all(weight[q]), v, sum[q][d]);
            }
        }
    }
    UNROLL for (int q = 0; q < count; q++) UNROLL for (int d = 0; d < VALUES / 16; d++)
        narrow(out[q] + 16 * d, first(smaller(16, left > 16 * d ? left - 16 * d : 0)), sum[q][d]);
}

/* The first node of a row, of which there are width unless starts says otherwise. */
INLINE long node_of(const Pass *p, long row) { return p->starts ? p->starts[row] : row * p->width; }

/* Where keys `from` .. `to` of a row lie, of which parts[0] and parts[1] hold the first ones and parts[2] the others. */
INLINE void stretches(const Stretch *parts, long step, long from, long to, Stretch *found)
{
    long begin = 0;
    for (int part = 0; part < PARTS; part++) {
        const long end = part + 1 < PARTS ? begin + parts[part].count : to;
        const long first = from > begin ? from : begin, last = end < to ? end : to;
        found[part] = (Stretch){parts[part].at + (first - begin) * step, last > first ? last - first : 0};
        begin = end;
    }
}

/* Note, key by key, which of the `count` lanes from query `from` of a row on see it: mask[width, keys], or NULL for all.
 * The lanes of a node see the same. */
static void seen_by(const uint8_t *mask, long keys, long from, long count, long group, some *seen)
{
    memset(seen, mask ? 0 : 0xff, (size_t)keys * sizeof *seen);
    for (long lane = 0; mask && lane < count;) {
        const long node = (from + lane) / group, next = smaller((node + 1) * group - from, count);
        const uint8_t *at = mask + node * keys, *const stop = at + keys;
        const some bits = (some)((1u << next) - (1u << lane));
        for (some *to = seen; at < stop; at++, to++) *to |= *at ? bits : 0;
        lane = next;
    }
}

/* Queries `from` .. `from + count` of one row and one key head, in the order of nodes and, in a node, of heads. */
static void sixteen(const Pass *p, long row, long kv_head, long from, long count, pairs *q, lanes *score,
                  some *seen, uint32_t *pair)
{
    const long group = p->heads / p->kv_heads, half = p->dim / 2;
    const long shared = p->shared ? p->shared[row] : 0, past = p->past ? p->past[row] : 0, head_at = kv_head * p->dim;
    const bf16 *key = p->key + row * p->cache_row + head_at, *value = p->value + row * p->cache_row + head_at;
    const Packed *const packed = past && p->packed ? p->packed[row] : NULL;
    const Stretch keys[PARTS] = {{past && !packed ? p->past_key[row] + head_at : key, past},
                                 {shared ? p->stem_key[row] + head_at : key, shared}, {key, 0}};
    const Stretch values[PARTS] = {{past && !packed ? p->past_value[row] + head_at : value, past},
                                   {shared ? p->stem_value[row] + head_at : value, shared}, {value, 0}};
    Stretch parts[PARTS];
    bf16 *out[LANES];
    const bf16 *asked[LANES];
    float before[LANES][512];

    memset(q, 0, (size_t)half * sizeof *q);
    for (long lane = 0; lane < count; lane++) {
        const long node = node_of(p, row) + (from + lane) / group, head = kv_head * group + (from + lane) % group;
        asked[lane] = p->query + node * p->query_node + head * p->dim;
        const int32_t *source = (const int32_t *)asked[lane];
        for (long d = 0; d < half; d++) ((int32_t *)(q + d))[lane] = source[d];
        out[lane] = p->out + (node * p->heads + head) * p->dim;
    }
    seen_by(past && p->past_mask ? p->past_mask + row * p->width * p->pasts : NULL, past ? p->pasts : 0, from, count, group,
            seen); /* as many as the longest past has; those of the keys come behind this row's own, in their place */
    seen_by(p->mask ? p->mask + row * p->width * p->keys : NULL, p->keys, from, count, group, seen + past);
    long begin = 0, end = past + p->keys;
    while (end > begin && !seen[end - 1]) end--;
    while (begin < end && !seen[begin]) begin++;

    long k = begin;
    stretches(keys, p->cache_key, begin, end, parts);
    if (packed) { /* all of it is seen, so nothing begins behind its first key */
        packed_scores(packed, kv_head, asked, count, p->dim, past, score);
        k = past;
    }
    for (int part = packed ? 1 : 0; part < PARTS; part++) {
        const bf16 *now = parts[part].at;
        const long stop = k + parts[part].count;
        for (; k + KEYS <= stop; k += KEYS, now += KEYS * p->cache_key) {
            for (int i = 0; i < KEYS; i++) fetch(now + (AHEAD + i) * p->cache_key, p->dim);
            products(KEYS, q, now, p->cache_key, half, score + k);
        }
        for (; k < stop; k++, now += p->cache_key) products(1, q, now, p->cache_key, half, score + k);
    }

    const lanes never = all(-INFINITY), scale = all(p->scale);
    lanes most = never, sum = all(0.0f);
    for (k = begin; k < end; k++) most = larger(most, score[k] = choose(seen[k], multiply(score[k], scale), never));
    for (k = begin; k < end; k++)
        sum = add(sum, score[k] = choose(seen[k], exponential(subtract(score[k], most)), all(0.0f)));
    for (k = begin; k < end; k++) score[k] = divide(score[k], sum);

    stretches(values, p->cache_key, begin, end, parts);
    const lanes *weights = score + begin;
    if (packed) {
        packed_mix(packed, kv_head, score, count, p->dim, past, pair, before);
        parts[0].count = 0;
        weights = score + past;
    }
    for (long d = 0; d < p->dim; d += VALUES) {
        for (long lane = 0; lane < count; lane += QUERIES) {
            bf16 *to[QUERIES];
            const long now = smaller(QUERIES, count - lane);
            for (long i = 0; i < now; i++) to[i] = out[lane + i] + d;
            const float *weight = (const float *)weights + lane;
            float (*const sums)[512] = packed ? before + lane : NULL;
#define CASE(n) case n: mix(n, weight, parts, d, p->cache_key, p->dim - d, sums, to); break;
            switch (now) {
                CASE(1) CASE(2)
#ifdef QUERIES_ARE_FOUR
                CASE(3) CASE(4)
#endif
            }
#undef CASE
        }
    }
}

/* Scaled dot-product attention; dim is even, heads a multiple of kv_heads. Returns 0, or 1 without memory. */
int attention(const Pass *p, int threads)
{
    const long queries = p->width * (p->heads / p->kv_heads), blocks = (queries + LANES - 1) / LANES;
    const long all = p->rows * p->kv_heads * blocks, keys = p->keys + (p->past ? p->pasts : 0);
    int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed) if (p->rows * queries * p->kv_heads * keys > SMALL)
    {
        pairs *q = aligned_alloc(64, (size_t)p->dim / 2 * sizeof *q);
        lanes *score = aligned_alloc(64, (size_t)keys * sizeof *score);
        some *seen = malloc((size_t)keys * sizeof *seen);
        uint32_t *pair = p->packed ? malloc((size_t)(p->pasts / 2 + 1) * 16 * sizeof *pair) : NULL;
        failed = !q || !score || !seen || (p->packed && !pair);
#pragma omp for schedule(dynamic)
        for (long i = 0; i < all; i++) {
            const long from = i % blocks * LANES, row = i / blocks / p->kv_heads;
            const long here = (node_of(p, row + 1) - node_of(p, row)) * (p->heads / p->kv_heads);
            if (!failed && from < here)
                sixteen(p, row, i / blocks % p->kv_heads, from, smaller(LANES, here - from), q, score, seen,
                        pair);
        }
        free(q);
        free(score);
        free(seen);
        free(pair);
    }
    return failed;
}
