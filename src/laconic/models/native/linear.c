/* Products with a weight matrix in bfloat16, for decoding passes: few rows, every weight read once.
 *
 * The order of summation of one output depends neither on the number of rows nor on the number of threads, so a
 * position has the same values alone and in a pass of many.
 */
#include <stdlib.h>
#include "kernels.h"

enum {
    OUT = 32,     /* outputs of a block: two registers, of which both weights of a pair of inputs lie together */
    ROWS = 12,    /* rows that a weight serves once it is in a register; 2 * ROWS sums and the weights fit in 32 */
    AHEAD = 2048, /* bytes by which weights are fetched ahead */
    SMALL = 1 << 18 /* multiplications below which threads are not worth waking */
};

/* What a block writes: y[rows, out] = x W^T + bias, or that product rounded, + add[rows, out]. x[pairs][rows] are pairs of
 * inputs, w[pairs][OUT] pairs of weights; keep says which of the OUT outputs exist. rows is a constant wherever this is
 * inlined. */
INLINE void block(const int rows, const int32_t *x, const __m512bh *w, const bf16 *bias, const bf16 *add, bf16 *y,
                  long pairs, long out, uint32_t keep)
{
    __m512 sum[ROWS][2];
    UNROLL for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = _mm512_setzero_ps();
    for (long k = 0; k < pairs; k++, x += rows, w += 2) {
        _mm_prefetch((const char *)w + AHEAD, _MM_HINT_T0);
        _mm_prefetch((const char *)w + AHEAD + 64, _MM_HINT_T0);
        const __m512bh low = w[0], high = w[1];
        UNROLL for (int r = 0; r < rows; r++) {
            const __m512bh pair = (__m512bh)_mm512_set1_epi32(x[r]);
            sum[r][0] = _mm512_dpbf16_ps(sum[r][0], low, pair);
            sum[r][1] = _mm512_dpbf16_ps(sum[r][1], high, pair);
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        for (int half = 0; half < 2; half++) {
            const __mmask16 mask = (__mmask16)(keep >> (16 * half));
            const long at = r * out + 16 * half;
            __m512 value = sum[r][half];
            if (bias) value = _mm512_add_ps(value, widen(bias + 16 * half, mask));
            if (add) value = _mm512_add_ps(rounded(value), widen(add + at, mask));
            narrow(y + at, mask, value);
        }
    }
}

static void block_of(int rows, const int32_t *x, const __m512bh *w, const bf16 *bias, const bf16 *add, bf16 *y,
                     long pairs, long out, uint32_t keep)
{
#define CASE(n) case n: block(n, x, w, bias, add, y, pairs, out, keep); break;
    switch (rows) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
    }
#undef CASE
}

/* y[rows, out] = x[rows, in] W^T + bias (+ add[rows, out]), the weights as bf16.py lays them out: [blocks][in / 2][OUT][2],
 * the outputs of the last block filled up with zeros. bias[out] or NULL; add or NULL, it may be y. Returns 0, or 1 without
 * memory. */
int linear(const bf16 *x, const bf16 *w, const bf16 *bias, const bf16 *add, bf16 *y, long rows, long in, long out,
           int threads)
{
    const long pairs = in / 2, blocks = (out + OUT - 1) / OUT;
    const int32_t *turned = (const int32_t *)x;
    int32_t *own = NULL;
    if (rows > 1) { /* in each group of ROWS rows, pairs of the same inputs side by side */
        own = malloc((size_t)(rows * pairs) * sizeof *own);
        if (!own) return 1;
        turned = own;
#pragma omp parallel for num_threads(threads) if (rows > 2 * ROWS)
        for (long row = 0; row < rows; row += ROWS) {
            const long count = smaller(ROWS, rows - row);
            for (long r = 0; r < count; r++) {
                const int32_t *source = (const int32_t *)x + (row + r) * pairs;
                for (long k = 0; k < pairs; k++) own[row * pairs + k * count + r] = source[k];
            }
        }
    }
#pragma omp parallel for num_threads(threads) schedule(static) if (rows * in * out > SMALL)
    for (long b = 0; b < blocks; b++) {
        const long left = out - b * OUT;
        const uint32_t keep = left < OUT ? (1u << left) - 1 : ~0u;
        for (long row = 0; row < rows; row += ROWS) {
            block_of((int)smaller(ROWS, rows - row), turned + row * pairs, (const __m512bh *)(w + b * OUT * in),
                     bias ? bias + b * OUT : NULL, add ? add + row * out + b * OUT : NULL, y + row * out + b * OUT,
                     pairs, out, keep);
        }
    }
    free(own);
    return 0;
}
