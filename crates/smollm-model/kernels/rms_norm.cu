// RMSNorm of rows, with the addition to the residual stream before it.
//
//   h = x + delta            (delta may be absent; h is stored, rounded to T, when it is there)
//   y = r h w,  r = 1 / sqrt(mean(h²) + eps)
//   dh = dres + r (w dy) − h r³ mean(h w dy)        (dres, the residual's gradient, may be absent, or dh)
//
// Bytes: forward 2 (no delta) or 4 rows·width·sizeof(T), backward 3 or 4, and 4 a row for r.
// A warp takes a row and keeps its first 2,048 elements (f32: 1,024) in registers, packed, for the
// second pass; what is beyond comes from L1.
// CPU reference: src/ops/rms_norm.rs.
#include "common.cuh"

struct RmsNormForward {
    const void *x, *delta, *weight;
    void *sum, *y;
    float* rms;  // r of each row
    unsigned rows, width;
    float eps;
};

struct RmsNormBackward {
    const void *h, *weight, *dy, *dres;
    const float* rms;
    void* dh;
    unsigned rows, width;
};

constexpr unsigned NORM_THREADS = 128;
constexpr unsigned KEPT = 8;  // 16-byte pieces a lane keeps

template <class T>
__device__ __forceinline__ void residual(const RmsNormForward& a, size_t at, float (&h)[PACK<T>]) {
    load16(static_cast<const T*>(a.x) + at, h);
    if (a.delta == nullptr) return;
    float delta[PACK<T>];
    load16(static_cast<const T*>(a.delta) + at, delta);
#pragma unroll
    for (unsigned i = 0; i < PACK<T>; i++) h[i] = rounded<T>(h[i] + delta[i]);
}

template <class T>
__device__ void rms_norm_forward(const RmsNormForward& a) {
    constexpr unsigned N = PACK<T>, STEP = WARP * N;
    const unsigned first = threadIdx.x % WARP * N;
    const unsigned row = blockIdx.x * (NORM_THREADS / WARP) + threadIdx.x / WARP;
    if (row >= a.rows) return;  // whole warps leave together
    const size_t base = size_t(row) * a.width;
    Bits16<T> kept[KEPT];
    float h[N], w[N], squares = 0;
    const auto add = [&](unsigned c) {
        residual<T>(a, base + c, h);
        if (a.delta != nullptr) store16(static_cast<T*>(a.sum) + base + c, h);
#pragma unroll
        for (unsigned i = 0; i < N; i++) squares += h[i] * h[i];
    };
#pragma unroll
    for (unsigned n = 0; n < KEPT; n++)
        if (first + n * STEP < a.width) {
            add(first + n * STEP);
            kept[n] = pack<T>(h);
        }
    for (unsigned c = first + KEPT * STEP; c < a.width; c += STEP) add(c);
    const float r = 1.0f / sqrtf(warp_sum(squares) / float(a.width) + a.eps);
    if (first == 0) a.rms[row] = r;
    const auto write = [&](unsigned c) {
        load16(static_cast<const T*>(a.weight) + c, w);
#pragma unroll
        for (unsigned i = 0; i < N; i++) h[i] = h[i] * r * w[i];
        store16(static_cast<T*>(a.y) + base + c, h);
    };
#pragma unroll
    for (unsigned n = 0; n < KEPT; n++)
        if (first + n * STEP < a.width) {
            unpack<T>(kept[n], h);
            write(first + n * STEP);
        }
    for (unsigned c = first + KEPT * STEP; c < a.width; c += STEP) {
        residual<T>(a, base + c, h);
        write(c);
    }
}

template <class T>
__device__ void rms_norm_backward(const RmsNormBackward& a) {
    constexpr unsigned N = PACK<T>, STEP = WARP * N;
    const unsigned first = threadIdx.x % WARP * N;
    const unsigned row = blockIdx.x * (NORM_THREADS / WARP) + threadIdx.x / WARP;
    if (row >= a.rows) return;
    const size_t base = size_t(row) * a.width;
    const T *hs = static_cast<const T*>(a.h) + base, *dys = static_cast<const T*>(a.dy) + base;
    const T* ws = static_cast<const T*>(a.weight);
    Bits16<T> kept[KEPT], kept_dy[KEPT];
    float h[N], w[N], dy[N], dot = 0;
    const auto add = [&](unsigned c) {
        load16(hs + c, h);
        load16(dys + c, dy);
        load16(ws + c, w);
#pragma unroll
        for (unsigned i = 0; i < N; i++) dot += h[i] * w[i] * dy[i];
    };
#pragma unroll
    for (unsigned n = 0; n < KEPT; n++)
        if (first + n * STEP < a.width) {
            add(first + n * STEP);
            kept[n] = pack<T>(h);
            kept_dy[n] = pack<T>(dy);
        }
    for (unsigned c = first + KEPT * STEP; c < a.width; c += STEP) add(c);
    const float r = a.rms[row];
    const float slope = r * r * r * (warp_sum(dot) / float(a.width));
    const auto write = [&](unsigned c) {
        float dres[N] = {};
        load16(ws + c, w);
        if (a.dres != nullptr) load16_plain(static_cast<const T*>(a.dres) + base + c, dres);
#pragma unroll
        for (unsigned i = 0; i < N; i++) h[i] = dres[i] + r * w[i] * dy[i] - h[i] * slope;
        store16(static_cast<T*>(a.dh) + base + c, h);
    };
#pragma unroll
    for (unsigned n = 0; n < KEPT; n++)
        if (first + n * STEP < a.width) {
            unpack<T>(kept[n], h);
            unpack<T>(kept_dy[n], dy);
            write(first + n * STEP);
        }
    for (unsigned c = first + KEPT * STEP; c < a.width; c += STEP) {
        load16(hs + c, h);
        load16(dys + c, dy);
        write(c);
    }
}

KERNEL_ROOMY(NORM_THREADS, 6, rms_norm_forward_f32, RmsNormForward, rms_norm_forward<float>(a));
KERNEL_ROOMY(NORM_THREADS, 6, rms_norm_forward_bf16, RmsNormForward, rms_norm_forward<__nv_bfloat16>(a));
KERNEL_ROOMY(NORM_THREADS, 6, rms_norm_forward_f16, RmsNormForward, rms_norm_forward<__half>(a));
KERNEL_FLOATS(NORM_THREADS, rms_norm_backward, RmsNormBackward, rms_norm_backward);
