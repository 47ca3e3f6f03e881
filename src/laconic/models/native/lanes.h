/* Sixteen float32 values side by side, and pairs of bfloat16: one register with AVX-512, two with AVX2. */
#ifndef LACONIC_LANES_H
#define LACONIC_LANES_H
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t bf16;
typedef uint16_t some; /* a bit for each of 16 lanes */

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

INLINE long smaller(long a, long b) { return a < b ? a : b; }

/* The first n of 16 lanes. */
INLINE some first(long n) { return n < 16 ? (some)((1u << n) - 1) : 0xffff; }

#ifdef __AVX512BF16__

typedef __m512 lanes;
typedef __m512bh pairs; /* two bfloat16 in each lane */

INLINE lanes all(float x) { return _mm512_set1_ps(x); }
INLINE lanes add(lanes a, lanes b) { return _mm512_add_ps(a, b); }
INLINE lanes subtract(lanes a, lanes b) { return _mm512_sub_ps(a, b); }
INLINE lanes multiply(lanes a, lanes b) { return _mm512_mul_ps(a, b); }
INLINE lanes divide(lanes a, lanes b) { return _mm512_div_ps(a, b); }
INLINE lanes larger(lanes a, lanes b) { return _mm512_max_ps(a, b); }
INLINE lanes lesser(lanes a, lanes b) { return _mm512_min_ps(a, b); }
INLINE lanes multiply_add(lanes a, lanes b, lanes sum) { return _mm512_fmadd_ps(a, b, sum); }
INLINE lanes nearest(lanes x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT); }
INLINE lanes times_two_to(lanes x, lanes n) { return _mm512_scalef_ps(x, n); }
INLINE lanes choose(some where, lanes a, lanes b) { return _mm512_mask_mov_ps(b, where, a); }
INLINE float total(lanes x) { return _mm512_reduce_add_ps(x); }

/* Where a > b, or one of them is no number. */
INLINE some not_below(lanes a, lanes b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLE_UQ); }

INLINE lanes floats(const float *x, some where) { return _mm512_maskz_loadu_ps(where, x); }

/* Values as float32; lanes without a bit are not read and are zero. */
INLINE lanes widen(const bf16 *x, some where)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(where, x)), 16));
}

/* float32 with the precision of bfloat16. */
INLINE lanes rounded(lanes x)
{
    const __m256i half = (__m256i)_mm512_cvtneps_pbh(x);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* float32 rounded; lanes without a bit are not written. */
INLINE void narrow(bf16 *y, some where, lanes x) { _mm256_mask_storeu_epi16(y, where, (__m256i)_mm512_cvtneps_pbh(x)); }

/* Thirty-two values as float32, in whatever order: only narrow_both and apart know it. */
typedef struct { lanes one, other; } halves_of;

INLINE __mmask32 first_of_32(long n) { return n < 32 ? n < 0 ? 0 : (1u << n) - 1 : 0xffffffff; }

/* The first `left` of 32 values; others are not read and are zero. */
INLINE halves_of widen_both(const bf16 *x, long left)
{
    const __m512i both = left < 32 ? _mm512_maskz_loadu_epi16(first_of_32(left), x) : _mm512_loadu_si512(x);
    return (halves_of){_mm512_castsi512_ps(_mm512_slli_epi32(both, 16)),
                       _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32((int)0xffff0000)))};
}

/* The same of float32 values. */
INLINE halves_of apart(const float *x, long left)
{
    const lanes low = _mm512_maskz_loadu_ps((__mmask16)first_of_32(left), x);
    const lanes high = _mm512_maskz_loadu_ps((__mmask16)(first_of_32(left) >> 16), x + 16);
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return (halves_of){_mm512_permutex2var_ps(low, even, high),
                       _mm512_permutex2var_ps(low, _mm512_add_epi32(even, _mm512_set1_epi32(1)), high)};
}

/* Rounded; only the first `left` are written. */
INLINE void narrow_both(bf16 *y, long left, halves_of x)
{
    const __m512i even = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x.one));
    const __m512i odd = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x.other));
    _mm512_mask_storeu_epi16(y, first_of_32(left), _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
}

INLINE pairs pair_of(int32_t x) { return (pairs)_mm512_set1_epi32(x); }

/* sum + both products of each lane. */
INLINE lanes dot(lanes sum, pairs a, pairs b) { return _mm512_dpbf16_ps(sum, a, b); }

#else

typedef struct { __m256 low, high; } lanes;
typedef struct { __m256i low, high; } pairs;

#define EACH(name, both, ...) INLINE lanes name(__VA_ARGS__) { return (lanes){both(low), both(high)}; }
#define ALL(half) _mm256_set1_ps(x)
#define ADD(half) _mm256_add_ps(a.half, b.half)
#define SUBTRACT(half) _mm256_sub_ps(a.half, b.half)
#define MULTIPLY(half) _mm256_mul_ps(a.half, b.half)
#define DIVIDE(half) _mm256_div_ps(a.half, b.half)
#define LARGER(half) _mm256_max_ps(a.half, b.half)
#define LESSER(half) _mm256_min_ps(a.half, b.half)
#define MULTIPLY_ADD(half) _mm256_fmadd_ps(a.half, b.half, sum.half)
#define NEAREST(half) _mm256_round_ps(x.half, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
EACH(all, ALL, float x)
EACH(add, ADD, lanes a, lanes b)
EACH(subtract, SUBTRACT, lanes a, lanes b)
EACH(multiply, MULTIPLY, lanes a, lanes b)
EACH(divide, DIVIDE, lanes a, lanes b)
EACH(larger, LARGER, lanes a, lanes b)
EACH(lesser, LESSER, lanes a, lanes b)
EACH(multiply_add, MULTIPLY_ADD, lanes a, lanes b, lanes sum)
EACH(nearest, NEAREST, lanes x)

