// The scan of a spiking layer behind its convolution: batch norm, leaky integrate-and-fire over time, residual; and its
// gradient. ops/bntt_lif/reference.py is the definition. Letters:
//
//   T  time steps                 M  = N * H * W positions of a step       C  channels, the fastest index in memory
//   X  steps that x holds: T, or 1 where every step receives the same x (direct encoding)
//   G  rows of the norm: T (statistics per step), 1 (one set over time), 0 (no norm)
//   L  lanes of a vector          Q  vectors of a step, M * C / L rounded up; the last may be partly filled
//   P  period: the channels of the lanes repeat after P vectors, so coefficients are P vectors whatever C is ("tile")
//
// Memory decides the speed. So a block of B vectors goes through all T steps while its potentials stay in cache; the
// backward pass runs the scan forward again instead of storing u; and the norm's two sums are collected on the way.
// A slab is a fixed number of vectors with its own partial sums, added up in a fixed order: the results are the same
// bits whatever the number of threads.

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <type_traits>
#include <vector>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace {

#if defined(LANES)  // by hand, for tests
constexpr int64_t L = LANES;
#elif defined(__AVX512F__)
constexpr int64_t L = 16;
#elif defined(__AVX2__)
constexpr int64_t L = 8;
#else
constexpr int64_t L = 4;
#endif

using bf16 = uint16_t;
typedef float V __attribute__((vector_size(4 * L)));
typedef int32_t Mask __attribute__((vector_size(4 * L)));
typedef uint32_t Bits __attribute__((vector_size(4 * L)));
typedef uint16_t Half __attribute__((vector_size(2 * L)));

// Compilers make several instructions of these where the processor has one.
#if defined(__AVX512F__) && !defined(LANES)
inline Bits widen(Half h) { return (Bits)_mm512_cvtepu16_epi32((__m256i)h); }
inline Half narrow(Bits b) { return (Half)_mm512_cvtepi32_epi16((__m512i)b); }
inline uint16_t bits(Mask m) { return _mm512_cmplt_epi32_mask((__m512i)m, _mm512_setzero_si512()); }
#elif defined(__AVX2__) && !defined(LANES)
inline Bits widen(Half h) { return (Bits)_mm256_cvtepu16_epi32((__m128i)h); }
inline Half narrow(Bits b) {
  return (Half)_mm_packus_epi32(_mm256_castsi256_si128((__m256i)b), _mm256_extracti128_si256((__m256i)b, 1));
}
inline uint8_t bits(Mask m) { return _mm256_movemask_ps((__m256)m); }
#else
inline Bits widen(Half h) { return __builtin_convertvector(h, Bits); }
inline Half narrow(Bits b) { return __builtin_convertvector(b, Half); }
inline std::conditional_t<L == 16, uint16_t, uint8_t> bits(Mask m) {
  int all = 0;
  for (int64_t i = 0; i < L; i++) all |= (m[i] & 1) << i;
  return all;
}
#endif

struct Vec { V v; };  // a vector as an element of std::vector
using Tile = std::vector<Vec>;

inline V same(float value) { return value - V{}; }
inline V where(Mask mask, V value) { return (V)(mask & (Mask)value); }  // value or 0

inline V load(const float* p) { V v; std::memcpy(&v, p, sizeof v); return v; }
inline V wide(Half h) { return (V)(widen(h) << 16); }
inline V load(const bf16* p) {
  Half h;
  std::memcpy(&h, p, sizeof h);
  return wide(h);
}

inline void store(float* p, V v) { std::memcpy(p, &v, sizeof v); }
inline void store_exact(bf16* p, V v) {  // for what bf16 holds without rounding
  const Half h = narrow((Bits)v >> 16);
  std::memcpy(p, &h, sizeof h);
}
inline Half rounded(V v) {  // to the nearest, ties to even; the low bits of computed NaNs are 0, so they stay NaN
#if defined(__AVX512BF16__) && !defined(LANES)
  return (Half)_mm512_cvtneps_pbh((__m512)v);
#else
  const Bits b = (Bits)v;
  return narrow((b + 0x7fff + ((b >> 16) & 1)) >> 16);
#endif
}
inline void store(bf16* p, V v) {
  const Half h = rounded(v);
  std::memcpy(p, &h, sizeof h);
}
inline void store_exact(float* p, V v) { store(p, v); }
inline void store(uint8_t* p, V v) {
  for (int64_t i = 0; i < L; i++) p[i] = uint8_t(v[i]);
}
inline void store_exact(uint8_t* p, V v) { store(p, v); }
inline V load(const uint8_t* p) {
  V v;
  for (int64_t i = 0; i < L; i++) v[i] = p[i];
  return v;
}

