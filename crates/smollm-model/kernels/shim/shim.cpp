// The scheduler of the host shim: see shim.h.
#include "shim.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

namespace shim {

Fiber* current;
dim3 block_index, block_size, grid_size;

struct Copy {
    void* to;
    const void* from;
    unsigned size, group;
};

// 32 lanes, and two rounds of slots: a lane can be one exchange ahead of another, never two.
struct Warp {
    Slot slots[2][32];
    unsigned round = 0, arrived = 0;
};

namespace {

enum class State { Ready, AtBarrier, InExchange, Done };

struct Thread : Fiber {
    ucontext_t context;
    State state;
    unsigned group;
    std::vector<Copy> copies;
};

constexpr size_t STACK = 128 << 10;

struct Registered {
    size_t args_size;
    Entry entry;
};
// A function's static: kernels register before main, in no fixed order of files.
std::map<std::string, Registered>& kernels() {
    static std::map<std::string, Registered> all;
    return all;
}

std::vector<Thread> threads;
std::vector<Warp> warps;
char* stacks;
size_t stack_count;
ucontext_t scheduler;
unsigned at_barrier;
const void* arguments;
Entry entry;
std::vector<unsigned char*> shared_blocks;
std::map<const void*, void*> declarations;
void* dynamic_block;

Thread& self() { return *static_cast<Thread*>(current); }

void switch_out(State state) {
    self().state = state;
    swapcontext(&self().context, &scheduler);
}

void body() {
    entry(arguments);
    self().state = State::Done;
}

// Exactly `size` bytes of NaN. Under AddressSanitizer the heap guards both ends.
void* poisoned(size_t size) {
    void* block = nullptr;
    if (posix_memalign(&block, 128, size ? size : 1)) abort();
    memset(block, 0xff, size);
    shared_blocks.push_back(static_cast<unsigned char*>(block));
    return block;
}

void release_shared() {
    for (unsigned char* block : shared_blocks) free(block);
    shared_blocks.clear();
    declarations.clear();
}

void prepare_stacks(size_t count) {
    if (count <= stack_count) return;
    if (stacks) munmap(stacks, stack_count * STACK);
    stacks = static_cast<char*>(mmap(nullptr, count * STACK, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (stacks == MAP_FAILED) {
        perror("shim: stacks");
        abort();
    }
    stack_count = count;
}

void start_block(unsigned count, unsigned shared_bytes) {
    release_shared();
    dynamic_block = poisoned(shared_bytes);
    at_barrier = 0;
    for (Warp& warp : warps) warp.round = warp.arrived = 0;
    for (unsigned i = 0; i < count; i++) {
        Thread& thread = threads[i];
        thread.thread = {i, 0, 0};
        thread.lane = i % 32;
        thread.warp = &warps[i / 32];
        thread.state = State::Ready;
        thread.group = 0;
        thread.copies.clear();
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = stacks + i * STACK;
        thread.context.uc_stack.ss_size = STACK;
        thread.context.uc_link = &scheduler;
        makecontext(&thread.context, body, 0);
    }
}

// Runs every fiber until all are done; false if they wait for each other for ever.
bool run_block() {
    for (;;) {
        bool moved = false, all_done = true;
        for (Thread& thread : threads) {
            if (thread.state == State::Ready) {
                current = &thread;
                swapcontext(&scheduler, &thread.context);
                moved = true;
            }
            all_done &= thread.state == State::Done;
        }
        if (all_done) return true;
        if (!moved) return false;
    }
}

std::string who_waits() {
    unsigned counts[4] = {};
    for (const Thread& thread : threads) counts[unsigned(thread.state)]++;
    char text[160];
    snprintf(text, sizeof text, "block (%u, %u, %u): %u threads wait at __syncthreads, %u in a warp operation, %u have left",
             block_index.x, block_index.y, block_index.z, counts[1], counts[2], counts[3]);
    return text;
}

}  // namespace

Kernel::Kernel(const char* name, size_t args_size, Entry entry) {
    kernels()[name] = {args_size, entry};
}

void block_barrier() {
    if (++at_barrier < block_size.x) return switch_out(State::AtBarrier);
    at_barrier = 0;
    for (Thread& thread : threads)
        if (thread.state == State::AtBarrier) thread.state = State::Ready;
}

const Slot* exchange(const void* data, size_t size) {
    Warp& warp = *current->warp;
    Slot* slots = warp.slots[warp.round % 2];
    memcpy(slots[current->lane].bytes, data, size);
    if (++warp.arrived < 32) {
        switch_out(State::InExchange);
        return slots;
    }
    warp.arrived = 0;
    warp.round++;
    unsigned first = unsigned(&warp - warps.data()) * 32;
    for (unsigned i = first; i < first + 32; i++)
        if (threads[i].state == State::InExchange) threads[i].state = State::Ready;
    return slots;
}

void* dynamic_shared() { return dynamic_block; }

void* static_shared(const void* declaration, size_t size) {
    void*& block = declarations[declaration];
    if (!block) block = poisoned(size);
    return block;
}

void copy_later(void* to, const void* from, unsigned size) {
    self().copies.push_back({to, from, size, self().group});
}

void commit_group() { self().group++; }

void wait_groups(unsigned still_pending) {
    std::vector<Copy> later;
    for (const Copy& copy : self().copies) {
        if (copy.group + still_pending >= self().group) {
            later.push_back(copy);
            continue;
        }
        memset(copy.to, 0, 16);
        if (copy.size) memcpy(copy.to, copy.from, copy.size);
    }
    self().copies.swap(later);
}

}  // namespace shim

// Runs kernel `name` over `grid` with `threads` threads a block. 0, or 1 with a message in `error`.
extern "C" int shim_launch(const char* name, const unsigned* grid, unsigned threads,
                           unsigned shared_bytes, const void* args, size_t args_size, char* error,
                           size_t error_size) {
    using namespace shim;
    auto found = kernels().find(name);
    if (found == kernels().end()) {
        snprintf(error, error_size, "no kernel of this name");
        return 1;
    }
    if (found->second.args_size != args_size || threads == 0 || threads % 32 || threads > 1024) {
        snprintf(error, error_size, "arguments of %zu bytes (the kernel takes %zu), %u threads",
                 args_size, found->second.args_size, threads);
        return 1;
    }
    entry = found->second.entry;
    arguments = args;
    grid_size = {grid[0], grid[1], grid[2]};
    block_size = {threads, 1, 1};
    shim::threads.resize(threads);
    warps.resize(threads / 32);
    prepare_stacks(threads);
    for (unsigned z = 0; z < grid[2]; z++)
        for (unsigned y = 0; y < grid[1]; y++)
            for (unsigned x = 0; x < grid[0]; x++) {
                block_index = {x, y, z};
                start_block(threads, shared_bytes);
                if (!run_block()) {
                    snprintf(error, error_size, "%s", who_waits().c_str());
                    return 1;
                }
            }
    release_shared();
    return 0;
}

// Every kernel's name, one a line.
extern "C" size_t shim_names(char* out, size_t size) {
    std::string all;
    for (const auto& kernel : shim::kernels()) all += kernel.first + "\n";
    if (all.size() <= size) memcpy(out, all.data(), all.size());
    return all.size();
}

// Memory that ends at a page nobody may touch (to within 15 bytes, for the alignment), all NaN.
extern "C" void* shim_alloc(size_t size) {
#ifdef __SANITIZE_ADDRESS__
    void* data = nullptr;
    if (posix_memalign(&data, 16, size ? size : 1)) abort();
#else
    size_t page = 4096, body = (size + page - 1) / page * page;
    char* base = static_cast<char*>(mmap(nullptr, body + 2 * page, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base == MAP_FAILED) abort();
    mprotect(base, page, PROT_NONE);
    mprotect(base + page + body, page, PROT_NONE);
    void* data = base + page + (body - size) / 16 * 16;
#endif
    memset(data, 0xff, size);
    return data;
}

extern "C" void shim_free(void* data, size_t size) {
#ifdef __SANITIZE_ADDRESS__
    (void)size;
    free(data);
#else
    size_t page = 4096, body = (size + page - 1) / page * page;
    munmap(static_cast<char*>(data) - (body - size) / 16 * 16 - page, body + 2 * page);
#endif
}
