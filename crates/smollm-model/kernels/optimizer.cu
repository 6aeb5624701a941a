// AdamW over one flat buffer of all adapters, and the gradient's norm, without a host in between.
//
//   norm = sqrt(Σ g²),   clip = min(1, max_norm / (norm + 1e-6))
//   m = β₁ m + (1 − β₁) clip g,   v = β₂ v + (1 − β₂) (clip g)²
//   p = p (1 − lr λ) − lr (m / (1 − β₁ᵗ)) / (sqrt(v / (1 − β₂ᵗ)) + ε)
//
// Sums run over pieces of fixed size and then over the pieces in order: no atomics, one result.
// Learning rate and bias corrections are read from device memory (`Step`), so that a captured graph
// can be replayed with new ones. All f32. Source: Loshchilov and Hutter 2019; torch's AdamW and
// clip_grad_norm_.
//
// Bytes: norm 4 n, AdamW 28 n. CPU reference: candle_nn's AdamW, and tests/cuda/optimizer.rs.
#include "common.cuh"

struct SquaresArgs {
    const float* x;
    float* partial;
    uint64_t n;
};

struct ClipArgs {
    const float* partial;
    float* out;  // norm, clip
    unsigned pieces;
    float max_norm;
};

struct SumArgs {
    const float* x;
    float* out;
    unsigned n, add;  // add: to what `out` holds
};

// In device memory.
struct Step {
    float lr, beta1, beta2, eps, weight_decay, correction1, correction2;  // 1 − βᵗ
};

struct AdamWArgs {
    float *p, *m, *v;
    const float* g;
    const Step* step;
    const float* clip;  // out of the norm: [norm, clip]; may be absent
    uint64_t n;
};

constexpr unsigned OPTIMIZER_THREADS = 256;
constexpr unsigned PIECE = 16384;
constexpr unsigned SUM_THREADS = 1024;

__device__ void squares(const SquaresArgs& a) {
    SHARED_ARRAY(float, scratch, OPTIMIZER_THREADS / WARP);
    const uint64_t start = uint64_t(blockIdx.x) * PIECE;
    float sum = 0, v[4];
#pragma unroll 4
    for (unsigned i = threadIdx.x * 4; i < PIECE; i += OPTIMIZER_THREADS * 4) {
        const uint64_t at = start + i;
        if (at + 4 <= a.n) {
            load_floats<4>(a.x + at, v);
            sum += v[0] * v[0] + v[1] * v[1] + v[2] * v[2] + v[3] * v[3];
        } else {
            for (uint64_t j = at; j < a.n; j++) sum += a.x[j] * a.x[j];
        }
    }
    sum = block_sum<OPTIMIZER_THREADS / WARP>(sum, scratch);
    if (threadIdx.x == 0) a.partial[blockIdx.x] = sum;
}

__device__ __forceinline__ double ordered_sum(const float* x, unsigned n, double* scratch) {
    double sum = 0;
    for (unsigned i = threadIdx.x; i < n; i += SUM_THREADS) sum += double(x[i]);
    return block_sum<SUM_THREADS / WARP>(sum, scratch);
}

__device__ void clip(const ClipArgs& a) {
    SHARED_ARRAY(double, scratch, SUM_THREADS / WARP);
    const float norm = float(sqrt(ordered_sum(a.partial, a.pieces, scratch)));
    if (threadIdx.x == 0) {
        a.out[0] = norm;
        a.out[1] = fminf(1.0f, a.max_norm / (norm + 1e-6f));
    }
}

__device__ void sum(const SumArgs& a) {
    SHARED_ARRAY(double, scratch, SUM_THREADS / WARP);
    const float total = float(ordered_sum(a.x, a.n, scratch));
    if (threadIdx.x == 0) a.out[0] = a.add ? a.out[0] + total : total;
}

__device__ __forceinline__ void adamw_element(const Step& s, float clip, float g, float& p,
                                              float& m, float& v) {
    g *= clip;
    m = s.beta1 * m + (1.0f - s.beta1) * g;
    v = s.beta2 * v + (1.0f - s.beta2) * g * g;
    const float direction = m * s.correction1 / (sqrtf(v * s.correction2) + s.eps);
    p = p * (1.0f - s.lr * s.weight_decay) - s.lr * direction;
}

__device__ void adamw(const AdamWArgs& a) {
    Step s = *a.step;
    s.correction1 = 1.0f / s.correction1;  // once, not for every element
    s.correction2 = 1.0f / s.correction2;
    const float clip = a.clip == nullptr ? 1.0f : a.clip[1];
    const uint64_t first = (uint64_t(blockIdx.x) * OPTIMIZER_THREADS + threadIdx.x) * 4;
    if (first + 4 <= a.n) {
        float g[4], p[4], m[4], v[4];
        load16(a.g + first, g);
        load16_plain(a.p + first, p);
        load16_plain(a.m + first, m);
        load16_plain(a.v + first, v);
#pragma unroll
        for (unsigned i = 0; i < 4; i++) adamw_element(s, clip, g[i], p[i], m[i], v[i]);
        store16(a.p + first, p);
        store16(a.m + first, m);
        store16(a.v + first, v);
        return;
    }
    for (uint64_t i = first; i < a.n; i++) adamw_element(s, clip, a.g[i], a.p[i], a.m[i], a.v[i]);
}

KERNEL(OPTIMIZER_THREADS, squares_f32, SquaresArgs, squares(a));
KERNEL(SUM_THREADS, clip_f32, ClipArgs, clip(a));
KERNEL(SUM_THREADS, sum_f32, SumArgs, sum(a));
KERNEL(OPTIMIZER_THREADS, adamw_f32, AdamWArgs, adamw(a));
