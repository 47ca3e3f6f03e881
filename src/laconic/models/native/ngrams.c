/* Tables of n-grams: what came after the last tokens of a text, for several lengths at once. See ngrams.py, whose
 * tables these are, for what they hold; both ways of reading and writing them give the same. */
#include <immintrin.h>
#include <math.h>
#include "kernels.h"

enum { NOTHING = -1 };

/* Key and place of the context of `order` tokens at the end of a window; key 0 for what a text is too short for. */
INLINE uint64_t key_of(const Grams *g, const int64_t *window, long level, int64_t *place)
{
    uint64_t sum = 0;
    const long order = g->orders[level];
    for (long i = 0; i < order; i++) sum += (uint64_t)(window[g->heard - 1 - i] + 2) * g->factors[i];
    const uint64_t key = (sum ^ sum >> 32) * g->mix;
    *place = (int64_t)(key >> g->shifts[level]) + g->starts[level];
    return window[g->heard - order] == NOTHING ? 0 : key;
}

/* What each table knows of each window: known[n, levels], tokens and shares[n, levels, k], shares at a temperature.
 * Rows of the results are `wide` levels apart. */
void ngrams_look(const Grams *g, const int64_t *windows, long n, double heat, long wide, uint8_t *known,
                 int64_t *tokens, double *shares)
{
    for (long i = 0; i < n; i++) for (long level = 0; level < g->levels; level++) {
        int64_t place, *to = tokens + (i * wide + level) * g->k;
        double *share = shares + (i * wide + level) * g->k, sum = 0;
        const uint64_t key = key_of(g, windows + i * g->heard, level, &place);
        const int there = key && g->keys[place] == key;
        known[i * wide + level] = (uint8_t)there;
        for (long j = 0; j < g->k; j++) {
            const int32_t token = there ? g->tokens[place * g->k + j] : NOTHING;
            to[j] = token;
            share[j] = token == NOTHING ? 0 : exp(_cvtsh_ss(g->logits[place * g->k + j]) / heat);
            sum += share[j];
        }
        for (long j = 0; there && j < g->k; j++) share[j] /= sum > 1e-30 ? sum : 1e-30;
    }
}

/* Keep tokens and logits[n, k] after each of the windows, in every table; of equal windows the last. */
void ngrams_learn(const Grams *g, const int64_t *windows, long n, const int64_t *tokens, const double *logits)
{
    for (long i = 0; i < n; i++) for (long level = 0; level < g->levels; level++) {
        int64_t place;
        const uint64_t key = key_of(g, windows + i * g->heard, level, &place);
        g->keys[place] = key;
        for (long j = 0; j < g->k; j++) {
            const double logit = logits[i * g->k + j];
            g->tokens[place * g->k + j] = (int32_t)tokens[i * g->k + j];
            g->logits[place * g->k + j] = _cvtss_sh((float)(logit > -60000.0 ? logit : -60000.0), 0);
        }
    }
}
