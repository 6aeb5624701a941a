// Causal attention in f32, heads of 64, forward and backward: the exact path, for traces and for
// f32 training. Tensor cores would round to TF32, so this is plain FMA.
//
// Formulas as in attention.cu and attention_backward.cu. A block takes 32 rows of one head at a
// time, a warp 8 of them; the other side comes in tiles of 32, one row a lane.
// FLOPs: forward 4·64, backward 14·64 a visible pair and head. CPU reference: src/ops/attention.
#include "attention.cuh"

constexpr unsigned OTHER = WARP;            // rows of the other side in a tile, one a lane
constexpr unsigned PITCH = TILE + 1;        // floats from row to row: lanes hit different banks
constexpr unsigned ROWS = 8;                // rows a warp holds at once
constexpr unsigned WARPS = TILE_THREADS / WARP;
constexpr unsigned BLOCK_ROWS = WARPS * ROWS;

// Shared memory: own rows twice, the other side twice, weights twice.
struct Shared {
    float *own1, *own2, *other1, *other2, *p, *ds;
    __device__ explicit Shared(float* base) {
        own1 = base;
        own2 = own1 + BLOCK_ROWS * PITCH;
        other1 = own2 + BLOCK_ROWS * PITCH;
        other2 = other1 + OTHER * PITCH;
        p = other2 + OTHER * PITCH + threadIdx.x / WARP * 2 * ROWS * OTHER;
        ds = p + ROWS * OTHER;
    }
};

__device__ __forceinline__ void load_rows(float* to, const float* from, size_t stride, unsigned rows,
                                          int valid) {
    for (unsigned at = threadIdx.x; at < rows * TILE; at += TILE_THREADS) {
        const unsigned row = at / TILE, column = at % TILE;
        to[row * PITCH + column] = int(row) < valid ? from[row * stride + column] : 0.0f;
    }
}

// s[r] = own row r · this lane's row of the other side.
__device__ __forceinline__ void scores(float (&s)[ROWS], const float* own, const float* other) {
    const float* mine = other + threadIdx.x % WARP * PITCH;
    own += threadIdx.x / WARP * ROWS * PITCH;
#pragma unroll
    for (unsigned r = 0; r < ROWS; r++) s[r] = 0;
#pragma unroll 4
    for (unsigned c = 0; c < TILE; c++) {
        const float x = mine[c];
#pragma unroll
        for (unsigned r = 0; r < ROWS; r++) s[r] = fmaf(own[r * PITCH + c], x, s[r]);
    }
}

// out[r] += Σ_j weights[r][j] · other row j; a lane holds features `lane` and `lane + 32`.
__device__ __forceinline__ void accumulate(float (&out)[ROWS][2], const float* weights,
                                           const float* other) {
    const unsigned lane = threadIdx.x % WARP;
#pragma unroll 4
    for (unsigned j = 0; j < OTHER; j++) {
        const float low = other[j * PITCH + lane], high = other[j * PITCH + lane + WARP];
#pragma unroll
        for (unsigned r = 0; r < ROWS; r++) {
            out[r][0] = fmaf(weights[r * OTHER + j], low, out[r][0]);
            out[r][1] = fmaf(weights[r * OTHER + j], high, out[r][1]);
        }
    }
}

__device__ __forceinline__ void store_rows(float* to, size_t stride, int valid,
                                           const float (&x)[ROWS][2], float factor) {
    const unsigned lane = threadIdx.x % WARP, base = threadIdx.x / WARP * ROWS;
#pragma unroll
    for (unsigned r = 0; r < ROWS; r++)
        if (int(base + r) < valid) {
            to[(base + r) * stride + lane] = x[r][0] * factor;
            to[(base + r) * stride + lane + WARP] = x[r][1] * factor;
        }
}