// The last vector of a step may be partly filled: `left` values are. Lanes beyond read 0 and are not written.
template <bool whole, class S> inline V get(const S* p, int64_t left) {
  if (whole || left >= L) return load(p);
  S lanes[L] = {};
  std::memcpy(lanes, p, left * sizeof(S));
  return load(lanes);
}
template <bool whole, bool exact = false, class S> inline void put(S* p, V v, int64_t left) {
  if (whole || left >= L) return exact ? store_exact(p, v) : store(p, v);
  S lanes[L];
  store(lanes, v);
  std::memcpy(p, lanes, left * sizeof(S));
}

// Spikes are kept as bits, `packed` bytes a vector; those of a step are Q vectors.
using Packed = decltype(bits(Mask{}));
static_assert(L <= 8 * sizeof(Packed));

inline V unpack(Packed bits) {  // 1 for a spike, else 0
#if defined(__AVX512F__) && !defined(LANES)
  return (V)_mm512_maskz_mov_ps(bits, (__m512)same(1));
#else
  Mask one;
  for (int64_t i = 0; i < L; i++) one[i] = 1 << i;
  return where(((Mask{} + int32_t(bits)) & one) != 0, same(1));
#endif
}

// What is needed soon. Each step of a block is in another page, where the processor has to be told.
inline void fetch(const void* p) { __builtin_prefetch(p); }
inline void fetch_to_write(void* p) { __builtin_prefetch(p, 1); }

struct Shape {
  int64_t T, X, M, C, G, size, Q, P, slab, slabs, B;

  Shape(int64_t T, int64_t X, int64_t M, int64_t C, int64_t G) : T(T), X(X), M(M), C(C), G(G) {
    size = M * C;
    Q = (size + L - 1) / L;
    P = C / std::gcd(C, L);
    slab = P * std::max<int64_t>(16, 256 / P);  // long enough for its partial sums to be few, short enough to be many
    slabs = (Q + slab - 1) / slab;
    const int64_t fits = std::clamp<int64_t>(32768 / T, 64, 1024) / L;  // a page of x; u of all steps is 128 KB
    B = std::min(slab, fits < P ? fits : fits / P * P);
  }
  int64_t row(int64_t t) const { return G > 1 ? t : 0; }
};

// task(slab, first vector, end) for all slabs, in parallel.
template <class Task> void for_slabs(const Shape& z, const Task& task) {
  at::parallel_for(0, z.slabs, 1, [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; s++) task(s, s * z.slab, std::min(z.Q, (s + 1) * z.slab));
  });
}

// task(time step, slab, first vector, end) for the slabs of all steps that x holds, each step in the order of memory.
template <class Task> void for_steps(const Shape& z, const Task& task) {
  at::parallel_for(0, z.slabs, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = 0; t < z.X; t++)
      for (int64_t s = begin; s < end; s++) task(t, s, s * z.slab, std::min(z.Q, (s + 1) * z.slab));
  });
}

// Rows [G, C] of numbers as tiles [G, P].
template <class F> Tile tiles(const Shape& z, int64_t G, const F& value) {
  Tile tile(G * z.P);
  for (int64_t g = 0; g < G; g++)
    for (int64_t i = 0; i < z.P * L; i++) tile[g * z.P + i / L].v[i % L] = value(g * z.C + i % z.C);
  return tile;
}

// Partial sums [slabs, G, P, count] as `count` rows of sums [G, C].
std::vector<double> totals(const Shape& z, int64_t G, const Tile& part, int64_t count) {
  const int64_t width = G * z.P * count;
  std::vector<double> lanes(width * L), sums(count * G * z.C);
  for (int64_t s = 0; s < z.slabs; s++) {
    const float* p = (const float*)&part[s * width];
    for (int64_t i = 0; i < width * L; i++) lanes[i] += p[i];
  }
  for (int64_t g = 0; g < G; g++)
    for (int64_t i = 0; i < z.P * L; i++)
      for (int64_t k = 0; k < count; k++)
        sums[(k * G + g) * z.C + i % z.C] += lanes[((g * z.P + i / L) * count + k) * L + i % L];
  return sums;
}

