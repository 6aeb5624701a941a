// Cross-entropy of one chunk of logits, the gradient written over them.
//
//   nll_i = log Σ_j exp z_ij − z_i[t_i],   dz_ij = scale (softmax(z_i)_j − [j = t_i])
//
// The product with lm_head's weight is gemm.cu's, before and after; `scale` is 1 / supervised
// tokens of the whole window. Rows stand `stride` apart (a multiple of 16 bytes); columns from
// vocab to stride become 0, so that a product over padded columns adds nothing.
//
// Bytes: 3 rows·vocab·sizeof(T) with the gradient (the second read comes from L2 when the chunk
// fits in it), 1 without. CPU reference: src/ops/cross_entropy.rs.
#include "common.cuh"

struct CrossEntropy {
    void* logits;
    const unsigned* targets;
    float* nll;
    unsigned rows, vocab, stride, with_gradient;
    float scale;
};

constexpr unsigned ENTROPY_THREADS = 512;

template <class T>
__device__ void cross_entropy(const CrossEntropy& a) {
    SHARED_ARRAY(float, scratch, ENTROPY_THREADS / WARP);
    T* z = static_cast<T*>(a.logits) + size_t(blockIdx.x) * a.stride;
    constexpr unsigned N = PACK<T>, STEP = ENTROPY_THREADS * N;
    const unsigned target = a.targets[blockIdx.x], first = threadIdx.x * N;
    float v[N], top = -INFINITY, sum = 0;
    const float at_target = to_float(z[target]);
#pragma unroll 4
    for (unsigned j = first; j < a.vocab; j += STEP) {
        load16_plain(z + j, v);
        float local = -INFINITY;
#pragma unroll
        for (unsigned i = 0; i < N; i++) {
            if (j + i >= a.vocab) v[i] = -INFINITY;
            local = fmaxf(local, v[i]);
        }
        if (local > top) {
            sum *= expf(top - local);
            top = local;
        }
#pragma unroll
        for (unsigned i = 0; i < N; i++) sum += expf(v[i] - top);
    }
    const float highest = block_max<ENTROPY_THREADS / WARP>(top, scratch);
    // A thread without a column has a top of −∞ and a sum of 0.
    sum = block_sum<ENTROPY_THREADS / WARP>(sum * expf(top - highest), scratch);
    if (threadIdx.x == 0) a.nll[blockIdx.x] = highest - at_target + logf(sum);
    if (!a.with_gradient) return;
    const float inverse = a.scale / sum;
#pragma unroll 4
    for (unsigned j = first; j < a.stride; j += STEP) {
        load16_plain(z + j, v);
#pragma unroll
        for (unsigned i = 0; i < N; i++) {
            const float p = expf(v[i] - highest) * inverse;
            v[i] = j + i >= a.vocab ? 0.0f : p - (j + i == target ? a.scale : 0.0f);
        }
        store16(z + j, v);
    }
}

KERNEL_FLOATS(ENTROPY_THREADS, cross_entropy, CrossEntropy, cross_entropy);
