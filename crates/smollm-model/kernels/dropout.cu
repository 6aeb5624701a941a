// Dropout with the counter-based mask of the CPU: y_i = x_i D_i, D_i = 0 or 1 / (1 − p), decided by
// position i of the SplitMix64 stream `key`. Nothing is stored; the backward pass is the same call
// on the gradient. x and y may be one buffer; the last elements need not fill 16 bytes.
//
// Bytes: 2 n·sizeof(T). CPU reference: src/ops/dropout.rs.
#include "common.cuh"

struct Dropout {
    const void* x;
    void* y;
    uint64_t n, key, threshold;  // threshold = p · 2³²
    float keep;
};

constexpr unsigned DROPOUT_THREADS = 256;

template <class T>
__device__ void dropout(const Dropout& a) {
    const T* x = static_cast<const T*>(a.x);
    T* y = static_cast<T*>(a.y);
    const uint64_t first = (uint64_t(blockIdx.x) * DROPOUT_THREADS + threadIdx.x) * PACK<T>;
    if (first + PACK<T> <= a.n) {
        float v[PACK<T>];
        load16_plain(x + first, v);
#pragma unroll
        for (unsigned i = 0; i < PACK<T>; i++)
            v[i] *= dropout_factor(a.key, first + i, a.threshold, a.keep);
        store16(y + first, v);
        return;
    }
    for (uint64_t i = first; i < a.n; i++)
        y[i] = from_float<T>(to_float(x[i]) * dropout_factor(a.key, i, a.threshold, a.keep));
}

KERNEL_FLOATS(DROPOUT_THREADS, dropout, Dropout, dropout);
