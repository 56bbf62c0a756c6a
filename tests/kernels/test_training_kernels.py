"""The kernels of losses, look-ups and optimizers: their source, under an emulator, against the twins in NumPy."""

import numpy as np
import pytest

from minirnn import Tensor, clip_grad_norm_
from minirnn.arrays import asarray, to_numpy
from minirnn.kernels import clipping, cupy, fused, losses, numpy, optimizers
from minirnn.kernels.capturing import drawing_at
from minirnn.kernels.launching import DTYPES, REALS, kernels_in, source_of
from minirnn.testing import cuda_emulator, strict_cupy
from minirnn.testing.cuda_emulator import emulated

pytestmark = pytest.mark.skipif(bool(cuda_emulator.why_not()), reason=cuda_emulator.why_not())
DTYPE = np.dtype("float32")
LEFT_OUT = {"without": None, "seed": 0}


@pytest.fixture
def emulator(monkeypatch):
    """What is launched on the fake runs under the emulator; yields what else the emulator shall be told."""
    told = dict(LEFT_OUT)

    def launch(source, kernel, grid, block, *arguments, shared=0):
        code = source_of(f"{source}.cu")
        given = [
            x._a if hasattr(x, "_a") else x if x is None else DTYPES.get(parameter.type, DTYPE).type(x)
            for x, parameter in zip(arguments, kernels_in(code)[kernel], strict=True)
        ]
        emulated(code, (f"-DREAL={REALS[DTYPE]}",)).run(kernel, grid, block, given, shared=shared, **told)

    monkeypatch.setattr(fused, "launch", launch)
    monkeypatch.setattr(cupy, "launch", launch)
    with strict_cupy():
        yield told


def close(mine, expected, atol=2e-7):
    """Whether all but the last bits agree; where one is not finite, the other must be the same."""
    np.testing.assert_allclose(to_numpy(mine), expected, rtol=2e-6, atol=atol)


def scores(*shape, seed=0):
    return (3 * np.random.default_rng(seed).standard_normal(shape)).astype(DTYPE)


SHAPES = [((3, 7, 5), 1), ((2, 1, 2), 1), ((4, 300), 1), ((1, 2, 70), 1), ((9, 4), 0), ((2, 3, 11), -1), ((6,), 0)]


def case(shape, axis):
    logits, axis = scores(*shape), axis % len(shape)
    rest = shape[:axis] + shape[axis + 1 :]
    return logits, axis, rest, np.random.default_rng(1).integers(0, shape[axis], rest)


def softmax_there(logits, targets, axis, rest):
    p, log_p = asarray(np.zeros_like(logits), backend="cupy"), asarray(np.zeros(rest, DTYPE), backend="cupy")
    cupy.softmax(asarray(logits, backend="cupy"), asarray(targets, backend="cupy"), axis, p, log_p)
    return p, log_p


