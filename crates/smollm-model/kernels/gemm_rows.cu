// Products of a few rows with frozen weights W [width, inner]: a decoding step, where every weight is
// read once and does little.
//
//   Y = X Wᵀ,   Y_ij = Σ_k x_ik w_jk
//
// So that all of a GPU reads, the sum over k is cut into `splits` pieces of `piece` terms, which the
// host derives from W's size alone; the pieces are then added in order. A row's bits depend on
// neither the number of rows nor, among GPUs of one kind, the device. With one piece the result is written at once.
//
// bf16 and f16: a block takes 64 columns of one piece and up to 64 rows, in steps of 64 terms, four
// of them on their way through cp.async; each warp holds 16 columns of all rows, mma.sync.m16n8k16
// with f32 accumulators. Rows that are not there cost no product beyond the last 16. f32: gemm.cuh.
//
// Bytes: inner·width·sizeof(T) and little else: this kernel is bound by memory. CPU reference: the plain sum.
#include "gemm.cuh"

struct RowsProduct {
    const void *x, *w;
    void* y;         // [rows, y_stride]
    float* partial;  // [splits, rows, width], for more than one piece
    unsigned rows, width, inner, piece, splits, y_stride;
};

struct RowsSum {
    const float* partial;
    void* y;
    unsigned rows, width, splits, y_stride;
};

constexpr unsigned STAGES = 4;
constexpr unsigned ROWS_SIDE = 64;
constexpr unsigned SUM_ROWS_THREADS = 256;

// Grid (width / 64, splits, rows / 64).
template <class T>
__device__ void product_rows(const RowsProduct& a) {
    DYNAMIC_SHARED(T, tiles);  // [stage][64 rows of X | 64 rows of W], 64 terms each
    const unsigned lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, g = lane / 4, t = lane % 4;
    const unsigned column = blockIdx.x * ROWS_SIDE, row = blockIdx.z * ROWS_SIDE;
    const unsigned start = blockIdx.y * a.piece, end = min(start + a.piece, a.inner);
    const unsigned steps = (end - start + TILE - 1) / TILE, there = (min(a.rows - row, ROWS_SIDE) + 15) / 16;
    const auto fetch = [&](unsigned step) {
        if (step < steps) {
            T* to = tiles + step % STAGES * 2 * TILE_WORDS;
            const unsigned k = start + step * TILE;
            fetch_part<T, TILE>(to, static_cast<const T*>(a.x), a.inner, row, a.rows, k, end);
            fetch_part<T, TILE>(to + TILE_WORDS, static_cast<const T*>(a.w), a.inner, column, a.width, k, end);
        }
        cp_async_commit();
    };
    float c[4][2][4] = {};
    for (unsigned step = 0; step + 1 < STAGES; step++) fetch(step);
    for (unsigned step = 0; step < steps; step++) {
        fetch(step + STAGES - 1);
        cp_async_wait<STAGES - 1>();
        __syncthreads();
        T* left = tiles + step % STAGES * 2 * TILE_WORDS;
        T* right = left + TILE_WORDS;
#pragma unroll
        for (unsigned k = 0; k < 4; k++) {
            uint32_t b[4];
            ldmatrix_x4(b, tile_at(right, warp * 16 + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
#pragma unroll
            for (unsigned m = 0; m < 4; m++) {
                if (m >= there) continue;  // the same for all threads of the block
                uint32_t x[4];
                ldmatrix_x4(x, tile_at(left, m * 16 + lane % 16, 2 * k + lane / 16));
                mma_m16n8k16<T>(c[m][0], x, b[0], b[1]);
                mma_m16n8k16<T>(c[m][1], x, b[2], b[3]);
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (unsigned m = 0; m < 4; m++)
#pragma unroll
        for (unsigned n = 0; n < 2; n++)
#pragma unroll
            for (unsigned r = 0; r < 2; r++) {
                const unsigned at = row + m * 16 + g + r * 8, j = column + warp * 16 + n * 8 + 2 * t;
                if (at >= a.rows || j >= a.width) continue;
                const float low = c[m][n][2 * r], high = c[m][n][2 * r + 1];
                if (a.splits == 1) {
                    T* to = static_cast<T*>(a.y) + size_t(at) * a.y_stride + j;
                    *reinterpret_cast<uint32_t*>(to) = pack2<T>(low, high);
                } else {
                    float* to = a.partial + (size_t(blockIdx.y) * a.rows + at) * a.width + j;
                    to[0] = low;
                    if (j + 1 < a.width) to[1] = high;
                }
            }
}

__device__ void product_rows_exact(const RowsProduct& a) {
    const unsigned column = blockIdx.x * ROWS_SIDE, row = blockIdx.z * ROWS_SIDE;
    const unsigned start = blockIdx.y * a.piece, end = min(start + a.piece, a.inner);
    float c[8][4] = {};
    exact_sums<false>(c, {static_cast<const float*>(a.x), a.inner, row, a.rows},
                      {static_cast<const float*>(a.w), a.inner, column, a.width}, start, end);
    const unsigned at = row + threadIdx.x / 16 * 8, j = column + threadIdx.x % 16 * 4;
    float* to = a.splits == 1 ? static_cast<float*>(a.y)
                              : a.partial + size_t(blockIdx.y) * a.rows * a.width;
    const unsigned stride = a.splits == 1 ? a.y_stride : a.width;
#pragma unroll
    for (unsigned r = 0; r < 8; r++)
#pragma unroll
        for (unsigned i = 0; i < 4; i++)
            if (at + r < a.rows && j + i < a.width) to[size_t(at + r) * stride + j + i] = c[r][i];
}

// A thread an element.
template <class T>
__device__ void sum_rows(const RowsSum& a) {
    const size_t at = size_t(blockIdx.x) * SUM_ROWS_THREADS + threadIdx.x, count = size_t(a.rows) * a.width;
    if (at >= count) return;
    float sum = 0;
#pragma unroll 4
    for (unsigned i = 0; i < a.splits; i++) sum += a.partial[i * count + at];
    static_cast<T*>(a.y)[at / a.width * a.y_stride + at % a.width] = from_float<T>(sum);
}

KERNEL(TILE_THREADS, product_rows_bf16, RowsProduct, product_rows<__nv_bfloat16>(a));
KERNEL(TILE_THREADS, product_rows_f16, RowsProduct, product_rows<__half>(a));
KERNEL(TILE_THREADS, product_rows_f32, RowsProduct, product_rows_exact(a));
KERNEL_FLOATS(SUM_ROWS_THREADS, sum_rows, RowsSum, sum_rows);
