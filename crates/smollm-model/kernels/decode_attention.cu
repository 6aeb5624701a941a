// Attention of one new token a row over its cache, heads of 64.
//
//   o = Σ_j softmax(q · k_j / 8)_j v_j,  j ≤ position
//
// The keys are split at absolute multiples of 256 (four pages), whatever the batch and the device:
// a row's bits depend on its own cache alone. A block takes one split of one key-value head and all
// G query heads of its group, so K and V are read once; `decode_combine` adds the splits in order.
//
// Bytes: 2 (position + 1)·kv heads·64·sizeof(T) a row: this is a memory-bound kernel.
// CPU reference: src/ops/attention/cached.rs. Source: Dao et al. 2023 (Flash-Decoding).
#include "common.cuh"

struct DecodeAttention {
    const void *q, *keys, *values;  // q [rows, q heads, 64]; the cache as in decode.cu
    float *out, *statistics;        // [rows, q heads, splits, 64] and [.., 2]: maximum, sum
    const unsigned *positions, *slots, *pages;
    unsigned rows, q_heads, kv_heads, max_pages, splits;
};

struct DecodeCombine {
    const float *partial, *statistics;
    const unsigned* positions;
    void* out;  // [rows, q heads, 64]
    unsigned rows, q_heads, splits;
};

constexpr unsigned DECODE_THREADS = 128;
constexpr unsigned SPLIT = 256;
constexpr unsigned PAGE_TOKENS = 64;
constexpr unsigned DIM = 64;
constexpr unsigned DECODE_WARPS = DECODE_THREADS / WARP;

// Grid (splits, q heads / G, rows); G query heads share a key-value head.
template <class T, unsigned G>
__device__ void decode_attention(const DecodeAttention& a) {
    constexpr unsigned N = PACK<T>, LANES = DIM / N, AT_ONCE = WARP / LANES;  // keys a warp reads
    SHARED_ARRAY(float, p, G * SPLIT);
    SHARED_ARRAY(float, parts, DECODE_WARPS * G * DIM);
    const unsigned position = a.positions[blockIdx.z], first = blockIdx.x * SPLIT;
    if (first > position) return;
    const unsigned count = min(position + 1 - first, SPLIT);
    const unsigned lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, part = lane % LANES;
    const unsigned head = blockIdx.y * G, kv = head / (a.q_heads / a.kv_heads);
    const unsigned* pages = a.pages + size_t(a.slots[blockIdx.z]) * a.max_pages + first / PAGE_TOKENS;
    const auto place = [&](unsigned key) {
        const size_t page = pages[key / PAGE_TOKENS];
        return ((page * a.kv_heads + kv) * PAGE_TOKENS + key % PAGE_TOKENS) * DIM + part * N;
    };

    float q[G][N];
#pragma unroll
    for (unsigned h = 0; h < G; h++)
        load16(static_cast<const T*>(a.q) + (size_t(blockIdx.z) * a.q_heads + head + h) * DIM + part * N, q[h]);
#pragma unroll 4
    for (unsigned i = 0; i < SPLIT; i += DECODE_WARPS * AT_ONCE) {
        const unsigned key = i + warp * AT_ONCE + lane / LANES;
        float k[N];
        load16_plain(static_cast<const T*>(a.keys) + place(min(key, count - 1)), k);
#pragma unroll
        for (unsigned h = 0; h < G; h++) {
            float s = 0;
#pragma unroll
            for (unsigned c = 0; c < N; c++) s = fmaf(q[h][c], k[c], s);
#pragma unroll
            for (unsigned bits = LANES / 2; bits > 0; bits /= 2) s += __shfl_xor_sync(ALL_LANES, s, bits);
            if (part == 0) p[h * SPLIT + key] = key < count ? s * 0.125f : -INFINITY;
        }
    }
    __syncthreads();
    for (unsigned h = warp; h < G; h += DECODE_WARPS) {
        float top = -INFINITY, sum = 0;
#pragma unroll
        for (unsigned i = 0; i < SPLIT; i += WARP) top = fmaxf(top, p[h * SPLIT + i + lane]);
        top = warp_max(top);
#pragma unroll
        for (unsigned i = 0; i < SPLIT; i += WARP) {
            const float e = expf(p[h * SPLIT + i + lane] - top);
            p[h * SPLIT + i + lane] = e;
            sum += e;
        }
        sum = warp_sum(sum);
        if (lane == 0) {
            const size_t to = ((size_t(blockIdx.z) * a.q_heads + head + h) * a.splits + blockIdx.x) * 2;
            a.statistics[to] = top;
            a.statistics[to + 1] = sum;
        }
    }
    __syncthreads();

    float out[G][N] = {};
#pragma unroll 4
    for (unsigned i = 0; i < SPLIT; i += DECODE_WARPS * AT_ONCE) {
        const unsigned key = i + warp * AT_ONCE + lane / LANES;
        float v[N];
        load16_plain(static_cast<const T*>(a.values) + place(min(key, count - 1)), v);
#pragma unroll
        for (unsigned h = 0; h < G; h++)
#pragma unroll
            for (unsigned c = 0; c < N; c++) out[h][c] = fmaf(p[h * SPLIT + key], v[c], out[h][c]);
    }
#pragma unroll
    for (unsigned h = 0; h < G; h++)
#pragma unroll
        for (unsigned c = 0; c < N; c++) {
            float x = out[h][c];
#pragma unroll
            for (unsigned bits = WARP / 2; bits >= LANES; bits /= 2) x += __shfl_xor_sync(ALL_LANES, x, bits);
            if (lane < LANES) parts[(warp * G + h) * DIM + part * N + c] = x;
        }
    __syncthreads();
    for (unsigned at = threadIdx.x; at < G * DIM; at += DECODE_THREADS) {
        float x = 0;
#pragma unroll
        for (unsigned w = 0; w < DECODE_WARPS; w++) x += parts[w * G * DIM + at];
        const size_t item = size_t(blockIdx.z) * a.q_heads + head + at / DIM;
        a.out[(item * a.splits + blockIdx.x) * DIM + at % DIM] = x;
    }
}

