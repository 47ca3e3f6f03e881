/* Attention to keys and values of four bits, as kv/codec/four.py lays them out.
 *
 * Keys have a step and a middle for each dimension of 64 keys in a row, values for each key. What a query's dimension is
 * worth in steps goes into eight bits, so that products with keys are whole numbers: their sums are exact, in any order.
 * Middles are taken apart, in float32, so that eight bits have to carry differences alone.
 */
#include "packed.h"

#ifdef __AVX512BF16__

enum {
    ASKING = 6, /* queries whose sums are under way together */
    WIDE = 64   /* dimensions of values whose sums are */
};

INLINE lanes halves(const uint16_t *x) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)x)); }

/* A query as 64 keys with these steps and middles read it: whole numbers, the factor that makes products of them, and
 * what is added to each: (middles - 8 factor sum) once and for all. */
typedef struct {
    int8_t whole[512];
    float factor, more;
} Asked;

static void ask(const bf16 *query, const uint16_t *step, const uint16_t *middle, long dim, Asked *asked)
{
    lanes most = all(0.0f), more = all(0.0f);
    for (long d = 0; d < dim; d += 16) {
        const lanes q = widen(query + d, 0xffff);
        most = larger(most, _mm512_abs_ps(multiply(q, halves(step + d))));
        more = multiply_add(q, halves(middle + d), more);
    }
    const float top = _mm512_reduce_max_ps(most), inverse = top > 0 ? 127.0f / top : 0.0f;
    long sum = 0;
    for (long d = 0; d < dim; d += 16) {
        const lanes steps = multiply(multiply(widen(query + d, 0xffff), halves(step + d)), all(inverse));
        const __m512i whole = _mm512_cvtps_epi32(steps);
        _mm_storeu_si128((__m128i *)(asked->whole + d), _mm512_cvtsepi32_epi8(whole));
        sum += _mm512_reduce_add_epi32(whole);
    }
    asked->factor = top / 127.0f;
    asked->more = total(more) - asked->factor * 8.0f * (float)sum;
}

/* Products of `count` queries, a constant, with 32 keys: sixteen in the low digits of the bytes, sixteen in the high. */
INLINE void few_scores(const int count, const Asked *asked, const uint8_t *codes, long dim, float *score, long each)
{
    const __m512i low = _mm512_set1_epi8(15);
    __m512i first[ASKING], second[ASKING];
    UNROLL for (int i = 0; i < count; i++) first[i] = second[i] = _mm512_setzero_si512();
    for (long d = 0; d < dim; d += 4, codes += 64) {
        const __m512i both = _mm512_loadu_si512(codes);
        const __m512i a = _mm512_and_si512(both, low), b = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
        UNROLL for (int i = 0; i < count; i++) {
            const __m512i q = _mm512_set1_epi32(*(const int32_t *)(asked[i].whole + d));
            first[i] = _mm512_dpbusd_epi32(first[i], a, q);
            second[i] = _mm512_dpbusd_epi32(second[i], b, q);
        }
    }
    UNROLL for (int i = 0; i < count; i++) {
        float found[32];
        const lanes factor = all(asked[i].factor), more = all(asked[i].more);
        _mm512_storeu_ps(found, multiply_add(_mm512_cvtepi32_ps(first[i]), factor, more));
        _mm512_storeu_ps(found + 16, multiply_add(_mm512_cvtepi32_ps(second[i]), factor, more));
        for (long k = 0; k < 32; k++) score[k * each + i] = found[k];
    }
}

#define SIX(CASE) CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)

void packed_scores(const Packed *p, long head, const bf16 *const *query, long count, long dim, long keys, float *score,
                   long each)
{
    memset(score, 0, (size_t)(keys * each) * sizeof *score);
    for (long g = 0; g < keys / PACKED_GROUP; g++) {
        const long at = (g * p->heads + head) * dim;
        for (long from = 0; from < count; from += ASKING) {
            const long now = smaller(ASKING, count - from);
            Asked asked[ASKING];
            for (long i = 0; i < now; i++) ask(query[from + i], p->key_step + at, p->key_middle + at, dim, asked + i);
            for (long half = 0; half < 2; half++) {
                const uint8_t *codes = p->key + (at * 2 + half * dim) * 16;
                float *to = score + (g * PACKED_GROUP + half * 32) * each + from;
#define CASE(n) case n: few_scores(n, asked, codes, dim, to, each); break;
                switch (now) { SIX(CASE) }
#undef CASE
            }
        }
    }
}

