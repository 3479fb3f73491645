// The row kernel on a CPU: loss and gradient of smoothed cross-entropy, row by row. `_cpu.py` loads it through a C ABI.
//
// What shaped it:
// - Memory decides. The forward reads the logits once, block by block. Exponentials are taken against a shift: the maximum
//   of the first few logits. A block is swept once, its own maximum beside its sums, and only where that lies FAR above the
//   shift is it swept again, against its own maximum, and what was summed before rescaled. The backward reads once and
//   writes once. In one call the exponentials are kept, a row of them in the cache, and computed once.
// - Logits are summed in float (float64 ones in double): inside a block in the lanes of vectors, across blocks in double.
//   Saved are the shift m and s = sum of exp(z - m), not log-sum-exp: p = exp(z - m)/s is then as exact for
//   logits near 10,000 as for logits near 0.
// - Half precision moves half the bytes at the same arithmetic, so arithmetic decides there: its exponentials have a shorter
//   polynomial, and bfloat16 is read and written in pairs of vectors whose lanes need not be in order.
// - Infinities and NaN keep their meaning, so nothing is compiled with -ffast-math, and where the sign of a comparison
//   matters for NaN a comment says so.
// - A charge is c = a*q + b*v, as in `_options.py`: loss = lse*sum(c) - sum(c*z), gradient = grad_output*(p*sum(c) - c).
//   The gradient is formed in the dtype of the sums, grad_output included, and rounded once.
// - This file is compiled once for each instruction set, as LABELSMOOTH_PATH says; only the compilation without it has
//   the C ABI and chooses. Functions have internal linkage and come from no library, lest the linker keep an AVX-512 copy
//   of something that all share.
// - Threads are those torch has already: the caller's OpenMP runtime is looked for in the process and entered through
//   GOMP_parallel, so there is never a second one, whatever compiled this. Without one, std::thread.

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#ifndef LABELSMOOTH_PATH
#define LABELSMOOTH_PATH portable
#define LABELSMOOTH_DISPATCH 1
#endif
#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)

#define INLINE inline __attribute__((always_inline))

// One call. Every field has 8 bytes; `_cpu.py` packs it in this order. A pointer may be null where "or" stands.
struct LabelsmoothJob {
    const void *logits;        // (rows, K), classes next to each other
    void *gradient;            // (rows, K), may be `logits` itself
    const int64_t *label;      // (rows), or null with `soft`
    void *loss;                // (rows), dtype of the sums
    void *stats;               // (3, rows), dtype of the sums: m, s, sum(c)
    const void *label_mass;    // a: (rows), or null for the number
    const void *spread_mass;   // b: (rows), or null for the number
    const void *prior;         // v: (K) or (rows, K), or null for 1/K
    const uint8_t *allowed;    // (K) or (rows, K), or null
    const uint8_t *keep;       // (rows), or null
    const void *soft;          // q: (rows, K), or null
    const void *soft_weight;   // (K), or null
    const void *grad_output;   // (rows), or null for 1
    void *mean;                // (1), dtype of the sums, or null: the sum of the losses, over the number of rows if `average`
    const void *label_weight;  // (K), or null: multiplies a by the label's entry, and `average` counts rows by it
    int64_t rows, classes;
    int64_t inner;             // row r of the logits starts at (r / inner)*outer_stride + (r % inner)*inner_stride
    int64_t outer_stride, inner_stride;  // in elements
    int64_t label_mass_stride, spread_mass_stride, grad_output_stride;  // 0 or 1
    int64_t prior_stride, allowed_stride;                               // 0 or K
    int64_t ignore_index;      // rows with this label do not count
    int64_t average;           // 1: `mean` and the gradient are divided by the number of rows that count
    int64_t check;             // of the prior: 1 that it is a distribution, 2 that its entries are finite and not negative
    int64_t dtype;             // 0 float32, 1 float64, 2 bfloat16, 3 float16
    int64_t task;              // 0 loss, 1 gradient from stats, 2 both
    int64_t threads;
    int64_t path;              // 0 the best there is, or 1 + its number
    int64_t fresh;             // 1: the gradient's memory has not been touched yet
    int64_t first_class;       // where the logits are some of the classes: the number of the first, and how many there are
    int64_t all_classes;       //   in all; 0 and K where they are all. Then for the gradient from stats only
    double a, b;               // masses, where no vector gives them
    double scale;              // multiplies the gradient
    double z_loss;             // adds z_loss*lse^2 to the loss of each row
    double softcap;            // c: the logits are c*tanh(z/c); 0 for none
};

typedef int64_t (*LabelsmoothRows)(const LabelsmoothJob *, int64_t first, int64_t last, void *scratch);

