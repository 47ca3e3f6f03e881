/* What stands between the products of a layer, in bfloat16: norms, rotary positions, gates. Sums are in float32. */
#include <math.h>
#include <string.h>
#include "kernels.h"

enum { SMALL = 1 << 16 }; /* values below which threads are not worth waking */

INLINE lanes inverse_rms(const bf16 *x, long dim, float eps)
{
    lanes squares = all(0.0f);
    for (long k = 0; k < dim; k += 16) {
        const lanes value = widen(x + k, first(dim - k));
        squares = multiply_add(value, value, squares);
    }
    return all(1.0f / sqrtf(total(squares) / (float)dim + eps));
}

/* y[rows, dim] = x / sqrt(mean(x^2) + eps) * gain[dim] */
void rms_norm(const bf16 *x, const float *gain, bf16 *y, long rows, long dim, float eps, int threads)
{
#pragma omp parallel for num_threads(threads) if (rows * dim > SMALL)
    for (long r = 0; r < rows; r++) {
        const bf16 *row = x + r * dim;
        const lanes scale = inverse_rms(row, dim, eps);
        for (long k = 0; k < dim; k += 16) {
            const some mask = first(dim - k);
            const lanes value = multiply(widen(row + k, mask), scale);
            narrow(y + r * dim + k, mask, multiply(value, floats(gain + k, mask)));
        }
    }
}

/* y[dim] = x, normed where gain[dim] is not NULL, turned by half: x * cos + x rolled by dim / 2 * sin. 32 divides dim. */
INLINE void turn(const bf16 *x, const float *gain, const bf16 *cos, const bf16 *sin, bf16 *y, long dim, float eps)
{
    const lanes scale = gain ? inverse_rms(x, dim, eps) : all(1.0f);
    const long half = dim / 2;
    for (long k = 0; k < half; k += 16) {
        lanes low = widen(x + k, 0xffff), high = widen(x + half + k, 0xffff);
        if (gain) {
            low = multiply(multiply(low, scale), floats(gain + k, 0xffff));
            high = multiply(multiply(high, scale), floats(gain + half + k, 0xffff));
        }
        const lanes left = multiply(low, widen(cos + k, 0xffff));
        const lanes right = multiply(high, widen(cos + half + k, 0xffff));
        narrow(y + k, 0xffff, multiply_add(high, widen(sin + k, 0xffff), left));
        narrow(y + half + k, 0xffff, multiply_add(low, widen(sin + half + k, 0xffff), right));
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
            const some mask = first(width - k);
            const lanes gate = widen(row + k, mask), up = widen(row + width + k, mask);
            const lanes negative = exponential(subtract(all(0.0f), gate));
            const lanes below = add(all(1.0f), negative);
            narrow(y + r * width + k, mask, multiply(divide(gate, below), up));
        }
    }
}
