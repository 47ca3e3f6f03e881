#ifndef LACONIC_PACKED_H
#define LACONIC_PACKED_H
#include "lanes.h"

enum { PACKED_GROUP = 64 }; /* keys that share steps and middles of their dimensions */

/* Keys and values of four bits: codes 0 .. 15, of which each means middle + (code - 8) step. */
typedef struct {
    const uint8_t *key;   /* [groups, heads, 2, dim / 4, 16, 4]: bytes of two keys, sixteen apart, four dimensions each */
    const uint8_t *value; /* [groups, heads, 32, dim / 32, 16, 2]: bytes of two dimensions, sixteen apart, of two keys */
    const uint16_t *key_step, *key_middle;     /* [groups, heads, dim], in half precision */
    const uint16_t *value_step, *value_middle; /* [groups, heads, 64] */
    long heads;                                /* of keys */
} Packed;

/* score[key][query] = query . key for up to sixteen queries of a key head, in rows of `each`, four or sixteen; those of
 * places without a query are 0. `keys` is a multiple of 64, dim of 32 and no more than 512. */
void packed_scores(const Packed *p, long head, const bf16 *const *query, long count, long dim, long keys, float *score,
                   long each);

/* out[query][dim] = the sum over keys of weight[key][query] value[key], in rows of `each`; pair[keys / 2 * 16] is scratch. */
void packed_mix(const Packed *p, long head, const float *weight, long each, long count, long dim, long keys,
                uint32_t *pair, float (*out)[512]);

/* Whether these can be used on this machine. */
int packs(void);

#endif
