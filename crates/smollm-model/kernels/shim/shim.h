// CUDA's language on the CPU: enough of it to compile the kernels of this folder with a C++
// compiler and to run their grids, for tests on machines without a GPU.
//
// One block runs at a time. Its threads are fibers (ucontext) that switch where a real GPU's
// threads wait for each other: at __syncthreads and at the operations of a whole warp (shuffles,
// ldmatrix, mma.sync). A thread that waits for one that never comes is reported, not waited for.
// Shared memory holds NaN when a block starts. cp.async copies when its group is waited for, no
// earlier, so that a missing wait shows.
//
// Not modelled: the memory model (fibers see every write at once), timing, block-level parallelism.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

struct float2 {
    float x, y;
};
struct uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct dim3 {
    unsigned x, y, z;
};

// bfloat16: the upper half of an f32, rounded to nearest even.
struct __nv_bfloat16 {
    uint16_t bits;
};
inline float __bfloat162float(__nv_bfloat16 x) {
    uint32_t bits = uint32_t(x.bits) << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}
inline __nv_bfloat16 __float2bfloat16(float f) {
    uint32_t bits;
    memcpy(&bits, &f, 4);
    if (f != f) return {uint16_t((bits >> 16) | 0x40)};
    bits += 0x7fff + ((bits >> 16) & 1);
    return {uint16_t(bits >> 16)};
}
struct __half {
    _Float16 value;
};
inline float __half2float(__half x) { return float(x.value); }
inline __half __float2half(float f) { return {_Float16(f)}; }

namespace shim {

// What a lane hands to the other lanes of its warp.
struct alignas(16) Slot {
    unsigned char bytes[32];
};

struct Pending;
struct Warp;

struct Fiber {
    dim3 thread;
    unsigned lane;
    Warp* warp;
};

extern Fiber* current;
extern dim3 block_index, block_size, grid_size;

void block_barrier();
// Hands `data` to the warp, waits for all 32 lanes and returns their slots.
const Slot* exchange(const void* data, size_t size);
void* dynamic_shared();
// Shared memory of one declaration, filled with NaN when a block first asks for it.
void* static_shared(const void* declaration, size_t size);
void copy_later(void* to, const void* from, unsigned size);
void commit_group();
void wait_groups(unsigned still_pending);

using Entry = void (*)(const void* args);
struct Kernel {
    Kernel(const char* name, size_t args_size, Entry entry);
};

}  // namespace shim

#define threadIdx (shim::current->thread)
#define blockIdx (shim::block_index)
#define blockDim (shim::block_size)
#define gridDim (shim::grid_size)

inline void __syncthreads() { shim::block_barrier(); }
inline void __syncwarp() { shim::exchange("", 0); }

template <class T>
inline T __shfl_sync(unsigned, T value, unsigned lane) {
    T out;
    memcpy(&out, shim::exchange(&value, sizeof(T))[lane & 31].bytes, sizeof(T));
    return out;
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, unsigned bits) {
    return __shfl_sync(mask, value, shim::current->lane ^ bits);
}
template <class T>
inline T __ldg(const T* p) {
    return *p;
}
template <class T>
inline void __stwb(T* to, T value) {
    *to = value;
}
template <class T>
inline T min(T a, T b) {
    return b < a ? b : a;
}
template <class T>
inline T max(T a, T b) {
    return a < b ? b : a;
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __uint_as_float(unsigned x) {
    float f;
    memcpy(&f, &x, 4);
    return f;
}

// ---- The operations that are inline PTX in mma.cuh ----

namespace shim {

inline float widen(uint16_t bits, __nv_bfloat16) { return __bfloat162float({bits}); }
inline float widen(uint16_t bits, __half) {
    __half h;
    memcpy(&h, &bits, 2);
    return __half2float(h);
}
inline uint16_t part(uint32_t reg, int half) { return uint16_t(reg >> (16 * half)); }

}  // namespace shim

// Four 8x8 matrices of 2-byte elements; lane i gives the address of row i % 8 of matrix i / 8.
inline void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
    const shim::Slot* slots = shim::exchange(&row, sizeof row);
    unsigned g = shim::current->lane / 4, t = shim::current->lane % 4;
    for (int m = 0; m < 4; m++) {
        const char* from;
        memcpy(&from, slots[8 * m + g].bytes, sizeof from);
        memcpy(&r[m], from + 4 * t, 4);
    }
    shim::exchange("", 0);  // the rows may be overwritten only when every lane has read
}
inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) {
    const shim::Slot* slots = shim::exchange(&row, sizeof row);
    unsigned g = shim::current->lane / 4, t = shim::current->lane % 4;
    for (int m = 0; m < 4; m++) {
        r[m] = 0;
        for (unsigned i = 0; i < 2; i++) {
            const char* from;
            memcpy(&from, slots[8 * m + 2 * t + i].bytes, sizeof from);
            uint16_t bits;
            memcpy(&bits, from + 2 * g, 2);
            r[m] |= uint32_t(bits) << (16 * i);
        }
    }
    shim::exchange("", 0);
}

// c[16x8] += a[16x16] b[16x8], fragments laid out as PTX's mma.sync.m16n8k16.
template <class T>
inline void mma_m16n8k16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    uint32_t mine[6] = {a[0], a[1], a[2], a[3], b0, b1};
    const shim::Slot* slots = shim::exchange(mine, sizeof mine);
    unsigned g = shim::current->lane / 4, t = shim::current->lane % 4;
    for (unsigned i = 0; i < 4; i++) {
        unsigned upper = i / 2, column = 2 * t + i % 2;
        float sum = 0;
        for (unsigned k = 0; k < 16; k++) {
            uint32_t ra, rb;
            unsigned at = (k % 8) / 2, high = k / 8;
            memcpy(&ra, slots[4 * g + at].bytes + 4 * (upper + 2 * high), 4);
            memcpy(&rb, slots[4 * column + at].bytes + 4 * (4 + high), 4);
            sum += shim::widen(shim::part(ra, k % 2), T{}) * shim::widen(shim::part(rb, k % 2), T{});
        }
        c[i] += sum;
    }
}

// 16 bytes from global to shared memory, or 16 zero bytes.
inline void cp_async_16(void* shared, const void* global, bool real) {
    shim::copy_later(shared, global, real ? 16 : 0);
}
inline void cp_async_commit() { shim::commit_group(); }
template <int PENDING>
inline void cp_async_wait() {
    shim::wait_groups(PENDING);
}

#define SHARED_ARRAY(type, name, count)     \
    static const char name##_declaration{}; \
    type* name = static_cast<type*>(        \
        shim::static_shared(&name##_declaration, sizeof(type) * (count)))
#define DYNAMIC_SHARED(type, name) type* name = static_cast<type*>(shim::dynamic_shared())

// Makes a kernel known to `shim_launch` by its name.
#define KERNEL(threads, name, Args, call)                                              \
    static void name##_entry(const void* args) {                                       \
        const Args a = *static_cast<const Args*>(args);                                \
        call;                                                                          \
    }                                                                                  \
    static const shim::Kernel name##_kernel(#name, sizeof(Args), name##_entry)
