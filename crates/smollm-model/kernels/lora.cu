// The low-rank parts of a linear layer with adapters: what gemm.cu does not do, because dropout
// stands inside the product or the rank is far below a tile.
//
//   U  = D(X) Aᵀ                       lora_project, w = A  [rank, in]
//   Y += s U Bᵀ                        lora_expand,  w = Bᵀ [rank, out]
//   dU = s dY B                        lora_project, w = Bᵀ
//   dX += D(dU A)                      lora_expand,  w = A
//   dA += dUᵀ D(X), dBᵀ += s Uᵀ dY     lora_gradient, then lora_reduce
//
// X, Y and their gradients are T, everything of the adapter f32. B is kept transposed on the device:
// every read of a weight is then along the row, and files get it turned back. Several adapters that
// share X (q, k and v) stand stacked: U is [tokens, adapters · rank]; each has its own dropout
// stream, whose index is the element's place in X. The rank is a multiple of 8: the host pads A and
// B with zeros, and zeros they stay, since their gradients are zero. Token sums run over pieces of
// 64 tokens, added in order.
//
// Bytes: project: X rank/8 times (L2 after the first); expand: Y read and written once; gradient: X
// rank/8 times and tokens/64 partial sums. CPU reference: src/ops/linear.rs.
// Source: Hu et al. 2021.
#include "common.cuh"

// What a threshold of 0 turns off.
struct Mask {
    const uint64_t* keys;  // one an adapter
    uint64_t threshold;    // p · 2³²
    float keep;            // 1 / (1 − p)
};

struct LoraProject {
    const void* x;
    const float* w;
    float* u;
    Mask mask;
    unsigned tokens, width, x_stride, rank, adapters;
    float scale;
};

struct LoraExpand {
    const float *u, *w;
    void* y;
    Mask mask;
    unsigned tokens, width, y_stride, rank, adapters;
    float scale;
};

struct LoraGradient {
    const void* x;
    const float* u;
    float* partial;  // [pieces, adapters · rank, width]
    Mask mask;
    unsigned tokens, width, x_stride, rank, adapters;
};

struct LoraReduce {
    const float* partial;
    float* gradient;  // [adapters · rank, width], added to
    unsigned pieces, width, ranks;
    float scale;
};

constexpr unsigned LORA_THREADS = 128;
constexpr unsigned RANKS = 8;            // a thread's share of the rank
constexpr unsigned PROJECT_ROWS = 4;     // tokens of a warp
constexpr unsigned EXPAND_ROWS = 4;      // tokens of a thread
constexpr unsigned TOKEN_PIECE = 64;

template <unsigned N>
__device__ __forceinline__ void apply_mask(const Mask& mask, uint64_t key, uint64_t index,
                                           float (&v)[N]) {
    if (mask.threshold == 0) return;
#pragma unroll
    for (unsigned i = 0; i < N; i++) v[i] *= dropout_factor(key, index + i, mask.threshold, mask.keep);
}

__device__ __forceinline__ uint64_t key_of(const Mask& mask, unsigned adapter) {
    return mask.threshold == 0 ? 0 : mask.keys[adapter];
}

// Grid (tokens / 16, rank / 8, adapters).
template <class T>
__device__ void lora_project(const LoraProject& a) {
    constexpr unsigned N = PACK<T>;
    const unsigned lane = threadIdx.x % WARP, adapter = blockIdx.z, first_rank = blockIdx.y * RANKS;
    const unsigned token = (blockIdx.x * (LORA_THREADS / WARP) + threadIdx.x / WARP) * PROJECT_ROWS;
    const uint64_t key = key_of(a.mask, adapter);
    const float* w = a.w + size_t(adapter) * a.rank * a.width;
    float sums[PROJECT_ROWS][RANKS] = {};
    for (unsigned c = lane * N; c < a.width; c += WARP * N) {
        float x[PROJECT_ROWS][N];
#pragma unroll
        for (unsigned r = 0; r < PROJECT_ROWS; r++) {
            const size_t row = min(token + r, a.tokens - 1);
            load16(static_cast<const T*>(a.x) + row * a.x_stride + c, x[r]);
            apply_mask(a.mask, key, row * a.width + c, x[r]);
        }
#pragma unroll
        for (unsigned i = 0; i < RANKS; i++) {
            float b[N];
            load_floats<N>(w + size_t(first_rank + i) * a.width + c, b);
#pragma unroll
            for (unsigned r = 0; r < PROJECT_ROWS; r++)
#pragma unroll
                for (unsigned j = 0; j < N; j++) sums[r][i] = fmaf(x[r][j], b[j], sums[r][i]);
        }
    }
    float mine = 0;  // lane 8 r + i keeps the sum of token r and rank i
#pragma unroll
    for (unsigned r = 0; r < PROJECT_ROWS; r++)
#pragma unroll
        for (unsigned i = 0; i < RANKS; i++) {
            const float total = warp_sum(sums[r][i]);
            if (lane == r * RANKS + i) mine = total;
        }
    const unsigned row = token + lane / RANKS;
    if (row < a.tokens)
        a.u[size_t(row) * a.adapters * a.rank + adapter * a.rank + first_rank + lane % RANKS] =
            a.scale * mine;
}