def softmax_here(logits, targets, axis, rest):
    p, log_p = np.zeros_like(logits), np.zeros(rest, DTYPE)
    losses.softmax(logits, targets, axis, p, log_p[...])
    return p, log_p


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_softmax(emulator, shape, axis, seed):
    emulator["seed"] = seed
    logits, axis, rest, targets = case(shape, axis)
    for mine, expected in zip(
        softmax_there(logits, targets, axis, rest), softmax_here(logits, targets, axis, rest), strict=True
    ):
        close(mine, expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_softmax_of_what_is_not_finite_is_numpys(emulator, bad):
    logits, axis, rest, targets = case((2, 5, 3), 1)
    logits[0, 2, 1] = bad
    with np.errstate(all="ignore"):
        expected = softmax_here(logits, targets, axis, rest)
    for mine, theirs in zip(softmax_there(logits, targets, axis, rest), expected, strict=True):
        close(mine, theirs)


@pytest.mark.parametrize("left_out", [0, 1])
def test_softmax_needs_each_of_its_barriers(emulator, left_out):
    logits, axis, rest, targets = case((2, 40, 9), 1)
    expected, wrong = softmax_here(logits, targets, axis, rest), 0
    emulator["without"] = left_out
    for seed in range(12):
        emulator["seed"] = seed
        found = softmax_there(logits, targets, axis, rest)
        wrong += not all(np.allclose(to_numpy(a), b, rtol=1e-4) for a, b in zip(found, expected, strict=True))
    assert wrong > 0


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("one", [True, False])
def test_softmax_back(emulator, shape, axis, one):
    logits, axis, rest, targets = case(shape, axis)
    p, _ = softmax_here(logits, targets, axis, rest)
    step = np.asarray(0.3, DTYPE) if one else scores(*rest, seed=2)
    given = [asarray(a, backend="cupy") for a in (p, targets, step)]
    close(cupy.softmax_back(given[0], given[1], axis, given[2]), losses.softmax_back(p, targets, axis, step))


@pytest.mark.parametrize(("N", "E", "size"), [(9, 4, 3), (1, 1, 1), (40, 130, 7), (3, 2, 50)])
def test_add_rows(emulator, N, E, size):
    ids, rows = np.random.default_rng(3).integers(0, size, N), scores(N, E)
    mine = cupy.add_rows(asarray(ids, backend="cupy"), asarray(rows, backend="cupy"), size)
    close(mine, numpy.add_rows(ids, rows, size), atol=2e-6)  # sums of some numbers near 10


@pytest.mark.parametrize("stream", [(0, "dropout", 0), (2**64 - 1, "mask", 2**64 - 1), (5, "x", 2**33 + 7)])
@pytest.mark.parametrize(("shape", "before"), [((1,), 0), ((3, 7), 0), ((5, 4, 3), 60), ((9,), 8), ((2, 5), 2**35 + 3)])
@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
def test_masks_have_the_bits_of_the_host(emulator, stream, shape, before, p):
    seed, name, step = stream
    mine = cupy.kept(shape, p, seed, name, step, before)
    assert mine.dtype == bool
    assert np.array_equal(to_numpy(mine), numpy.kept(shape, p, seed, name, step, before))


def test_a_clock_is_added_to_the_step(emulator):
    with drawing_at(asarray(np.array([2**40]), backend="cupy")):
        mine = cupy.kept((50,), 0.5, 1, "mask", 3, 0)
    assert np.array_equal(to_numpy(mine), numpy.kept((50,), 0.5, 1, "mask", 2**40 + 3, 0))


STEPS = {
    "sgd": ([0, 1], ((0.1,), 0.9)),
    "sgd without momentum": ([0, 1, None], ((0.1,), 0.0)),
    "rmsprop": ([0, 1, 2], ((0.1,), 0.99, 1e-8)),
    "adam": ([0, 1, 2, 3], ((0.01, 1 / (1 - 0.999**3) ** 0.5, 0.9), 0.9, 0.999, 1e-8)),
}
STEPS["sgd"][0].append(2)


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("n", [1, 300])
def test_optimizers(emulator, name, n):
    which, numbers = STEPS[name]
    vectors = [None if k is None else abs(scores(n, seed=k)) if k > 1 else scores(n, seed=k) for k in which]
    there = [None if x is None else asarray(x, backend="cupy") for x in vectors]
    kernel = name.split()[0]
    getattr(cupy, kernel)(*there, *numbers)
    getattr(optimizers, kernel)(*vectors, *numbers)
    for mine, expected in zip(there, vectors, strict=True):
        if mine is not None:
            close(mine, expected)


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("allowed", [1.0, 0.1, np.nan, np.inf])
def test_optimizers_change_nothing_where_the_step_is_not_allowed(emulator, name, allowed):
    which, numbers = STEPS[name]
    vectors = [None if k is None else abs(scores(9, seed=k)) for k in which]
    there = [None if x is None else asarray(x, backend="cupy") for x in vectors]
    kernel = name.split()[0]
    getattr(cupy, kernel)(*there, *numbers, asarray(np.asarray(allowed, DTYPE), backend="cupy"))
    expected = [None if x is None else x.copy() for x in vectors]
    if np.isfinite(allowed):
        getattr(optimizers, kernel)(*expected, *numbers)
    for mine, right in zip(there, expected, strict=True):
        if mine is not None:
            close(mine, right)
    assert np.isfinite(allowed) == (abs(to_numpy(there[0]) - vectors[0]).max() > 1e-4)


def verdict_there(sizes, loss=1.0, max_norm=1.0, spoil=None):
    """Norm and factor of a gradient in pieces, on the device and on the host."""
    vectors = [scores(size, seed=size) for size in sizes]
    if spoil is not None:
        vectors[-1][-1] = spoil
    there = [asarray(g, backend="cupy") for g in vectors]
    found = cupy.verdict(there, asarray(np.asarray(loss, DTYPE), backend="cupy"), max_norm)
    return [float(to_numpy(x)) for x in found], clipping.verdict([g.astype(float) for g in vectors], loss, max_norm)


@pytest.mark.parametrize("sizes", [(1,), (5, 300), (256, 257, 3000)])
@pytest.mark.parametrize("max_norm", [0.5, 1e9, np.inf])
def test_the_norm_of_a_gradient_and_its_factor(emulator, monkeypatch, sizes, max_norm):
    monkeypatch.setattr(fused, "SUMS", 4)  # so that a thread has several numbers
    found, expected = verdict_there(sizes, max_norm=max_norm)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_squares_beyond_single_precision_are_a_length_all_the_same(emulator):
    found, expected = verdict_there((7,), spoil=3e38)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_norm_beyond_single_precision_still_has_its_factor(emulator):
    p = Tensor(np.zeros(2, DTYPE), requires_grad=True).to("cupy")
    p.grad = asarray(np.full(2, 3e38, DTYPE), backend="cupy")
    assert clip_grad_norm_([p], 1.0) == np.inf
    close(p.grad, np.full(2, 0.5**0.5))


@pytest.mark.parametrize(
    ("spoil", "loss"), [(np.nan, 1.0), (np.inf, 1.0), (-np.inf, 1.0), (1.0, np.nan), (1.0, np.inf)]
)
def test_what_is_not_finite_has_no_factor(emulator, spoil, loss):
    (norm, factor), expected = verdict_there((3, 40), spoil=spoil, loss=loss)
    assert np.isnan(factor) and np.isnan(expected[1]) and np.isnan(norm) == (spoil != 1)


def test_a_sum_over_a_block_needs_its_barrier(emulator):
    emulator["without"], wrong = 0, 0
    for emulator["seed"] in range(12):
        found, expected = verdict_there((600,))
        wrong += not np.allclose(found, expected, rtol=1e-4)
    assert wrong > 0
