// What a decoding step does between its matrix products.
//
// qkv_append: one packed row [q heads | k heads | v heads] of each token becomes its rotated
// queries, and its rotated key and its value in the cache. The cache is paged: page p of a layer is
// [key-value head][64 tokens][dim]; `pages[slot][i]` names the page of tokens 64 i.. of a slot.
// Positions, slots and page numbers are read from device memory: a captured graph stays valid.
// The same call serves prefill (many tokens of one slot).
//   Bytes: 2 tokens·(q + 2 kv)·dim·sizeof(T). CPU reference: src/ops/rope.rs, attention/cached.rs.
//
// argmax: the id of the largest logit of each row, the lowest id of equal ones; NaN never wins.
//   Bytes: rows·vocab·sizeof(T). CPU reference: src/sampling.rs.
//
// gather_rows: rows of a table by id (embedding, supervised positions); the id 2³² − 1 gives zeros, so
// that the same call puts some rows back in their places among zeros. Bytes: 2 rows·width·sizeof(T).
#include "common.cuh"

struct QkvAppend {
    const void* qkv;
    void *q, *keys, *values;
    const unsigned *positions, *slots, *pages;
    const float* table;  // [position][cos | sin][dim / 2]
    unsigned tokens, q_heads, kv_heads, dim, max_pages;
};

struct Argmax {
    const void* logits;
    unsigned* ids;
    unsigned rows, vocab, stride;
};

struct GatherRows {
    const void* table;
    const unsigned* ids;
    void* out;
    unsigned rows, width;
};

constexpr unsigned APPEND_THREADS = 256;
constexpr unsigned PAGE_TOKENS = 64;
constexpr unsigned ARGMAX_THREADS = 512;
constexpr unsigned NO_ROW = 0xffffffffu;

template <class T>
__device__ void qkv_append(const QkvAppend& a) {
    constexpr unsigned N = PACK<T>;
    const unsigned half = a.dim / 2, packs = half / N, heads = a.q_heads + 2 * a.kv_heads;
    const size_t at = size_t(blockIdx.x) * APPEND_THREADS + threadIdx.x;
    if (at >= size_t(a.tokens) * heads * packs) return;
    const unsigned j = unsigned(at % packs) * N, head = unsigned(at / packs % heads);
    const size_t token = at / packs / heads;
    const unsigned position = a.positions[token];
    const T* from = static_cast<const T*>(a.qkv) + (token * heads + head) * a.dim + j;
    float first[N], second[N];
    load16(from, first);
    load16(from + half, second);
    if (head < a.q_heads + a.kv_heads) {
        float cosine[N], sine[N];
        const float* angles = a.table + size_t(position) * a.dim + j;
        load_floats<N>(angles, cosine);
        load_floats<N>(angles + half, sine);
#pragma unroll
        for (unsigned i = 0; i < N; i++) {
            const float u = first[i], v = second[i];
            first[i] = u * cosine[i] - v * sine[i];
            second[i] = v * cosine[i] + u * sine[i];
        }
    }
    T* to;
    if (head < a.q_heads) {
        to = static_cast<T*>(a.q) + (token * a.q_heads + head) * a.dim + j;
    } else {
        const unsigned kv = (head - a.q_heads) % a.kv_heads;
        const size_t page = a.pages[size_t(a.slots[token]) * a.max_pages + position / PAGE_TOKENS];
        T* cache = static_cast<T*>(head < a.q_heads + a.kv_heads ? a.keys : a.values);
        to = cache + ((page * a.kv_heads + kv) * PAGE_TOKENS + position % PAGE_TOKENS) * a.dim + j;
    }
    store16(to, first);
    store16(to + half, second);
}

struct Best {
    float value;
    unsigned id;
};

__device__ __forceinline__ Best better(Best a, Best b) {
    return b.value > a.value || (b.value == a.value && b.id < a.id) ? b : a;
}

template <class T>
__device__ void argmax(const Argmax& a) {
    SHARED_ARRAY(Best, bests, ARGMAX_THREADS / WARP);
    constexpr unsigned N = PACK<T>;
    const T* z = static_cast<const T*>(a.logits) + size_t(blockIdx.x) * a.stride;
    Best best{-INFINITY, 0xffffffffu};
#pragma unroll 4
    for (unsigned j = threadIdx.x * N; j < a.vocab; j += ARGMAX_THREADS * N) {
        float v[N];
        load16(z + j, v);
#pragma unroll
        for (unsigned i = 0; i < N; i++)
            if (j + i < a.vocab) best = better(best, {v[i], j + i});
    }
#pragma unroll
    for (unsigned bits = WARP / 2; bits > 0; bits /= 2)
        best = better(best, {__shfl_xor_sync(ALL_LANES, best.value, bits),
                             __shfl_xor_sync(ALL_LANES, best.id, bits)});
    if (threadIdx.x % WARP == 0) bests[threadIdx.x / WARP] = best;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (unsigned i = 1; i < ARGMAX_THREADS / WARP; i++) best = better(best, bests[i]);
    a.ids[blockIdx.x] = best.id < a.vocab ? best.id : 0;
}

template <class T>
__device__ void gather_rows(const GatherRows& a) {
    const unsigned packs = a.width / PACK<T>;
    const size_t at = size_t(blockIdx.x) * APPEND_THREADS + threadIdx.x;
    if (at >= size_t(a.rows) * packs) return;
    const size_t row = at / packs, column = at % packs;
    const unsigned id = a.ids[row];
    const uint4* from = static_cast<const uint4*>(a.table) + size_t(id) * packs + column;
    static_cast<uint4*>(a.out)[at] = id == NO_ROW ? uint4{0, 0, 0, 0} : __ldg(from);
}

KERNEL_FLOATS(APPEND_THREADS, qkv_append, QkvAppend, qkv_append);
KERNEL_FLOATS(ARGMAX_THREADS, argmax, Argmax, argmax);
KERNEL_FLOATS(APPEND_THREADS, gather_rows, GatherRows, gather_rows);
