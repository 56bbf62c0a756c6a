"""Products by a kernel of one's own: its source under an emulator against NumPy, and which products it takes."""

from __future__ import annotations

import numpy as np
import pytest

from minirnn import rules
from minirnn.arrays import asarray, to_numpy
from minirnn.kernels import cupy as kernels
from minirnn.kernels.launching import options, source_of
from minirnn.kernels.products import DEPTH, EACH, SIDE, _each, own_products
from minirnn.testing import counting, cuda_emulator, strict_cupy
from minirnn.testing.cuda_emulator import emulated
from minirnn.testing.strict_cupy import linalg

emulating = pytest.mark.skipif(bool(cuda_emulator.why_not()), reason=cuda_emulator.why_not())

# many of a, many of b, M, N, K: one number, a tile, more than one and less than a whole, slabs that end in between
SIZES = [(1, 1, 1, 1, 1), (1, 1, 16, 16, 16), (3, 3, 17, 5, 33), (1, 4, 18, 20, 7), (2, 1, 3, 34, 16), (1, 1, 5, 3, 0)]


def factors(sizes, dtype):
    random, (a_many, b_many, M, N, K) = np.random.default_rng(0), sizes
    shapes = (a_many, M, K), (b_many, K, N), (max(a_many, b_many), M, N)
    return [random.standard_normal(shape).astype(dtype) for shape in shapes]


