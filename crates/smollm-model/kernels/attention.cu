// Causal flash attention over packed sequences, heads of 64, grouped queries: forward.
//
//   S = Q Kᵀ / 8, keys after the query masked;  P = softmax(S);  O = P V;  lse = log Σ exp S
//
// A block takes 128 queries of one head: four warps of 32 rows, so that what ldmatrix reads of a tile
// serves two products; mma.sync.m16n8k16 with f32
// accumulators, keys and values double-buffered through cp.async. The row maximum and sum are kept
// online, so scores never leave registers. Keys stand in tiles at absolute positions and are added
// in order: a query's bits depend on its own sequence alone.
//
// FLOPs: 4·64 a visible pair and head. Bytes: Q, O once, K and V once a block (L2).
// CPU reference: src/ops/attention. Source: Dao 2023 (FlashAttention-2).
#include "attention.cuh"

constexpr unsigned M = 2;  // 16-row parts of a warp
constexpr unsigned WARP_ROWS = 16 * M;

// Takes the scores of one tile of keys into the running softmax of 16 rows: s becomes P.
__device__ __forceinline__ void softmax_part(float (&s)[8][4], float (&out)[8][4], float (&top)[2],
                                             float (&sum)[2]) {
#pragma unroll
    for (unsigned r = 0; r < 2; r++) {  // rows g and g + 8
        float highest = top[r];
#pragma unroll
        for (unsigned n = 0; n < 8; n++) highest = fmaxf(highest, fmaxf(s[n][2 * r], s[n][2 * r + 1]));
        highest = fmaxf(highest, __shfl_xor_sync(ALL_LANES, highest, 1));
        highest = fmaxf(highest, __shfl_xor_sync(ALL_LANES, highest, 2));
        const float shrink = exp2f((top[r] - highest) * SCALE_LOG2), base = highest * SCALE_LOG2;
        top[r] = highest;
        float part = 0;
#pragma unroll
        for (unsigned n = 0; n < 8; n++)
#pragma unroll
            for (unsigned i = 2 * r; i < 2 * r + 2; i++) {
                s[n][i] = exp2f(fmaf(s[n][i], SCALE_LOG2, -base));
                part += s[n][i];
                out[n][i] *= shrink;
            }
        sum[r] = sum[r] * shrink + part;
    }
}

template <class T>
__device__ void attention_forward(const AttentionForward& a) {
    DYNAMIC_SHARED(T, tiles);  // [buffer][keys | values]; queries first where buffer 1 is
    const Place place(a.tiles, a.heads, FORWARD_ROWS);
    const unsigned lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    const unsigned own = threadIdx.x / WARP * WARP_ROWS;  // this warp's first row in the tile
    const unsigned count = (place.row + place.rows + TILE - 1) / TILE;
    const T* q = static_cast<const T*>(a.q) + place.first * a.q_stride + place.head * TILE;
    const T* k = static_cast<const T*>(a.k) + size_t(place.start) * a.kv_stride + place.kv_head * TILE;
    const T* v = static_cast<const T*>(a.v) + size_t(place.start) * a.kv_stride + place.kv_head * TILE;

    fetch_tile<T, FORWARD_ROWS>(tiles + 2 * TILE_WORDS, q, a.q_stride, place.rows);
    fetch_tile(tiles, k, a.kv_stride, place.length);
    fetch_tile(tiles + TILE_WORDS, v, a.kv_stride, place.length);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    uint32_t queries[M][4][4];
    left_rows(queries, tiles + 2 * TILE_WORDS, own);
    __syncthreads();

    float out[M][8][4] = {}, top[M][2], sum[M][2] = {};
#pragma unroll
    for (unsigned m = 0; m < M; m++) top[m][0] = top[m][1] = -INFINITY;
    for (unsigned j = 0; j < count; j++) {
        T* keys = tiles + j % 2 * 2 * TILE_WORDS;
        if (j + 1 < count) {
            T* next = tiles + (j + 1) % 2 * 2 * TILE_WORDS;
            const unsigned at = (j + 1) * TILE;
            fetch_tile(next, k + size_t(at) * a.kv_stride, a.kv_stride, place.length - at);
            fetch_tile(next + TILE_WORDS, v + size_t(at) * a.kv_stride, a.kv_stride,
                       place.length - at);
        }
        cp_async_commit();
        cp_async_wait<1>();
        __syncthreads();
        const unsigned first_row = place.row + own;
        if (j * TILE < first_row + WARP_ROWS) {  // else no row of this warp sees these keys
            float s[M][8][4] = {};
            times_transposed<T, M, 8>(s, queries, keys, 0);
            if ((j + 1) * TILE > first_row) {
#pragma unroll
                for (unsigned m = 0; m < M; m++)
#pragma unroll
                    for (unsigned n = 0; n < 8; n++)
#pragma unroll
                        for (unsigned i = 0; i < 4; i++)
                            if (j * TILE + n * 8 + 2 * t + i % 2 > first_row + m * 16 + g + i / 2 * 8)
                                s[m][n][i] = -INFINITY;
            }
#pragma unroll
            for (unsigned m = 0; m < M; m++) softmax_part(s[m], out[m], top[m], sum[m]);
            times_rows<T, M, 8>(out, s, keys + TILE_WORDS, 0);
        }
        __syncthreads();
    }
    T* to = static_cast<T*>(a.out) + place.first * a.out_stride + place.head * TILE;
#pragma unroll
    for (unsigned m = 0; m < M; m++) {
#pragma unroll
        for (unsigned r = 0; r < 2; r++) {
            sum[m][r] += __shfl_xor_sync(ALL_LANES, sum[m][r], 1);
            sum[m][r] += __shfl_xor_sync(ALL_LANES, sum[m][r], 2);
            const unsigned row = own + m * 16 + g + r * 8;
            if (t == 0 && row < place.rows)
                a.lse[size_t(place.head) * a.tokens + place.first + row] =
                    top[m][r] * SCALE + logf(sum[m][r]);
        }
        write_rows(to, a.out_stride, place.rows, out[m], 1.0f / sum[m][0], 1.0f / sum[m][1], tiles,
                   own + m * 16);
    }
}

KERNEL(TILE_THREADS, attention_forward_bf16, AttentionForward, attention_forward<__nv_bfloat16>(a));
KERNEL(TILE_THREADS, attention_forward_f16, AttentionForward, attention_forward<__half>(a));
