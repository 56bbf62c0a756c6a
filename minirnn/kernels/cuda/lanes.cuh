// What a cell is to a kernel that takes it from step to step and does not know which it is: each of rnn_lanes.cuh,
// lstm_lanes.cuh and gru_lanes.cuh has all that stands below, for the lanes of a warp. The compiler is told which is meant:
// CELL is Rnn, Lstm or Gru. What a quad and a tile are stands in product.cuh, which has to be included before.
//
// There. Rows of W_hh, and of W_fed where something is fed, are multiplied in quads.
//
//     UNITS                          of a quad: one that has four rows, or four that have one
//     row_of(quad, row, fed, H)      which row of W_hh, or W_fed, stands there; NONE if that is zeros
//     there(x, t, quad, column, sum, send, row)
//                                    all that a lane does in step t, with sum, send and row as in sequence.cuh
//
// Back. What travels are cotangents of the sums in (1), each in a block of H rows.
//
//     BLOCKS, OF_STATE               how many there are, and how many of them, the first, ask something of h_prev
//     row_of_cotangent(k, fed, H)    which row of W_hh, or W_fed, number k of them belongs to; NONE if to none
//     CELL lane(gates, states, dc, t, here, step)
//                                    a lane with one unit and one column, its place in (H, B) here. Its slopes wait for
//                                    nobody: so it is made before what is asked of h_t is known
//     lane.back(dh_t, send)          undoes (4) to (2): send(block, x) makes x its number in a block. Returns what h_prev is
//                                    given by other ways than W_hh
#define NONE -1

struct There {  // what a cell reads and writes, by the names of the kernels' parameters
    const float *a_xs, *b_hn;
    float *cs, *gates;
    int H, B;
};
