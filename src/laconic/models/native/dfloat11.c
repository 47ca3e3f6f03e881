/* Exponents of bfloat16 out of a Huffman code, block by block; see dfloat11/codec.py for what the parts hold.
 *
 * Whatever bytes come in, nothing is read or written outside of the arrays: a block's bits must lie inside the code, and
 * no step begins behind its block's last bit. */
#include <limits.h>
#include <stdint.h>
#include <string.h>

enum {
    BLOCK = 4096, /* weights */
    LIMIT = 12,   /* bits of the longest code */
    STEP = 4,     /* codes out of one reading of eight bytes, of which 57 bits at least are new: 4 * 12 are needed */
    LANES = 4     /* blocks at a time: a code is known to begin only where the last one ends, so one alone would wait */
};

static inline uint64_t bits_at(const uint8_t *code, int64_t at)
{
    uint64_t found;
    memcpy(&found, code + (at >> 3), 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    found = __builtin_bswap64(found);
#endif
    return found << (at & 7);
}

/* The exponents[lanes][size] of some blocks on end; a lane that is damaged, or -1. */
static inline __attribute__((always_inline)) int lanes_of(const uint8_t *code, int64_t bits, const int64_t *offsets,
                                                          const uint16_t *table, const int lanes, long size,
                                                          uint8_t (*exponents)[BLOCK])
{
    int64_t at[LANES];
    for (int l = 0; l < lanes; l++) {
        if (offsets[l] < 0 || offsets[l] > offsets[l + 1] || offsets[l + 1] > bits) return l;
        at[l] = offsets[l];
    }
    long i = 0;
    for (; i + STEP <= size; i += STEP)
        for (int l = 0; l < lanes; l++) {
            if (at[l] > offsets[l + 1]) return l;
            uint64_t next = bits_at(code, at[l]);
            int64_t used = 0;
            for (int s = 0; s < STEP; s++) {
                const uint16_t entry = table[next >> (64 - LIMIT)];
                exponents[l][i + s] = (uint8_t)entry;
                next <<= entry >> 8;
                used += entry >> 8;
            }
            at[l] += used;
        }
    for (; i < size; i++)
        for (int l = 0; l < lanes; l++) {
            if (at[l] > offsets[l + 1]) return l;
            const uint16_t entry = table[bits_at(code, at[l]) >> (64 - LIMIT)];
            exponents[l][i] = (uint8_t)entry;
            at[l] += entry >> 8;
        }
    for (int l = 0; l < lanes; l++)
        if (at[l] != offsets[l + 1]) return l;
    return -1;
}

static inline void join(const uint8_t *exponents, const uint8_t *rest, long size, uint16_t *out)
{
    for (long i = 0; i < size; i++)
        out[i] = (uint16_t)((rest[i] & 0x80) << 8 | exponents[i] << 7 | (rest[i] & 0x7f));
}

/* The weights of blocks first .. last of a tensor of `size` to out, which begins with those of the first block. The code
 * has `bits` bits and eight bytes behind them that can be read; offsets[blocks + 1], table[1 << LIMIT] with lengths up to
 * LIMIT, rest[size]. Returns the first block whose bits are no code of so many weights, or -1. */
long dfloat11_decode(const uint8_t *code, int64_t bits, const int64_t *offsets, const uint16_t *table,
                     const uint8_t *rest, int64_t size, long first, long last, uint16_t *out, int threads)
{
    long damaged = LONG_MAX;
    const long groups = (last - first + LANES - 1) / LANES;
#pragma omp parallel for num_threads(threads) reduction(min : damaged)
    for (long group = 0; group < groups; group++) {
        uint8_t exponents[LANES][BLOCK];
        long block = first + group * LANES;
        const long stop = block + LANES < last ? block + LANES : last;
        if (stop - block == LANES && size - block * BLOCK >= LANES * BLOCK &&
            lanes_of(code, bits, offsets + block, table, LANES, BLOCK, exponents) < 0) {
            for (int l = 0; l < LANES; l++, block++)
                join(exponents[l], rest + block * BLOCK, BLOCK, out + (block - first) * BLOCK);
        }
        for (; block < stop; block++) { /* what is left; of damaged ones together, to find the first */
            const long left = size - block * BLOCK, whole = left < BLOCK ? left : BLOCK;
            if (lanes_of(code, bits, offsets + block, table, 1, whole, exponents) >= 0) {
                damaged = block < damaged ? block : damaged;
                break;
            }
            join(exponents[0], rest + block * BLOCK, whole, out + (block - first) * BLOCK);
        }
    }
    return damaged == LONG_MAX ? -1 : damaged;
}