namespace {
namespace LABELSMOOTH_PATH {

#define EACH for (int i = 0; i < W; i++)

// Vectors -------------------------------------------------------------------------------------------------------------

#if defined(__AVX512F__)
constexpr int WIDTH = 64;
#elif defined(__AVX2__)
constexpr int WIDTH = 32;
#else
constexpr int WIDTH = 16;
#endif

typedef float F __attribute__((vector_size(WIDTH)));
typedef int32_t FI __attribute__((vector_size(WIDTH)));
typedef uint32_t FU __attribute__((vector_size(WIDTH)));
typedef uint16_t H __attribute__((vector_size(WIDTH / 2)));
typedef double D __attribute__((vector_size(WIDTH)));
typedef int64_t DI __attribute__((vector_size(WIDTH)));
typedef uint8_t FB __attribute__((vector_size(WIDTH / 4)));
typedef uint8_t DB __attribute__((vector_size(WIDTH / 8)));

template <class To, class From>
INLINE To bits(From x) {
    static_assert(sizeof(To) == sizeof(From), "the same bits");
    To y;
    memcpy(&y, &x, sizeof y);
    return y;
}

template <class V>
INLINE V load(const void *p) {
    V v;
    memcpy(&v, p, sizeof v);
    return v;
}

// The larger one; b where either is NaN, as the machine's instruction has it.
INLINE F larger(F a, F b) {
#if defined(__AVX512F__)
    return (F)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (F)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return a > b ? a : b;
#endif
}
INLINE D larger(D a, D b) {
#if defined(__AVX512F__)
    return (D)_mm512_max_pd((__m512d)a, (__m512d)b);
#elif defined(__AVX2__)
    return (D)_mm256_max_pd((__m256d)a, (__m256d)b);
#else
    return a > b ? a : b;
#endif
}

template <class T> struct Number;

template <> struct Number<float> {
    typedef F V;
    typedef FI I;
    typedef FB B;
    static constexpr int LANES = WIDTH / 4;
    [[maybe_unused]] static constexpr int MANTISSA = 23;
    [[maybe_unused]] static constexpr int32_t ONE = 0x3f800000;
    static constexpr float LOWEST = -87.33654f;      // log of the smallest normal number
    static constexpr float MAGIC = 12582912.0f;      // 1.5 * 2^23: adding it rounds to an integer
    [[maybe_unused]] static constexpr int32_t NO_POWER = 0x4b400000 - 126;  // the bits of MAGIC - 126
    static constexpr float LN2_HI = 0.693145751953125f;  // 16 bits: times an exponent it is exact, also without FMA
    static constexpr float LN2_LO = 1.42860682030941723e-6f;
    // exp(r) = 1 + r + r^2*(...) for |r| <= ln(2)/2, fitted for the smallest largest relative error: 3.1e-9.
    template <int W>
    static INLINE void tail(const F *r, F *q) {
        EACH q[i] = r[i] * 0.00138143206997f + 0.00836885106767f;
        EACH q[i] = q[i] * r[i] + 0.0416684010813f;
        EACH q[i] = q[i] * r[i] + 0.166665195241f;
        EACH q[i] = q[i] * r[i] + 0.499999933731f;
    }
};

template <> struct Number<double> {
    typedef D V;
    typedef DI I;
    typedef DB B;
    static constexpr int LANES = WIDTH / 8;
    [[maybe_unused]] static constexpr int MANTISSA = 52;
    [[maybe_unused]] static constexpr int64_t ONE = 0x3ff0000000000000;
    static constexpr double LOWEST = -708.3964185322641;
    static constexpr double MAGIC = 6755399441055744.0;  // 1.5 * 2^52
    [[maybe_unused]] static constexpr int64_t NO_POWER = 0x4338000000000000 - 1022;
    static constexpr double LN2_HI = 0x1.62e42fee00000p-1;
    static constexpr double LN2_LO = 0x1.a39ef35793c76p-33;
    // Taylor's terms to r^13: what is left out is below 5e-18 of the sum.
    template <int W>
    static INLINE void tail(const D *r, D *q) {
        EACH q[i] = r[i] * (1 / 6227020800.0) + 1 / 479001600.0;
        const double rest[10] = {1 / 39916800.0, 1 / 3628800.0, 1 / 362880.0, 1 / 40320.0, 1 / 5040.0,
                                 1 / 720.0, 1 / 120.0, 1 / 24.0, 1 / 6.0, 0.5};
        for (int k = 0; k < 10; k++) EACH q[i] = q[i] * r[i] + rest[k];
    }
};

// What an exponential must do at the edges; the less, the quicker.
// EXACT: NaN stays NaN, and what would not be a normal number is 0. FINITE: no argument is NaN, and what is below twice
// the smallest normal number is 0. ROUNDED: the same for what is about to be rounded to half precision. SUMMED: for sums
// whose arguments are looked at elsewhere; of NaN anything, and something tiny instead of 0.
enum Edges { EXACT, FINITE, ROUNDED, SUMMED };

// e*2^n as `EDGES` asks; t = n + MAGIC.
template <class T, Edges EDGES>
INLINE typename Number<T>::V power(typename Number<T>::V e, typename Number<T>::V n, typename Number<T>::V t,
                                   typename Number<T>::V x) {
    typedef Number<T> N;
    typedef typename N::V V;
#if defined(__AVX512F__)
    (void)t;
    if constexpr (sizeof(T) == 4) {
        const __mmask16 in = _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(N::LOWEST), _CMP_NLT_UQ);
        if (EDGES == SUMMED) return (V)_mm512_scalef_ps((__m512)e, (__m512)n);
        return (V)_mm512_maskz_scalef_ps(in, (__m512)e, (__m512)n);
    } else {
        const __mmask8 in = _mm512_cmp_pd_mask((__m512d)x, _mm512_set1_pd(N::LOWEST), _CMP_NLT_UQ);
        if (EDGES == SUMMED) return (V)_mm512_scalef_pd((__m512d)e, (__m512d)n);
        return (V)_mm512_maskz_scalef_pd(in, (__m512d)e, (__m512d)n);
    }
#else
    (void)n;
    typedef typename N::I I;
    if (EDGES == EXACT) {  // multiplied and not added to the exponent: whatever stands in t, NaN stays NaN
        e = e * bits<V>((bits<I>(t) << N::MANTISSA) + N::ONE);
        return bits<V>(bits<I>(e) & ~bits<I>(x < N::LOWEST));
    }
    const I result = bits<I>(e) + (bits<I>(t) << N::MANTISSA);
    return bits<V>(EDGES != SUMMED ? result & bits<I>(bits<I>(t) > N::NO_POWER) : result);
#endif
}

// exp(x) for x <= 0, within 2 units in the last place; 0 where the result would not be a normal number, which the
// machine computes slowly and no gradient needs; NaN for NaN.
//
// Of W vectors at once, step by step: each step waits for the one before, and a processor sees only so far ahead.
template <class T, int W, Edges EDGES = EXACT>
INLINE void exponentials(typename Number<T>::V *x) {
    typedef Number<T> N;
    typedef typename N::V V;
    V t[W], n[W], r[W], e[W];
    if (EDGES == SUMMED) EACH x[i] = larger(x[i], V{} + N::LOWEST);
    EACH t[i] = x[i] * (T)1.4426950408889634074 + N::MAGIC;
    EACH n[i] = t[i] - N::MAGIC;
    EACH r[i] = x[i] - n[i] * N::LN2_HI;
    EACH r[i] = r[i] - n[i] * N::LN2_LO;
    N::template tail<W>(r, e);
    EACH e[i] = e[i] * r[i] + (T)1;
    EACH e[i] = e[i] * r[i] + (T)1;
    EACH x[i] = power<T, EDGES>(e[i], n[i], t[i], x[i]);
}
template <class T>
INLINE typename Number<T>::V exponential(typename Number<T>::V x) {
    exponentials<T, 1>(&x);
    return x;
}

// The same for x that was widened from half precision, within 2e-6 of the value down to where the result is a normal number,
// and 2e-7 for x > -10: 2^y = 2^n*2^f with a polynomial shorter by a term and a product rounded once for two parts of ln 2.
template <int W, Edges EDGES = EXACT>
INLINE void exponentials_of_half(F *x) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    typedef Number<float> N;
    const float log2e = 1.44269504088896341f;
    F t[W], n[W], f[W], e[W];
    if (EDGES == SUMMED) EACH x[i] = larger(x[i], F{} + N::LOWEST);
    EACH t[i] = x[i] * log2e + N::MAGIC;
    EACH n[i] = t[i] - N::MAGIC;
    EACH f[i] = x[i] * log2e - n[i];
    if (EDGES == ROUNDED) {  // within 3e-6; half precision has 5e-4
        EACH e[i] = f[i] * 0.00958285294f + 0.0559064262f;
        EACH e[i] = e[i] * f[i] + 0.240240991f;
        EACH e[i] = e[i] * f[i] + 0.693124175f;
    } else {
        EACH e[i] = f[i] * 0.00132647352316f + 0.00967151753483f;
        EACH e[i] = e[i] * f[i] + 0.0555073376914f;
        EACH e[i] = e[i] * f[i] + 0.240222420114f;
        EACH e[i] = e[i] * f[i] + 0.693146977557f;
    }
    EACH e[i] = e[i] * f[i] + 1.0f;
#if defined(__AVX512F__)
    EACH x[i] = power<float, EDGES>(e[i], n[i], t[i], x[i]);
#else
    if (EDGES != EXACT) {
        EACH x[i] = power<float, EDGES>(e[i], n[i], t[i], x[i]);
        return;
    }
    // Added to the exponent: a NaN that was widened has zeros in the bits that t << 23 keeps, and stays NaN.
    EACH e[i] = bits<F>(bits<FI>(e[i]) + (bits<FI>(t[i]) << N::MANTISSA));
    EACH x[i] = bits<F>(bits<FI>(e[i]) & ~bits<FI>(x[i] < N::LOWEST));
#endif
#else
    exponentials<float, W, EDGES>(x);  // without FMA x*log2(e) would be rounded before n is taken from it
#endif
}

