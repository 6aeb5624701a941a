// Rotary position embedding, rotate-half form, in place or from one buffer to another.
//
//   y_j = x_j cos − x_{j+d/2} sin,   y_{j+d/2} = x_{j+d/2} cos + x_j sin,   j < d/2
//
// The backward pass is the same with sign −1. Cosines and sines come from a table
// [position][cos | sin][d/2] that the host computed in f64: the CPU's values, and no slow range
// reduction here. Positions are read from device memory, so a captured graph can be replayed.
//
// Bytes: 2 tokens·heads·d·sizeof(T); the table stays in L2. CPU reference: src/ops/rope.rs.
#include "common.cuh"

struct Rope {
    const void* x;
    void* y;
    const unsigned* positions;
    const float* table;
    unsigned tokens, heads, dim;
    unsigned x_stride, y_stride;  // elements from one token to the next
    float sign;
};

constexpr unsigned ROPE_THREADS = 256;

template <class T>
__device__ void rope(const Rope& a) {
    const unsigned half = a.dim / 2, packs = half / PACK<T>;
    const size_t at = size_t(blockIdx.x) * ROPE_THREADS + threadIdx.x;
    if (at >= size_t(a.tokens) * a.heads * packs) return;
    const unsigned j = unsigned(at % packs) * PACK<T>;
    const unsigned head = unsigned(at / packs % a.heads);
    const size_t token = at / packs / a.heads;
    const float* angles = a.table + size_t(a.positions[token]) * a.dim + j;
    const T* x = static_cast<const T*>(a.x) + token * a.x_stride + head * a.dim + j;
    T* y = static_cast<T*>(a.y) + token * a.y_stride + head * a.dim + j;
    float first[PACK<T>], second[PACK<T>], cosine[PACK<T>], sine[PACK<T>];
    load16_plain(x, first);
    load16_plain(x + half, second);
    load_floats<PACK<T>>(angles, cosine);
    load_floats<PACK<T>>(angles + half, sine);
#pragma unroll
    for (unsigned i = 0; i < PACK<T>; i++) {
        const float s = a.sign * sine[i], u = first[i], v = second[i];
        first[i] = u * cosine[i] - v * s;
        second[i] = v * cosine[i] + u * s;
    }
    store16(y, first);
    store16(y + half, second);
}

KERNEL_FLOATS(ROPE_THREADS, rope, Rope, rope);
