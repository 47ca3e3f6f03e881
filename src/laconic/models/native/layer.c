/* What stands between the products of a layer, in bfloat16: norms, rotary positions, gates. Sums are in float32. */
#include <math.h>
#include <string.h>
#include "kernels.h"

enum { SMALL = 1 << 16 }; /* values below which threads are not worth waking */

INLINE __m512 inverse_rms(const bf16 *x, long dim, float eps)
{
    __m512 squares = _mm512_setzero_ps();
    for (long k = 0; k < dim; k += 16) {
        const __m512 value = widen(x + k, first(dim - k));
        squares = _mm512_fmadd_ps(value, value, squares);
    }
    return _mm512_set1_ps(1.0f / sqrtf(_mm512_reduce_add_ps(squares) / (float)dim + eps));
}

/* y[rows, dim] = x / sqrt(mean(x^2) + eps) * gain[dim] */
void rms_norm(const bf16 *x, const float *gain, bf16 *y, long rows, long dim, float eps, int threads)
{
#pragma omp parallel for num_threads(threads) if (rows * dim > SMALL)
    for (long r = 0; r < rows; r++) {
        const bf16 *row = x + r * dim;
        const __m512 scale = inverse_rms(row, dim, eps);
        for (long k = 0; k < dim; k += 16) {
            const __mmask16 mask = first(dim - k);
            const __m512 value = _mm512_mul_ps(widen(row + k, mask), scale);
            narrow(y + r * dim + k, mask, _mm512_mul_ps(value, _mm512_maskz_loadu_ps(mask, gain + k)));
        }
    }
}

/* y[dim] = x, normed where gain[dim] is not NULL, turned by half: x * cos + x rolled by dim / 2 * sin. 32 divides dim. */
INLINE void turn(const bf16 *x, const float *gain, const bf16 *cos, const bf16 *sin, bf16 *y, long dim, float eps)
{
    const __m512 scale = gain ? inverse_rms(x, dim, eps) : _mm512_set1_ps(1.0f);
    const long half = dim / 2;
    for (long k = 0; k < half; k += 16) {
        __m512 low = widen(x + k, 0xffff), high = widen(x + half + k, 0xffff);
        if (gain) {
            low = _mm512_mul_ps(_mm512_mul_ps(low, scale), _mm512_loadu_ps(gain + k));
            high = _mm512_mul_ps(_mm512_mul_ps(high, scale), _mm512_loadu_ps(gain + half + k));
        }
        const __m512 left = _mm512_mul_ps(low, widen(cos + k, 0xffff));
        const __m512 right = _mm512_mul_ps(high, widen(cos + half + k, 0xffff));
        narrow(y + k, 0xffff, _mm512_fmadd_ps(high, widen(sin + k, 0xffff), left));
        narrow(y + half + k, 0xffff, _mm512_fmadd_ps(low, widen(sin + half + k, 0xffff), right));
    }
}

/* Of x[nodes, heads + 2 kv_heads, dim] (queries, keys, values): queries, normed and turned, to query[nodes, heads, dim];
 * keys likewise, and values as they are, to the places[nodes] of the caches key and value[places, kv_heads, dim].
 * gain[heads + kv_heads, dim] or NULL; cos and sin[nodes, dim], the sign of the half-turn in sin. */
void heads(const bf16 *x, const float *gain, const bf16 *cos, const bf16 *sin, const int64_t *places, bf16 *query,
           bf16 *key, bf16 *value, long nodes, long heads, long kv_heads, long dim, float eps, int threads)
{
    const long every = heads + 2 * kv_heads;
#pragma omp parallel for num_threads(threads) if (nodes * every * dim > SMALL)
    for (long node = 0; node < nodes; node++) {
        const bf16 *source = x + node * every * dim, *c = cos + node * dim, *s = sin + node * dim;
        bf16 *keys = key + places[node] * kv_heads * dim, *values = value + places[node] * kv_heads * dim;
        for (long h = 0; h < heads + kv_heads; h++, source += dim) {
            bf16 *target = h < heads ? query + (node * heads + h) * dim : keys + (h - heads) * dim;
            turn(source, gain ? gain + h * dim : NULL, c, s, target, dim, eps);
        }
        memcpy(values, source, (size_t)(kv_heads * dim) * sizeof *values);
    }
}

/* y[rows, width] = silu(gate) * up of x[rows, 2 width], gate first: the unit of the Llama family, SwiGLU */
void swiglu(const bf16 *x, bf16 *y, long rows, long width, int threads)
{
#pragma omp parallel for num_threads(threads) if (rows * width > SMALL)
    for (long r = 0; r < rows; r++) {
        const bf16 *row = x + r * 2 * width;
        for (long k = 0; k < width; k += 16) {
            const __mmask16 mask = first(width - k);
            const __m512 gate = widen(row + k, mask), up = widen(row + width + k, mask);
            const __m512 negative = exponential(_mm512_sub_ps(_mm512_setzero_ps(), gate));
            const __m512 below = _mm512_add_ps(_mm512_set1_ps(1.0f), negative);
            narrow(y + r * width + k, mask, _mm512_mul_ps(_mm512_div_ps(gate, below), up));
        }
    }
}