__device__ void attention_forward_f32_rows(const AttentionForward& a, const Place& place,
                                           const Shared& shared, unsigned offset) {
    const unsigned lane = threadIdx.x % WARP, first = place.row + offset;
    const int valid = int(place.length) - int(first);
    if (valid <= 0) return;
    const size_t q = (place.first + offset) * a.q_stride + place.head * TILE;
    const size_t kv = size_t(place.start) * a.kv_stride + place.kv_head * TILE;
    __syncthreads();
    load_rows(shared.own1, static_cast<const float*>(a.q) + q, a.q_stride, BLOCK_ROWS, valid);
    float out[ROWS][2] = {}, top[ROWS], sum[ROWS], s[ROWS];
#pragma unroll
    for (unsigned r = 0; r < ROWS; r++) top[r] = -INFINITY, sum[r] = 0;
    for (unsigned j = 0; j < first + BLOCK_ROWS && j < place.length; j += OTHER) {
        __syncthreads();
        load_rows(shared.other1, static_cast<const float*>(a.k) + kv + size_t(j) * a.kv_stride,
                  a.kv_stride, OTHER, int(place.length - j));
        load_rows(shared.other2, static_cast<const float*>(a.v) + kv + size_t(j) * a.kv_stride,
                  a.kv_stride, OTHER, int(place.length - j));
        __syncthreads();
        scores(s, shared.own1, shared.other1);
#pragma unroll
        for (unsigned r = 0; r < ROWS; r++) {
            const unsigned row = first + threadIdx.x / WARP * ROWS + r;
            const float x = j + lane > row ? -INFINITY : s[r] * SCALE;
            const float highest = fmaxf(top[r], warp_max(x));
            const float shrink = expf(top[r] - highest), p = expf(x - highest);
            top[r] = highest;
            sum[r] = sum[r] * shrink + warp_sum(p);
            out[r][0] *= shrink;
            out[r][1] *= shrink;
            shared.p[r * OTHER + lane] = p;
        }
        __syncwarp();
        accumulate(out, shared.p, shared.other2);
    }
#pragma unroll
    for (unsigned r = 0; r < ROWS; r++) {
        const unsigned row = threadIdx.x / WARP * ROWS + r;
        out[r][0] /= sum[r];
        out[r][1] /= sum[r];
        if (lane == 0 && int(row) < valid)
            a.lse[size_t(place.head) * a.tokens + place.first + offset + row] = top[r] + logf(sum[r]);
    }
    const size_t to = (place.first + offset) * a.out_stride + place.head * TILE;
    store_rows(static_cast<float*>(a.out) + to, a.out_stride, valid, out, 1.0f);
}

__device__ void attention_queries_f32_rows(const AttentionBackward& a, const Place& place,
                                           const Shared& shared, unsigned offset) {
    const unsigned lane = threadIdx.x % WARP, first = place.row + offset;
    const int valid = int(place.length) - int(first);
    if (valid <= 0) return;
    const size_t q = (place.first + offset) * a.q_stride + place.head * TILE;
    const size_t d = (place.first + offset) * a.dout_stride + place.head * TILE;
    const size_t kv = size_t(place.start) * a.kv_stride + place.kv_head * TILE;
    const size_t statistics = size_t(place.head) * a.tokens + place.first + offset;
    __syncthreads();
    load_rows(shared.own1, static_cast<const float*>(a.q) + q, a.q_stride, BLOCK_ROWS, valid);
    load_rows(shared.own2, static_cast<const float*>(a.dout) + d, a.dout_stride, BLOCK_ROWS, valid);
    float dq[ROWS][2] = {}, s[ROWS], dp[ROWS];
    for (unsigned j = 0; j < first + BLOCK_ROWS && j < place.length; j += OTHER) {
        __syncthreads();
        load_rows(shared.other1, static_cast<const float*>(a.k) + kv + size_t(j) * a.kv_stride,
                  a.kv_stride, OTHER, int(place.length - j));
        load_rows(shared.other2, static_cast<const float*>(a.v) + kv + size_t(j) * a.kv_stride,
                  a.kv_stride, OTHER, int(place.length - j));
        __syncthreads();
        scores(s, shared.own1, shared.other1);
        scores(dp, shared.own2, shared.other2);
#pragma unroll
        for (unsigned r = 0; r < ROWS; r++) {
            const unsigned row = threadIdx.x / WARP * ROWS + r;
            const bool seen = int(row) < valid && j + lane <= first + row;
            const float lse = seen ? a.lse[statistics + row] : 0.0f;
            const float delta = seen ? a.delta[statistics + row] : 0.0f;
            shared.ds[r * OTHER + lane] = seen ? expf(s[r] * SCALE - lse) * (dp[r] - delta) : 0.0f;
        }
        __syncwarp();
        accumulate(dq, shared.ds, shared.other1);
    }
    const size_t to = (place.first + offset) * a.dq_stride + place.head * TILE;
    store_rows(static_cast<float*>(a.dq) + to, a.dq_stride, valid, dq, SCALE);
}