// Mean and biased variance of every channel, by sums about a shift that is near the mean: a large mean costs no digits.
template <class S> void statistics(const Shape& z, const S* x, float* mean, float* var) {
  const int64_t G = std::min(z.G, z.X);
  std::vector<float> shift(G * z.C);
  const int64_t samples = std::min<int64_t>(8, z.M);
  for (int64_t g = 0; g < G; g++)
    for (int64_t k = 0; k < samples; k++)
      for (int64_t c = 0; c < z.C; c++) {
        const S* p = x + g * z.size + k * z.M / samples * z.C + c;
        float value;
        if constexpr (sizeof(S) == 4) value = *p;
        else { const uint32_t bits = uint32_t(*p) << 16; std::memcpy(&value, &bits, 4); }
        shift[g * z.C + c] += value / samples;
      }
  const Tile k = tiles(z, G, [&](int64_t i) { return shift[i]; });
  Tile part(z.slabs * G * z.P * 2);
  for_steps(z, [&](int64_t t, int64_t s, int64_t first, int64_t end) {
    const int64_t whole = std::min(end, z.size / L), g = G > 1 ? t : 0;
    const S* const step = x + t * z.size;
    for (int64_t q0 = first; q0 < std::min(end, first + z.P); q0++) {
      const int64_t p = q0 % z.P;
      const V shift = k[g * z.P + p].v;
      V a[4] = {}, b[4] = {};  // four sums each: an addition takes four cycles
      int64_t q = q0;
      for (; q + 3 * z.P < whole; q += 4 * z.P)
        for (int i = 0; i < 4; i++) {
          const V d = load(step + (q + i * z.P) * L) - shift;
          a[i] += d;
          b[i] += d * d;
        }
      for (; q < end; q += z.P) {
        const int64_t left = z.size - q * L;
        V d = get<false>(step + q * L, left) - shift;
        for (int64_t i = left; i < L; i++) d[i] = 0;
        a[0] += d;
        b[0] += d * d;
      }
      Vec* sums = &part[((s * G + g) * z.P + p) * 2];
      sums[0].v += (a[0] + a[1]) + (a[2] + a[3]);
      sums[1].v += (b[0] + b[1]) + (b[2] + b[3]);
    }
  });
  const std::vector<double> sums = totals(z, G, part, 2);
  const double n = double(z.M) * (z.X / G);
  for (int64_t g = 0; g < z.G; g++)
    for (int64_t c = 0; c < z.C; c++) {
      const int64_t i = (G > 1 ? g : 0) * z.C + c;
      const double d = sums[i] / n;
      mean[g * z.C + c] = float(shift[i] + d);
      var[g * z.C + c] = float(std::max(0.0, sums[G * z.C + i] / n - d * d));
    }
}

struct Norm {  // y = scale * x + shift, as tiles [G or 1, P]
  Tile scale, shift;

  Norm(const Shape& z, const float* gamma, const float* beta, const float* mean, const float* var, double eps) {
    std::vector<double> a(z.G * z.C);
    for (int64_t i = 0; i < z.G * z.C; i++) a[i] = gamma[i] / std::sqrt(var[i] + eps);
    scale = tiles(z, std::max<int64_t>(1, z.G), [&](int64_t i) { return z.G ? a[i] : 1.0; });
    shift = tiles(z, std::max<int64_t>(1, z.G), [&](int64_t i) {
      return z.G ? (beta ? beta[i] : 0.0) - mean[i] * a[i] : 0.0;
    });
  }
};

enum Surrogate : int32_t { triangle, rectangle, arctan, sigmoid, fast_sigmoid, gaussian, none };  // none: no neurons

enum class Reset : int32_t { subtract, zero };
enum class InputScale : int32_t { one, one_minus_leak };

struct Constants {  // KernelConstants of cpu.py, in its order
  double eps;
  float leak, threshold;
  Surrogate surrogate;
  float height, width, center;
  bool fires_at_threshold, detach_reset;
  Reset reset;
  InputScale input_scale;
};

struct Neuron {
  float leak, threshold, above;   // fires where u > above
  float height, stretch, offset;  // surrogate at u is height * shape(stretch * u - offset)
  float gain;                     // of the current
  bool scaled;                    // gain is not 1
  V taken, taken_back;            // off u by a spike, and what of it has a gradient: threshold or 0
  Mask all, all_back;             // u instead, where it resets to zero

