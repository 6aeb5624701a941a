// Causal flash attention, heads of 64: gradients, without atomics.
//
//   P = exp(S − lse),  D_i = Σ_c dO_ic O_ic,  dP = dO Vᵀ,  dS = P (dP − D)
//   dV = Pᵀ dO,  dK = dSᵀ Q / 8,  dQ = dS K / 8
//
// Two kernels of one shape. `attention_keys` gives a block 64 keys of one key-value head and goes
// over the queries that see them, head after head of the group: dK and dV. `attention_queries`
// gives a block 64 queries of one head and goes over their keys: dQ. S and dP are formed twice (7
// products instead of 5): the price of an order of addition that never changes.
//
// FLOPs: 14·64 a visible pair and head. Bytes: inputs once a block (L2), gradients once.
// CPU reference: src/ops/attention/backward.rs. Source: Dao 2023.
#include "attention.cuh"

// D: a warp takes a row of all heads' features.
template <class T>
__device__ void attention_delta(const AttentionDelta& a) {
    const unsigned lanes = TILE / PACK<T>;  // that share one head's row
    const size_t at = (size_t(blockIdx.x) * TILE_THREADS + threadIdx.x) / lanes;
    const size_t total = size_t(a.tokens) * a.heads;
    const size_t item = min(at, total - 1);  // all lanes take part in the shuffles
    const size_t token = item / a.heads, head = item % a.heads;
    const size_t place = token * a.stride + head * TILE + threadIdx.x % lanes * PACK<T>;
    float o[PACK<T>], d[PACK<T>], dot = 0;
    load16(static_cast<const T*>(a.out) + place, o);
    load16(static_cast<const T*>(a.dout) + place, d);
#pragma unroll
    for (unsigned i = 0; i < PACK<T>; i++) dot += o[i] * d[i];
    for (unsigned bits = lanes / 2; bits > 0; bits /= 2) dot += __shfl_xor_sync(ALL_LANES, dot, bits);
    if (at < total && threadIdx.x % lanes == 0) a.delta[head * a.tokens + token] = dot;
}

// lse (in units of log 2) and D of 64 queries; rows past the end get a P of zero.
__device__ __forceinline__ void fetch_statistics(float* to, const AttentionBackward& a, size_t from,
                                                 unsigned valid) {
    const unsigned row = threadIdx.x % TILE;
    const bool real = row < valid;
    if (threadIdx.x < TILE)
        to[row] = real ? a.lse[from + row] * LOG2_E : INFINITY;
    else
        to[TILE + row] = real ? a.delta[from + row] : 0.0f;
}

template <class T>
__device__ void attention_keys(const AttentionBackward& a) {
    DYNAMIC_SHARED(T, tiles);                                         // [buffer][queries | dout]
    float* statistics = reinterpret_cast<float*>(tiles + 4 * TILE_WORDS);  // [buffer][lse | delta]
    const Place place(a.tiles, TILE);
    const unsigned lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    const unsigned own_row = threadIdx.x / WARP * 16;
    const unsigned group = a.heads.query / a.heads.key_value;
    const unsigned first_tile = place.row / TILE, tiles_left = (place.length + TILE - 1) / TILE - first_tile;
    const T* q = static_cast<const T*>(a.q) + size_t(place.start) * a.q_stride;
    const T* dout = static_cast<const T*>(a.dout) + size_t(place.start) * a.dout_stride;
    const size_t own = place.first * a.kv_stride + place.kv_head * TILE;

    const auto fetch = [&](unsigned step, unsigned buffer) {
        const unsigned head = place.kv_head * group + step / tiles_left;
        const unsigned row = (first_tile + step % tiles_left) * TILE;
        const unsigned valid = place.length - row;
        T* to = tiles + buffer * 2 * TILE_WORDS;
        fetch_tile(to, q + size_t(row) * a.q_stride + head * TILE, a.q_stride, valid);
        fetch_tile(to + TILE_WORDS, dout + size_t(row) * a.dout_stride + head * TILE, a.dout_stride,
                   valid);
        fetch_statistics(statistics + buffer * 2 * TILE, a,
                         size_t(head) * a.tokens + place.start + row, valid);
    };

    fetch_tile(tiles + 2 * TILE_WORDS, static_cast<const T*>(a.k) + own, a.kv_stride, place.rows);
    fetch_tile(tiles + 3 * TILE_WORDS, static_cast<const T*>(a.v) + own, a.kv_stride, place.rows);
    fetch(0, 0);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    uint32_t keys[1][4][4], values[1][4][4];
    left_rows(keys, tiles + 2 * TILE_WORDS, own_row);
    left_rows(values, tiles + 3 * TILE_WORDS, own_row);
    __syncthreads();

    float dk[1][8][4] = {}, dv[1][8][4] = {};
    const unsigned steps = group * tiles_left;
    for (unsigned step = 0; step < steps; step++) {
        T* queries = tiles + step % 2 * 2 * TILE_WORDS;
        const float* lse = statistics + step % 2 * 2 * TILE;
        if (step + 1 < steps) fetch(step + 1, (step + 1) % 2);
        cp_async_commit();
        cp_async_wait<1>();
        __syncthreads();
#pragma unroll
        for (unsigned half = 0; half < TILE; half += TILE / 2) {  // 32 queries: fewer registers
            float p[1][4][4] = {}, ds[1][4][4] = {};
            times_transposed<T, 1, 4>(p, keys, queries, half);
            times_transposed<T, 1, 4>(ds, values, queries + TILE_WORDS, half);
#pragma unroll
            for (unsigned n = 0; n < 4; n++)
#pragma unroll
                for (unsigned i = 0; i < 4; i++) {
                    const unsigned query = half + n * 8 + 2 * t + i % 2;
                    const unsigned key = own_row + g + i / 2 * 8;
                    const bool hidden = step % tiles_left == 0 && query < key;
                    p[0][n][i] = hidden ? 0.0f : exp2f(fmaf(p[0][n][i], SCALE_LOG2, -lse[query]));
                    ds[0][n][i] = p[0][n][i] * (ds[0][n][i] - lse[TILE + query]);
                }
            times_rows<T, 1, 4>(dv, p, queries + TILE_WORDS, half);
            times_rows<T, 1, 4>(dk, ds, queries, half);
        }
        __syncthreads();
    }
    const size_t to = place.first * a.dkv_stride + place.kv_head * TILE;
    write_rows(static_cast<T*>(a.dk) + to, a.dkv_stride, place.rows, dk[0], SCALE, SCALE, tiles,
               own_row);
    write_rows(static_cast<T*>(a.dv) + to, a.dkv_stride, place.rows, dv[0], 1.0f, 1.0f,
               tiles + TILE_WORDS, own_row);
}

