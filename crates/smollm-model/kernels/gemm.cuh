// What the products of gemm.cu and gemm_rows.cu share: fetching what is there of a tile, and sums in
// plain f32.
#pragma once

#include "mma.cuh"

// Rows and columns that are there of the 64 x 64 (or 128 x 64) from (row, column) on.
template <class T, unsigned ROWS>
__device__ __forceinline__ void fetch_part(T* tile, const T* from, size_t stride, unsigned row,
                                           unsigned rows, unsigned column, unsigned columns) {
    const T* corner = from + size_t(row) * stride + column;
#pragma unroll
    for (unsigned i = 0; i < ROWS * 8 / TILE_THREADS; i++) {
        const unsigned at = threadIdx.x + i * TILE_THREADS, r = at / 8, chunk = at % 8;
        const bool real = row + r < rows && column + chunk * 8 < columns;
        cp_async_16(tile_at(tile, r, chunk), real ? corner + r * stride + chunk * 8 : from, real);
    }
}

constexpr unsigned EXACT_SIDE = 64;
constexpr unsigned EXACT_DEPTH = 16;
constexpr unsigned EXACT_PITCH = EXACT_SIDE + 4;  // floats: rows of four stay at 16-byte boundaries

// 64 rows x 16 columns of `from` as 16 rows of 64: to[column][row].
__device__ __forceinline__ void load_turned(float (*to)[EXACT_PITCH], const float* from,
                                            size_t stride, unsigned row, unsigned rows,
                                            unsigned column, unsigned columns) {
#pragma unroll
    for (unsigned i = 0; i < 2; i++) {
        const unsigned at = threadIdx.x + i * TILE_THREADS, r = at / 4, c = at % 4 * 4;
        float v[4] = {};
        if (row + r < rows && column + c < columns)
            load_floats<4>(from + size_t(row + r) * stride + column + c, v);
#pragma unroll
        for (unsigned j = 0; j < 4; j++) to[c + j][r] = v[j];
    }
}

// 16 rows x 64 columns of `from`, as they are.
__device__ __forceinline__ void load_straight(float (*to)[EXACT_PITCH], const float* from,
                                              size_t stride, unsigned row, unsigned rows,
                                              unsigned column, unsigned columns) {
#pragma unroll
    for (unsigned i = 0; i < 2; i++) {
        const unsigned at = threadIdx.x + i * TILE_THREADS, r = at / 16, c = at % 16 * 4;
        float v[4] = {};
        if (row + r < rows && column + c < columns)
            load_floats<4>(from + size_t(row + r) * stride + column + c, v);
        *reinterpret_cast<float4*>(&to[r][c]) = float4{v[0], v[1], v[2], v[3]};
    }
}

// A matrix whose rows are an operand's: 64 of them from `first` on, `count` in all.
struct ExactSide {
    const float* from;
    size_t stride;
    unsigned first, count;
};

// c[8][4] += the products of 8 rows of `x` with 4 rows (BACK: columns) of `w`, summed over k from
// `start` to `end`; a thread's place among 64 x 64 follows from its number.
template <bool BACK>
__device__ __forceinline__ void exact_sums(float (&c)[8][4], const ExactSide& x, const ExactSide& w,
                                           unsigned start, unsigned end) {
    SHARED_ARRAY(float, lefts, EXACT_DEPTH * EXACT_PITCH);
    SHARED_ARRAY(float, rights, EXACT_DEPTH * EXACT_PITCH);
    auto* left = reinterpret_cast<float(*)[EXACT_PITCH]>(lefts);
    auto* right = reinterpret_cast<float(*)[EXACT_PITCH]>(rights);
    const unsigned row = threadIdx.x / 16 * 8, column = threadIdx.x % 16 * 4;
    const unsigned padded = (end + 3) / 4 * 4;
    for (unsigned k = start; k < end; k += EXACT_DEPTH) {
        load_turned(left, x.from, x.stride, x.first, x.count, k, padded);
        if (BACK)
            load_straight(right, w.from, w.stride, k, end, w.first, w.count);
        else
            load_turned(right, w.from, w.stride, w.first, w.count, k, padded);
        __syncthreads();
#pragma unroll 4
        for (unsigned i = 0; i < EXACT_DEPTH; i++)
#pragma unroll
            for (unsigned r = 0; r < 8; r++)
#pragma unroll
                for (unsigned j = 0; j < 4; j++)
                    c[r][j] = fmaf(left[i][row + r], right[i][column + j], c[r][j]);
        __syncthreads();
    }
}
