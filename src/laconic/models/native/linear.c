/* Products with a weight matrix in bfloat16, for decoding passes: few rows, every weight read once.
 *
 * The order of summation of one output depends neither on the number of rows nor on the number of threads, so a
 * position has the same values alone and in a pass of many.
 */
#include <stdlib.h>
#include "kernels.h"

enum {
    OUT = 32,     /* outputs of a block, of which both weights of a pair of inputs lie together */
    ROWS = 12,    /* rows that a weight serves once it is in a register */
    AHEAD = 2048, /* bytes by which weights are fetched ahead */
    SMALL = 1 << 18 /* multiplications below which threads are not worth waking */
};

/* What 16 outputs write: y[out] = sum + bias, or that rounded, + add[out]. */
INLINE void put(lanes value, const bf16 *bias, const bf16 *more, bf16 *y, some keep)
{
    if (bias) value = add(value, widen(bias, keep));
    if (more) value = add(rounded(value), widen(more, keep));
    narrow(y, keep, value);
}

/* A pair of inputs, as a block reads it. */
#ifdef __AVX512BF16__
typedef int32_t input;
INLINE input given(int32_t pair) { return pair; }
#else
typedef struct { float even, odd; } input;
INLINE input given(int32_t pair)
{
    const uint32_t bits[2] = {(uint32_t)pair << 16, (uint32_t)pair & 0xffff0000};
    input found;
    memcpy(&found, bits, sizeof found);
    return found;
}
#endif

/* What a block writes: y[rows, out] = x W^T + bias, or that product rounded, + more[rows, out]. x[half][rows] are pairs of
 * inputs, w[half][OUT] pairs of weights; keep says which of the OUT outputs exist. rows is a constant wherever this is
 * inlined. */
#ifdef __AVX512BF16__

/* 2 * ROWS sums and the weights fit in 32 registers. */
INLINE void block(const int rows, const input *x, const bf16 *weights, const bf16 *bias, const bf16 *more, bf16 *y,
                  long half, long out, uint32_t keep)
{
    const pairs *w = (const pairs *)weights;
    lanes sum[ROWS][2];
    UNROLL for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = all(0.0f);
    for (long k = 0; k < half; k++, x += rows, w += 2) {
        _mm_prefetch((const char *)w + AHEAD, _MM_HINT_T0);
        _mm_prefetch((const char *)w + AHEAD + 64, _MM_HINT_T0);
        const pairs low = w[0], high = w[1];
        UNROLL for (int r = 0; r < rows; r++) {
            const pairs pair = pair_of(x[r]);
            sum[r][0] = dot(sum[r][0], low, pair);
            sum[r][1] = dot(sum[r][1], high, pair);
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        const long at = r * out;
        put(sum[r][0], bias, more ? more + at : NULL, y + at, (some)keep);
        put(sum[r][1], bias ? bias + 16 : NULL, more ? more + at + 16 : NULL, y + at + 16, (some)(keep >> 16));
    }
}

#else

/* Sums of `parts` times 8 outputs; parts * rows of them and two registers of weights fit in 16. The block's weights are
 * read 4 / parts times, from the second time on out of the cache. */
INLINE void sums(const int rows, const int parts, const input *x, const __m256i *w, long half, float (*found)[OUT])
{
    __m256 sum[ROWS][4];
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int p = 0; p < parts; p++) sum[r][p] = _mm256_setzero_ps();
    for (long k = 0; k < half; k++, x += rows, w += OUT / 8) {
        _mm_prefetch((const char *)w + AHEAD, _MM_HINT_T0);
        if (parts > 2) _mm_prefetch((const char *)w + AHEAD + 64, _MM_HINT_T0);
        UNROLL for (int p = 0; p < parts; p++) {
            const __m256 first_of = even(w[p]), second_of = odd(w[p]);
            UNROLL for (int r = 0; r < rows; r++) {
                sum[r][p] = _mm256_fmadd_ps(first_of, _mm256_broadcast_ss(&x[r].even), sum[r][p]);
                sum[r][p] = _mm256_fmadd_ps(second_of, _mm256_broadcast_ss(&x[r].odd), sum[r][p]);
            }
        }
    }
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int p = 0; p < parts; p++)
        _mm256_storeu_ps(found[r] + 8 * p, sum[r][p]);
}

INLINE void block(const int rows, const input *x, const bf16 *weights, const bf16 *bias, const bf16 *more, bf16 *y,
                  long half, long out, uint32_t keep)
{
    const int parts = rows < 3 ? 4 : rows < 6 ? 2 : 1;
    float found[ROWS][OUT];
    for (int p = 0; p < 4; p += parts)
        sums(rows, parts, x, (const __m256i *)weights + p, half, (float (*)[OUT])(found[0] + 8 * p));
    for (int r = 0; r < rows; r++) {
        for (int at = 0; at < OUT; at += 16) {
            const lanes value = {_mm256_loadu_ps(found[r] + at), _mm256_loadu_ps(found[r] + at + 8)};
            put(value, bias ? bias + at : NULL, more ? more + r * out + at : NULL, y + r * out + at, (some)(keep >> at));
        }
    }
}

#endif

static void block_of(int rows, const input *x, const bf16 *w, const bf16 *bias, const bf16 *more, bf16 *y, long half,
                     long out, uint32_t keep)
{
#define CASE(n) case n: block(n, x, w, bias, more, y, half, out, keep); break;
    switch (rows) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
    }
#undef CASE
}

/* y[rows, out] = x[rows, in] W^T + bias (+ add[rows, out]), the weights as bf16.py lays them out: [blocks][in / 2][OUT][2],
 * the outputs of the last block filled up with zeros. bias[out] or NULL; more or NULL, it may be y. Returns 0, or 1 without
 * memory. */
int linear(const bf16 *x, const bf16 *w, const bf16 *bias, const bf16 *more, bf16 *y, long rows, long in, long out,
           int threads)
{
    const long half = in / 2, blocks = (out + OUT - 1) / OUT;
    /* In each group of ROWS rows, pairs of the same inputs side by side. */
    input *const turned = malloc((size_t)(rows * half) * sizeof *turned);
    if (!turned) return 1;
#pragma omp parallel for num_threads(threads) if (rows > 2 * ROWS)
    for (long row = 0; row < rows; row += ROWS) {
        const long count = smaller(ROWS, rows - row);
        for (long r = 0; r < count; r++) {
            const int32_t *source = (const int32_t *)x + (row + r) * half;
            for (long k = 0; k < half; k++) turned[row * half + k * count + r] = given(source[k]);
        }
    }
#pragma omp parallel for num_threads(threads) schedule(static) if (rows * in * out > SMALL)
    for (long b = 0; b < blocks; b++) {
        const long left = out - b * OUT;
        const uint32_t keep = left < OUT ? (1u << left) - 1 : ~0u;
        for (long row = 0; row < rows; row += ROWS) {
            block_of((int)smaller(ROWS, rows - row), turned + row * half, w + b * OUT * in,
                     bias ? bias + b * OUT : NULL, more ? more + row * out + b * OUT : NULL, y + row * out + b * OUT,
                     half, out, keep);
        }
    }
    free(turned);
    return 0;
}