// Grid (q heads, rows), a thread a feature.
template <class T>
__device__ void decode_combine(const DecodeCombine& a) {
    const size_t item = size_t(blockIdx.y) * a.q_heads + blockIdx.x;
    const unsigned used = a.positions[blockIdx.y] / SPLIT + 1;
    const float* statistics = a.statistics + item * a.splits * 2;
    float top = -INFINITY, sum = 0, x = 0;
    for (unsigned i = 0; i < used; i++) top = fmaxf(top, statistics[2 * i]);
    for (unsigned i = 0; i < used; i++) {
        const float factor = expf(statistics[2 * i] - top);
        sum += statistics[2 * i + 1] * factor;
        x += a.partial[(item * a.splits + i) * DIM + threadIdx.x] * factor;
    }
    static_cast<T*>(a.out)[item * DIM + threadIdx.x] = from_float<T>(x / sum);
}

#define DECODE_GROUP(group)                                                                   \
    KERNEL(DECODE_THREADS, decode_attention_g##group##_f32, DecodeAttention,                  \
           (decode_attention<float, group>(a)));                                              \
    KERNEL(DECODE_THREADS, decode_attention_g##group##_bf16, DecodeAttention,                 \
           (decode_attention<__nv_bfloat16, group>(a)));                                      \
    KERNEL(DECODE_THREADS, decode_attention_g##group##_f16, DecodeAttention,                  \
           (decode_attention<__half, group>(a)))

DECODE_GROUP(1);
DECODE_GROUP(3);
DECODE_GROUP(4);
KERNEL_FLOATS(DIM, decode_combine, DecodeCombine, decode_combine);
