/* Exponents of bfloat16 out of a Huffman code, block by block; see dfloat11/codec.py for what the parts hold.
 *
 * Whatever bytes come in, nothing is read or written outside of the arrays: a block's bits must lie inside the code, and
 * no step begins behind its block's last bit. */
#include <limits.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the first byte must be the lowest; without this library NumPy decodes"
#endif

enum {
    BLOCK = 4096, /* weights */
    LIMIT = 12,   /* bits of the longest code */
    MOST = 3,     /* codes that one look-up may read */
    STEP = 4,     /* look-ups out of one reading of eight bytes, of which 57 bits at least are new: 4 * 12 are needed */
    LANES = 4,    /* blocks at a time: a code is known to begin only where the last one ends, so one alone would wait */
    ROW = BLOCK + 16 /* exponents of a block; look-ups write four bytes each, whatever they have read */
};

/* What 12 bits begin with: the exponents of as many whole codes as are in them, up to MOST, first one lowest; above them
 * how many these are, in two bits, and their bits. */
static void runs_of(const uint16_t *table, uint32_t *runs)
{
    for (unsigned window = 0; window < 1u << LIMIT; window++) {
        unsigned exponents = 0, bits = 0, count = 0;
        while (count < MOST) {
            const uint16_t entry = table[window << bits & ((1u << LIMIT) - 1)];
            if (bits + (entry >> 8) > LIMIT) break; /* its end lies outside, so it may be another code */
            exponents |= (entry & 0xffu) << 8 * count++;
            bits += entry >> 8;
        }
        runs[window] = exponents | count << 24 | bits << 26;
    }
}

static inline uint64_t bits_at(const uint8_t *code, int64_t at)
{
    uint64_t found;
    memcpy(&found, code + (at >> 3), 8);
    return __builtin_bswap64(found) << (at & 7);
}

/* The exponents[lanes] of `size` weights each, of some blocks on end; whether their bits are codes of so many. */
static inline __attribute__((always_inline)) int lanes_of(const uint8_t *code, int64_t bits, const int64_t *offsets,
                                                          const uint16_t *table, const uint32_t *runs, const int lanes,
                                                          long size, uint8_t (*exponents)[ROW])
{
    int64_t at[LANES];
    long done[LANES], most = 0;
    for (int l = 0; l < lanes; l++) {
        if (offsets[l] < 0 || offsets[l] > offsets[l + 1] || offsets[l + 1] > bits) return 0;
        at[l] = offsets[l];
        done[l] = 0;
    }
    for (; most + STEP * MOST <= size;) {
        most = 0;
        for (int l = 0; l < lanes; l++) {
            if (at[l] > offsets[l + 1]) return 0;
            uint64_t next = bits_at(code, at[l]);
            for (int s = 0; s < STEP; s++) {
                const uint32_t run = runs[next >> (64 - LIMIT)];
                memcpy(exponents[l] + done[l], &run, sizeof run);
                next <<= run >> 26;
                at[l] += run >> 26;
                done[l] += run >> 24 & 3;
            }
            most = done[l] > most ? done[l] : most;
        }
    }
    for (int l = 0; l < lanes; l++) {
        for (; done[l] < size; done[l]++) {
            if (at[l] > offsets[l + 1]) return 0;
            const uint16_t entry = table[bits_at(code, at[l]) >> (64 - LIMIT)];
            exponents[l][done[l]] = (uint8_t)entry;
            at[l] += entry >> 8;
        }
        if (at[l] != offsets[l + 1]) return 0;
    }
    return 1;
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
    uint32_t runs[1 << LIMIT];
    long damaged = LONG_MAX;
    const long groups = (last - first + LANES - 1) / LANES;
    runs_of(table, runs);
#pragma omp parallel for num_threads(threads) reduction(min : damaged)
    for (long group = 0; group < groups; group++) {
        uint8_t exponents[LANES][ROW];
        long block = first + group * LANES;
        const long stop = block + LANES < last ? block + LANES : last;
        if (stop - block == LANES && size - block * BLOCK >= LANES * BLOCK &&
            lanes_of(code, bits, offsets + block, table, runs, LANES, BLOCK, exponents)) {
            for (int l = 0; l < LANES; l++, block++)
                join(exponents[l], rest + block * BLOCK, BLOCK, out + (block - first) * BLOCK);
        }
        for (; block < stop; block++) { /* what is left; of damaged ones together, to find the first */
            const long left = size - block * BLOCK, whole = left < BLOCK ? left : BLOCK;
            if (!lanes_of(code, bits, offsets + block, table, runs, 1, whole, exponents)) {
                damaged = block < damaged ? block : damaged;
                break;
            }
            join(exponents[0], rest + block * BLOCK, whole, out + (block - first) * BLOCK);
        }
    }
    return damaged == LONG_MAX ? -1 : damaged;
}
