// Products with frozen weights W [outputs, inputs], rows of each matrix 16 bytes at a time.
//
//   product:       Y  = X Wᵀ     Y_ij = Σ_k x_ik w_jk
//   product_back:  dX = dY W     dX_ij = Σ_k dy_ik w_kj
//
// Rows of X and Y stand `x_stride` and `y_stride` apart; a width that is no multiple of 16 bytes is
// padded up to one, where the left operand holds zeros and the result gets zeros.
//
// bf16 and f16: a block takes 128 x 128 results in steps of 64 of the sum, double-buffered through
// cp.async; its four warps hold 64 x 64 each, mma.sync.m16n8k16 with f32 accumulators. f32: 64 x 64
// results, 8 x 4 a thread, in plain FMA: the exact path. An element's sum runs over k in one order,
// whatever the other rows: the same bits in any batch.
//
// Blocks are numbered in groups of 16 rows of blocks, so that those which run together share both
// operands in L2.
//
// FLOPs: 2 rows·inputs·outputs. Bytes: X, W and Y once at the least. CPU reference: the plain sum.
#include "gemm.cuh"

struct MatrixProduct {
    const void *x, *w;
    void* y;
    unsigned rows, width, inner;         // Y is [rows, width], the sum runs over `inner`
    unsigned x_stride, w_stride, y_stride;  // elements from row to row
};

constexpr unsigned BLOCK = 128;  // rows and columns of a block's results
constexpr unsigned GROUP = 16;
constexpr unsigned WARP_SIDE = 64;

// Which results a block computes.
struct BlockPlace {
    unsigned row, column;

    __device__ BlockPlace(const MatrixProduct& a, unsigned side) {
        const unsigned rows = (a.rows + side - 1) / side, columns = (a.width + side - 1) / side;
        const unsigned group = blockIdx.x / (GROUP * columns), first = group * GROUP;
        const unsigned height = min(rows - first, GROUP), at = blockIdx.x - first * columns;
        row = (first + at % height) * side;
        column = at / height * side;
    }
};