// tanh and its derivative, from t = exp(-2|x|). The first terms of the series where 1 - t would cancel; the derivative
// 4t/(1 + t)^2 nowhere does.
template <class T>
struct Hyperbolic {
    typename Number<T>::V tangent, slope;
};
template <class T>
INLINE Hyperbolic<T> hyperbolic(typename Number<T>::V x) {
    typedef typename Number<T>::V V;
    const V size = x < (T)0 ? -x : x;
    const V t = exponential<T>(size * (T)-2), over = (T)1 / ((T)1 + t);
    const V far = ((T)1 - t) * over, s = x * x;
    V near = s * (T)(21844.0 / 6081075) - (T)(1382.0 / 155925);
    near = near * s + (T)(62.0 / 2835);
    near = near * s - (T)(17.0 / 315);
    near = near * s + (T)(2.0 / 15);
    near = near * s - (T)(1.0 / 3);
    near = near * s * x + x;
    const T border = sizeof(T) == 4 ? (T)0.25 : (T)0.03;
    return {size < border ? near : x < (T)0 ? -far : far, (T)4 * t * over * over};
}

// Sum and largest of the lanes.
INLINE double sum(F v) {
#if defined(__AVX512F__)
    const __m512 x = (__m512)v;
    const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
    const __m512d high = _mm512_cvtps_pd(_mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1)));
    return _mm512_reduce_add_pd(_mm512_add_pd(low, high));
#elif defined(__AVX2__)
    const __m256 x = (__m256)v;
    const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(x)), high = _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
    const __m256d four = _mm256_add_pd(low, high);
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
#else
    return ((double)v[0] + v[1]) + ((double)v[2] + v[3]);
#endif
}
INLINE double sum(D v) {
    double total = 0;
    for (int i = 0; i < WIDTH / 8; i++) total += v[i];
    return total;
}
INLINE float largest(F v) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)v);
#elif defined(__AVX2__)
    const __m256 x = (__m256)v;
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
#else
    const float x = v[0] > v[1] ? v[0] : v[1], y = v[2] > v[3] ? v[2] : v[3];
    return x > y ? x : y;
#endif
}
INLINE double largest(D v) {
    double most = v[0];
    for (int i = 1; i < WIDTH / 8; i++) most = v[i] > most ? v[i] : most;
    return most;
}

#if defined(__AVX512F__)
template <class V>
INLINE void past_caches(void *p, V v) {
    if constexpr (sizeof v == 64) _mm512_stream_si512((__m512i *)p, bits<__m512i>(v));
    else _mm256_stream_si256((__m256i *)p, bits<__m256i>(v));
}
#elif defined(__AVX2__)
template <class V>
INLINE void past_caches(void *p, V v) {
    if constexpr (sizeof v == 32) _mm256_stream_si256((__m256i *)p, bits<__m256i>(v));
    else memcpy(p, &v, sizeof v);
}
#else
template <class V>
INLINE void past_caches(void *p, V v) { memcpy(p, &v, sizeof v); }
#endif

// Dtypes of logits: how a vector of them is read as numbers and written back ------------------------------------------
//
// get2 and put2 take two vectors that lie next to each other, in whatever order suits: the same for both. put2 and
// put2_in_order are for numbers that are not NaN.

template <class T>
struct Plain {
    typedef T Store;
    typedef T Sum;
    typedef typename Number<T>::V V;
    static INLINE V get(const T *p) { return load<V>(p); }
    static INLINE void put(T *p, V v) { memcpy(p, &v, sizeof v); }
    static constexpr bool IN_ORDER = true;
    static INLINE void get2(const T *p, V *v) { v[0] = get(p), v[1] = get(p + Number<T>::LANES); }
    static INLINE void put2(T *p, V v0, V v1) { put(p, v0), put(p + Number<T>::LANES, v1); }
    static INLINE void put2_in_order(T *p, V v0, V v1) { put2(p, v0, v1); }
    static INLINE void put2_past(T *p, V v0, V v1) { past_caches(p, v0), past_caches(p + Number<T>::LANES, v1); }
    template <int W, Edges EDGES = EXACT>
    static INLINE void exps(V *x) { exponentials<T, W, EDGES>(x); }
};
typedef Plain<float> Float32;
typedef Plain<double> Float64;

struct BFloat16 {
    typedef uint16_t Store;
    typedef float Sum;
    typedef F V;
    static INLINE F get(const uint16_t *p) { return bits<F>(__builtin_convertvector(load<H>(p), FU) << 16); }
    static INLINE H rounded(F v) {
        FU u = bits<FU>(v);
        FU even = (u + 0x7fff + ((u >> 16) & 1)) >> 16;  // half a unit, less one bit where the last one is 0
        FU nan = (u >> 16) | 0x40;
        FU is_nan = bits<FU>(v != v);
        return __builtin_convertvector((even & ~is_nan) | (nan & is_nan), H);
    }
    static INLINE void put(uint16_t *p, F v) {
        const H h = rounded(v);
        memcpy(p, &h, sizeof h);
    }
    // The halves of 32-bit words, which are every other logit: nothing has to be moved from lane to lane.
    static constexpr bool IN_ORDER = false;
    static INLINE void get2(const uint16_t *p, F *v) {
        const FU words = load<FU>(p);
        v[0] = bits<F>(words << 16), v[1] = bits<F>(words & 0xffff0000u);
    }
    static INLINE FU halves(F v0, F v1) {
        const FU u0 = bits<FU>(v0), u1 = bits<FU>(v1);
        return ((u0 + ((u0 >> 16 & 1) + 0x7fff)) >> 16) | ((u1 + ((u1 >> 16 & 1) + 0x7fff)) & 0xffff0000u);
    }
    static INLINE void put2(uint16_t *p, F v0, F v1) {
        const FU words = halves(v0, v1);
        memcpy(p, &words, sizeof words);
    }
    static INLINE void put2_past(uint16_t *p, F v0, F v1) { past_caches(p, halves(v0, v1)); }
    static INLINE void put2_in_order(uint16_t *p, F v0, F v1) {
        const FU u0 = bits<FU>(v0), u1 = bits<FU>(v1);
        const FU high0 = (u0 + ((u0 >> 16 & 1) + 0x7fff)) >> 16, high1 = (u1 + ((u1 >> 16 & 1) + 0x7fff)) >> 16;
#if defined(__AVX2__) && !defined(__AVX512F__)
        const __m256i mixed = _mm256_packus_epi32((__m256i)high0, (__m256i)high1);
        _mm256_storeu_si256((__m256i *)p, _mm256_permute4x64_epi64(mixed, 0xd8));
#else
        const H h[2] = {__builtin_convertvector(high0, H), __builtin_convertvector(high1, H)};
        memcpy(p, h, sizeof h);
#endif
    }
    template <int W, Edges EDGES = EXACT>
    static INLINE void exps(F *x) { exponentials_of_half<W, EDGES>(x); }
};

