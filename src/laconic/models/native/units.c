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

enum { HEADS = 4, PARTS = 512 / 16 }; /* queries that are held against a unit together; lanes of a query */

/* The most that the product of one of `count` queries with a key of each unit can be, or what it was before if that is
 * more. No more than HEADS queries, no more than 512 dimensions. */
static void promises(const Units *u, long kv_heads, long head, const bf16 *query, long step, long count, long dim,
                     float *promise)
{
    lanes above[HEADS][PARTS], below[HEADS][PARTS];
    const lanes none = all(0.0f);
    for (long i = 0; i < count; i++)
        for (long d = 0; d < dim; d += 32) {
            const halves_of q = widen_both(query + i * step + d, dim - d);
            above[i][d / 16] = larger(q.one, none), above[i][d / 16 + 1] = larger(q.other, none);
            below[i][d / 16] = lesser(q.one, none), below[i][d / 16 + 1] = lesser(q.other, none);
        }
    for (long unit = 0; unit < u->units; unit++) {
        const bf16 *low = u->low + (unit * kv_heads + head) * dim, *high = u->high + (unit * kv_heads + head) * dim;
        lanes sum[HEADS];
        UNROLL for (int i = 0; i < HEADS; i++) sum[i] = none;
        for (long d = 0; d < dim; d += 32) {
            const halves_of l = widen_both(low + d, dim - d), h = widen_both(high + d, dim - d);
            for (long i = 0; i < count; i++) {
                sum[i] = multiply_add(above[i][d / 16], h.one, sum[i]);
                sum[i] = multiply_add(above[i][d / 16 + 1], h.other, sum[i]);
                sum[i] = multiply_add(below[i][d / 16], l.one, sum[i]);
                sum[i] = multiply_add(below[i][d / 16 + 1], l.other, sum[i]);
            }
        }
        for (long i = 0; i < count; i++) {
            const float most = total(sum[i]);
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
    for (long unit = 0; unit < held; unit++) promise[unit] = -INFINITY;
    for (long i = 0; i < count; i += HEADS)
        promises(u, kv_heads, head, query + i * step, step, smaller(HEADS, count - i), dim, promise);
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