__device__ void attention_keys_f32_rows(const AttentionBackward& a, const Place& place,
                                        const Shared& shared, unsigned offset) {
    const unsigned lane = threadIdx.x % WARP, first = place.row + offset;
    const int valid = int(place.length) - int(first);
    if (valid <= 0) return;
    const unsigned group = a.heads.query / a.heads.key_value;
    const size_t kv = (place.first + offset) * a.kv_stride + place.kv_head * TILE;
    __syncthreads();
    load_rows(shared.own1, static_cast<const float*>(a.k) + kv, a.kv_stride, BLOCK_ROWS, valid);
    load_rows(shared.own2, static_cast<const float*>(a.v) + kv, a.kv_stride, BLOCK_ROWS, valid);
    float dk[ROWS][2] = {}, dv[ROWS][2] = {}, s[ROWS], dp[ROWS];
    for (unsigned head = place.kv_head * group; head < (place.kv_head + 1) * group; head++)
        for (unsigned i = first; i < place.length; i += OTHER) {
            const size_t token = size_t(place.start) + i;
            __syncthreads();
            load_rows(shared.other1, static_cast<const float*>(a.q) + token * a.q_stride + head * TILE,
                      a.q_stride, OTHER, int(place.length - i));
            load_rows(shared.other2,
                      static_cast<const float*>(a.dout) + token * a.dout_stride + head * TILE,
                      a.dout_stride, OTHER, int(place.length - i));
            __syncthreads();
            scores(s, shared.own1, shared.other1);
            scores(dp, shared.own2, shared.other2);
            const bool real = i + lane < place.length;
            const size_t statistics = size_t(head) * a.tokens + token + lane;
            const float lse = real ? a.lse[statistics] : 0.0f, delta = real ? a.delta[statistics] : 0.0f;
#pragma unroll
            for (unsigned r = 0; r < ROWS; r++) {
                const bool seen = real && first + threadIdx.x / WARP * ROWS + r <= i + lane;
                const float p = seen ? expf(s[r] * SCALE - lse) : 0.0f;
                shared.p[r * OTHER + lane] = p;
                shared.ds[r * OTHER + lane] = p * (dp[r] - delta);
            }
            __syncwarp();
            accumulate(dv, shared.p, shared.other2);
            accumulate(dk, shared.ds, shared.other1);
        }
    const size_t to = (place.first + offset) * a.dkv_stride + place.kv_head * TILE;
    store_rows(static_cast<float*>(a.dk) + to, a.dkv_stride, valid, dk, SCALE);
    store_rows(static_cast<float*>(a.dv) + to, a.dkv_stride, valid, dv, 1.0f);
}

// The tile's rows, 32 at a time.
template <class Args, unsigned MOST, void (*PASS)(const Args&, const Place&, const Shared&, unsigned)>
__device__ __forceinline__ void passes(const Args& a, const Place& place) {
    DYNAMIC_SHARED(float, base);
    const Shared shared(base);
#pragma unroll 1
    for (unsigned offset = 0; offset < MOST; offset += BLOCK_ROWS) PASS(a, place, shared, offset);
}

KERNEL(TILE_THREADS, attention_forward_f32, AttentionForward,
       (passes<AttentionForward, FORWARD_ROWS, attention_forward_f32_rows>(
           a, Place(a.tiles, a.heads, FORWARD_ROWS))));
KERNEL(TILE_THREADS, attention_queries_f32, AttentionBackward,
       (passes<AttentionBackward, TILE, attention_queries_f32_rows>(a, Place(a.tiles, a.heads))));
KERNEL(TILE_THREADS, attention_keys_f32, AttentionBackward,
       (passes<AttentionBackward, TILE, attention_keys_f32_rows>(a, Place(a.tiles, TILE))));
