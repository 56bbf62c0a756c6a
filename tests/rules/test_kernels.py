"""What kernels do for speed: blocks of rows, shares, rows of all steps, gathered columns; the same numbers each way."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn import kernels, workers
from minirnn.arrays import asarray, home_of, to_numpy
from minirnn.kernels import cupy, kernels_of
from minirnn.kernels import numpy as host
from minirnn.rules.linear import sum_of_products, times
from minirnn.testing import in_pieces
from minirnn.workers import use_workers

RANDOM = np.random.default_rng(0)
LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "a transposed view": lambda x: np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2),
    "every other": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "backwards": lambda x: x[..., ::-1].copy()[..., ::-1],
    "read only": lambda x: np.broadcast_to(x, x.shape),
}
every_layout = pytest.mark.parametrize("layout", LAYOUTS)


def numbers(*shape):
    return RANDOM.normal(size=shape)


def blocks_in(W, columns):
    """Of how many rows the blocks are in which ``product`` takes a matrix: all, if it takes it whole."""
    function = host.product(W, columns)
    cells = getattr(function, "__closure__", None) or ()
    return next((c.cell_contents.shape[1] for c in cells if getattr(c.cell_contents, "ndim", 0) == 3), len(W))


# Both sides


def test_both_backends_have_the_same_kernels():
    assert host.__all__ == cupy.__all__
    assert kernels.kernels_of(np.ones(1)) is host
    assert all(callable(getattr(cupy, name)) for name in cupy.__all__)


def test_an_empty_array_lives_where_it_is_asked_for(backend):
    x = asarray([1.0, 2.0])
    made = kernels_of(x).empty((2, 0, 3), x.dtype)
    assert (home_of(made), made.shape, made.dtype) == (home_of(x), (2, 0, 3), x.dtype)


# Products


@pytest.fixture
def one_thread(monkeypatch):
    monkeypatch.setattr(host, "blocks_are_quicker", lambda: True)


@pytest.mark.parametrize(
    ("rows", "D", "columns", "expected"),
    [
        (512, 128, 15, 512),  # just below a million
        (512, 128, 16, 256),
        (2048, 512, 32, 32),
        (1000, 1000, 2, 256),
        (1000, 1000, 1, 1000),  # a million, and not more
        (251, 10_000, 1, 64),  # three blocks, and 59 rows
        (8, 10**6, 1, 8),  # so long that blocks would be single rows
        (16, 125_000, 1, 8),
        (16, 125_001, 1, 16),
    ],
)
def test_blocks_are_as_many_rows_as_are_small(one_thread, rows, D, columns, expected):
    assert blocks_in(np.broadcast_to(np.float32(1), (rows, D)), columns) == expected


def test_where_blocks_do_not_pay_matrices_are_taken_whole(monkeypatch):
    monkeypatch.setattr(host, "blocks_are_quicker", lambda: False)
    assert blocks_in(np.broadcast_to(np.float32(1), (2048, 512)), 64) == 2048


@every_layout
@pytest.mark.parametrize("of_x", LAYOUTS)
def test_a_product_is_the_product_however_its_rows_are_cut(one_thread, monkeypatch, layout, of_x):
    for rows, small, shape in product((1, 7, 8, 12), (1, 50, 10**6), ((5, 3), (4, 5, 3), (2, 3, 5, 3))):
        monkeypatch.setattr(host, "SMALL", small)
        W, x = LAYOUTS[layout](numbers(rows, 5)), LAYOUTS[of_x](numbers(*shape))
        out = np.full((*shape[:-2], rows, 3), np.nan)
        found = host.product(W, 3)(x, out)
        assert found is out or np.shares_memory(found, out)
        np.testing.assert_allclose(out, W @ x, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("sizes", [(0, 3, 2), (4, 0, 2), (4, 3, 0)])
def test_a_product_of_nothing(one_thread, monkeypatch, backend, sizes):
    monkeypatch.setattr(host, "SMALL", 0)
    F, D, B = sizes
    W, x, out = asarray(numbers(F, D)), asarray(numbers(D, B)), asarray(np.full((F, B), np.nan))
    kernels_of(W).product(W, B)(x, out)
    assert not to_numpy(out).any()


def test_a_product_on_either_backend(backend):
    W, x = numbers(6, 5), numbers(3, 5, 2)
    for matrix in (W, np.asfortranarray(W)):
        out = asarray(np.zeros((3, 6, 2)))
        found = kernels_of(out).product(asarray(matrix), 2)(asarray(x), out)
        np.testing.assert_allclose(to_numpy(found), W @ x, rtol=1e-13)
        np.testing.assert_array_equal(to_numpy(out), to_numpy(found))


# Shares


@given(columns=st.integers(0, 50), number=st.integers(1, 60))
def test_shares_are_all_columns_in_order_and_even(columns, number):
    with use_workers(number):
        shares = host.shares(columns, 1)
    assert [k for share in shares for k in range(columns)[share]] == list(range(columns))
    sizes = [share.stop - share.start for share in shares]
    assert len(shares) == max(1, min(number, columns)) and max(sizes) - min(sizes) <= 1


@pytest.fixture
def four_cores(monkeypatch):
    blas = workers._Blas()
    blas.libraries = [None]  # there is one, which nobody here talks to
    monkeypatch.setattr(workers, "_blas", blas)
    monkeypatch.setattr(workers, "cores", lambda: 4)


@pytest.mark.parametrize(
    ("columns", "multiplications", "expected"),
    [
        (64, 1, 1),
        (64, 2 * host.ENOUGH // 64 - 1, 1),  # not enough for two
        (64, 2 * host.ENOUGH // 64 + 1, 2),
        (64, 4 * host.ENOUGH // 64 + 1, 4),
        (64, 100 * host.ENOUGH, 4),  # no more than there are cores
        (3, 100 * host.ENOUGH, 3),  # nor than there are columns
        (0, 100 * host.ENOUGH, 1),
    ],
)
def test_left_alone_workers_share_what_is_worth_it(four_cores, columns, multiplications, expected):
    assert len(host.shares(columns, multiplications)) == expected


@pytest.mark.parametrize(
    ("count", "operations", "expected"),
    [
        (10, host.MANY, 1),
        (10, 2 * host.MANY - 1, 1),
        (10, 2 * host.MANY, 2),
        (10, 100 * host.MANY, 4),
        (3, 100 * host.MANY, 3),
        (0, 100 * host.MANY, 1),
    ],
)
def test_left_alone_only_long_tasks_are_cut(four_cores, monkeypatch, count, operations, expected):
    monkeypatch.setattr(workers, "spread", lambda task, parts: list(map(task, parts)))
    parts = host.side_by_side(lambda part: part, count, operations)
    assert len(parts) == expected and [k for part in parts for k in range(count)[part]] == list(range(count))


def test_asked_for_workers_share_whatever_the_size():
    for number in (1, 2, 3, 8):
        with use_workers(number):
            assert len(host.side_by_side(lambda part: part, 5, operations=1)) == min(number, 5)


def test_a_device_shares_by_itself():
    with use_workers(4):
        assert cupy.shares(8, 10**9) == [slice(0, 8)]
        assert cupy.side_by_side(lambda part: part, 8, 10**9) == [slice(0, 8)]


# Rows and columns of a sequence


@every_layout
def test_rows_of_all_steps_stand_side_by_side(backend, layout):
    shapes = (3, 4), (5, 3, 4), (2, 5, 3, 4), (1, 1, 1), (5, 3, 1), (0, 3, 4), (5, 0, 4), (5, 3, 0)
    for shape, dtype in product(shapes, ("float32", "float64", "complex128", "bool")):
        x = LAYOUTS[layout]((numbers(*shape) * 8).astype(dtype))
        there = asarray(x)
        found, N = to_numpy(kernels_of(there).rows_of(there)), math.prod(shape[:-2]) * shape[-1]
        np.testing.assert_array_equal(found, np.moveaxis(x, -2, 0).reshape(shape[-2], N))
        assert found.dtype == x.dtype


def test_rows_of_a_sequence_that_layers_hand_on_are_not_copied():
    x = numbers(5, 4, 3).swapaxes(1, 2)  # (T, B, F), seen as columns
    assert np.shares_memory(host.rows_of(x), x)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "uint64", "int8"])
@pytest.mark.parametrize("layout", ["C", "Fortran", "every other"])
def test_columns_are_taken_by_ids_of_any_kind(backend, dtype, layout):
    table, ids = LAYOUTS[layout](numbers(3, 6)), LAYOUTS[layout](RANDOM.integers(0, 6, (5, 4)).astype(dtype))
    there = asarray(table)
    found = to_numpy(kernels_of(there).take_columns(there, asarray(ids)))
    np.testing.assert_array_equal(found, np.stack([table[:, now] for now in ids]))
    assert found.flags.c_contiguous


@pytest.mark.parametrize("shape", [(0, 4), (5, 0)])
def test_columns_of_no_ids(backend, shape):
    table = asarray(numbers(3, 6))
    found = kernels_of(table).take_columns(table, asarray(np.zeros(shape, int)))
    assert found.shape == (shape[0], 3, shape[1])


# Products over all steps, by several workers


@every_layout
@pytest.mark.parametrize("number", [1, 2, 3, 9])
@pytest.mark.parametrize("shape", [(5, 3), (4, 5, 3), (2, 3, 5, 3), (0, 5, 3), (5, 1), (4, 5, 1), (2, 3, 5, 1)])
def test_products_of_a_sequence_do_not_depend_on_workers(layout, number, shape):
    W, x, dy = numbers(8, 5), LAYOUTS[layout](numbers(*shape)), LAYOUTS[layout](numbers(*shape[:-2], 8, shape[-1]))
    with in_pieces(workers=number):
        y, dW = times(W, x), sum_of_products(dy, x)
        again = times(W, x), sum_of_products(dy, x)
    np.testing.assert_allclose(y, W @ x, rtol=1e-13, atol=1e-14)
    expected = (dy @ x.swapaxes(-1, -2)).sum(axis=tuple(range(x.ndim - 2)))
    np.testing.assert_allclose(dW, expected, rtol=1e-13, atol=1e-14)
    np.testing.assert_array_equal(y, again[0])
    np.testing.assert_array_equal(dW, again[1])


def test_products_are_as_wide_as_their_factors():
    for W, x in ((np.float32, np.float64), (np.float64, np.float32), (np.float32, np.complex64)):
        y = times(np.ones((2, 3), W), np.ones((4, 3, 2), x))
        assert y.dtype == np.result_type(W, x) and (y == 3).all()
