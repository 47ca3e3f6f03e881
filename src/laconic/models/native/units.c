/* Which units of a past a node reads: those that promise its queries most (models/units.py has the same in PyTorch). */
#include <math.h>
#include "kernels.h"

/* Of two units the one to be read first. */
INLINE int sooner(const float *promise, int32_t a, int32_t b)
{
    return promise[a] > promise[b] || (promise[a] == promise[b] && a < b);
}

INLINE void sink(const float *promise, int32_t *heap, long at, long count)
{
    for (long child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && sooner(promise, heap[child + 1], heap[child])) child++;
        if (!sooner(promise, heap[child], heap[at])) return;
        const int32_t moved = heap[at];
        heap[at] = heap[child], heap[child] = moved;
    }
}

/* The most that the product of one of `count` queries with a key of each unit can be. */
static void promises(const Units *u, long kv_heads, long head, const bf16 *query, long step, long count, long dim,
                     float *promise)
{
    float above[512], below[512];
    for (long unit = 0; unit < u->units; unit++) promise[unit] = -INFINITY;
    for (long i = 0; i < count; i++) {
        for (long d = 0; d < dim; d += 16) {
            const some there = first(dim - d);
            const lanes q = widen(query + i * step + d, there), none = all(0.0f);
            const lanes parts[2] = {larger(q, none), lesser(q, none)};
            __builtin_memcpy(above + d, parts, sizeof(lanes));
            __builtin_memcpy(below + d, parts + 1, sizeof(lanes));
        }
        for (long unit = 0; unit < u->units; unit++) {
            const long at = (unit * kv_heads + head) * dim;
            lanes sum = all(0.0f);
            for (long d = 0; d < dim; d += 16) {
                const some there = first(dim - d);
                sum = multiply_add(floats(above + d, there), widen(u->high + at + d, there), sum);
                sum = multiply_add(floats(below + d, there), widen(u->low + at + d, there), sum);
            }
            const float most = total(sum);
            if (most > promise[unit]) promise[unit] = most;
        }
    }
}

/* Add `bits` to chosen[units] where `count` queries of a key head, `step` apart, read a unit; promise[units] and heap[units]
 * are scratch. Every unit of which all fit into `most` entries is taken in turn, until one does not. */
void units_read(const Units *u, long kv_heads, long head, const bf16 *query, long step, long count, long dim, some bits,
                some *chosen, float *promise, int32_t *heap)
{
    long left = u->most, held = u->units;
    promises(u, kv_heads, head, query, step, count, dim, promise);
    for (long i = 0; i < held; i++) heap[i] = (int32_t)i;
    for (long i = held / 2; i-- > 0;) sink(promise, heap, i, held);
    for (int none = 1; held > 0; none = 0) {
        const int32_t unit = heap[0];
        const long size = u->starts[unit + 1] - u->starts[unit];
        if (size > left && !none) return;
        left -= size;
        chosen[unit] |= bits;
        heap[0] = heap[--held];
        sink(promise, heap, 0, held);
    }
}