/* 2^n for whole n of a normal number's exponent */
INLINE __m256 two_to(__m256i n) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23)); }

INLINE __m256 scaled(__m256 x, __m256 n) /* in two steps, since 2^n may be smaller than any normal number */
{
    const __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    return _mm256_mul_ps(_mm256_mul_ps(x, two_to(half)), two_to(_mm256_sub_epi32(whole, half)));
}

INLINE lanes times_two_to(lanes x, lanes n) { return (lanes){scaled(x.low, n.low), scaled(x.high, n.high)}; }

INLINE __m256 lanes_of(unsigned bits) /* all bits of the lanes whose bit is set */
{
    const __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)bits), each), each));
}

INLINE lanes choose(some where, lanes a, lanes b)
{
    return (lanes){_mm256_blendv_ps(b.low, a.low, lanes_of(where & 0xff)), _mm256_blendv_ps(b.high, a.high, lanes_of(where >> 8))};
}

INLINE some not_below(lanes a, lanes b)
{
    const int low = _mm256_movemask_ps(_mm256_cmp_ps(a.low, b.low, _CMP_NLE_UQ));
    return (some)(low | _mm256_movemask_ps(_mm256_cmp_ps(a.high, b.high, _CMP_NLE_UQ)) << 8);
}

INLINE float total(lanes x)
{
    const __m256 eight = _mm256_add_ps(x.low, x.high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

INLINE lanes floats(const float *x, some where)
{
    return (lanes){_mm256_maskload_ps(x, _mm256_castps_si256(lanes_of(where & 0xff))),
                   _mm256_maskload_ps(x + 8, _mm256_castps_si256(lanes_of(where >> 8)))};
}

/* 8 values as float32 */
INLINE __m256 widened(const bf16 *x)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)x)), 16));
}

/* where is first(n) of some n, here and in narrow */
INLINE lanes widen(const bf16 *x, some where)
{
    bf16 own[16];
    if (where != 0xffff) {
        memset(own, 0, sizeof own);
        memcpy(own, x, (size_t)__builtin_popcount(where) * sizeof *own);
        x = own;
    }
    return (lanes){widened(x), widened(x + 8)};
}

/* The upper half of each lane is the value rounded to bfloat16, ties to even; of what is no number it is none. */
INLINE __m256i upper(__m256 x)
{
    const __m256i bits = _mm256_castps_si256(x), odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    const __m256i none = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(sum, _mm256_or_si256(bits, _mm256_set1_epi32(0x400000)), none);
}

INLINE __m256 cut(__m256 x) { return _mm256_castsi256_ps(_mm256_and_si256(upper(x), _mm256_set1_epi32((int)0xffff0000))); }

INLINE lanes rounded(lanes x) { return (lanes){cut(x.low), cut(x.high)}; }

INLINE void narrow(bf16 *y, some where, lanes x)
{
    const __m256i low = _mm256_srli_epi32(upper(x.low), 16), high = _mm256_srli_epi32(upper(x.high), 16);
    const __m256i all = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xd8);
    if (where == 0xffff) {
        _mm256_storeu_si256((__m256i *)y, all);
        return;
    }
    bf16 own[16];
    _mm256_storeu_si256((__m256i *)own, all);
    memcpy(y, own, (size_t)__builtin_popcount(where) * sizeof *own);
}

INLINE pairs pair_of(int32_t x) { return (pairs){_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }

/* The value in the lower, and in the upper half of each lane. */
INLINE __m256 even(__m256i x) { return _mm256_castsi256_ps(_mm256_slli_epi32(x, 16)); }
INLINE __m256 odd(__m256i x) { return _mm256_castsi256_ps(_mm256_and_si256(x, _mm256_set1_epi32((int)0xffff0000))); }

INLINE __m256 both(__m256 sum, __m256i a, __m256i b)
{
    return _mm256_fmadd_ps(odd(a), odd(b), _mm256_fmadd_ps(even(a), even(b), sum));
}

INLINE lanes dot(lanes sum, pairs a, pairs b) { return (lanes){both(sum.low, a.low, b.low), both(sum.high, a.high, b.high)}; }

/* Thirty-two values as float32. */
typedef struct { lanes one, other; } halves_of;

INLINE some some_of(long left) { return first(left < 0 ? 0 : left); }

INLINE halves_of widen_both(const bf16 *x, long left)
{
    return (halves_of){widen(x, some_of(left)), widen(x + 16, some_of(left - 16))};
}

INLINE halves_of apart(const float *x, long left)
{
    return (halves_of){floats(x, some_of(left)), floats(x + 16, some_of(left - 16))};
}

INLINE void narrow_both(bf16 *y, long left, halves_of x)
{
    narrow(y, some_of(left), x.one);
    narrow(y + 16, some_of(left - 16), x.other);
}

#endif

/* e^x for -104 <= x <= 88, beyond as at these, to 2e-7 of it: 2^n e^r with |r| <= ln 2 / 2, and the series of e^r to r^6. */
INLINE lanes exponential(lanes x)
{
    x = lesser(larger(x, all(-104.0f)), all(88.0f));
    const lanes n = nearest(multiply(x, all(1.44269504f)));
    lanes r = multiply_add(n, all(-0.693359375f), x); /* ln 2 in two parts */
    r = multiply_add(n, all(2.12194440e-4f), r);
    static const float series[] = {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
    lanes sum = all(1.0f / 720);
    for (int i = 0; i < 6; i++) sum = multiply_add(sum, r, all(series[i]));
    return times_two_to(sum, n);
}

#endif
