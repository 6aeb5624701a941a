// The gated activation of the feed-forward block.
//
//   y = g σ(g) u,   dg = dy u σ(g) (1 + g (1 − σ(g))),   du = dy g σ(g)
//
// gate and up may be halves of one packed row: `in_stride` is the distance between rows.
// Bytes: forward 3, backward 5 rows·width·sizeof(T). CPU reference: src/ops/swiglu.rs.
#include "common.cuh"

struct SwiGluForward {
    const void *gate, *up;
    void* y;
    unsigned rows, width, in_stride, out_stride;
};

struct SwiGluBackward {
    const void *gate, *up, *dy;
    void *dgate, *dup;
    unsigned rows, width, in_stride, out_stride;  // of gate, up, dgate, dup; of dy
};

constexpr unsigned GATE_THREADS = 256;

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

template <class T>
__device__ void swiglu_forward(const SwiGluForward& a) {
    const unsigned packs = a.width / PACK<T>;
    const size_t at = size_t(blockIdx.x) * GATE_THREADS + threadIdx.x;
    if (at >= size_t(a.rows) * packs) return;
    const size_t row = at / packs, column = at % packs * PACK<T>;
    float g[PACK<T>], u[PACK<T>];
    load16(static_cast<const T*>(a.gate) + row * a.in_stride + column, g);
    load16(static_cast<const T*>(a.up) + row * a.in_stride + column, u);
#pragma unroll
    for (unsigned i = 0; i < PACK<T>; i++) g[i] = g[i] * sigmoid(g[i]) * u[i];
    store16(static_cast<T*>(a.y) + row * a.out_stride + column, g);
}

// dgate and dup may be gate and up themselves.
template <class T>
__device__ void swiglu_backward(const SwiGluBackward& a) {
    const unsigned packs = a.width / PACK<T>;
    const size_t at = size_t(blockIdx.x) * GATE_THREADS + threadIdx.x;
    if (at >= size_t(a.rows) * packs) return;
    const size_t row = at / packs, column = at % packs * PACK<T>, in = row * a.in_stride + column;
    float g[PACK<T>], u[PACK<T>], dy[PACK<T>];
    load16_plain(static_cast<const T*>(a.gate) + in, g);
    load16_plain(static_cast<const T*>(a.up) + in, u);
    load16(static_cast<const T*>(a.dy) + row * a.out_stride + column, dy);
#pragma unroll
    for (unsigned i = 0; i < PACK<T>; i++) {
        const float s = sigmoid(g[i]), gate = g[i];
        g[i] = dy[i] * u[i] * s * (1.0f + gate * (1.0f - s));
        u[i] = dy[i] * gate * s;
    }
    store16(static_cast<T*>(a.dgate) + in, g);
    store16(static_cast<T*>(a.dup) + in, u);
}

KERNEL_FLOATS(GATE_THREADS, swiglu_forward, SwiGluForward, swiglu_forward);
KERNEL_FLOATS(GATE_THREADS, swiglu_backward, SwiGluBackward, swiglu_backward);