// One step of 16 of the sum: c[64 x 64] += (rows own_row.. of `left`) times 64 columns of the right
// operand, which are rows of its tile (BACK false) or columns of it (BACK true).
template <class T, bool BACK>
__device__ __forceinline__ void step16(float (&c)[4][8][4], T* left, T* right, unsigned own_row,
                                       unsigned k) {
    const unsigned lane = threadIdx.x % WARP;
    uint32_t a[4][4];
#pragma unroll
    for (unsigned m = 0; m < 4; m++)
        ldmatrix_x4(a[m], tile_at(left, own_row + m * 16 + lane % 16, 2 * k + lane / 16));
#pragma unroll
    for (unsigned n = 0; n < 8; n += 2) {
        uint32_t b[4];
        if (BACK)
            ldmatrix_x4_trans(b, tile_at(right, k * 16 + lane % 16, n + lane / 16));
        else
            ldmatrix_x4(b, tile_at(right, n * 8 + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
#pragma unroll
        for (unsigned m = 0; m < 4; m++) {
            mma_m16n8k16<T>(c[m][n], a[m], b[0], b[1]);
            mma_m16n8k16<T>(c[m][n + 1], a[m], b[2], b[3]);
        }
    }
}

// 64 x 64 results, 16 rows at a time, through this warp's own 64 rows of `tile`.
template <class T>
__device__ __forceinline__ void write_results(const MatrixProduct& a, const float (&c)[4][8][4], T* tile,
                                              unsigned row, unsigned column) {
    const unsigned lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
#pragma unroll
    for (unsigned m = 0; m < 4; m++)
#pragma unroll
        for (unsigned n = 0; n < 8; n++)
#pragma unroll
            for (unsigned r = 0; r < 2; r++)
                *reinterpret_cast<uint32_t*>(tile_at(tile, m * 16 + g + r * 8, n) + 2 * t) =
                    pack2<T>(c[m][n][2 * r], c[m][n][2 * r + 1]);
    __syncwarp();
#pragma unroll 4
    for (unsigned i = 0; i < 16; i++) {
        const unsigned r = i * 4 + lane / 8, chunk = lane % 8, at = column + chunk * 8;
        if (row + r < a.rows && at < a.width)
            *reinterpret_cast<uint4*>(static_cast<T*>(a.y) + size_t(row + r) * a.y_stride + at) =
                *reinterpret_cast<const uint4*>(tile_at(tile, r, chunk));
    }
}

template <class T, bool BACK>
__device__ void product(const MatrixProduct& a) {
    DYNAMIC_SHARED(T, tiles);  // [buffer][128 x 64 left | right]
    const BlockPlace place(a, BLOCK);
    const unsigned warp = threadIdx.x / WARP, own_row = warp / 2 * WARP_SIDE, own_column = warp % 2;
    const T *x = static_cast<const T*>(a.x), *w = static_cast<const T*>(a.w);
    const unsigned padded = (a.inner + 7) / 8 * 8;
    const auto fetch = [&](unsigned k, unsigned buffer) {
        T* left = tiles + buffer * 4 * TILE_WORDS;
        T* right = left + 2 * TILE_WORDS;
        fetch_part<T, BLOCK>(left, x, a.x_stride, place.row, a.rows, k, padded);
        if (BACK) {
            fetch_part<T, TILE>(right, w, a.w_stride, k, a.inner, place.column, a.width);
            fetch_part<T, TILE>(right + TILE_WORDS, w, a.w_stride, k, a.inner,
                                place.column + TILE, a.width);
        } else {
            fetch_part<T, BLOCK>(right, w, a.w_stride, place.column, a.width, k, padded);
        }
        cp_async_commit();
    };
    float c[4][8][4] = {};
    const unsigned steps = (a.inner + TILE - 1) / TILE;
    fetch(0, 0);
    for (unsigned step = 0; step < steps; step++) {
        if (step + 1 < steps)
            fetch((step + 1) * TILE, (step + 1) % 2);
        else
            cp_async_commit();
        cp_async_wait<1>();
        __syncthreads();
        T* left = tiles + step % 2 * 4 * TILE_WORDS;
        T* right = left + (2 + own_column) * TILE_WORDS;
#pragma unroll
        for (unsigned k = 0; k < 4; k++) step16<T, BACK>(c, left, right, own_row, k);
        __syncthreads();
    }
    write_results(a, c, tiles + warp * TILE_WORDS, place.row + own_row,
                  place.column + own_column * WARP_SIDE);
}

template <bool BACK>
__device__ void exact_product(const MatrixProduct& a) {
    const BlockPlace place(a, EXACT_SIDE);
    float c[8][4] = {};
    exact_sums<BACK>(c, {static_cast<const float*>(a.x), a.x_stride, place.row, a.rows},
                     {static_cast<const float*>(a.w), a.w_stride, place.column, a.width}, 0, a.inner);
    const unsigned row = threadIdx.x / 16 * 8, column = threadIdx.x % 16 * 4;
    const unsigned at = place.column + column;
    float* y = static_cast<float*>(a.y);
#pragma unroll
    for (unsigned r = 0; r < 8; r++)
        if (place.row + row + r < a.rows && at < a.width)
            store16(y + size_t(place.row + row + r) * a.y_stride + at, c[r]);
}

KERNEL(TILE_THREADS, product_bf16, MatrixProduct, (product<__nv_bfloat16, false>(a)));
KERNEL(TILE_THREADS, product_f16, MatrixProduct, (product<__half, false>(a)));
KERNEL(TILE_THREADS, product_f32, MatrixProduct, (exact_product<false>(a)));
KERNEL(TILE_THREADS, product_back_bf16, MatrixProduct, (product<__nv_bfloat16, true>(a)));
KERNEL(TILE_THREADS, product_back_f16, MatrixProduct, (product<__half, true>(a)));
KERNEL(TILE_THREADS, product_back_f32, MatrixProduct, (exact_product<true>(a)));
