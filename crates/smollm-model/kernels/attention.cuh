// Arguments and coordinates of the attention kernels.
#pragma once

#include "mma.cuh"

// Up to 64 (forward: 128) consecutive rows of one sequence; the host lists them (heaviest first).
struct SequenceTile {
    unsigned start;   // first token of the sequence in the batch
    unsigned length;  // tokens of the sequence
    unsigned row;     // first row of the tile within the sequence, a multiple of that
    unsigned unused;
};

struct Heads {
    unsigned query, key_value;
};

struct AttentionForward {
    const void *q, *k, *v;
    void* out;
    float* lse;  // [query heads, tokens], natural logarithm
    const SequenceTile* tiles;
    Heads heads;
    unsigned tile_count, tokens, q_stride, kv_stride, out_stride;
};

struct AttentionDelta {
    const void *out, *dout;
    float* delta;  // [query heads, tokens]
    unsigned heads, tokens, stride;
};

struct AttentionBackward {
    const void *q, *k, *v, *dout;
    const float *lse, *delta;
    void *dq, *dk, *dv;
    const SequenceTile* tiles;
    Heads heads;
    unsigned tile_count, tokens, q_stride, kv_stride, dout_stride, dq_stride, dkv_stride;
};

constexpr unsigned FORWARD_ROWS = 128;
constexpr float SCALE = 0.125f;  // 1 / sqrt(64)
constexpr float LOG2_E = 1.4426950408889634f;
constexpr float SCALE_LOG2 = SCALE * LOG2_E;

// Where a block of the grid (tiles, query heads) stands.
struct Place {
    unsigned start, length, row, rows, head, kv_head;
    size_t first;  // token of the first row

    __device__ Place(const SequenceTile* tiles, const Heads& heads, unsigned most = TILE)
        : Place(tiles, most) {
        kv_head = head / (heads.query / heads.key_value);
    }
    // With the key-value head as the grid's second coordinate.
    __device__ Place(const SequenceTile* tiles, unsigned most) {
        const SequenceTile tile = tiles[blockIdx.x];
        start = tile.start;
        length = tile.length;
        row = tile.row;
        rows = min(length - row, most);
        first = size_t(start) + row;
        head = kv_head = blockIdx.y;
    }
};