// sums[r][·] += Σ_i u[token + r][i] w(i, ·) over ranks i..i + 4.
template <unsigned N>
__device__ __forceinline__ void expand_ranks(float (&sums)[EXPAND_ROWS][N],
                                             const float (&u)[EXPAND_ROWS][4],
                                             const LoraExpand& a, const float* w, unsigned i,
                                             unsigned c) {
#pragma unroll
    for (unsigned q = 0; q < 4; q++) {
        float b[N];
        load_floats<N>(w + size_t(i + q) * a.width + c, b);
#pragma unroll
        for (unsigned r = 0; r < EXPAND_ROWS; r++)
#pragma unroll
            for (unsigned j = 0; j < N; j++) sums[r][j] = fmaf(u[r][q], b[j], sums[r][j]);
    }
}

// Grid (width / (128 PACK), tokens / 4).
template <class T>
__device__ void lora_expand(const LoraExpand& a) {
    constexpr unsigned N = PACK<T>;
    const unsigned c = (blockIdx.x * LORA_THREADS + threadIdx.x) * N, token = blockIdx.y * EXPAND_ROWS;
    if (c >= a.width) return;
    float y[EXPAND_ROWS][N];
#pragma unroll
    for (unsigned r = 0; r < EXPAND_ROWS; r++)
        load16_plain(static_cast<T*>(a.y) + size_t(min(token + r, a.tokens - 1)) * a.y_stride + c, y[r]);
    for (unsigned adapter = 0; adapter < a.adapters; adapter++) {
        const float* w = a.w + size_t(adapter) * a.rank * a.width;
        const uint64_t key = key_of(a.mask, adapter);
        float sums[EXPAND_ROWS][N] = {};
        for (unsigned i = 0; i < a.rank; i += 4) {
            float u[EXPAND_ROWS][4];
#pragma unroll
            for (unsigned r = 0; r < EXPAND_ROWS; r++) {
                const size_t row = min(token + r, a.tokens - 1);
                load_floats<4>(a.u + (row * a.adapters + adapter) * a.rank + i, u[r]);
            }
            expand_ranks<N>(sums, u, a, w, i, c);
        }
#pragma unroll
        for (unsigned r = 0; r < EXPAND_ROWS; r++) {
            apply_mask(a.mask, key, uint64_t(token + r) * a.width + c, sums[r]);
#pragma unroll
            for (unsigned j = 0; j < N; j++) y[r][j] = fmaf(a.scale, sums[r][j], y[r][j]);
        }
    }
#pragma unroll
    for (unsigned r = 0; r < EXPAND_ROWS; r++)
        if (token + r < a.tokens)
            store16(static_cast<T*>(a.y) + size_t(token + r) * a.y_stride + c, y[r]);
}

// Grid (width / (128 PACK), pieces, adapters · rank / 8).
template <class T>
__device__ void lora_gradient(const LoraGradient& a) {
    constexpr unsigned N = PACK<T>;
    const unsigned c = (blockIdx.x * LORA_THREADS + threadIdx.x) * N;
    if (c >= a.width) return;
    const unsigned first_rank = blockIdx.z * RANKS, ranks = a.adapters * a.rank;
    const uint64_t key = key_of(a.mask, first_rank / a.rank);
    const unsigned start = blockIdx.y * TOKEN_PIECE, end = min(start + TOKEN_PIECE, a.tokens);
    float sums[RANKS][N] = {};
#pragma unroll 4
    for (unsigned token = start; token < end; token++) {
        float x[N], u[RANKS];
        load16(static_cast<const T*>(a.x) + size_t(token) * a.x_stride + c, x);
        apply_mask(a.mask, key, uint64_t(token) * a.width + c, x);
        load_floats<RANKS>(a.u + size_t(token) * ranks + first_rank, u);
#pragma unroll
        for (unsigned i = 0; i < RANKS; i++)
#pragma unroll
            for (unsigned j = 0; j < N; j++) sums[i][j] = fmaf(u[i], x[j], sums[i][j]);
    }
#pragma unroll
    for (unsigned i = 0; i < RANKS; i++) {
        float* to = a.partial + (size_t(blockIdx.y) * ranks + first_rank + i) * a.width + c;
#pragma unroll
        for (unsigned j = 0; j < N; j += 4)
            *reinterpret_cast<float4*>(to + j) =
                float4{sums[i][j], sums[i][j + 1], sums[i][j + 2], sums[i][j + 3]};
    }
}

// Grid (width / 128, ranks).
__device__ void lora_reduce(const LoraReduce& a) {
    const unsigned c = blockIdx.x * LORA_THREADS + threadIdx.x, rank = blockIdx.y;
    if (c >= a.width) return;
    float sum = 0;
#pragma unroll 4
    for (unsigned piece = 0; piece < a.pieces; piece++)
        sum += a.partial[(size_t(piece) * a.ranks + rank) * a.width + c];
    a.gradient[size_t(rank) * a.width + c] += a.scale * sum;
}

KERNEL_FLOATS(LORA_THREADS, lora_project, LoraProject, lora_project);
KERNEL_FLOATS(LORA_THREADS, lora_expand, LoraExpand, lora_expand);
KERNEL_FLOATS(LORA_THREADS, lora_gradient, LoraGradient, lora_gradient);
KERNEL(LORA_THREADS, lora_reduce_f32, LoraReduce, lora_reduce(a));