/* Pairs of the weights of two keys in a row, times their steps, in bfloat16, for each of sixteen queries. */
INLINE __m512i paired(lanes one, lanes other)
{
    static const uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return _mm512_permutexvar_epi16(_mm512_loadu_si512(order), (__m512i)_mm512_cvtne2ps_pbh(other, one));
}

/* Sums of `count` queries, a constant, over WIDE dimensions from d on, or the `parts` times 32 that are left of them. */
INLINE void few_mix(const int count, const Packed *p, long head, const uint32_t *pair, const float *added, long d, long dim,
                    const int parts, long keys, float (*out)[512])
{
    /* what four bits mean, less eight, in bfloat16; twice, so that the digit above makes no difference */
    static const uint16_t meant[32] = {0xc100, 0xc0e0, 0xc0c0, 0xc0a0, 0xc080, 0xc040, 0xc000, 0xbf80, 0x0000, 0x3f80, 0x4000,
                                       0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0, 0xc100, 0xc0e0, 0xc0c0, 0xc0a0, 0xc080, 0xc040,
                                       0xc000, 0xbf80, 0x0000, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0};
    const __m512i table = _mm512_loadu_si512(meant);
    lanes sum[ASKING][4];
    UNROLL for (int i = 0; i < count; i++) UNROLL for (int j = 0; j < 2 * parts; j++) sum[i][j] = all(added[i]);
    for (long g = 0; g < keys / PACKED_GROUP; g++) {
        const uint8_t *here = p->value + (g * p->heads + head) * (PACKED_GROUP / 2) * dim + d;
        for (long k = 0; k < PACKED_GROUP / 2; k++, here += dim, pair += 16)
            UNROLL for (int j = 0; j < parts; j++) {
                const __m512i both = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(here + 32 * j)));
                const pairs a = (pairs)_mm512_permutexvar_epi16(both, table);
                const pairs b = (pairs)_mm512_permutexvar_epi16(_mm512_srli_epi16(both, 4), table);
                UNROLL for (int i = 0; i < count; i++) {
                    const pairs q = pair_of((int32_t)pair[i]);
                    sum[i][2 * j] = dot(sum[i][2 * j], a, q);
                    sum[i][2 * j + 1] = dot(sum[i][2 * j + 1], b, q);
                }
            }
    }
    UNROLL for (int i = 0; i < count; i++) UNROLL for (int j = 0; j < 2 * parts; j++)
        _mm512_storeu_ps(out[i] + d + 16 * j, sum[i][j]);
}

void packed_mix(const Packed *p, long head, const float *weight, long each, long count, long dim, long keys,
                uint32_t *pair, float (*out)[512])
{
    const some there = first(each);
    lanes middles = all(0.0f);
    float added[16];
    for (long k = 0; k < keys; k += 2) {
        const long at = (k / PACKED_GROUP * p->heads + head) * PACKED_GROUP + k % PACKED_GROUP;
        const uint16_t *step = p->value_step + at, *middle = p->value_middle + at;
        const lanes one = floats(weight + k * each, there), other = floats(weight + (k + 1) * each, there);
        middles = multiply_add(one, all(_cvtsh_ss(middle[0])), middles);
        middles = multiply_add(other, all(_cvtsh_ss(middle[1])), middles);
        const __m512i both = paired(multiply(one, all(_cvtsh_ss(step[0]))), multiply(other, all(_cvtsh_ss(step[1]))));
        _mm512_storeu_si512(pair + k / 2 * 16, both);
    }
    _mm512_storeu_ps(added, middles);
    for (long d = 0; d < dim; d += WIDE) /* of 32 dimensions sixteen are in the low digits, sixteen in the high */
        for (long from = 0; from < count; from += ASKING) {
            const long now = smaller(ASKING, count - from);
#define ONE(n, parts) few_mix(n, p, head, pair + from, added + from, d, dim, parts, keys, out + from)
#define CASE(n) case n: if (dim - d >= WIDE) ONE(n, 2); else ONE(n, 1); break;
            switch (now) { SIX(CASE) }
#undef CASE
#undef ONE
        }
}

int packs(void) { return 1; }

#else

void packed_scores(const Packed *p, long head, const bf16 *const *query, long count, long dim, long keys, float *score,
                   long each)
{
    (void)p, (void)head, (void)query, (void)count, (void)dim, (void)keys, (void)score, (void)each;
}

void packed_mix(const Packed *p, long head, const float *weight, long each, long count, long dim, long keys,
                uint32_t *pair, float (*out)[512])
{
    (void)p, (void)head, (void)weight, (void)each, (void)count, (void)dim, (void)keys, (void)pair, (void)out;
}

int packs(void) { return 0; }

#endif