  Neuron(const Constants& c)
      : leak(c.leak), threshold(c.threshold), height(c.height), stretch(1 / (c.threshold * c.width)),
        offset(c.center / c.width), gain(1 - c.leak), scaled(c.input_scale == InputScale::one_minus_leak) {
    above = c.fires_at_threshold ? std::nextafter(threshold, -INFINITY) : threshold;
    const bool to_zero = c.reset == Reset::zero;
    taken = same(to_zero ? 0 : threshold);
    taken_back = same(to_zero || c.detach_reset ? 0 : threshold);
    all = to_zero ? ~Mask{} : Mask{};
    all_back = to_zero && !c.detach_reset ? ~Mask{} : Mask{};
  }
  Mask fires(V u) const { return u > same(above); }
  V after(V u, Mask fired) const { return u - where(fired, (V)((Mask)taken | ((Mask)u & all))); }
  V after(V u) const { return after(u, fires(u)); }
  V through_spike(V u) const { return (V)((Mask)taken_back | ((Mask)u & all_back)); }  // -dv/do
  V past_spike(V u, V dv) const { return where(~(fires(u) & all), dv); }               // dv * dv/du
};

// exp(x) for x <= 0 to three units in the last place: 2^n times a polynomial on half a power of two around 1.
inline V exponential(V x) {
  x = where(~(x <= -87), x);  // smaller ones are made 1 here and 0 below; NaN stays NaN
  const V n = x * 1.44269504f;
  const Mask whole = __builtin_convertvector(n - 0.5f, Mask);  // towards 0, so the nearest of what is negative
  const V k = __builtin_convertvector(whole, V);
  const V r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
  V p = same(1.0f / 5040);
  for (const float c : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) p = p * r + c;
  return (V)((Mask)p + (whole << 23));
}

// NaN for NaN, as in the reference, but for the rectangle: hence "not above" where "below" would do for numbers.
template <Surrogate shape> inline V slope(const Neuron& n, V u) {
  const V z = n.stretch * u - n.offset;
  const V distance = (V)((Mask)z & 0x7fffffff);
  if constexpr (shape == triangle) return n.height * where(~(distance >= 1), 1 - distance);
  if constexpr (shape == rectangle) return where(distance < 1, same(n.height));
  if constexpr (shape == fast_sigmoid) return n.height / ((1 + distance) * (1 + distance));
  if constexpr (shape == sigmoid) {
    const V e = where(~(distance >= 87), exponential(-distance));
    return 4 * n.height * e / ((1 + e) * (1 + e));
  }
  if constexpr (shape == gaussian) {
    const V half = 0.5f * z * z;
    return n.height * where(~(half >= 87), exponential(-half));
  }
  return n.height / (1 + z * z);
}

// What the two scans read and write besides x; a null pointer where there is none. S is the storage, bf16 or float.
template <class S> struct Streams {
  const S *x, *residual_current, *residual_spikes;
  const float* v;
  S *output, *current;
  float* v_last;
  Packed* packed;
};

// Shapes, pointers and constants are copies here and below: a store might change them, were they elsewhere in memory.
// Whether currents are scaled is a template's argument, so that those that are not keep their rounding.
template <bool neurons, bool scaled, bool whole, class S>
void scan(Shape z, Streams<S> io, const Norm& norm, Neuron n, int64_t first, int64_t count, V* v) {
  for (int64_t j = 0; j < count; j++) {
    const int64_t i = (first + j) * L;
    v[j] = io.v ? get<whole>(io.v + i, z.size - i) : V{};
  }
  for (int64_t t = 0; t < z.T; t++) {
    const S* x = io.x + (z.X > 1 ? t : 0) * z.size;
    const int64_t next = t + 1 < z.T ? z.size : count * L - t * z.size;  // step, or block
    for (int64_t j0 = 0; j0 < std::min(z.P, count); j0++) {
      const int64_t p = z.row(t) * z.P + (first + j0) % z.P;
      const V scale = norm.scale[p].v, shift = norm.shift[p].v;
      for (int64_t j = j0; j < count; j += z.P) {
        const int64_t i = (first + j) * L, at = t * z.size + i, left = z.size - i;
        if (z.X > 1) fetch(x + i + next);
        if (io.residual_current) fetch(io.residual_current + at + next);
        if (io.residual_spikes) fetch(io.residual_spikes + at + next);
        fetch_to_write(io.output + at + next);
        V current = scale * get<whole>(x + i, left) + shift;
        if (io.residual_current) current += get<whole>(io.residual_current + at, left);
        if (io.current) put<whole>(io.current + at, current, left);
        if constexpr (!neurons) {
          put<whole>(io.output + at, current, left);
          continue;
        }
        if constexpr (scaled) current *= n.gain;
        const V u = n.leak * v[j] + current;
        const Mask fired = n.fires(u);
        v[j] = n.after(u, fired);
        const V spikes = where(fired, same(1));
        if (io.residual_spikes) put<whole>(io.output + at, spikes + get<whole>(io.residual_spikes + at, left), left);
        else put<whole, true>(io.output + at, spikes, left);
        if (io.packed) io.packed[t * z.Q + first + j] = bits(fired);
      }
    }
  }
  for (int64_t j = 0; neurons && j < count; j++) {
    const int64_t i = (first + j) * L;
    put<whole>(io.v_last + i, v[j], z.size - i);
  }
}

