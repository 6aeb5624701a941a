// Kernels with one fault each: the tests of the shim itself. No GPU ever sees them.
struct Faulty {
    float* x;
    unsigned n;
};

// Half of the block waits at a barrier that the other half never reaches.
KERNEL(64, fault_barrier_f32, Faulty, {
    if (threadIdx.x < 32) __syncthreads();
    a.x[0] = 1;
});
// One element past the end.
KERNEL(32, fault_write_past_end_f32, Faulty, a.x[a.n + threadIdx.x] = 1);
// The last element is left as it was.
KERNEL(32, fault_unwritten_f32, Faulty, {
    for (unsigned i = threadIdx.x; i + 1 < a.n; i += 32) a.x[i] = 1;
});
// Shared memory that nobody filled.
KERNEL(32, fault_shared_f32, Faulty, {
    SHARED_ARRAY(float, unset, 32);
    for (unsigned i = threadIdx.x; i < a.n; i += 32) a.x[i] = unset[i % 32];
});
// A copy whose group nobody waits for.
KERNEL(32, fault_copy_f32, Faulty, {
    SHARED_ARRAY(float, copied, 128);
    cp_async_16(copied + 4 * threadIdx.x, a.x, true);
    cp_async_commit();
    __syncwarp();
    for (unsigned i = threadIdx.x; i < a.n; i += 32) a.x[i] = copied[i % 128];
});
