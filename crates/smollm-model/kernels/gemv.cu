// A few rows times a quantised weight: y = x Wᵀ (+ bias-free residual), dequantised as it is read.
//
//   Q8_0: w = d q,      32 int8 a block, d f16          1.0625 bytes a weight
//   Q4_1: w = d q + m,  32 nibbles a block, d, m f16    0.625 bytes a weight
//
// GGUF's blocks of 34 and 20 bytes cannot be read 16 bytes at a time, so the host parts them when it
// loads: all quants of a row, then elsewhere all scales (src/cuda/quantised.rs). A warp takes two
// rows of W; each lane a piece of 16 (Q8_0) or 32 (Q4_1) weights at a time; B rows of x share the
// read. A row's order of addition does not depend on B. K is a multiple of 32.
//
// An integer becomes a float by its byte in the mantissa of 2²³: two fast instructions instead of a
// slow conversion. Bytes: the weight once for up to 4 rows of x. CPU reference: the sum in f64 over
// weights dequantised by candle.
#include "common.cuh"

struct Gemv {
    const void* x;       // [rows, k] T
    const void* quants;  // [n, k] int8, or [n, k / 2] nibble pairs
    const void* scales;  // [n, k / 32] f16, or pairs d, m
    const void* add;     // [rows, n] T, or absent
    void* y;             // [rows, n] T
    unsigned rows, n, k;
};

constexpr unsigned GEMV_THREADS = 128;
constexpr unsigned WEIGHT_ROWS = 2;

// Byte `i` of `word` as a float.
__device__ __forceinline__ float byte_float(unsigned word, unsigned i) {
#ifdef __CUDACC__
    return __uint_as_float(__byte_perm(word, 0x4b000000u, 0x7540u | i)) - 8388608.0f;
#else
    return __uint_as_float(0x4b000000u | (word >> (8 * i) & 0xff)) - 8388608.0f;
#endif
}

struct Q8 {
    static constexpr unsigned PIECE = 16;
    // Weights of one 16-byte word, and what multiplies and is added to them.
    static __device__ __forceinline__ void weights(const uint4& word, float (&w)[PIECE]) {
        const unsigned words[4] = {word.x, word.y, word.z, word.w};
#pragma unroll
        for (unsigned i = 0; i < PIECE; i++)
            w[i] = byte_float(words[i / 4] ^ 0x80808080u, i % 4) - 128.0f;
    }
    static __device__ __forceinline__ float2 scale(const void* scales, size_t block) {
        return {__half2float(static_cast<const __half*>(scales)[block]), 0.0f};
    }
};

struct Q4 {
    static constexpr unsigned PIECE = 32;
    // Low nibbles are weights 0..16 of the block, high nibbles 16..32.
    static __device__ __forceinline__ void weights(const uint4& word, float (&w)[PIECE]) {
        const unsigned words[4] = {word.x, word.y, word.z, word.w};
#pragma unroll
        for (unsigned i = 0; i < 16; i++) {
            w[i] = byte_float(words[i / 4] & 0x0f0f0f0fu, i % 4);
            w[i + 16] = byte_float(words[i / 4] >> 4 & 0x0f0f0f0fu, i % 4);
        }
    }
    static __device__ __forceinline__ float2 scale(const void* scales, size_t block) {
        const __half* pair = static_cast<const __half*>(scales) + 2 * block;
        return {__half2float(pair[0]), __half2float(pair[1])};
    }
};

// Grid (n / 8, rows / B).
template <class T, class Q, unsigned B>
__device__ void gemv(const Gemv& a) {
    constexpr unsigned P = Q::PIECE, N = PACK<T>;
    const unsigned lane = threadIdx.x % WARP, first_x = blockIdx.y * B;
    const unsigned first_w = (blockIdx.x * (GEMV_THREADS / WARP) + threadIdx.x / WARP) * WEIGHT_ROWS;
    if (first_w >= a.n) return;
    const unsigned pieces = a.k / P;
    float sums[WEIGHT_ROWS][B] = {};
#pragma unroll 2
    for (unsigned piece = lane; piece < pieces; piece += WARP) {
        float w[WEIGHT_ROWS][P];
        float2 scale[WEIGHT_ROWS];
#pragma unroll
        for (unsigned r = 0; r < WEIGHT_ROWS; r++) {
            const size_t row = min(first_w + r, a.n - 1);
            Q::weights(__ldg(static_cast<const uint4*>(a.quants) + row * pieces + piece), w[r]);
            scale[r] = Q::scale(a.scales, row * (a.k / 32) + piece * P / 32);
        }
#pragma unroll
        for (unsigned b = 0; b < B; b++) {
            const T* x = static_cast<const T*>(a.x) + size_t(min(first_x + b, a.rows - 1)) * a.k + piece * P;
            float dots[WEIGHT_ROWS] = {}, total = 0;
#pragma unroll
            for (unsigned i = 0; i < P; i += N) {
                float v[N];
                load16(x + i, v);
#pragma unroll
                for (unsigned j = 0; j < N; j++) {
                    total += v[j];
#pragma unroll
                    for (unsigned r = 0; r < WEIGHT_ROWS; r++) dots[r] = fmaf(v[j], w[r][i + j], dots[r]);
                }
            }
#pragma unroll
            for (unsigned r = 0; r < WEIGHT_ROWS; r++) {
                sums[r][b] = fmaf(scale[r].x, dots[r], sums[r][b]);
                if (P == 32) sums[r][b] = fmaf(scale[r].y, total, sums[r][b]);
            }
        }
    }
#pragma unroll
    for (unsigned r = 0; r < WEIGHT_ROWS; r++)
#pragma unroll
        for (unsigned b = 0; b < B; b++) {
            float y = warp_sum(sums[r][b]);
            if (lane > 0 || first_x + b >= a.rows || first_w + r >= a.n) continue;
            const size_t at = size_t(first_x + b) * a.n + first_w + r;
            if (a.add != nullptr) y += to_float(static_cast<const T*>(a.add)[at]);
            static_cast<T*>(a.y)[at] = from_float<T>(y);
        }
}

#define GEMV(name, Q, rows)                                                                  \
    KERNEL(GEMV_THREADS, name##_b##rows##_f32, Gemv, (gemv<float, Q, rows>(a)));             \
    KERNEL(GEMV_THREADS, name##_b##rows##_bf16, Gemv, (gemv<__nv_bfloat16, Q, rows>(a)));    \
    KERNEL(GEMV_THREADS, name##_b##rows##_f16, Gemv, (gemv<__half, Q, rows>(a)))

GEMV(gemv_q8_0, Q8, 1);
GEMV(gemv_q8_0, Q8, 4);
GEMV(gemv_q4_1, Q4, 1);
GEMV(gemv_q4_1, Q4, 4);
