#ifndef LACONIC_BF16_H
#define LACONIC_BF16_H
#include <immintrin.h>
#include <stdint.h>

typedef uint16_t bf16;

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

INLINE long smaller(long a, long b) { return a < b ? a : b; }

/* The first n of 16 lanes. */
INLINE __mmask16 first(long n) { return n < 16 ? (__mmask16)((1u << n) - 1) : 0xffff; }

/* Values as float32; lanes without a bit in mask are not read and are zero. */
INLINE __m512 widen(const bf16 *x, __mmask16 mask)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, x)), 16));
}

/* float32 with the precision of bfloat16. */
INLINE __m512 rounded(__m512 value)
{
    const __m256i half = (__m256i)_mm512_cvtneps_pbh(value);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* float32 rounded; lanes without a bit in mask are not written. */
INLINE void narrow(bf16 *y, __mmask16 mask, __m512 value)
{
    _mm256_mask_storeu_epi16(y, mask, (__m256i)_mm512_cvtneps_pbh(value));
}

/* e^x for -104 <= x <= 88, beyond as at these, to 2e-7 of it: 2^n e^r with |r| <= ln 2 / 2, and the series of e^r to r^6. */
INLINE __m512 exponential(__m512 x)
{
    x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-104.0f)), _mm512_set1_ps(88.0f));
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x); /* ln 2 in two parts */
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    static const float series[] = {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
    __m512 sum = _mm512_set1_ps(1.0f / 720);
    for (int i = 0; i < 6; i++) sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(series[i]));
    return _mm512_scalef_ps(sum, n);
}

#endif
