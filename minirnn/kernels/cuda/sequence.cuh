// What the kernels for whole sequences share. Each runs all T steps in one launch, and each step is a product of one
// and the same matrix with B columns, those of the state or of its cotangent, and some arithmetic.
//
// Who owns what. The rows of the matrix are dealt out in fours, the quads, and the columns in tiles of eight. Block
// (g, p) of the grid keeps ``quads`` quads, from p * quads on, in shared memory from the first step to the last; a lane of
// a warp has one row and one column (product.cuh). Rows that the matrix lacks are zeros, and so are columns that the batch
// lacks: both are computed, not written.
//
// What travels. A step needs what all blocks of its columns made of the step before. There are two ways from one to the
// other, and a cell does not know which of them it is compiled for: through the output in global memory, for blocks
// anywhere on the device (grid_scope.cuh), or, if CLUSTER says how many, through the shared memory of a cluster
// (cluster_scope.cuh). Either brings the loop over steps:
//
//     each_step(steps, weights, tile, quads, K, B, stalled, start, out, finish)
//
// Step s multiplies the K rows of what step s - 1 made, and step 0 those at start, if that is not null. What it makes stands
// at out(s), rows of B columns, the first K of which travel. finish(s, quad, column, sum, send, row) does the rest of the
// step for one lane: sum() is its row of the product, and must be asked for in all threads or in none; row(k) is row k of
// its column in what is multiplied; send(k, x) makes x row k of its column in what the step makes. Why nobody waits for
// ever stands with each of the ways.
//
// How precise the product is the compiler is told: PRECISION is one of four. All but FLOAT32 ask for tensor cores.
#define FLOAT32 0
#define THREE_TF32 1
#define TF32 2
#define BF16 3
#ifndef PRECISION
#define PRECISION FLOAT32
#endif
#if PRECISION == FLOAT32
#include "product.cuh"
#else
#include "tensor_product.cuh"
#endif

#ifdef CLUSTER
#include "cluster_scope.cuh"
#else
#include "grid_scope.cuh"
#endif
