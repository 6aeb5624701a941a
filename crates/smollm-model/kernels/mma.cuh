// Warp-wide matrix operations on tiles of 64 rows x 64 two-byte elements in shared memory.
//
// A row is eight 16-byte chunks; chunk c of row r stands at place c ^ (r % 8), so that the eight
// rows which ldmatrix reads at once lie in different banks. Fragments are those of PTX's
// mma.sync.m16n8k16: lane = 4 g + t holds rows g and g + 8, columns 2 t and 2 t + 1 of each 8.
#pragma once

#include "common.cuh"

#ifdef __CUDACC__
__device__ __forceinline__ uint32_t shared_address(const void* p) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row)) : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row)) : "memory");
}
template <class T>
__device__ __forceinline__ void mma_m16n8k16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1);
template <>
__device__ __forceinline__ void mma_m16n8k16<__nv_bfloat16>(float (&c)[4], const uint32_t (&a)[4],
                                                            uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
__device__ __forceinline__ void mma_m16n8k16<__half>(float (&c)[4], const uint32_t (&a)[4],
                                                     uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// 16 bytes from global to shared memory, or 16 zero bytes.
__device__ __forceinline__ void cp_async_16(void* shared, const void* global, bool real) {
    const int bytes = real ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
                 "l"(global), "r"(bytes) : "memory");
}
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int PENDING>
__device__ __forceinline__ void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}
#endif

constexpr unsigned TILE = 64;               // rows of a tile, and features of a head
constexpr unsigned TILE_WORDS = TILE * TILE;  // elements
constexpr unsigned TILE_THREADS = 128;      // four warps

template <class T>
__device__ __forceinline__ T* tile_at(T* tile, unsigned row, unsigned chunk) {
    return tile + row * TILE + ((chunk ^ (row % 8)) * 8);
}

// Starts copying rows 0..valid of `from` (row stride in elements) into a tile; the rest is zeros.
template <class T, unsigned ROWS = TILE>
__device__ __forceinline__ void fetch_tile(T* tile, const T* from, size_t stride, unsigned valid) {
#pragma unroll
    for (unsigned i = 0; i < ROWS * 8 / TILE_THREADS; i++) {
        const unsigned at = threadIdx.x + i * TILE_THREADS, row = at / 8, chunk = at % 8;
        const bool real = row < valid;
        cp_async_16(tile_at(tile, row, chunk), from + (real ? row * stride + chunk * 8 : 0), real);
    }
}

// Rows first.. of a tile as the left operand, M times 16: four steps of 16 features each.
template <class T, unsigned M>
__device__ __forceinline__ void left_rows(uint32_t (&a)[M][4][4], T* tile, unsigned first) {
    const unsigned lane = threadIdx.x % WARP;
#pragma unroll
    for (unsigned m = 0; m < M; m++)
#pragma unroll
        for (unsigned k = 0; k < 4; k++)
            ldmatrix_x4(a[m][k], tile_at(tile, first + m * 16 + lane % 16, 2 * k + lane / 16));
}

// c[16 M x 8 N] += a * (rows first.. of the tile)ᵀ. What is read of the tile serves M products.
template <class T, unsigned M, unsigned N>
__device__ __forceinline__ void times_transposed(float (&c)[M][N][4], const uint32_t (&a)[M][4][4],
                                                 T* tile, unsigned first) {
    const unsigned lane = threadIdx.x % WARP;
#pragma unroll
    for (unsigned k = 0; k < 4; k++)
#pragma unroll
        for (unsigned n = 0; n < N; n += 2) {
            uint32_t b[4];
            const unsigned row = first + n * 8 + lane % 8 + lane / 16 * 8;
            ldmatrix_x4(b, tile_at(tile, row, 2 * k + lane / 8 % 2));
#pragma unroll
            for (unsigned m = 0; m < M; m++) {
                mma_m16n8k16<T>(c[m][n], a[m][k], b[0], b[1]);
                mma_m16n8k16<T>(c[m][n + 1], a[m][k], b[2], b[3]);
            }
        }
}

template <class T>
__device__ __forceinline__ uint32_t pack2(float low, float high) {
    union {
        T items[2];
        uint32_t bits;
    } pair = {{from_float<T>(low), from_float<T>(high)}};
    return pair.bits;
}

// c[16 M x 64] += p[16 M x 8 N] * (rows first..first + 8 N of the tile), p rounded to T.
template <class T, unsigned M, unsigned N>
__device__ __forceinline__ void times_rows(float (&c)[M][8][4], const float (&p)[M][N][4], T* tile,
                                           unsigned first) {
    const unsigned lane = threadIdx.x % WARP;
#pragma unroll
    for (unsigned k = 0; k < N; k += 2) {
        uint32_t a[M][4];
#pragma unroll
        for (unsigned m = 0; m < M; m++) {
            a[m][0] = pack2<T>(p[m][k][0], p[m][k][1]);
            a[m][1] = pack2<T>(p[m][k][2], p[m][k][3]);
            a[m][2] = pack2<T>(p[m][k + 1][0], p[m][k + 1][1]);
            a[m][3] = pack2<T>(p[m][k + 1][2], p[m][k + 1][3]);
        }
#pragma unroll
        for (unsigned n = 0; n < 8; n += 2) {
            uint32_t b[4];
            ldmatrix_x4_trans(b, tile_at(tile, first + k * 8 + lane % 16, n + lane / 16));
#pragma unroll
            for (unsigned m = 0; m < M; m++) {
                mma_m16n8k16<T>(c[m][n], a[m], b[0], b[1]);
                mma_m16n8k16<T>(c[m][n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

// Writes 16 rows x 64 features from row `base` on, scaled, as rows of `to` below `valid`, through the
// same rows of `tile`, so that the stores are 16 bytes wide.
template <class T>
__device__ __forceinline__ void write_rows(T* to, size_t stride, unsigned valid,
                                           const float (&c)[8][4], float upper, float lower, T* tile,
                                           unsigned base) {
    const unsigned lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    __syncwarp();
#pragma unroll
    for (unsigned n = 0; n < 8; n++) {
        *reinterpret_cast<uint32_t*>(tile_at(tile, base + g, n) + 2 * t) =
            pack2<T>(c[n][0] * upper, c[n][1] * upper);
        *reinterpret_cast<uint32_t*>(tile_at(tile, base + g + 8, n) + 2 * t) =
            pack2<T>(c[n][2] * lower, c[n][3] * lower);
    }
    __syncwarp();
#pragma unroll
    for (unsigned i = 0; i < 4; i++) {
        const unsigned row = base + i * 4 + lane / 8, chunk = lane % 8;
        if (row < valid)
            *reinterpret_cast<uint4*>(to + row * stride + chunk * 8) =
                *reinterpret_cast<const uint4*>(tile_at(tile, row, chunk));
    }
}
