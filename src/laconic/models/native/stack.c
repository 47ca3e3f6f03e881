/* Layers of the Llama family, one after the other. A decoding pass over a model of 0.3 B parameters takes 20 ms, of which
 * calling these functions one by one from Python took 4. */
#include <stdlib.h>
#include "kernels.h"

typedef struct {
    const float *norm_in, *norm_mid; /* gains [hidden] */
    const float *head_gain;          /* [heads + kv_heads, dim], or NULL: queries and keys are not normed */
    const bf16 *qkv, *qkv_bias, *out, *out_bias, *gate_up, *down; /* weights as linear reads them; biases or NULL */
    /* without qkv the layer has no attention, without gate_up no feed-forward network */
    bf16 *key, *value;   /* the cache, [places, kv_heads, dim] */
    const uint8_t *mask; /* see Pass, as of the next */
    const bf16 *const *stem_key, *const *stem_value, *const *past_key, *const *past_value;
    const Packed *const *packed;
    const int64_t *past;
    const uint8_t *past_mask;
    const Units *const *units;
    bf16 *query;         /* where queries are left for others to see, [nodes, heads, dim], or NULL */
} Layer;

typedef struct {
    Pass pass;                /* of every layer, but for its pointers; those of key and value are counted from ... */
    long cache;               /* ... here in a layer's cache: values */
    long nodes, hidden, inner;
    const bf16 *cos, *sin;    /* [nodes, dim] */
    const int64_t *places;    /* [nodes], where keys and values are written */
    float eps, head_eps;
} Stack;

/* x[nodes, hidden] after `count` layers, in place. Returns 0, or 1 without memory. */
int stack(const Layer *layer, long count, const Stack *s, bf16 *x, int threads)
{
    const long nodes = s->nodes, hidden = s->hidden, inner = s->inner;
    const long wide = s->pass.heads * s->pass.dim, all = wide + 2 * s->pass.kv_heads * s->pass.dim;
    const long scratch = nodes * (hidden + (all > 2 * inner ? all : 2 * inner) + 2 * (wide > inner ? wide : inner));
    bf16 *const normed = malloc((size_t)scratch * sizeof *normed);
    if (!normed) return 1;
    bf16 *const both = normed + nodes * hidden, *const query = both + nodes * (all > 2 * inner ? all : 2 * inner);
    bf16 *const mixed = query + nodes * (wide > inner ? wide : inner);
    Pass pass = s->pass;
    int failed = 0;
    for (; count > 0 && !failed; count--, layer++) {
        if (layer->qkv) {
            rms_norm(x, layer->norm_in, normed, nodes, hidden, s->eps, threads);
            failed |= linear(normed, layer->qkv, layer->qkv_bias, NULL, both, nodes, hidden, all, threads);
            bf16 *const asked = layer->query ? layer->query : query;
            heads(both, layer->head_gain, s->cos, s->sin, s->places, asked, layer->key, layer->value, nodes, pass.heads,
                  pass.kv_heads, pass.dim, s->head_eps, threads);
            pass.query = asked;
            pass.key = layer->key + s->cache;
            pass.value = layer->value + s->cache;
            pass.mask = layer->mask;
            pass.stem_key = layer->stem_key;
            pass.stem_value = layer->stem_value;
            pass.past = layer->past;
            pass.past_key = layer->past_key;
            pass.past_value = layer->past_value;
            pass.packed = layer->packed;
            pass.past_mask = layer->past_mask;
            pass.units = layer->units;
            pass.out = mixed;
            failed |= attention(&pass, threads);
            failed |= linear(mixed, layer->out, layer->out_bias, x, x, nodes, wide, hidden, threads);
        }
        if (layer->gate_up) {
            rms_norm(x, layer->norm_mid, normed, nodes, hidden, s->eps, threads);
            failed |= linear(normed, layer->gate_up, NULL, NULL, both, nodes, hidden, 2 * inner, threads);
            swiglu(both, mixed, nodes, inner, threads);
            failed |= linear(mixed, layer->down, NULL, x, x, nodes, inner, hidden, threads);
        }
    }
    free(normed);
    return failed;
}