template <class T>
__device__ void attention_queries(const AttentionBackward& a) {
    DYNAMIC_SHARED(T, tiles);  // [buffer][keys | values]
    const Place place(a.tiles, a.heads);
    const unsigned lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    const unsigned own_row = threadIdx.x / WARP * 16;
    const unsigned count = place.row / TILE + 1;
    const T* k = static_cast<const T*>(a.k) + size_t(place.start) * a.kv_stride + place.kv_head * TILE;
    const T* v = static_cast<const T*>(a.v) + size_t(place.start) * a.kv_stride + place.kv_head * TILE;
    const auto fetch = [&](unsigned j, unsigned buffer) {
        const unsigned row = j * TILE;
        T* to = tiles + buffer * 2 * TILE_WORDS;
        fetch_tile(to, k + size_t(row) * a.kv_stride, a.kv_stride, place.length - row);
        fetch_tile(to + TILE_WORDS, v + size_t(row) * a.kv_stride, a.kv_stride, place.length - row);
    };

    fetch_tile(tiles + 2 * TILE_WORDS,
               static_cast<const T*>(a.q) + place.first * a.q_stride + place.head * TILE, a.q_stride,
               place.rows);
    fetch_tile(tiles + 3 * TILE_WORDS,
               static_cast<const T*>(a.dout) + place.first * a.dout_stride + place.head * TILE,
               a.dout_stride, place.rows);
    fetch(0, 0);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    uint32_t queries[1][4][4], douts[1][4][4];
    left_rows(queries, tiles + 2 * TILE_WORDS, own_row);
    left_rows(douts, tiles + 3 * TILE_WORDS, own_row);
    __syncthreads();

    float lse[2], delta[2], dq[1][8][4] = {};
#pragma unroll
    for (unsigned r = 0; r < 2; r++) {
        const unsigned row = own_row + g + r * 8;
        const size_t at = size_t(place.head) * a.tokens + place.first + row;
        lse[r] = row < place.rows ? a.lse[at] * LOG2_E : INFINITY;
        delta[r] = row < place.rows ? a.delta[at] : 0.0f;
    }
    for (unsigned j = 0; j < count; j++) {
        T* keys = tiles + j % 2 * 2 * TILE_WORDS;
        if (j + 1 < count) fetch(j + 1, (j + 1) % 2);
        cp_async_commit();
        cp_async_wait<1>();
        __syncthreads();
#pragma unroll
        for (unsigned half = 0; half < TILE; half += TILE / 2) {
            float s[1][4][4] = {}, ds[1][4][4] = {};
            times_transposed<T, 1, 4>(s, queries, keys, half);
            times_transposed<T, 1, 4>(ds, douts, keys + TILE_WORDS, half);
#pragma unroll
            for (unsigned n = 0; n < 4; n++)
#pragma unroll
                for (unsigned i = 0; i < 4; i++) {
                    const unsigned key = half + n * 8 + 2 * t + i % 2;
                    const unsigned query = own_row + g + i / 2 * 8;
                    const bool hidden = j + 1 == count && key > query;
                    const float p = hidden ? 0.0f : exp2f(fmaf(s[0][n][i], SCALE_LOG2, -lse[i / 2]));
                    ds[0][n][i] = p * (ds[0][n][i] - delta[i / 2]);
                }
            times_rows<T, 1, 4>(dq, ds, keys, half);
        }
        __syncthreads();
    }
    T* to = static_cast<T*>(a.dq) + place.first * a.dq_stride + place.head * TILE;
    write_rows(to, a.dq_stride, place.rows, dq[0], SCALE, SCALE, tiles, own_row);
}

KERNEL_FLOATS(TILE_THREADS, attention_delta, AttentionDelta, attention_delta);
KERNEL(TILE_THREADS, attention_keys_bf16, AttentionBackward, attention_keys<__nv_bfloat16>(a));
KERNEL(TILE_THREADS, attention_keys_f16, AttentionBackward, attention_keys<__half>(a));
KERNEL(TILE_THREADS, attention_queries_bf16, AttentionBackward, attention_queries<__nv_bfloat16>(a));
KERNEL(TILE_THREADS, attention_queries_f16, AttentionBackward, attention_queries<__half>(a));