struct Float16 {
    typedef uint16_t Store;
    typedef float Sum;
    typedef F V;
#if defined(__AVX512F__)
    static INLINE F get(const uint16_t *p) { return (F)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
    static INLINE H rounded(F v) {
        return (H)_mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    }
#elif defined(__AVX2__)
    static INLINE F get(const uint16_t *p) { return (F)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
    static INLINE H rounded(F v) {
        return (H)_mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    }
#else
    static INLINE F get(const uint16_t *p) {
        FU h = __builtin_convertvector(load<H>(p), FU);
        FU magnitude = h & 0x7fff;
        F x = bits<F>(magnitude << 13) * 0x1p112f;  // the exponents' biases differ by 112
        FU special = bits<FU>(magnitude > 0x7bff) & 0x7f800000u;  // infinity and NaN stay what they are
        return bits<F>(bits<FU>(x) | special | ((h & 0x8000) << 16));
    }
    static INLINE H rounded(F v) {
        FU u = bits<FU>(v);
        FU sign = (u >> 16) & 0x8000;
        u &= 0x7fffffff;
        FU normal = (u - 0x38000000u + 0xfff + ((u >> 13) & 1)) >> 13;
        F magic = bits<F>(FU{} + 0x3f000000u);  // 0.5: adding it rounds to multiples of 2^-24
        FU tiny = bits<FU>(bits<F>(u) + magic) - 0x3f000000u;
        FU special = (bits<FU>(u > 0x7f800000u) & 0x200) + 0x7c00;
        FU is_tiny = bits<FU>(u < 0x38800000u), is_large = bits<FU>(u >= 0x47800000u);
        FU r = (tiny & is_tiny) | (special & is_large) | (normal & ~is_tiny & ~is_large);
        return __builtin_convertvector(r | sign, H);
    }
#endif
    static INLINE void put(uint16_t *p, F v) {
        const H h = rounded(v);
        memcpy(p, &h, sizeof h);
    }
    static constexpr bool IN_ORDER = true;
    static INLINE void get2(const uint16_t *p, F *v) { v[0] = get(p), v[1] = get(p + WIDTH / 4); }
    static INLINE void put2(uint16_t *p, F v0, F v1) { put(p, v0), put(p + WIDTH / 4, v1); }
    static INLINE void put2_in_order(uint16_t *p, F v0, F v1) { put2(p, v0, v1); }
    static INLINE void put2_past(uint16_t *p, F v0, F v1) {
        const H h[2] = {rounded(v0), rounded(v1)};
        past_caches(p, load<FU>(h));
    }
    template <int W, Edges EDGES = EXACT>
    static INLINE void exps(F *x) { exponentials_of_half<W, EDGES>(x); }
};

template <class X>
INLINE typename X::V exp_of(typename X::V x) {
    X::template exps<1>(&x);
    return x;
}

// The last lanes of a row are read into a buffer whose other lanes hold `fill`.
template <class X>
INLINE typename X::V get_some(const typename X::Store *p, int64_t count, typename X::Sum fill) {
#if defined(__AVX512F__)
    if constexpr (sizeof(typename X::Store) == 4)
        return (F)_mm512_mask_loadu_ps(_mm512_set1_ps((float)fill), (__mmask16)((1u << count) - 1), p);
#elif defined(__AVX2__)
    if constexpr (sizeof(typename X::Store) == 4) {
        static const int32_t first[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
        const __m256i in = _mm256_loadu_si256((const __m256i *)(first + 8 - count));
        return (F)_mm256_blendv_ps(_mm256_set1_ps((float)fill), _mm256_maskload_ps(p, in), _mm256_castsi256_ps(in));
    }
#endif
    constexpr int LANES = Number<typename X::Sum>::LANES;
    typename X::Store buffer[LANES] = {};
    for (int64_t i = 0; i < count; i++) buffer[i] = p[i];
    typename X::V v = X::get(buffer);
    for (int64_t i = count; i < LANES; i++) v[i] = fill;
    return v;
}
template <class X>
INLINE void put_some(typename X::Store *p, typename X::V v, int64_t count) {
#if defined(__AVX512F__)
    if constexpr (sizeof(typename X::Store) == 4)
        return _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), (__m512)v);
#endif
    typename X::Store buffer[Number<typename X::Sum>::LANES];
    X::put(buffer, v);
    for (int64_t i = 0; i < count; i++) p[i] = buffer[i];
}

// A row ---------------------------------------------------------------------------------------------------------------

template <class T>
struct Row {
    const void *logits;
    int64_t label;             // -1 with soft labels
    double a, b;
    const T *prior;            // or null
    const uint8_t *allowed;    // or null
    const T *soft;             // or null
    const T *soft_weight;      // or null
    double softcap;            // or 0
};

// What a row comes down to: a shift m, s = sum exp(z - m), and for label and spread sum(mass) and sum(mass*(z - m)).
struct Totals {
    double m, s;
    double label_mass, label_linear;
    double spread_mass, spread_linear;
};

template <class X> struct Mass {
    typedef typename X::Sum T;
    typedef typename Number<T>::V V;
    typedef typename Number<T>::I I;
    static constexpr int LANES = Number<T>::LANES;

    // All ones where a class may be predicted.
    static INLINE I free(const Row<T> &row, int64_t k, int64_t count) {
        typename Number<T>::B b = {};
        if (count == LANES) b = load<typename Number<T>::B>(row.allowed + k);
        else for (int64_t i = 0; i < count; i++) b[i] = row.allowed[k + i];
        return bits<I>(__builtin_convertvector(b, I) != 0);
    }
    static INLINE V some(const T *p, int64_t count) {
        return count == LANES ? load<V>(p) : get_some<Plain<T>>(p, count, 0);
    }
    static INLINE V z(const Row<T> &row, const typename X::Store *p, int64_t k, int64_t count) {
        V v = count == LANES ? X::get(p + k) : get_some<X>(p + k, count, -(T)INFINITY);
        if (row.softcap != 0) {
            v = hyperbolic<T>(v / (T)row.softcap).tangent * (T)row.softcap;
            for (int64_t i = count; i < LANES; i++) v[i] = -(T)INFINITY;
        }
        if (row.allowed) v = free(row, k, count) ? v : V{} - (T)INFINITY;
        return v;
    }
    static INLINE V label(const Row<T> &row, int64_t k, int64_t count) {
        V q = some(row.soft + k, count);
        return row.soft_weight ? q * some(row.soft_weight + k, count) : q;
    }
    static INLINE V spread(const Row<T> &row, int64_t k, int64_t count, T uniform) {
        if (row.prior) return some(row.prior + k, count);
        V v = V{} + uniform;
        for (int64_t i = count; i < LANES; i++) v[i] = 0;
        return v;
    }
    // mass*d, 0 where there is no mass and the logit is -inf
    static INLINE V times(V mass, V d) {
        V product = mass * d;
        return bits<V>(bits<I>(product) & ~(bits<I>(mass == 0) & bits<I>(d == -(T)INFINITY)));
    }
};

// What there is beside the logits: nothing; a prior; anything.
enum Kind { UNIFORM, PRIOR, GENERAL };

constexpr int W = 4;             // vectors at a time: more wait in too few registers
constexpr int64_t BLOCK = 2048;  // classes whose logits stay in the first cache where they are swept twice
constexpr int64_t FIRST = 256;   // of the first block, whose largest is the first shift
constexpr int FAR = 32;          // as far above the shift as a logit may lie: sums of exp(32) are far from overflow

constexpr int64_t PAST_CACHES = 4 << 20;  // bytes of a gradient from which it may be written past the caches

// While exponentials are computed the memory would be idle: it is asked for what comes next after W vectors at p. Beyond
// the last row that is an address that may not exist, which a prefetch ignores.
template <class X>
INLINE void soon(const typename X::Store *p) {
    constexpr int SIZE = sizeof(typename X::Store), BYTES = W * Number<typename X::Sum>::LANES * SIZE;
    for (int i = 0; i < BYTES; i += 64) __builtin_prefetch((const void *)((uintptr_t)p + BLOCK * SIZE + i));
}

// The largest logit of some classes. NaN may get lost here; it comes back in the exponentials.
template <class X, Kind KIND>
INLINE typename X::Sum largest_of(const Row<typename X::Sum> &row, int64_t from, int64_t to) {
    typedef typename X::Sum T;
    typedef typename Number<T>::V V;
    typedef Mass<X> M;
    constexpr int LANES = Number<T>::LANES;
    const typename X::Store *z = (const typename X::Store *)row.logits;
    V top0 = V{} - (T)INFINITY, top1 = top0, top2 = top0, top3 = top0;
    int64_t k = from;
    if (KIND != GENERAL) {
        for (; k + 4 * LANES <= to; k += 4 * LANES) {
            V v[4];
            X::get2(z + k, v), X::get2(z + k + 2 * LANES, v + 2);
            top0 = larger(v[0], top0), top1 = larger(v[1], top1), top2 = larger(v[2], top2), top3 = larger(v[3], top3);
        }
    }
    for (; k < to; k += LANES) {
        int64_t count = to - k < LANES ? to - k : LANES;
        if (KIND == GENERAL) top0 = larger(M::z(row, z, k, count), top0);
        else top0 = larger(count == LANES ? X::get(z + k) : get_some<X>(z + k, count, -(T)INFINITY), top0);
    }
    return largest(larger(larger(top0, top1), larger(top2, top3)));
}

// Sums over some classes against a shift, and the largest logit less the shift.
struct Sweep {
    double s, label_mass, label_linear, spread_mass, spread_linear, top;
};

// With KEEP the exponentials are kept, in the order of get2 as far as it reads, for a gradient that does not compute them
// again.
template <class X, Kind KIND, bool KEEP>
INLINE Sweep sweep(
    const Row<typename X::Sum> &row, int64_t classes, int64_t from, int64_t to, typename X::Sum shift,
    [[maybe_unused]] typename X::Sum *kept
) {
    typedef typename X::Sum T;
    typedef typename Number<T>::V V;
    typedef Mass<X> M;
    constexpr int LANES = Number<T>::LANES;
    const typename X::Store *z = (const typename X::Store *)row.logits;
    V sum0 = V{}, sum1 = V{}, linear0 = V{}, linear1 = V{}, mass0 = V{}, mass1 = V{};
    V top0 = V{} - (T)INFINITY;
    int64_t k = from;
    if (KIND == UNIFORM) {
        for (; k + W * LANES <= to; k += W * LANES) {
            soon<X>(z + k);
            V d[W];
            for (int i = 0; i < W; i += 2) X::get2(z + k + i * LANES, d + i);
            EACH d[i] -= shift;
            EACH top0 = larger(d[i], top0);
            EACH linear0 += d[i];
            X::template exps<W, KEEP ? FINITE : SUMMED>(d);
            if (KEEP) EACH Plain<T>::put(kept + k + i * LANES, d[i]);
            for (int i = 0; i < W; i += 2) sum0 += d[i], sum1 += d[i + 1];
        }
        for (; k < to; k += LANES) {
            int64_t count = to - k < LANES ? to - k : LANES;
            V d = (count == LANES ? X::get(z + k) : get_some<X>(z + k, count, -(T)INFINITY)) - shift;
            const V e = exp_of<X>(d);
            if (KEEP) Plain<T>::put(kept + k, e);
            top0 = larger(d, top0), sum0 += e;
            for (int64_t i = count; i < LANES; i++) d[i] = 0;
            linear0 += d;
        }
    } else if (KIND == PRIOR) {
        const T *v = row.prior;
        for (; k + W * LANES <= to; k += W * LANES) {
            soon<X>(z + k);
            V d[W];
            EACH d[i] = X::get(z + k + i * LANES) - shift;
            EACH top0 = larger(d[i], top0);
            EACH mass0 += load<V>(v + k + i * LANES);
            for (int i = 0; i < W; i += 2) {
                linear0 += load<V>(v + k + i * LANES) * d[i];
                linear1 += load<V>(v + k + (i + 1) * LANES) * d[i + 1];
            }
            X::template exps<W, KEEP ? FINITE : SUMMED>(d);
            if (KEEP) EACH Plain<T>::put(kept + k + i * LANES, d[i]);
            for (int i = 0; i < W; i += 2) sum0 += d[i], sum1 += d[i + 1];
        }
        for (; k < to; k += LANES) {
            int64_t count = to - k < LANES ? to - k : LANES;
            const V d = M::z(row, z, k, count) - shift, mass = M::some(v + k, count), e = exp_of<X>(d);
            if (KEEP) Plain<T>::put(kept + k, e);
            top0 = larger(d, top0), sum0 += e;
            mass0 += mass, linear0 += M::times(mass, d);
        }
        double linear = sum(linear0 + linear1);
        if (linear != linear) {  // most likely 0*-inf, which counts as 0
            linear0 = V{};
            for (k = from; k < to; k += LANES) {
                int64_t count = to - k < LANES ? to - k : LANES;
                linear0 += M::times(M::some(v + k, count), M::z(row, z, k, count) - shift);
            }
            linear = sum(linear0);
        }
        return {linear != linear ? NAN : sum(sum0 + sum1), 0, 0, sum(mass0), linear, (double)largest(top0)};
    } else {
        const T uniform = (T)(1.0 / classes);
        for (; k < to; k += LANES) {
            int64_t count = to - k < LANES ? to - k : LANES;
            V d = M::z(row, z, k, count) - shift;
            top0 = larger(d, top0);
            sum0 += exp_of<X>(d);
            V v = M::spread(row, k, count, uniform);
            mass0 += v, linear0 += M::times(v, d);
            if (row.soft) {
                V q = M::label(row, k, count);
                mass1 += q, linear1 += M::times(q, d);
            }
        }
        return {sum(sum0), sum(mass1), sum(linear1), sum(mass0), sum(linear0), (double)largest(top0)};
    }
    const double linear = sum(linear0 + linear1);
    return {linear != linear ? NAN : sum(sum0 + sum1), 0, 0, (double)(to - from), linear, (double)largest(top0)};
}

template <class X, Kind KIND, bool KEEP>
INLINE Totals totals(const Row<typename X::Sum> &row, int64_t classes, typename X::Sum *kept) {
    typedef typename X::Sum T;
    typedef typename Number<T>::V V;
    constexpr int LANES = Number<T>::LANES;
    const typename X::Store *z = (const typename X::Store *)row.logits;
    T m = largest_of<X, KIND>(row, 0, classes < FIRST ? classes : FIRST);
    Totals t = {};
    for (int64_t from = 0, to; from < classes; from = to) {
        to = from + BLOCK < classes ? from + BLOCK : classes;
        Sweep now;
        for (;;) {
            // Where all logits so far are -inf their exponentials are 0 and not NaN; a NaN among them is still seen.
            const bool none = m == -(T)INFINITY;
            now = sweep<X, KIND, KEEP>(row, classes, from, to, none ? (T)0 : m, kept);
            if (!(now.top > (none ? -INFINITY : FAR))) break;
            const T top = largest_of<X, KIND>(row, from, to);
            const double up = (double)top - (double)m;
            if (t.s != 0) t.s *= exp(-up);  // NaN stays
            if (KEEP)
                for (int64_t k = 0; k < from; k++) kept[k] *= (T)exp(-up);
            if (!none)  // what was summed against the old shift; logits of -inf need no moving
                t.spread_linear -= t.spread_mass * up, t.label_linear -= t.label_mass * up;
            m = top;
        }
        t.s += now.s;
        t.spread_mass += now.spread_mass, t.spread_linear += now.spread_linear;
        t.label_mass += now.label_mass, t.label_linear += now.label_linear;
    }
    t.m = (double)m;
    if (m == -(T)INFINITY) t.s = NAN;  // no class is possible
    if (KIND == UNIFORM) t.spread_linear /= (double)classes, t.spread_mass = 1;
    if (row.label >= 0) {
        bool masked = row.allowed && !row.allowed[row.label];
        typename X::Store one[LANES] = {z[row.label]};
        V at = X::get(one);
        if (row.softcap != 0) at = hyperbolic<T>(at / (T)row.softcap).tangent * (T)row.softcap;
        t.label_mass = 1, t.label_linear = masked ? -INFINITY : (double)at[0] - m;
    }
    return t;
}

// mass*loss, nothing where there is no mass even if the loss is infinite
INLINE double charged(double mass, double loss) { return mass == 0 && !(loss != loss) ? 0 : mass * loss; }

template <class T>
INLINE double loss_of(const Row<T> &row, const Totals &t, double z_loss, double *total_mass) {
    const double log_s = log(t.s), lse = t.m + log_s;
    double loss = charged(row.a, log_s * t.label_mass - t.label_linear);
    *total_mass = row.a * t.label_mass;
    if (row.b != 0) {
        loss += row.b * (log_s * t.spread_mass - t.spread_linear);
        *total_mass += row.b * t.spread_mass;
    }
    if (z_loss != 0) {
        loss += z_loss * lse * lse;
        *total_mass += 2 * z_loss * lse;  // its gradient is that of more mass on p
    }
    return loss;
}

// gradient = factor*e - v*b from exponentials that were kept; without a prior v is 1. All of it is finite.
template <class X, Kind KIND>
INLINE void gradient_from(
    const typename X::Sum *kept, const typename X::Sum *prior, typename X::Store *g, int64_t classes, typename X::Sum factor,
    typename X::Sum b, bool past
) {
    (void)past;  // by portable code
    typedef typename X::Sum T;
    typedef typename Number<T>::V V;
    constexpr int LANES = Number<T>::LANES;
    [[maybe_unused]] constexpr bool IN_ORDER = KIND == PRIOR || X::IN_ORDER;
    const int64_t whole = classes - classes % (W * LANES);  // from here on the sweep read vector by vector
    auto at = [&](int64_t k) __attribute__((always_inline)) {
        const V less = KIND == PRIOR ? load<V>(prior + k) * b : V{} + b;
        return load<V>(kept + k) * factor - less;
    };
    int64_t k = 0;
#if defined(__AVX2__)
    if (past && KIND == UNIFORM) {
        // Those stores begin at a whole line. What is kept in pairs has to stay in them.
        const int64_t head = (int64_t)(-(intptr_t)g & (WIDTH - 1)) / (int64_t)sizeof(typename X::Store);
        if (head <= whole && (IN_ORDER || head == 0)) {
            for (; k < head; k += LANES) put_some<X>(g + k, at(k), head - k < LANES ? head - k : LANES);
            for (k = head; k + 2 * LANES <= whole; k += 2 * LANES) X::put2_past(g + k, at(k), at(k + LANES));
        }
    }
#endif
    for (; k + 2 * LANES <= whole; k += 2 * LANES) {
        if (KIND == PRIOR) X::put2_in_order(g + k, at(k), at(k + LANES));
        else X::put2(g + k, at(k), at(k + LANES));
    }
    for (; k < classes; k += LANES) {
        int64_t count = classes - k < LANES ? classes - k : LANES;
        const V less = KIND == PRIOR ? Mass<X>::some(prior + k, count) * b : V{} + b;
        const V v = load<V>(kept + k) * factor - less;
        if (count == LANES) X::put(g + k, v);
        else put_some<X>(g + k, v, count);
    }
}

// gradient = up*(total*p - c)
template <class X, Kind KIND>
INLINE void gradient_of(
    const Row<typename X::Sum> &row, typename X::Store *g, int64_t classes, int64_t all, double m_, double s, double total,
    double up, bool past, const typename X::Sum *kept
) {
    typedef typename X::Sum T;
    typedef typename Number<T>::V V;
    typedef Mass<X> M;
    constexpr int LANES = Number<T>::LANES;
    const typename X::Store *z = (const typename X::Store *)row.logits;
    const T m = (T)m_, factor = (T)(up * total / s);
    T at_label = 0;
    bool set = row.label >= 0 && row.label < classes;
    if (set) {  // before `g`, which may be `z`, is written; in the dtype of the sums, so that it is rounded once
        set = !(row.allowed && !row.allowed[row.label]);
        typename X::Store one[LANES] = {z[row.label]};
        const double v = row.prior ? (double)row.prior[row.label] : 1.0 / all;
        V at = X::get(one), slope = V{} + (T)1;
        if (KIND == GENERAL && row.softcap != 0) {
            const Hyperbolic<T> cap = hyperbolic<T>(at / (T)row.softcap);
            at = cap.tangent * (T)row.softcap, slope = cap.slope;
        }
        const double p = (double)exponential<T>(at - m)[0] / s;
        at_label = (T)(up * slope[0] * (total * p - row.a - (row.b != 0 ? row.b * v : 0)));
    }
    int64_t k = 0;
    const T b = KIND == UNIFORM ? (T)(up * row.b / all) : (T)(up * row.b);
    // With these finite no gradient is NaN: one among the logits would have made s NaN.
    const bool finite = factor - factor == 0 && b - b == 0;
    if (KIND != GENERAL && kept && finite && (KIND == UNIFORM || row.b != 0)) {
        gradient_from<X, KIND>(kept, row.prior, g, classes, factor, b, past);
    } else if (KIND == UNIFORM) {
        const T less = b;
        if (finite) {
            for (; k + W * LANES <= classes; k += W * LANES) {
                V v[W];
                for (int i = 0; i < W; i += 2) X::get2(z + k + i * LANES, v + i);
                EACH v[i] -= m;
                X::template exps<W, ROUNDED>(v);
                EACH v[i] = v[i] * factor - less;
                for (int i = 0; i < W; i += 2) X::put2(g + k + i * LANES, v[i], v[i + 1]);
            }
        }
        for (; k + LANES <= classes; k += LANES) X::put(g + k, exp_of<X>(X::get(z + k) - m) * factor - less);
        if (int64_t left = classes - k) {
            V v = get_some<X>(z + k, left, -(T)INFINITY);
            put_some<X>(g + k, exp_of<X>(v - m) * factor - less, left);
        }
    } else if (KIND == PRIOR) {
        const T *v = row.prior;
        if (row.b != 0 && finite) {  // else an infinite v would leave NaN
            for (; k + W * LANES <= classes; k += W * LANES) {
                V e[W];
                EACH e[i] = X::get(z + k + i * LANES) - m;
                X::template exps<W, ROUNDED>(e);
                EACH e[i] = e[i] * factor - load<V>(v + k + i * LANES) * b;
                for (int i = 0; i < W; i += 2) X::put2_in_order(g + k + i * LANES, e[i], e[i + 1]);
            }
        }
        for (; k < classes; k += LANES) {
            int64_t count = classes - k < LANES ? classes - k : LANES;
            V e = exp_of<X>(M::z(row, z, k, count) - m) * factor;
            if (row.b != 0) e -= M::some(v + k, count) * b;
            if (count == LANES) X::put(g + k, e);
            else put_some<X>(g + k, e, count);
        }
    } else {
        const T a = (T)(up * row.a), uniform = (T)(1.0 / all);
        for (; k < classes; k += LANES) {
            int64_t count = classes - k < LANES ? classes - k : LANES;
            V v = exp_of<X>(M::z(row, z, k, count) - m) * factor;
            if (row.b != 0) v -= M::spread(row, k, count, uniform) * b;
            if (row.soft) v -= M::label(row, k, count) * a;
            if (row.softcap != 0) {
                V raw = count == LANES ? X::get(z + k) : get_some<X>(z + k, count, 0);
                v *= hyperbolic<T>(raw / (T)row.softcap).slope;
            }
            if (row.allowed) v = M::free(row, k, count) ? v : V{};
            if (count == LANES) X::put(g + k, v);
            else put_some<X>(g + k, v, count);
        }
    }
    if (set) {
        typename X::Store one[LANES];
        X::put(one, V{} + at_label);
        g[row.label] = one[0];
    }
}

// Rows first..last-1. Returns the first row whose label is no class, or -1. Where loss and gradient are wanted `scratch`
// has room for the exponentials of a row; or null.
template <class X, Kind KIND>
int64_t rows(const LabelsmoothJob *job, int64_t first, int64_t last, void *scratch) {
    typedef typename X::Sum T;
    typedef typename X::Store S;
    const int64_t K = job->classes, all = job->all_classes;
    int64_t wrong = -1;
    T *const stats = (T *)job->stats, *const kept = (T *)scratch;
    // Memory that is not about to be zeroed by the system, and that no cache will hold until it is read.
    const bool past = !job->fresh && job->gradient != job->logits && job->rows * K * (int64_t)sizeof(S) >= PAST_CACHES;
    for (int64_t r = first; r < last; r++) {
        int64_t y = job->label ? job->label[r] : -1;
        S *g = (S *)job->gradient + r * K;
        const S *z = (const S *)job->logits + (r / job->inner) * job->outer_stride + (r % job->inner) * job->inner_stride;
        if (job->gradient == job->logits) g = (S *)z;
        bool counts = !(job->keep && !job->keep[r]) && !(job->label && y == job->ignore_index);
        bool bad = counts && job->label && (y < 0 || y >= all);
        if (!counts || bad) {
            if (bad && wrong < 0) wrong = r;
            if (job->task != 1) {
                ((T *)job->loss)[r] = bad ? (T)NAN : (T)0;
                stats[r] = 0, stats[job->rows + r] = 1, stats[2 * job->rows + r] = 0;
            }
            if (job->task != 0) {
                S one[Number<T>::LANES];
                X::put(one, typename X::V{} + (bad ? (T)NAN : (T)0));
                for (int64_t k = 0; k < K; k++) g[k] = one[0];
            }
            continue;
        }
        Row<T> row = {
            z, job->label ? y - job->first_class : -1,
            (job->label_mass ? (double)((const T *)job->label_mass)[r * job->label_mass_stride] : job->a) *
                (job->label_weight ? (double)((const T *)job->label_weight)[y] : 1),
            job->spread_mass ? (double)((const T *)job->spread_mass)[r * job->spread_mass_stride] : job->b,
            job->prior ? (const T *)job->prior + r * job->prior_stride : nullptr,
            job->allowed ? job->allowed + r * job->allowed_stride : nullptr,
            job->soft ? (const T *)job->soft + r * K : nullptr,
            (const T *)job->soft_weight,
            job->softcap,
        };
        double m, s, total;
        if (job->task != 1) {
            const Totals t = KIND != GENERAL && kept ? totals<X, KIND, true>(row, K, kept) : totals<X, KIND, false>(row, K, kept);
            ((T *)job->loss)[r] = (T)loss_of(row, t, job->z_loss, &total);
            m = t.m, s = t.s;
            stats[r] = (T)m, stats[job->rows + r] = (T)s, stats[2 * job->rows + r] = (T)total;
        } else {
            m = stats[r], s = stats[job->rows + r], total = stats[2 * job->rows + r];
        }
        if (job->task != 0) {
            double up = job->scale;
            if (job->grad_output) up *= ((const T *)job->grad_output)[r * job->grad_output_stride];
            gradient_of<X, KIND>(row, g, K, all, m, s, total, up, past, kept);
        }
    }
    return wrong;
}

}  // namespace LABELSMOOTH_PATH
}  // namespace