template <class S>
void forward(const Shape& z, const Streams<S>& io, const float* gamma, const float* beta, float* mean, float* var,
             bool training, const Constants& constants) {
  if (z.G && training) statistics(z, io.x, mean, var);
  const Norm norm(z, gamma, beta, mean, var, constants.eps);
  const Neuron neuron(constants);
  const bool neurons = constants.surrogate != none;
  for_slabs(z, [&](int64_t, int64_t begin, int64_t end) {
    std::vector<Vec> v(z.B);
    for (int64_t q = begin; q < end; q += z.B) {
      const int64_t count = std::min(z.B, end - q);
      const bool whole = (q + count) * L <= z.size;
      const auto scaled = whole ? scan<true, true, true, S> : scan<true, true, false, S>;
      const auto plain = whole ? scan<true, false, true, S> : scan<true, false, false, S>;
      const auto norm_alone = whole ? scan<false, false, true, S> : scan<false, false, false, S>;
      const auto go = !neurons ? norm_alone : neuron.scaled ? scaled : plain;
      go(z, io, norm, neuron, q, count, &v[0].v);
    }
  });
}

template <class S> struct Gradients {
  const S *output, *current;  // of what the forward pass gave
  const float* v_last;
  S *x, *residual_current;    // of what it received
  float* v;
  bool leak;                  // wanted?
  S* y(int64_t X, int64_t T) const { return residual_current ? residual_current : X == T ? x : nullptr; }
};

// The potentials u [T, B] of the forward pass again; v is memory for what is left behind each step.
template <bool scaled, bool whole, class S>
void recharge(Shape z, Streams<S> io, const Norm& norm, Neuron n, const S* next, int64_t first, int64_t count, V* u,
              V* v) {
  for (int64_t j = 0; j < count; j++) v[j] = io.v ? get<whole>(io.v + (first + j) * L, z.size - (first + j) * L) : V{};
  for (int64_t t = 0; t < z.T; t++) {
    const S* x = io.x + (z.X > 1 ? t : 0) * z.size;
    for (int64_t j0 = 0; j0 < std::min(z.P, count); j0++) {
      const int64_t p = z.row(t) * z.P + (first + j0) % z.P;
      const V scale = norm.scale[p].v, shift = norm.shift[p].v;
      for (int64_t j = j0; j < count; j += z.P) {
        const int64_t i = (first + j) * L, at = t * z.size + i, left = z.size - i;
        if (t + 1 < z.T) {
          if (z.X > 1) fetch(x + i + z.size);
          if (io.residual_current) fetch(io.residual_current + at + z.size);
        } else if (next) {
          fetch(next + at);
        }
        V current = scale * get<whole>(x + i, left) + shift;
        if (io.residual_current) current += get<whole>(io.residual_current + at, left);
        if constexpr (scaled) current *= n.gain;
        u[t * z.B + j] = n.leak * v[j] + current;
        v[j] = n.after(u[t * z.B + j]);
      }
    }
  }
}

