"""Tensor cores, as they are imitated: operands lie as the PTX ISA says, and are rounded bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from minirnn.kernels.launching import options, source_of
from minirnn.testing import cuda_emulator
from minirnn.testing.cuda_emulator import EmulationError, emulated

pytestmark = pytest.mark.skipif(bool(cuda_emulator.why_not()), reason=cuda_emulator.why_not())

INSTRUCTIONS = """
extern "C" __global__ void rounded(
    const float *x,   // (n,)
    unsigned *y,      // (n,) receives x as tf32
    unsigned *z,      // (n / 2,) receives pairs of x as bf16
    int n)
{
    for (int k = threadIdx.x; k < n; k += 32) y[k] = tf32(x[k]);
    for (int k = threadIdx.x; k < n / 2; k += 32) z[k] = bf16_pair(x[2 * k], x[2 * k + 1]);
}

extern "C" __global__ void multiplied(
    const unsigned *a,  // (32, 4)
    const unsigned *b,  // (32, 2)
    float *sums,        // (32, 4)
    bool bf16)
{
    const unsigned *w = a + threadIdx.x * 4, *x = b + threadIdx.x * 2;
    float mine[4];
    for (int j = 0; j < 4; ++j) mine[j] = sums[threadIdx.x * 4 + j];
    const uint4 words = make_uint4(w[0], w[1], w[2], w[3]);
    if (bf16) mma_bf16(mine, words, make_uint2(x[0], x[1]));
    else mma_tf32(mine, words, make_uint2(x[0], x[1]));
    for (int j = 0; j < 4; ++j) sums[threadIdx.x * 4 + j] = mine[j];
}
"""

SPECIAL = [0.0, np.inf, -np.inf, 3.4028235e38, 1 + 2**-11, -(1 + 2**-11), 1 + 2**-8, 1 + 3 * 2**-8, 2 - 2**-23, 1e-30]


def rounded(x, bits, ties):
    """To so many significant bits, as float64."""
    fraction, exponent = np.frexp(x.astype(np.float64))
    y = np.ldexp(np.copysign(ties(np.ldexp(abs(fraction), bits)), fraction), exponent - bits)
    return np.where(abs(y) >= 2.0**128, np.copysign(np.inf, y), y)  # in float32 there is no more


def away(x):
    return np.floor(x + 0.5)


def test_numbers_are_rounded_to_tf32_and_to_bf16():
    x = np.random.default_rng(0).standard_normal(500).astype(np.float32)
    x = np.concatenate([x * np.float32(10) ** np.arange(-30, 30, 0.12).astype(np.float32), np.float32(SPECIAL)])
    y, z = np.empty(len(x), np.uint32), np.empty(len(x) // 2, np.uint32)
    instructions().run("rounded", (1,), (32,), [x, y, z, np.int32(len(x))])
    np.testing.assert_array_equal(y.view(np.float32), rounded(x, 11, away))
    np.testing.assert_array_equal((z.view(np.uint16).astype(np.uint32) << 16).view(np.float32), rounded(x, 8, np.rint))
    x[:2], y = np.nan, y[:2]
    instructions().run("rounded", (1,), (32,), [x[:2], y, z[:1], np.int32(2)])
    assert np.isnan(y.view(np.float32)).all() and not (y & 0x1FFF).any() and z[0] == 0x7FFF7FFF


def instructions():
    return emulated(source_of("tensor_cores.cuh") + INSTRUCTIONS, options("float"))


def dealt_out(A, B):
    """The words that lanes bring, as the PTX ISA has it: its formulas for the fragments of mma.m16n8k8 and m16n8k16."""
    bf16 = A.shape[1] == 16
    a, b = np.zeros((32, 4), np.uint32), np.zeros((32, 2), np.uint32)
    bits = lambda x: int(np.float32(x).view(np.uint32))  # noqa: E731
    for lane in range(32):
        group, member = lane >> 2, lane % 4
        if bf16:
            for i in range(8):
                row = group if i in (0, 1, 4, 5) else group + 8
                column = member * 2 + (i & 1) + (8 if i >= 4 else 0)
                a[lane, i // 2] |= np.uint32(bits(A[row, column]) >> 16 << 16 * (i & 1))
            for i in range(4):
                row = member * 2 + (i & 1) + (8 if i >= 2 else 0)
                b[lane, i // 2] |= np.uint32(bits(B[row, group]) >> 16 << 16 * (i & 1))
        else:
            for i in range(4):
                row = group if i in (0, 2) else group + 8
                a[lane, i] = bits(A[row, member if i < 2 else member + 4])
            for i in range(2):
                b[lane, i] = bits(B[member + 4 * i, group])
    return a, b


def places():
    """Row and column of each lane's four sums."""
    lane, i = np.arange(32)[:, None], np.arange(4)
    return np.where(i < 2, lane >> 2, (lane >> 2) + 8), lane % 4 * 2 + (i & 1)


@pytest.mark.parametrize("depth", [8, 16])
def test_a_warp_multiplies_what_its_lanes_bring(depth):
    random = np.random.default_rng(0)
    A, B = random.integers(-64, 64, (16, depth)).astype(np.float32), random.integers(-64, 64, (depth, 8))
    C = random.integers(-1000, 1000, (16, 8)).astype(np.float32)
    sums = np.ascontiguousarray(C[places()])
    instructions().run("multiplied", (1,), (32,), [*dealt_out(A, B), sums, np.bool_(depth == 16)])
    np.testing.assert_array_equal(sums, (C + A @ B)[places()])  # whole numbers: no sum is rounded


def test_sums_are_as_coarse_as_those_of_any_device():
    """Cut off behind 24 bits of the largest: of seven small products nothing is left, and of a larger one a little."""
    A, B, C = np.zeros((16, 8), np.float32), np.ones((8, 8)), np.zeros((16, 8), np.float32)
    A[:, 0], A[:, 1:] = 1, 2**-24
    A[1], A[2, 0], A[3] = -A[1], 0, [1, 2**-22, *[-(2**-24)] * 6]
    sums = C[places()]
    instructions().run("multiplied", (1,), (32,), [*dealt_out(A, B), sums, np.False_])
    assert dict(zip(places()[0].ravel(), sums.ravel(), strict=True)) == dict.fromkeys(range(16), 1.0) | {
        1: -1.0,
        2: 7 * 2**-24,
        3: 1 + 2**-22,
    }


def test_a_number_that_is_not_rounded_is_refused():
    a, b = dealt_out(np.full((16, 8), 0.1), np.ones((8, 8)))
    with pytest.raises(EmulationError, match="mma_tf32 was given a number that is not rounded to tf32"):
        instructions().run("multiplied", (1,), (32,), [a, b, np.zeros((32, 4), np.float32), np.False_])
