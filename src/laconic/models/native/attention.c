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
#define QUERIES_ARE_FIVE 1
#endif

enum {
    LANES = 16,
#ifdef QUERIES_ARE_FIVE
    KEYS = 8,     /* keys whose products with the queries are under way together */
    QUERIES = 5,  /* queries whose sums of values are under way together, */
    VALUES = 64,  /* over this many dimensions: 20 registers */
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

/* Some keys or values in a row, `step` values apart. */
typedef struct {
    const bf16 *at;
    long count, step;
} Stretch;

enum { PARTS = 3 }; /* stretches that the keys of a row lie in: what is left of its past, a stem, its own */

/* out[query] = the sum over keys of weight[key][query] value[key], rows of `each` weights, for `count` queries, a constant,
 * and VALUES dimensions from `d0` on, of which `left` exist. The values are stretches, one behind the other; `before`, if it
 * is not NULL, are sums over earlier ones. */
INLINE void mix(const int count, const float *weight, const long each, const Stretch *values, long d0, long left,
                float (*before)[512], bf16 **out)
{
    halves_of sum[QUERIES][VALUES / 32];
    UNROLL for (int q = 0; q < count; q++) UNROLL for (int d = 0; d < VALUES / 32; d++)
        sum[q][d] = before ? apart(before[q] + d0 + 32 * d, left - 32 * d) : (halves_of){all(0.0f), all(0.0f)};
    for (int part = 0; part < PARTS; part++) {
        const bf16 *value = values[part].at + d0;
        const long step = values[part].step;
        for (long k = values[part].count; k > 0; k--, value += step, weight += each) {
            fetch(value + AHEAD * step, VALUES);
            UNROLL for (int d = 0; d < VALUES / 32; d++) {
                const halves_of v = widen_both(value + 32 * d, left - 32 * d);
                UNROLL for (int q = 0; q < count; q++) {
                    const lanes w = all(weight[q]);
                    sum[q][d].one = multiply_add(w, v.one, sum[q][d].one);
                    sum[q][d].other = multiply_add(w, v.other, sum[q][d].other);
                }
            }
        }
    }
    UNROLL for (int q = 0; q < count; q++) UNROLL for (int d = 0; d < VALUES / 32; d++)
        narrow_both(out[q] + 32 * d, left - 32 * d, sum[q][d]);
}

/* The first node of a row, of which there are width unless starts says otherwise. */
INLINE long node_of(const Pass *p, long row) { return p->starts ? p->starts[row] : row * p->width; }

/* Where keys `from` .. `to` of a row lie, of which parts[0] and parts[1] hold the first ones and parts[2] the others. */
INLINE void stretches(const Stretch *parts, long from, long to, Stretch *found)
{
    long begin = 0;
    for (int part = 0; part < PARTS; part++) {
        const long end = part + 1 < PARTS ? begin + parts[part].count : to;
        const long first = from > begin ? from : begin, last = end < to ? end : to;
        const long step = parts[part].step;
        found[part] = (Stretch){parts[part].at + (first - begin) * step, last > first ? last - first : 0, step};
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

/* Scores of keys from `begin` on become weights: their softmax, of which each query has that over the keys that it sees.
 * It adds them up in their order, whatever else is weighed beside it. */
static void weigh(lanes *score, const some *seen, long begin, long end, float factor)
{
    const lanes never = all(-INFINITY), scale = all(factor);
    lanes most = never, sum = all(0.0f);
    for (long k = begin; k < end; k++) most = larger(most, score[k] = choose(seen[k], multiply(score[k], scale), never));
    for (long k = begin; k < end; k++)
        sum = add(sum, score[k] = choose(seen[k], exponential(subtract(score[k], most)), all(0.0f)));
    for (long k = begin; k < end; k++) score[k] = divide(score[k], sum);
}

#ifdef QUERIES_ARE_FIVE
/* Up to four queries, of a single node as a rule, would leave most lanes empty: there four keys and four queries are the
 * lanes of one register, and scores have rows of four. Every sum is made in the order of the sixteen. */
enum { FEW = 4, TOGETHER = 8 }; /* queries; registers of four keys whose products are under way together */

/* score[key][query] = q . key for 4 n keys, n a constant, `step` apart; q[dim / 2] are pairs of four queries, four times
 * over. 8 divides dim. `last` keys at most exist, of the others there is no telling. */
INLINE void few_at_once(const int n, const pairs *q, const bf16 *key, long step, long half, long last, float *score)
{
    const long one = smaller(1, last - 1) * step, two = smaller(2, last - 1) * step, three = smaller(3, last - 1) * step;
    const bf16 *at[TOGETHER];
    lanes sum[TOGETHER];
    UNROLL for (int g = 0; g < n; g++) at[g] = key + 4 * g * step, sum[g] = all(0.0f);
    for (long d = 0; d < half; d += 4)
        UNROLL for (int g = 0; g < n; g++) {
#define FOUR(key) _mm_loadu_si128((const __m128i *)(at[g] + (key)))
            __m512i four = _mm512_broadcast_i32x4(FOUR(0));
            four = _mm512_mask_broadcast_i32x4(four, 0x00f0, FOUR(one));
            four = _mm512_mask_broadcast_i32x4(four, 0x0f00, FOUR(two));
            four = _mm512_mask_broadcast_i32x4(four, 0xf000, FOUR(three));
#undef FOUR
            sum[g] = dot(sum[g], q[d], (pairs)_mm512_shuffle_epi32(four, 0x00));
            sum[g] = dot(sum[g], q[d + 1], (pairs)_mm512_shuffle_epi32(four, 0x55));
            sum[g] = dot(sum[g], q[d + 2], (pairs)_mm512_shuffle_epi32(four, 0xaa));
            sum[g] = dot(sum[g], q[d + 3], (pairs)_mm512_shuffle_epi32(four, 0xff));
            at[g] += 8;
        }
    UNROLL for (int g = 0; g < n; g++) _mm512_storeu_ps(score + 16 * g, sum[g]);
}

static void few_products(const pairs *q, const bf16 *key, long step, long half, long count, float *score)
{
    for (; count >= 4 * TOGETHER; count -= 4 * TOGETHER, key += 4 * TOGETHER * step, score += 16 * TOGETHER) {
        for (int i = 0; i < 4 * TOGETHER; i++) fetch(key + (4 * TOGETHER + i) * step, 2 * half);
        few_at_once(TOGETHER, q, key, step, half, 4, score);
    }
    for (; count > 0; count -= 4, key += 4 * step, score += 16) few_at_once(1, q, key, step, half, count, score);
}

INLINE some four_seen(const some *seen, long k, long end)
{
    some bits = 0;
    for (long i = 0; i < smaller(4, end - k); i++) bits |= (some)((seen[k + i] & 15u) << 4 * i);
    return bits;
}

/* As weigh, in rows of four. */
static void few_weigh(float *score, const some *seen, long begin, long end, float factor)
{
    const lanes never = all(-INFINITY), scale = all(factor);
    lanes most = never;
    for (long k = begin; k < end; k += 4) {
        const lanes now = choose(four_seen(seen, k, end), multiply(_mm512_loadu_ps(score + 4 * k), scale), never);
        most = larger(most, now);
        _mm512_storeu_ps(score + 4 * k, now);
    }
    most = larger(most, _mm512_shuffle_f32x4(most, most, 0x4e));
    most = larger(most, _mm512_shuffle_f32x4(most, most, 0xb1));
    for (long k = begin; k < end; k += 4) {
        const lanes now = exponential(subtract(_mm512_loadu_ps(score + 4 * k), most));
        _mm512_storeu_ps(score + 4 * k, choose(four_seen(seen, k, end), now, all(0.0f)));
    }
    __m128 sum = _mm_setzero_ps();
    for (long k = begin; k < end; k++) sum = _mm_add_ps(sum, _mm_loadu_ps(score + 4 * k));
    const lanes sums = _mm512_broadcast_f32x4(sum);
    for (long k = begin; k < end; k += 4)
        _mm512_storeu_ps(score + 4 * k, divide(_mm512_loadu_ps(score + 4 * k), sums));
}
#else
enum { FEW = 0 };
static void few_products(const pairs *q, const bf16 *key, long step, long half, long count, float *score)
{
    (void)q, (void)key, (void)step, (void)half, (void)count, (void)score;
}
static void few_weigh(float *score, const some *seen, long begin, long end, float factor)
{
    (void)score, (void)seen, (void)begin, (void)end, (void)factor;
}
#endif

/* Scratch of a thread. The last five are there where a past is read in part. */
typedef struct {
    pairs *q;           /* [dim / 2] */
    lanes *score;       /* [keys + LANES] */
    some *seen;         /* [keys] */
    uint32_t *pair;     /* [pasts / 2 + 1][16], where a past is packed */
    some *chosen;       /* [pasts], units */
    float *promise;     /* [pasts] */
    int32_t *heap;      /* [pasts] */
    bf16 *key, *value;  /* [pasts, dim] */
} Scratch;

/* Put what the `count` lanes from query `from` of a row on read of its past beside each other, in the order of the text,
 * and note who reads it. Returns how many entries these are. */
static long gathered(const Pass *p, const Units *u, long row, long kv_head, long from, long count, const Scratch *s)
{
    const long group = p->heads / p->kv_heads, step = p->kv_heads * p->dim, head_at = kv_head * p->dim;
    long found = 0;
    memset(s->chosen, 0, (size_t)u->units * sizeof *s->chosen);
    for (long lane = 0; lane < count;) { /* a node's heads read the same, also those that are no lanes here */
        const long node = (from + lane) / group, next = smaller((node + 1) * group - from, count);
        const bf16 *query = p->query + (node_of(p, row) + node) * p->query_node + kv_head * group * p->dim;
        const some bits = (some)((1u << next) - (1u << lane));
        units_read(u, p->kv_heads, kv_head, query, p->dim, group, p->dim, bits, s->chosen, s->promise, s->heap);
        lane = next;
    }
    for (long unit = 0; unit < u->units; unit++) {
        if (!s->chosen[unit]) continue;
        for (long at = u->starts[unit]; at < u->starts[unit + 1]; at++, found++) {
            memcpy(s->key + found * p->dim, p->past_key[row] + at * step + head_at, (size_t)p->dim * sizeof(bf16));
            memcpy(s->value + found * p->dim, p->past_value[row] + at * step + head_at, (size_t)p->dim * sizeof(bf16));
            s->seen[found] = s->chosen[unit];
        }
    }
    return found;
}

/* Queries `from` .. `from + count` of one row and one key head, in the order of nodes and, in a node, of heads. */
static void sixteen(const Pass *p, long row, long kv_head, long from, long count, const Scratch *s)
{
    pairs *const q = s->q;
    lanes *const score = s->score;
    some *const seen = s->seen;
    const long group = p->heads / p->kv_heads, half = p->dim / 2;
    const long shared = p->shared ? p->shared[row] : 0, held = p->past ? p->past[row] : 0, head_at = kv_head * p->dim;
    const Units *const units = held && p->units && p->units[row] && held > p->units[row]->most ? p->units[row] : NULL;
    const long past = units ? gathered(p, units, row, kv_head, from, count, s) : held, step = p->cache_key;
    const bf16 *key = p->key + row * p->cache_row + head_at, *value = p->value + row * p->cache_row + head_at;
    const Packed *const packed = past && p->packed ? p->packed[row] : NULL;
    Stretch keys[PARTS] = {{past && !packed ? p->past_key[row] + head_at : key, past, step},
                           {shared ? p->stem_key[row] + head_at : key, shared, step}, {key, 0, step}};
    Stretch values[PARTS] = {{past && !packed ? p->past_value[row] + head_at : value, past, step},
                             {shared ? p->stem_value[row] + head_at : value, shared, step}, {value, 0, step}};
    if (units) keys[0] = (Stretch){s->key, past, p->dim}, values[0] = (Stretch){s->value, past, p->dim};
    Stretch parts[PARTS];
    bf16 *out[LANES];
    const bf16 *asked[LANES];
    float before[LANES][512];
    const int few = count <= FEW && half % 4 == 0;
    const long each = few ? FEW : LANES;
    float *const scores = (float *)score; /* rows of `each` */

    memset(q, 0, (size_t)half * sizeof *q);
    for (long lane = 0; lane < count; lane++) {
        const long node = node_of(p, row) + (from + lane) / group, head = kv_head * group + (from + lane) % group;
        asked[lane] = p->query + node * p->query_node + head * p->dim;
        const int32_t *source = (const int32_t *)asked[lane];
        for (long d = 0; d < half; d++)
            for (long copy = 0; copy < (few ? LANES : 1); copy += 4) ((int32_t *)(q + d))[lane + copy] = source[d];
        out[lane] = p->out + (node * p->heads + head) * p->dim;
    }
    if (!units) /* as many as the longest past has; those of the keys come behind this row's own, in their place */
        seen_by(past && p->past_mask ? p->past_mask + row * p->width * p->pasts : NULL, past ? p->pasts : 0, from, count,
                group, seen);
    seen_by(p->mask ? p->mask + row * p->width * p->keys : NULL, p->keys, from, count, group, seen + past);
    long begin = 0, end = past + p->keys;
    while (end > begin && !seen[end - 1]) end--;
    while (begin < end && !seen[begin]) begin++;

    long k = begin;
    stretches(keys, begin, end, parts);
    if (packed) { /* all of it is seen, so nothing begins behind its first key */
        packed_scores(packed, kv_head, asked, count, p->dim, past, scores, each);
        k = past;
    }
    for (int part = packed ? 1 : 0; part < PARTS; part++) {
        const bf16 *now = parts[part].at;
        const long stop = k + parts[part].count, far = parts[part].step;
        if (few) {
            few_products(q, now, far, half, stop - k, scores + k * each);
            k = stop;
        }
        for (; k + KEYS <= stop; k += KEYS, now += KEYS * far) {
            for (int i = 0; i < KEYS; i++) fetch(now + (AHEAD + i) * far, p->dim);
            products(KEYS, q, now, far, half, score + k);
        }
        for (; k < stop; k++, now += far) products(1, q, now, far, half, score + k);
    }

    if (few)
        few_weigh(scores, seen, begin, end, p->scale);
    else
        weigh(score, seen, begin, end, p->scale);

    stretches(values, begin, end, parts);
    const float *weights = scores + begin * each;
    if (packed) {
        packed_mix(packed, kv_head, scores, each, count, p->dim, past, s->pair, before);
        parts[0].count = 0;
        weights = scores + past * each;
    }
    for (long d = 0; d < p->dim; d += VALUES) {
        for (long lane = 0; lane < count; lane += QUERIES) {
            bf16 *to[QUERIES];
            const long now = smaller(QUERIES, count - lane);
            for (long i = 0; i < now; i++) to[i] = out[lane + i] + d;
            const float *weight = weights + lane;
            float (*const sums)[512] = packed ? before + lane : NULL;
#define CASE(n) case n: mix(n, weight, each, parts, d, p->dim - d, sums, to); break;
            switch (now) {
                CASE(1) CASE(2)
#ifdef QUERIES_ARE_FIVE
                CASE(3) CASE(4) CASE(5)
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
        const size_t in = p->units ? (size_t)p->pasts : 0;
        const Scratch s = {
            aligned_alloc(64, (size_t)p->dim / 2 * sizeof(pairs)),
            aligned_alloc(64, (size_t)(keys + LANES) * sizeof(lanes)),
            malloc((size_t)keys * sizeof(some)),
            p->packed ? malloc((size_t)(p->pasts / 2 + 1) * 16 * sizeof(uint32_t)) : NULL,
            in ? malloc(in * sizeof(some)) : NULL,
            in ? malloc(in * sizeof(float)) : NULL,
            in ? malloc(in * sizeof(int32_t)) : NULL,
            in ? malloc(in * (size_t)p->dim * sizeof(bf16)) : NULL,
            in ? malloc(in * (size_t)p->dim * sizeof(bf16)) : NULL,
        };
        failed = !s.q || !s.score || !s.seen || (p->packed && !s.pair);
        failed |= in && (!s.chosen || !s.promise || !s.heap || !s.key || !s.value);
#pragma omp for schedule(dynamic)
        for (long i = 0; i < all; i++) {
            const long from = i % blocks * LANES, row = i / blocks / p->kv_heads;
            const long here = (node_of(p, row + 1) - node_of(p, row)) * (p->heads / p->kv_heads);
            if (!failed && from < here)
                sixteen(p, row, i / blocks % p->kv_heads, from, smaller(LANES, here - from), &s);
        }
        void *const all_of_it[] = {s.q, s.score, s.seen, s.pair, s.chosen, s.promise, s.heap, s.key, s.value};
        for (size_t i = 0; i < sizeof all_of_it / sizeof *all_of_it; i++) free(all_of_it[i]);
    }
    return failed;
}