template <Surrogate shape, bool whole, class S>
void scan_back(Shape z, Streams<S> io, Gradients<S> d, const Norm& norm, const Tile& mean,
               Neuron n, int64_t first, int64_t count, V* u, V* dv, V* dx, Vec* sums, V* leak) {
  if constexpr (shape != none) {
    const auto charge = n.scaled ? recharge<true, whole, S> : recharge<false, whole, S>;
    charge(z, io, norm, n, d.output, first, count, u, dv);
  }
  for (int64_t j = 0; j < count; j++) {
    dv[j] = d.v_last ? get<whole>(d.v_last + (first + j) * L, z.size - (first + j) * L) : V{};
    dx[j] = V{};
  }
  S* const dy = d.y(z.X, z.T);
  V leak_sum = {};
  for (int64_t t = z.T - 1; t >= 0; t--) {
    const S* x = io.x + (z.X > 1 ? t : 0) * z.size;
    for (int64_t j0 = 0; j0 < std::min(z.P, count); j0++) {
      const int64_t p = z.row(t) * z.P + (first + j0) % z.P;
      const V scale = norm.scale[p].v, shift = norm.shift[p].v, center = mean[p].v;
      V sum = {}, product = {};
      for (int64_t j = j0; j < count; j += z.P) {
        const int64_t i = (first + j) * L, at = t * z.size + i, left = z.size - i;
        if (t > 0) {
          if (d.output) fetch(d.output + at - z.size);
          if (dy) fetch_to_write(dy + at - z.size);
        } else {
          fetch(x + i + count * L);  // of the next block
        }
        V dspikes = d.output ? get<whole>(d.output + at, left) : V{};
        V du = dspikes;
        if constexpr (shape != none) {
          const V ut = u[t * z.B + j];
          dspikes -= n.through_spike(ut) * dv[j];
          du = n.past_spike(ut, dv[j]) + dspikes * slope<shape>(n, ut);
        }
        if (d.leak) {
          if (t > 0) leak_sum += du * n.after(u[(t - 1) * z.B + j]);
          else if (io.v) leak_sum += du * get<whole>(io.v + i, left);
          if (n.scaled) {
            V current = scale * get<whole>(x + i, left) + shift;
            if (io.residual_current) current += get<whole>(io.residual_current + at, left);
            leak_sum -= du * current;
          }
        }
        dv[j] = n.leak * du;
        if (n.scaled) du *= n.gain;
        const V dcurrent = d.current ? du + get<whole>(d.current + at, left) : du;
        sum += dcurrent;
        product += dcurrent * (get<whole>(x + i, left) - center);
        if (dy) put<whole>(dy + at, dcurrent, left);
        if (z.X < z.T) dx[j] += scale * dcurrent;
      }
      sums[p * 2].v += sum;
      sums[p * 2 + 1].v += product;
    }
  }
  for (int64_t j = 0; j < count; j++) {
    const int64_t i = (first + j) * L, left = z.size - i;
    if (d.v) put<whole>(d.v + i, dv[j], left);
    if (z.X < z.T) put<whole>(d.x + i, dx[j], left);
  }
  *leak += leak_sum;
}

// Gradient of x through the norm: dx = scale * dy + slope * (x - mean) + offset, all [X, ...].
template <bool whole, class S>
void norm_back(Shape z, const S* x, const S* dy, S* dx, const Tile* tile, int64_t t, int64_t first, int64_t end) {
  for (int64_t q0 = first; q0 < std::min(end, first + z.P); q0++) {
    const int64_t p = (z.X > 1 ? z.row(t) : 0) * z.P + q0 % z.P;
    const V scale = tile[0][p].v, slope = tile[1][p].v, mean = tile[2][p].v, offset = tile[3][p].v;
    for (int64_t q = q0; q < end; q += z.P) {
      const int64_t i = t * z.size + q * L, left = z.size - q * L;
      const V xc = get<whole>(x + i, left) - mean;
      put<whole>(dx + i, scale * get<whole>(dy + i, left) + (slope * xc + offset), left);
    }
  }
}

