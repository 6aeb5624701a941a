// What every kernel shares: element types, 16-byte accesses, reductions of a warp and of a block.
//
// The same sources are compiled by nvcc and, for tests without a GPU, by a C++ compiler through
// shim/shim.h. A kernel takes one struct of pointers and numbers by value; its twin in Rust
// (src/cuda/args.rs) has the same fields in the same order.
//
// T is float, __nv_bfloat16 or __half; arithmetic and accumulation are f32. Sums run in an order
// that depends on the row alone, so a row's bits do not depend on its batch; nothing is atomic.
#pragma once

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#define SHARED_ARRAY(type, name, count) __shared__ __align__(16) type name[count]
#define DYNAMIC_SHARED(type, name)                               \
    extern __shared__ __align__(128) unsigned char shared_bytes[]; \
    type* name = reinterpret_cast<type*>(shared_bytes)
#define KERNEL(threads, name, Args, call) \
    extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ Args a) { call; }
// With registers for `blocks` blocks on a multiprocessor, where ptxas left alone would rather spill.
#define KERNEL_ROOMY(threads, blocks, name, Args, call) \
    extern "C" __global__ void __launch_bounds__(threads, blocks) name(const __grid_constant__ Args a) { call; }
#else
#include "shim/shim.h"
#define KERNEL_ROOMY(threads, blocks, name, Args, call) KERNEL(threads, name, Args, call)
#endif

#define KERNEL_FLOATS(threads, name, Args, body)                            \
    KERNEL(threads, name##_f32, Args, body<float>(a));                      \
    KERNEL(threads, name##_bf16, Args, body<__nv_bfloat16>(a));             \
    KERNEL(threads, name##_f16, Args, body<__half>(a))

constexpr unsigned WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float to_float(__half x) { return __half2float(x); }

template <class T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
    return x;
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
    return __float2bfloat16(x);
}
template <>
__device__ __forceinline__ __half from_float<__half>(float x) {
    return __float2half(x);
}

// The value that storing `x` as T and loading it again gives.
template <class T>
__device__ __forceinline__ float rounded(float x) {
    return to_float(from_float<T>(x));
}

// Elements of T in 16 bytes.
template <class T>
constexpr unsigned PACK = 16 / sizeof(T);

template <class T>
union Bits16 {
    uint4 raw;
    T items[PACK<T>];
    __device__ Bits16() : raw() {}
};

template <class T>
__device__ __forceinline__ void unpack(const Bits16<T>& bits, float (&out)[PACK<T>]) {
#pragma unroll
    for (unsigned i = 0; i < PACK<T>; i++) out[i] = to_float(bits.items[i]);
}

// PACK<T> elements at a 16-byte boundary, of memory that no thread of this launch writes.
template <class T>
__device__ __forceinline__ void load16(const T* from, float (&out)[PACK<T>]) {
    Bits16<T> bits;
    bits.raw = __ldg(reinterpret_cast<const uint4*>(from));
    unpack<T>(bits, out);
}

// The same for memory that this thread may have written or will write.
template <class T>
__device__ __forceinline__ void load16_plain(const T* from, float (&out)[PACK<T>]) {
    Bits16<T> bits;
    bits.raw = *reinterpret_cast<const uint4*>(from);
    unpack<T>(bits, out);
}

template <class T>
__device__ __forceinline__ Bits16<T> pack(const float (&values)[PACK<T>]) {
    Bits16<T> bits;
#pragma unroll
    for (unsigned i = 0; i < PACK<T>; i++) bits.items[i] = from_float<T>(values[i]);
    return bits;
}

template <class T>
__device__ __forceinline__ void store16(T* to, const float (&values)[PACK<T>]) {
    __stwb(reinterpret_cast<uint4*>(to), pack<T>(values).raw);  // a plain assignment may be taken apart
}

// N floats at a 16-byte boundary.
template <unsigned N>
__device__ __forceinline__ void load_floats(const float* from, float (&out)[N]) {
    static_assert(N % 4 == 0, "whole 16-byte words");
#pragma unroll
    for (unsigned i = 0; i < N; i += 4) {
        const float4 word = __ldg(reinterpret_cast<const float4*>(from + i));
        out[i] = word.x;
        out[i + 1] = word.y;
        out[i + 2] = word.z;
        out[i + 3] = word.w;
    }
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (unsigned bits = WARP / 2; bits > 0; bits /= 2) x += __shfl_xor_sync(ALL_LANES, x, bits);
    return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (unsigned bits = WARP / 2; bits > 0; bits /= 2)
        x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, bits));
    return x;
}

__device__ __forceinline__ double warp_sum(double x) {
#pragma unroll
    for (unsigned bits = WARP / 2; bits > 0; bits /= 2) x += __shfl_xor_sync(ALL_LANES, x, bits);
    return x;
}

// Sum over a block of WARPS warps, given to every thread; `scratch` holds WARPS values.
template <unsigned WARPS, class F>
__device__ __forceinline__ F block_sum(F x, F* scratch) {
    x = warp_sum(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = x;
    __syncthreads();
    F total = 0;
#pragma unroll
    for (unsigned i = 0; i < WARPS; i++) total += scratch[i];
    return total;
}

template <unsigned WARPS>
__device__ __forceinline__ float block_max(float x, float* scratch) {
    x = warp_max(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = x;
    __syncthreads();
    float top = scratch[0];
#pragma unroll
    for (unsigned i = 1; i < WARPS; i++) top = fmaxf(top, scratch[i]);
    return top;
}

// Element `index` of the SplitMix64 stream `key`: src/ops/dropout.rs has the same.
__device__ __forceinline__ uint64_t mix(uint64_t key, uint64_t index) {
    uint64_t z = key + (index + 1) * 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

// What dropout does to element `index`: 0 or the factor `keep`. A threshold of 0 drops nothing.
__device__ __forceinline__ float dropout_factor(uint64_t key, uint64_t index, uint64_t threshold,
                                                float keep) {
    return (mix(key, index) >> 32) < threshold ? 0.0f : keep;
}