// Visible to the other compilations only. In the order of `Kind`, and in each in the order of `dtype`.
extern "C" {
extern __attribute__((visibility("hidden"))) const LabelsmoothRows JOIN(labelsmooth_rows_, LABELSMOOTH_PATH)[12];
__attribute__((visibility("hidden"))) void JOIN(labelsmooth_exp_, LABELSMOOTH_PATH)(const float *, float *, int64_t);
}

#define ROWS_OF(kind) \
    LABELSMOOTH_PATH::rows<LABELSMOOTH_PATH::Float32, LABELSMOOTH_PATH::kind>, \
    LABELSMOOTH_PATH::rows<LABELSMOOTH_PATH::Float64, LABELSMOOTH_PATH::kind>, \
    LABELSMOOTH_PATH::rows<LABELSMOOTH_PATH::BFloat16, LABELSMOOTH_PATH::kind>, \
    LABELSMOOTH_PATH::rows<LABELSMOOTH_PATH::Float16, LABELSMOOTH_PATH::kind>
const LabelsmoothRows JOIN(labelsmooth_rows_, LABELSMOOTH_PATH)[12] = {ROWS_OF(UNIFORM), ROWS_OF(PRIOR), ROWS_OF(GENERAL)};

void JOIN(labelsmooth_exp_, LABELSMOOTH_PATH)(const float *x, float *y, int64_t count) {
    using namespace LABELSMOOTH_PATH;
    for (int64_t i = 0; i < count; i += Number<float>::LANES) {
        int64_t left = count - i < Number<float>::LANES ? count - i : Number<float>::LANES;
        put_some<Float32>(y + i, exponential<float>(get_some<Float32>(x + i, left, 0)), left);
    }
}