template <class S, Surrogate shape>
void backward(const Shape& z, const Streams<S>& io, const Gradients<S>& d, const float* gamma, const float* beta,
              const float* mean, const float* var, bool training, const Constants& constants, float* dgamma,
              float* dbeta, float* dleak) {
  const int64_t G = std::max<int64_t>(1, z.G);
  const double eps = constants.eps;
  const Norm norm(z, gamma, beta, mean, var, eps);
  const Neuron neuron(constants);
  const Tile center = tiles(z, G, [&](int64_t i) { return z.G ? mean[i] : 0; });
  Tile part(z.slabs * G * z.P * 2), leak(z.slabs);
  for_slabs(z, [&](int64_t s, int64_t begin, int64_t end) {
    std::vector<Vec> memory(z.B * (z.T + 2));
    V *u = &memory[0].v, *dv = u + z.B * z.T, *dx = dv + z.B;
    for (int64_t q = begin; q < end; q += z.B) {
      const int64_t count = std::min(z.B, end - q);
      const auto go = (q + count) * L <= z.size ? scan_back<shape, true, S> : scan_back<shape, false, S>;
      go(z, io, d, norm, center, neuron, q, count, u, dv, dx, &part[s * G * z.P * 2], &leak[s].v);
    }
  });
  if (dleak) {
    double sum = 0;
    for (const Vec& one : leak)
      for (int64_t i = 0; i < L; i++) sum += one.v[i];
    *dleak = float(sum);
  }
  if (!z.G) {  // the gradient of y is the gradient of x
    if (d.residual_current && z.X == z.T) std::memcpy(d.x, d.residual_current, z.T * z.size * sizeof(S));
    return;
  }

  const std::vector<double> sums = totals(z, G, part, 2);
  const double n = double(z.M) * (z.T / G);
  std::vector<float> a(G * z.C), b(G * z.C), c(G * z.C), m(mean, mean + G * z.C);
  for (int64_t i = 0; i < G * z.C; i++) {
    const double invstd = 1 / std::sqrt(var[i] + eps), scale = gamma[i] * invstd;
    const double dy = sums[i], dy_x = sums[G * z.C + i] * invstd;
    dgamma[i] = float(dy_x);
    if (dbeta) dbeta[i] = float(dy);
    a[i] = float(scale);
    b[i] = training ? float(-scale * invstd * dy_x / n) : 0;
    c[i] = training ? float(-scale * dy / n) : 0;
  }
  if (z.X < z.T) {  // dx already is the sum of scale * dy over the steps; the statistics of all steps are the same
    for (int64_t i = 0; i < z.C; i++) {
      double slope = 0, offset = 0;
      for (int64_t t = 0; t < z.T; t++) {
        slope += b[z.row(t) * z.C + i];
        offset += c[z.row(t) * z.C + i];
      }
      a[i] = 1;
      b[i] = float(slope);
      c[i] = float(offset);
    }
  }
  const int64_t rows = z.X < z.T ? 1 : G;
  const auto spread = [&](const std::vector<float>& row) { return tiles(z, rows, [&](int64_t i) { return row[i]; }); };
  const Tile tile[] = {spread(a), spread(b), spread(m), spread(c)};
  const S* const dy = z.X < z.T ? d.x : d.y(z.X, z.T);
  for_steps(z, [&](int64_t t, int64_t, int64_t begin, int64_t end) {
    const auto go = end * L <= z.size ? norm_back<true, S> : norm_back<false, S>;
    go(z, io.x, dy, d.x, tile, t, begin, end);
  });
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

// Bytes that the packed spikes of a step of so many neurons take.
EXPORT int64_t packed_size(int64_t neurons) { return (neurons + L - 1) / L * sizeof(Packed); }

// output[i] = base[i] + the spikes of all planes, added one after the other as the layers did: T steps of `size`.
// Storage is float (0), bf16 (1) or bytes (2); base, of that type, may be null.
EXPORT void spikes_unpack(int storage, int64_t T, int64_t size, const void* const* planes, int64_t number,
                          const void* base, void* output) {
  const auto go = [&](auto kind, auto rounds) {
    using S = decltype(kind);
    const int64_t Q = (size + L - 1) / L, block = 512, blocks = (Q + block - 1) / block;
    at::parallel_for(0, T * blocks, 4, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; b++) {
        const int64_t t = b / blocks, first = b % blocks * block, last = std::min(Q, first + block);
        const auto add = [&](auto whole, auto together, int64_t q) {  // so many vectors, in registers
          const int64_t i = t * size + q * L, left = size - q * L;
          V sum[together];
          for (int64_t j = 0; j < together; j++) sum[j] = base ? get<whole>((const S*)base + i + j * L, left) : V{};
          for (int64_t k = 0; k < number; k++)
            for (int64_t j = 0; j < together; j++) {
              sum[j] += unpack(((const Packed*)planes[k])[t * Q + q + j]);
              if constexpr (rounds) sum[j] = wide(rounded(sum[j]));
            }
          for (int64_t j = 0; j < together; j++) put<whole, true>((S*)output + i + j * L, sum[j], left);
        };
        int64_t q = first;
        const int64_t full = std::min(last, size / L);
        for (; q + 4 <= full; q += 4) add(std::true_type(), std::integral_constant<int64_t, 4>(), q);
        for (; q < last; q++) add(std::false_type(), std::integral_constant<int64_t, 1>(), q);
      }
    });
  };
  const std::false_type exact;
  if (storage == 0) go(float(), exact);
  else if (storage == 2) go(uint8_t(), exact);
  else if (!base && number <= 256) go(bf16(), exact);  // whole numbers that bf16 holds
  else go(bf16(), std::true_type());
}

