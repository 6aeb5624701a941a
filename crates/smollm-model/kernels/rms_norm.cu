// RMSNorm of rows, with the addition to the residual stream before it.
//
//   h = x + delta            (delta may be absent; h is stored, rounded to T, when it is there)
//   y = r h w,  r = 1 / sqrt(mean(h²) + eps)
//   dh = dres + r (w dy) − h r³ mean(h w dy)        (dres, the residual's gradient, may be absent)
//
// Bytes: forward 2 (no delta) or 4 rows·width·sizeof(T), backward 3 or 4, and 4 a row for r.
// A warp takes a row; the second pass over it is served by L1.
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
    const unsigned lane = threadIdx.x % WARP;
    const unsigned row = blockIdx.x * (NORM_THREADS / WARP) + threadIdx.x / WARP;
    if (row >= a.rows) return;  // whole warps leave together
    const size_t base = size_t(row) * a.width;
    float h[PACK<T>], w[PACK<T>], squares = 0;
#pragma unroll 4
    for (unsigned c = lane * PACK<T>; c < a.width; c += WARP * PACK<T>) {
        residual<T>(a, base + c, h);
        if (a.delta != nullptr) store16(static_cast<T*>(a.sum) + base + c, h);
#pragma unroll
        for (unsigned i = 0; i < PACK<T>; i++) squares += h[i] * h[i];
    }
    const float r = 1.0f / sqrtf(warp_sum(squares) / float(a.width) + a.eps);
    if (lane == 0) a.rms[row] = r;
#pragma unroll 4
    for (unsigned c = lane * PACK<T>; c < a.width; c += WARP * PACK<T>) {
        residual<T>(a, base + c, h);
        load16(static_cast<const T*>(a.weight) + c, w);
#pragma unroll
        for (unsigned i = 0; i < PACK<T>; i++) h[i] = h[i] * r * w[i];
        store16(static_cast<T*>(a.y) + base + c, h);
    }
}

template <class T>
__device__ void rms_norm_backward(const RmsNormBackward& a) {
    const unsigned lane = threadIdx.x % WARP;
    const unsigned row = blockIdx.x * (NORM_THREADS / WARP) + threadIdx.x / WARP;
    if (row >= a.rows) return;
    const size_t base = size_t(row) * a.width;
    const T *hs = static_cast<const T*>(a.h) + base, *dys = static_cast<const T*>(a.dy) + base;
    const T* ws = static_cast<const T*>(a.weight);
    float h[PACK<T>], w[PACK<T>], dy[PACK<T>], dot = 0;
#pragma unroll 4
    for (unsigned c = lane * PACK<T>; c < a.width; c += WARP * PACK<T>) {
        load16(hs + c, h);
        load16(dys + c, dy);
        load16(ws + c, w);
#pragma unroll
        for (unsigned i = 0; i < PACK<T>; i++) dot += h[i] * w[i] * dy[i];
    }
    const float r = a.rms[row];
    const float slope = r * r * r * (warp_sum(dot) / float(a.width));
#pragma unroll 4
    for (unsigned c = lane * PACK<T>; c < a.width; c += WARP * PACK<T>) {
        float dres[PACK<T>] = {};
        load16(hs + c, h);
        load16(dys + c, dy);
        load16(ws + c, w);
        if (a.dres != nullptr) load16(static_cast<const T*>(a.dres) + base + c, dres);
#pragma unroll
        for (unsigned i = 0; i < PACK<T>; i++) h[i] = dres[i] + r * w[i] * dy[i] - h[i] * slope;
        store16(static_cast<T*>(a.dh) + base + c, h);
    }
}

KERNEL_FLOATS(NORM_THREADS, rms_norm_forward, RmsNormForward, rms_norm_forward);
KERNEL_FLOATS(NORM_THREADS, rms_norm_backward, RmsNormBackward, rms_norm_backward);