// The C ABI -----------------------------------------------------------------------------------------------------------

#ifdef LABELSMOOTH_DISPATCH

#include <atomic>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <dlfcn.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

#define API extern "C" __attribute__((visibility("default")))

extern "C" {
#ifdef LABELSMOOTH_X86
extern const LabelsmoothRows labelsmooth_rows_avx2[12], labelsmooth_rows_avx512[12];
void labelsmooth_exp_avx2(const float *, float *, int64_t);
void labelsmooth_exp_avx512(const float *, float *, int64_t);
#endif
}

namespace {

// Paths: 0 portable, 1 AVX2 with FMA and F16C, 2 AVX-512. Bit i is set where path i can run.
int64_t find_paths() {
    int64_t found = 1;
#ifdef LABELSMOOTH_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found |= 2;  // every such machine has F16C
    if ((found & 2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        found |= 4;
#endif
    return found;
}

int64_t paths_found() {
    static const int64_t paths = find_paths();
    return paths;
}

const LabelsmoothRows *rows_of(int64_t path) {
#ifdef LABELSMOOTH_X86
    if (path == 2) return labelsmooth_rows_avx512;
    if (path == 1) return labelsmooth_rows_avx2;
#endif
    (void)path;
    return labelsmooth_rows_portable;
}

// OpenMP's entry as compilers call it, the same in GNU's, LLVM's and Intel's runtime.
typedef void (*Parallel)(void (*)(void *), void *, unsigned, unsigned);
std::atomic<Parallel> parallel{nullptr};

#if defined(__linux__)
int look_for_openmp(dl_phdr_info *object, size_t, void *found) {
    const char *name = object->dlpi_name;
    if (!name || !(strstr(name, "libgomp") || strstr(name, "libiomp5") || strstr(name, "libomp"))) return 0;
    void *handle = dlopen(name, RTLD_NOW | RTLD_NOLOAD);
    if (!handle) return 0;
    *(void **)found = dlsym(handle, "GOMP_parallel");
    return *(void **)found != nullptr;  // not 0 ends the search
}
#endif

struct Shared {
    const LabelsmoothJob *job;
    LabelsmoothRows run;
    int64_t chunk;
    char *scratch;  // for each thread so many bytes
    int64_t scratch_bytes;
    std::atomic<int64_t> next, wrong, thread;
};

// Chunks are taken as threads get to them: two busy cores share unevenly.
void work(void *data) {
    Shared *shared = (Shared *)data;
    const int64_t rows = shared->job->rows;
    char *const scratch = shared->scratch ? shared->scratch + shared->thread.fetch_add(1) * shared->scratch_bytes : nullptr;
    for (;;) {
        int64_t first = shared->next.fetch_add(shared->chunk, std::memory_order_relaxed);
        if (first >= rows) return;
        int64_t last = first + shared->chunk < rows ? first + shared->chunk : rows;
        int64_t wrong = shared->run(shared->job, first, last, scratch);
        if (wrong < 0) continue;
        int64_t known = shared->wrong.load();
        while ((known < 0 || wrong < known) && !shared->wrong.compare_exchange_weak(known, wrong)) {
        }
    }
}

constexpr int64_t WORTH_A_THREAD = 1 << 16;  // logits: about 30 microseconds
constexpr size_t HUGE_PAGE = 2 << 20;
constexpr int64_t SCRATCH = 1 << 20;  // bytes of exponentials of a row

// Fresh memory is faulted in page by page; huge pages make that 512 times rarer.
void ask_for_huge_pages(void *p, size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (bytes < HUGE_PAGE) return;
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t from = ((uintptr_t)p + page - 1) & ~(page - 1), to = ((uintptr_t)p + bytes) & ~(page - 1);
    madvise((void *)from, to - from, MADV_HUGEPAGE);  // a refusal changes nothing but speed
#else
    (void)p, (void)bytes;
#endif
}

template <class T>
double rows_that_count(const LabelsmoothJob &job) {
    double count = 0;
    const T *weight = (const T *)job.label_weight;
    for (int64_t r = 0; r < job.rows; r++) {
        if ((job.keep && !job.keep[r]) || (job.label && job.label[r] == job.ignore_index)) continue;
        count += !weight ? 1 : job.label[r] >= 0 && job.label[r] < job.classes ? (double)weight[job.label[r]] : 0;
    }
    return count;
}

// As far as a float32 distribution may miss 1 by rounding, with room to spare; as `_checks.py` has it.
constexpr double MISSES_ONE = 1e-5;

template <class T>
bool prior_is_right(const LabelsmoothJob &job) {
    double total = 0;
    T least = 0;
    for (int64_t k = 0; k < job.classes; k++) {
        const T v = ((const T *)job.prior)[k];
        total += v;
        least = v < least ? v : least;
    }
    if (least < 0 || total - total != 0) return false;  // infinity and NaN leave no finite sum
    return job.check != 1 || (total - 1 <= MISSES_ONE && 1 - total <= MISSES_ONE);
}

// In one order, whatever the threads did.
template <class T>
void store_mean(const LabelsmoothJob &job, double divisor) {
    double total = 0;
    for (int64_t r = 0; r < job.rows; r++) total += ((const T *)job.loss)[r];
    *(T *)job.mean = (T)(total / divisor);
}

void run_on_threads(Shared *shared, int64_t threads) {
    if (Parallel enter = parallel.load()) {
        enter(work, shared, (unsigned)threads, 0);
        return;
    }
    std::vector<std::thread> others;
    try {
        for (int64_t i = 1; i < threads; i++) others.emplace_back(work, shared);
    } catch (...) {  // no more threads to be had: those that are there do the work
    }
    work(shared);
    for (std::thread &one : others) one.join();
}

}  // namespace

// Which paths can run, as bits. Looks for the OpenMP runtime of the process: call it after torch was imported.
API int64_t labelsmooth_paths(void) {
#if defined(__linux__)
    void *found = nullptr;
    dl_iterate_phdr(look_for_openmp, &found);
    if (found) parallel.store((Parallel)found);
#endif
    return paths_found();
}

// 1 if rows are spread over the threads of OpenMP, 0 if threads are started for a call.
API int64_t labelsmooth_openmp(void) { return parallel.load() != nullptr; }

// Bytes of a job, so that the side that packs it can check that both mean the same.
API int64_t labelsmooth_job_bytes(void) { return sizeof(LabelsmoothJob); }

API void labelsmooth_exp(const float *x, float *y, int64_t count, int64_t path) {
#ifdef LABELSMOOTH_X86
    if (path == 2) return labelsmooth_exp_avx512(x, y, count);
    if (path == 1) return labelsmooth_exp_avx2(x, y, count);
#endif
    (void)path;
    labelsmooth_exp_portable(x, y, count);
}

// Returns the first row whose label is no class, or -1; the number of rows, and nothing is computed, where the prior is not
// what `check` says.
API int64_t labelsmooth_run(const LabelsmoothJob *given) {
    LabelsmoothJob job = *given;
    if (!job.all_classes) job.all_classes = job.classes;
    const int64_t bytes[4] = {4, 8, 2, 2};
    if (job.task != 0 && job.fresh) ask_for_huge_pages(job.gradient, (size_t)(job.rows * job.classes * bytes[job.dtype]));
    const bool doubles = job.dtype == 1;
    if (job.check && !(doubles ? prior_is_right<double>(job) : prior_is_right<float>(job))) return job.rows;
    const double divisor = !job.average ? 1 : doubles ? rows_that_count<double>(job) : rows_that_count<float>(job);
    job.scale /= divisor;
    const int64_t paths = paths_found();
    int64_t path = job.path - 1;
    if (path < 0 || !(paths >> path & 1)) path = paths & 4 ? 2 : paths & 2 ? 1 : 0;
    const bool spread = job.spread_mass || job.b != 0;  // else the prior has no part in it
    const int64_t kind = job.allowed || job.soft || job.softcap != 0 ? 2 : job.prior && spread ? 1 : 0;
    const LabelsmoothRows run = rows_of(path)[4 * kind + job.dtype];
    int64_t threads = job.rows * job.classes / WORTH_A_THREAD;
    threads = threads < job.threads ? threads : job.threads;
    threads = threads < job.rows ? threads : job.rows;
    // Loss and gradient at once: each exponential is computed once where a row of them is small enough to stay in a cache.
    const int64_t scratch_bytes = (job.classes + 64) * (doubles ? 8 : 4);
    char *scratch = nullptr;
    if (job.task == 2 && kind != 2 && scratch_bytes <= SCRATCH)
        scratch = (char *)malloc((size_t)(scratch_bytes * (threads < 1 ? 1 : threads)));  // without it they are computed twice
    int64_t wrong;
    if (threads <= 1) {
        wrong = run(&job, 0, job.rows, scratch);
    } else {
        const int64_t chunk = WORTH_A_THREAD / 4 / job.classes;
        Shared shared = {&job, run, chunk < 1 ? 1 : chunk, scratch, scratch_bytes, {0}, {-1}, {0}};
        run_on_threads(&shared, threads);
        wrong = shared.wrong.load();
    }
    free(scratch);
    if (job.task != 1 && job.mean) doubles ? store_mean<double>(job, divisor) : store_mean<float>(job, divisor);
    return wrong;
}

#endif