// What several processes that share a batch do apart: the statistics of what is here ...
EXPORT void norm_statistics(bool wide, int64_t T, int64_t X, int64_t M, int64_t C, int64_t G, const void* x,
                            float* mean, float* var) {
  const Shape z(T, X, M, C, G);
  wide ? statistics(z, (const float*)x, mean, var) : statistics(z, (const bf16*)x, mean, var);
}

// ... and dx += slope * (x - mean) + offset, once those of all are known. Where x is one step, the sum over all steps.
EXPORT void norm_add(bool wide, int64_t T, int64_t X, int64_t M, int64_t C, int64_t G, const void* x, void* dx,
                     const float* mean, const float* slope, const float* offset) {
  const Shape z(T, X, M, C, G);
  const bool summed = X < T;
  const int64_t rows = summed ? 1 : G;
  const auto spread = [&](const float* row, bool sum) {
    return tiles(z, rows, [&](int64_t i) {
      double value = row[i];
      if (sum)
        for (int64_t t = 1; t < T; t++) value += row[z.row(t) * C + i];
      return float(value);
    });
  };
  const Tile one(rows * z.P, Vec{same(1)});
  const Tile tile[] = {one, spread(slope, summed), spread(mean, false), spread(offset, summed)};
  const auto go = [&](auto storage) {
    using S = decltype(storage);
    for_steps(z, [&](int64_t t, int64_t, int64_t begin, int64_t end) {
      const auto add = end * L <= z.size ? norm_back<true, S> : norm_back<false, S>;
      add(z, (const S*)x, (const S*)dx, (S*)dx, tile, t, begin, end);
    });
  };
  wide ? go(float()) : go(bf16());
}

// Storage is float where `wide`, else bf16. A null pointer: there is no such input, or no such output is wanted.
// mean and var are read, and in training of a network with a norm written.
EXPORT void scan_forward(bool wide, int64_t T, int64_t X, int64_t M, int64_t C, int64_t G, const void* x,
                         const float* gamma, const float* beta, float* mean, float* var, const void* residual_current,
                         const void* residual_spikes, const float* v, void* output, void* current, float* v_last,
                         void* packed, bool training, const Constants* constants) {
  const Shape z(T, X, M, C, G);
  const auto go = [&](auto storage) {
    using S = decltype(storage);
    const Streams<S> io{(const S*)x, (const S*)residual_current, (const S*)residual_spikes, v, (S*)output, (S*)current,
                        v_last, (Packed*)packed};
    forward(z, io, gamma, beta, mean, var, training, *constants);
  };
  wide ? go(float()) : go(bf16());
}

EXPORT void scan_backward(bool wide, int64_t T, int64_t X, int64_t M, int64_t C, int64_t G, const void* x,
                          const float* gamma, const float* beta, const float* mean, const float* var,
                          const void* residual_current, const float* v, const void* doutput, const void* dcurrent,
                          const float* dv_last, void* dx, void* d_residual_current, float* dv, float* dgamma,
                          float* dbeta, float* dleak, bool training, const Constants* constants) {
  const Shape z(T, X, M, C, G);
  const auto go = [&](auto storage) {
    using S = decltype(storage);
    const Streams<S> io{(const S*)x, (const S*)residual_current, nullptr, v, nullptr, nullptr, nullptr, nullptr};
    const Gradients<S> d{(const S*)doutput, (const S*)dcurrent, dv_last, (S*)dx, (S*)d_residual_current, dv,
                         dleak != nullptr};
    const auto by = [&] {
      switch (constants->surrogate) {
        case triangle: return backward<S, triangle>;
        case rectangle: return backward<S, rectangle>;
        case arctan: return backward<S, arctan>;
        case sigmoid: return backward<S, sigmoid>;
        case fast_sigmoid: return backward<S, fast_sigmoid>;
        case gaussian: return backward<S, gaussian>;
        default: return backward<S, none>;
      }
    }();
    by(z, io, d, gamma, beta, mean, var, training, *constants, dgamma, dbeta, dleak);
  };
  wide ? go(float()) : go(bf16());
}