def run(a, b, c, *, a_turned=False, b_turned=False, add=False, each=1, most=2, **told):
    """What the emulated kernel makes of c, with at most so many blocks for many products."""
    (many, M, N), K = c.shape, a.shape[-1]
    lying = [np.ascontiguousarray(m.swapaxes(1, 2) if turned else m) for m, turned in ((a, a_turned), (b, b_turned))]
    real, tile, c = {"f": "float", "d": "double"}[c.dtype.char], SIDE * each, c.copy()
    flags = map(np.bool_, (a_turned, b_turned, len(a) > 1, len(b) > 1, add))
    emulated(source_of("products.cu"), options(real, f"EACH={each}")).run(
        "matmul",
        (-(-M // tile) * -(-N // tile), min(many, most)),
        (SIDE, SIDE),
        [*lying, c, *flags, *map(np.int64, (many, M, N, K))],
        shared=2 * DEPTH * (tile + 1) * c.itemsize,
        **told,
    )
    return c


@emulating
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_every_product_under_some_schedules(sizes, add):
    a, b, c = factors(sizes, np.float64)
    expected = np.matmul(a, b) + (c if add else 0)
    for seed, (a_turned, b_turned) in enumerate([(False, False), (True, False), (False, True), (True, True)]):
        found = run(a, b, c, a_turned=a_turned, b_turned=b_turned, add=add, seed=seed)
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-13)


@emulating
def test_larger_tiles_and_single_precision():
    a, b, c = factors((2, 2, 70, 65, 130), np.float32)
    exact = np.matmul(a.astype(np.float64), b.astype(np.float64))
    found = run(a, b, c, each=EACH[0], b_turned=True)
    assert np.linalg.norm(found - exact) < 3e-7 * np.linalg.norm(exact)


@emulating
@pytest.mark.parametrize("left_out", [0, 1])
def test_it_needs_each_of_its_barriers(left_out):
    a, b, c = factors((1, 1, 17, 16, 50), np.float64)
    right = [np.allclose(run(a, b, c, without=left_out, seed=seed), np.matmul(a, b)) for seed in range(12)]
    assert not all(right)


def lying(random, *shape):
    return asarray(random.standard_normal(shape).astype(np.float32), backend="cupy")


def test_products_of_arrays_however_they_lie():
    random = np.random.default_rng(1)
    with strict_cupy():
        whole = lying(random, 6, 5, 4)
        pairs = [
            (whole[0], lying(random, 4, 3)),  # matrices
            (whole[0].T, lying(random, 5, 3)),  # turned
            (whole[0], lying(random, 6, 4, 2)),  # one with many
            (whole, lying(random, 4, 2)),  # many with one
            (whole[::2].swapaxes(1, 2), whole[1::2]),  # neither as it lies nor turned: copied
            (lying(random, 2, 1, 5, 4), lying(random, 3, 4, 2)),  # axes that broadcast
            (whole[0, :, :0], lying(random, 0, 2)),  # an empty sum
        ]
        for x, y in pairs:
            expected = np.matmul(to_numpy(x), to_numpy(y))
            out = lying(random, *expected.shape)
            aside = lying(random, *expected.shape[:-2], *expected.shape[:-3:-1]).swapaxes(-1, -2)
            with own_products(), counting() as counts:
                found = kernels.matrix_product(x, y)
                assert kernels.matrix_product(x, y, out=out) is out
                assert kernels.matrix_product(x, y, out=aside) is aside
            assert counts.syncs == 0
            for z in (found, out, aside):
                np.testing.assert_allclose(to_numpy(z), expected, rtol=1e-5, atol=1e-6)


def test_large_products_take_large_tiles_and_small_ones_leave_no_processor_idle(monkeypatch):
    with strict_cupy() as cp:
        monkeypatch.setitem(cp.cuda.Device.attributes, "MultiProcessorCount", 132)
        found = {sizes: _each(*sizes, cp) for sizes in [(2048, 6400, 1), (512, 16, 1), (512, 128, 1), (512, 128, 50)]}
    assert list(found.values()) == [4, 1, 1, 4]


def test_what_the_kernel_does_not_take_is_left_to_cublas():
    with strict_cupy(), own_products():
        x = asarray(np.ones((2, 2), np.complex64), backend="cupy")
        assert to_numpy(kernels.matrix_product(x, x)).tolist() == [[2, 2], [2, 2]]
        with pytest.raises(ValueError, match=r"matmul needs x .* got x \(2, 3\) and y \(2, 3\)"):
            kernels.matrix_product(*[asarray(np.ones((2, 3)), backend="cupy")] * 2)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_recurrence_with_its_own_products_costs_no_more_launches(cell):
    blocks, states = {"rnn": (1, 1), "lstm": (4, 2), "gru": (3, 1)}[cell]
    random, costs, ends = np.random.default_rng(2), [], []
    with strict_cupy():
        given = [
            lying(random, 7, 5 * blocks, 3),
            *(lying(random, 5, 3) for _ in range(states)),
            lying(random, 5 * blocks, 5),
        ]
        for own in (False, True):
            with counting() as counts:
                if own:
                    with own_products():
                        ys, pullback = getattr(rules, cell)(*given)
                        gradients = pullback(*ys)
                else:
                    ys, pullback = getattr(rules, cell)(*given)
                    gradients = pullback(*ys)
            costs.append((counts.launches, counts.syncs, counts.float64_results))
            ends.append([to_numpy(x) for x in (*ys, *gradients) if x is not None])
    assert costs[0] == costs[1] and costs[0][1:] == (0, 0)
    for mine, cublas in zip(*reversed(ends), strict=True):
        np.testing.assert_allclose(mine, cublas, rtol=1e-5, atol=1e-6)


# Products by cuBLAS, step by step


@pytest.mark.parametrize(("asked", "told"), [(None, []), ("0", []), ("1", [3, 3])])
def test_cublas_is_told_of_tf32_where_cupys_own_products_are(monkeypatch, asked, told):
    monkeypatch.setattr(linalg, "math_modes", [])
    if asked is not None:
        monkeypatch.setenv("CUPY_TF32", asked)
    else:
        monkeypatch.delenv("CUPY_TF32", raising=False)
    with strict_cupy() as cp:
        W, x = cp.ones((2, 3), "f"), cp.ones((3, 4), "f")
        once = kernels.product(W, 4)(x, cp.empty((2, 4), "f"))
        twice = kernels.adding_product(W, 4, "f")(x, once)
    assert (twice.get() == 6).all() and linalg.math_modes == told
