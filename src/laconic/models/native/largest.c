/* The k largest of each row of logits, in one reading: nearly all groups of sixteen hold nothing above the least of
 * those that were found so far. */
#include <math.h>
#include "kernels.h"

enum { AT_ONCE = 4 /* groups of lanes that are compared together */ };

/* Take x[at] among the `k` of `value`, largest first and of equals the earlier one first. */
INLINE void take(float x, int64_t at, long k, float *value, int64_t *place)
{
    long i = k - 1;
    for (; i > 0 && value[i - 1] < x; i--) value[i] = value[i - 1], place[i] = place[i - 1];
    value[i] = x, place[i] = at;
}

/* `wide` is a constant: whether values are float32. */
INLINE void search(const int wide, const void *row, long width, long k, float *value, int64_t *place)
{
    for (long i = 0; i < k; i++) value[i] = -INFINITY, place[i] = -1;
    for (long at = 0; at < width; at += AT_ONCE * 16) {
        lanes x[AT_ONCE];
        unsigned found[AT_ONCE], any = 0;
        const lanes least = all(value[k - 1]);
        UNROLL for (int i = 0; i < AT_ONCE; i++) {
            const long begin = at + 16 * i;
            const some here = begin < width ? first(width - begin) : 0;
            x[i] = wide ? floats((const float *)row + begin, here) : widen((const bf16 *)row + begin, here);
            found[i] = not_below(x[i], least) & here;
            any |= found[i];
        }
        for (int i = 0; any && i < AT_ONCE; i++) {
            for (; found[i]; found[i] &= found[i] - 1) {
                const int lane = __builtin_ctz(found[i]);
                const long here = at + 16 * i + lane;
                uint32_t bits;
                float one;
                if (wide) one = ((const float *)row)[here];
                else bits = (uint32_t)((const bf16 *)row)[here] << 16, memcpy(&one, &bits, sizeof one);
                if (isnan(one)) {
                    for (long j = 0; j < k; j++) value[j] = NAN, place[j] = here;
                    return;
                }
                if (one > value[k - 1]) take(one, here, k, value, place);
            }
        }
    }
}

/* value and place[rows, k], largest first; place is -1, and value minus infinity, where there are fewer above that.
 * A row with what is no number gives nothing but that, at its place. */
void largest(const void *x, int wide, long rows, long width, long k, float *value, int64_t *place, int threads)
{
    const long size = wide ? sizeof(float) : sizeof(bf16);
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (rows * width > 1 << 16)
    for (long i = 0; i < rows; i++) {
        const void *row = (const char *)x + i * width * size;
        if (wide) search(1, row, width, k, value + i * k, place + i * k);
        else search(0, row, width, k, value + i * k, place + i * k);
    }
}
