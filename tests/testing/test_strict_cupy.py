"""The strict fake refuses what CuPy refuses, differs from NumPy where CuPy differs, and counts what it is asked."""

from __future__ import annotations

import copy
import importlib
import os
import subprocess
import sys

import numpy as np
import pytest

from minirnn.arrays import BackendError, asarray, current_backend, home_of, to_numpy, use_backend, xp_of
from minirnn.testing import counting, strict_cupy


@pytest.fixture
def cp():
    with strict_cupy() as cupy:
        yield cupy


@pytest.fixture
def x(cp):
    """A (3, 4) float32 array of 0 ... 11 on the fake device."""
    return cp.asarray(np.arange(12, dtype=np.float32).reshape(3, 4))


N = np.ones((3, 4), np.float32)  # a host array, which no device function takes


# Installing


def test_minirnn_takes_the_fake_for_cupy():
    with strict_cupy() as cupy, use_backend("cupy"):
        x = asarray([1.0, 2.0], dtype="float32")
        assert current_backend() == "cupy"
        assert home_of(x) == "cupy"
        assert xp_of(x) is cupy
        assert np.array_equal(to_numpy(x), np.array([1, 2], np.float32))


def test_auto_finds_the_fake():
    with strict_cupy(), use_backend("auto"):
        assert current_backend() == "cupy"


def test_everything_is_restored_even_after_an_error():
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in ("cupy", "cupyx")}
    with pytest.raises(ZeroDivisionError), strict_cupy() as cupy:
        assert sys.modules["cupy"] is cupy
        raise ZeroDivisionError
    after = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in ("cupy", "cupyx")}
    assert after == before


def test_contexts_nest():
    with strict_cupy() as outer:
        with strict_cupy() as inner:
            assert inner is outer
        assert sys.modules["cupy"] is outer


def test_outside_the_context_cupy_is_not_the_fake():
    with strict_cupy() as cupy:
        fake = cupy
    assert sys.modules.get("cupy") is not fake


def test_submodules_of_a_real_cupy_are_out_of_reach(cp):
    with pytest.raises(ImportError):
        __import__("cupy.cutensor")


def test_the_product_that_adds_has_to_be_imported(cp):
    assert not hasattr(cp, "cublas")
    gemm = importlib.import_module("cupy.cublas").gemm
    a, b, c = (np.random.default_rng(0).normal(size=shape) for shape in ((3, 4), (4, 2), (3, 2)))
    out = cp.asarray(c)
    with counting() as counts:
        assert gemm("N", "N", cp.asarray(a), cp.asarray(b), out=out, alpha=2.0, beta=0.5) is out
        found = gemm("T", "N", cp.asarray(a.T.copy()), cp.asarray(b))
    np.testing.assert_allclose(out.get(), 2 * a @ b + 0.5 * c, rtol=1e-14)
    np.testing.assert_allclose(found.get(), a @ b, rtol=1e-14)
    assert (counts.launches, counts.syncs) == (2, 0)
    garbage = gemm(
        "N", "N", cp.asarray(a), cp.asarray(b), out=cp.empty((3, 2))
    )  # holds nan, which beta=0 does not read
    np.testing.assert_array_equal(garbage.get(), found.get())
    with pytest.raises(RuntimeError, match="INVALID_VALUE"):
        gemm("N", "N", cp.empty((3, 0)), cp.empty((0, 2)))


# The boundary


@pytest.mark.parametrize(
    "convert",
    [
        np.asarray,
        np.array,
        np.float32,
        lambda x: np.array([x, x]),
        lambda x: N.__setitem__(0, x[0]),
        lambda x: N[x],
        lambda x: np.testing.assert_allclose(x, N),
    ],
)
def test_numpy_cannot_take_a_device_array(x, convert):
    with pytest.raises(
        TypeError, match=r"Implicit conversion to a NumPy array is not allowed\. Please use `\.get\(\)`"
    ):
        convert(x)


@pytest.mark.parametrize("host", [N, N.tolist(), None, "1"], ids=["array", "list", "None", "str"])
@pytest.mark.parametrize(
    "mix",
    [
        lambda cp, x, host: x + host,
        lambda cp, x, host: host * x,
        lambda cp, x, host: x == host,
        lambda cp, x, host: x.__iadd__(host),
        lambda cp, x, host: cp.add(x, host),
        lambda cp, x, host: cp.maximum(host, x),
        lambda cp, x, host: cp.where(x > 0, x, [host]),
        lambda cp, x, host: cp.clip(x, [host], 1),
        lambda cp, x, host: cp.full((3, 4), [host]),
        lambda cp, x, host: cp.add.at(x, 0, [host]),
    ],
    ids=["add", "rmul", "eq", "iadd", "ufunc", "ufunc-first", "where", "clip", "full", "at"],
)
def test_kernels_take_device_arrays_and_scalars_only(cp, x, host, mix):
    with pytest.raises(TypeError, match=r"^Unsupported type <class '[\w.]+'>$"):
        mix(cp, x, host)


@pytest.mark.parametrize("host", [N, N.tolist(), 1.0], ids=["array", "list", "float"])
@pytest.mark.parametrize(
    "call",
    """sum prod mean var std max min all any argmax argmin cumsum count_nonzero ravel transpose squeeze flip atleast_1d
    tril sort argsort nonzero zeros_like empty_like linalg.norm linalg.inv nan_to_num real size""".split(),  # noqa: SIM905  # as words
)
def test_functions_take_device_arrays_only(cp, host, call):
    function = cp
    for name in call.split("."):
        function = getattr(function, name)
    with pytest.raises(TypeError, match=r"has incorrect type \(expected cupy.ndarray, got "):
        function(host)


@pytest.mark.parametrize(
    "call",
    [
        lambda cp, x: cp.concatenate([x, N]),
        lambda cp, x: cp.stack([N, x]),
        lambda cp, x: cp.matmul(x, N.T),
        lambda cp, x: cp.dot(N, x),
        lambda cp, x: x @ N.T,
        lambda cp, x: N.T @ x,
        lambda cp, x: x @ 2.0,
        lambda cp, x: cp.tensordot(x, N),
        lambda cp, x: cp.einsum("ij,ij->", x, N),
        lambda cp, x: cp.take_along_axis(x, N.astype(int), 0),
        lambda cp, x: cp.where(True, x, x),
        lambda cp, x: cp.where(N > 0, x, x),
        lambda cp, x: cp.broadcast_arrays(x, N),
        lambda cp, x: x.sum(out=N),
        lambda cp, x: cp.add(x, x, out=N),
        lambda cp, x: np.add(x, x, out=N),
        lambda cp, x: np.concatenate([x, N]),
    ],
)
def test_host_arrays_are_refused_wherever_they_stand(cp, x, call):
    with pytest.raises(TypeError, match=r"incorrect type|must be cupy\.ndarray"):
        call(cp, x)


@pytest.mark.parametrize("index", [slice(1, 3), 0, (..., 0), [0, 1]], ids=str)
@pytest.mark.parametrize("value", [np.ones(4), [1.0, 2.0], (1.0,)], ids=["array", "list", "tuple"])
def test_host_arrays_cannot_be_assigned(x, index, value):
    with pytest.raises(ValueError, match=r"^non-scalar numpy\.ndarray cannot be used for fill$"):
        x[index] = value


def test_fill_refuses_a_host_array_too(x):
    with pytest.raises(ValueError, match="non-scalar"):
        x.fill(np.ones(4))


def test_scalars_of_every_kind_can_be_assigned(x):
    for value in (1, 2.0, True, np.float32(3), np.array(4.0)):
        x[1:] = value
        assert (x[1:].get() == value).all()


@pytest.mark.parametrize("dtype", [object, "U3", "datetime64[s]", np.longdouble, [("a", "f4")]], ids=str)
def test_dtypes_that_no_device_holds(cp, x, dtype):
    for make in (lambda: cp.zeros(2, dtype), lambda: cp.array(np.zeros(2, dtype)), lambda: x.astype(dtype)):
        with pytest.raises(ValueError, match="Unsupported dtype"):
            make()


def test_asarray_copies_from_the_host_and_not_on_the_device(cp, x):
    host = np.zeros(3)
    y = cp.asarray(host)
    y[0] = 5
    assert host[0] == 0
    assert cp.asarray(x) is x
    assert cp.asarray(x, dtype=cp.float64) is not x
    assert cp.array(x) is not x
    assert not cp.may_share_memory(cp.array(x), x)


def test_get_is_a_copy(x):
    host = x.get()
    host[0, 0] = 99
    assert float(x[0, 0]) == 0
    assert to_numpy(x).flags.writeable


def test_a_list_of_device_arrays_becomes_one_array(cp, x):
    assert np.array_equal(cp.array([x[0], x[2]]).get(), x.get()[[0, 2]])


@pytest.mark.parametrize("name", ["setflags", "resize", "tostring", "ctypes", "__array_interface__", "partition_by"])
def test_attributes_that_cupy_lacks(x, name):
    with pytest.raises(AttributeError, match=name):
        getattr(x, name)


def test_no_attribute_can_be_added(x):
    with pytest.raises(AttributeError):
        x.grad = 1


def test_no_index_protocol(cp):
    three = cp.asarray(3)
    for use in (
        lambda: range(three),
        lambda: [1, 2, 3, 4][three],
        lambda: cp.zeros(three),
        lambda: cp.zeros((2, three)),
    ):
        with pytest.raises(TypeError, match="integer"):
            use()
    with pytest.raises(TypeError):
        round(cp.asarray(3.5))


def test_contains_falls_back_to_comparing_one_by_one(cp):
    with counting() as counts:
        assert 2 in cp.arange(5)
    assert counts.syncs == 3  # 0, 1, 2


def test_matmul_in_place_rebinds(cp):
    a = cp.eye(2)
    before = a
    a @= cp.ones((2, 2))
    assert a is not before
    assert np.array_equal(before.get(), np.eye(2))


def test_flags_know_no_writeable(x):
    assert (x.flags.c_contiguous, x.flags.f_contiguous, x.flags.owndata) == (True, False, True)
    assert (x.T.flags.c_contiguous, x.T.flags["F_CONTIGUOUS"], x.T.flags.owndata) == (False, True, False)
    with pytest.raises(AttributeError):
        _ = x.flags.writeable
    with pytest.raises(KeyError, match="WRITEABLE is not defined"):
        _ = x.flags["WRITEABLE"]


@pytest.mark.parametrize(
    "name", ["block", "insert", "errstate", "vecdot", "matvec", "nditer", "unstack", "seterr", "longdouble", "no_such"]
)
def test_functions_that_cupy_lacks(cp, name):
    with pytest.raises(AttributeError, match=f"module 'cupy' has no attribute '{name}'"):
        getattr(cp, name)
    assert not hasattr(cp, name)


class Tensor:
    """What minirnn's tensors are to an array: an operand that takes the operation over."""

    __array_ufunc__ = None

    def __radd__(self, other):
        return "mine"

    __rmatmul__ = __rsub__ = __radd__


def test_operators_defer_to_an_operand_that_opts_out(x):
    assert x + Tensor() == "mine"
    assert x - Tensor() == "mine"
    assert x @ Tensor() == "mine"


# Reductions and universal functions


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod", "var", "std", "argmax", "any", "all"])
def test_reductions_leave_a_device_array(cp, x, name):
    for result in (getattr(x, name)(), getattr(cp, name)(x)):
        assert type(result) is cp.ndarray
        assert result.shape == ()
        expected = getattr(x.get(), name)()
        assert result.dtype == expected.dtype
        assert result.get() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["sum", "max", "min", "prod", "mean", "any"])
@pytest.mark.parametrize("keyword", ["where", "initial"])
def test_reductions_have_neither_where_nor_initial(cp, x, name, keyword):
    for call in (getattr(x, name), lambda **k: getattr(cp, name)(x, **k), lambda **k: getattr(np, name)(x, **k)):
        with pytest.raises(TypeError, match=keyword):
            call(**{keyword: 1})


def test_ufuncs_know_out_dtype_and_casting_only(cp, x):
    for bad in ({"where": x > 0}, {"order": "C"}, {"subok": False}):
        with pytest.raises(TypeError, match="Wrong arguments"):
            cp.add(x, x, **bad)
    assert cp.add(x, x, dtype=cp.float64).dtype == np.float64
    with pytest.raises(TypeError, match="must be either 2 or 3"):
        cp.add(x)


def test_only_add_and_multiply_reduce(cp, x):
    assert np.array_equal(cp.add.reduce(x).get(), x.get().sum(0))
    assert float(cp.multiply.reduce(x, axis=None)) == 0
    for name in ("maximum", "minimum", "logaddexp", "logical_or"):
        with pytest.raises(NotImplementedError, match=rf"^`cupy_{name}.reduce` is not supported yet$"):
            getattr(cp, name).reduce(x)
        with pytest.raises(NotImplementedError, match="accumulate"):
            getattr(cp, name).accumulate(x)


def test_at_exists_for_seven_ufuncs(cp, x):
    cp.maximum.at(x, 0, 100.0)
    assert (x.get()[0] == 100).all()
    for name in ("multiply", "divide", "logaddexp"):
        with pytest.raises(NotImplementedError, match=r"\.at` is not supported yet"):
            getattr(cp, name).at(x, 0, 1.0)
    with pytest.raises(TypeError, match=r"cupy\.add\.at only supports"):
        cp.add.at(cp.zeros(3, cp.complex64), cp.asarray([0]), 1.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda cp, x: cp.clip(x, min=0),
        lambda cp, x: cp.clip(x, 0),
        lambda cp, x: x.take([0], mode="wrap"),
        lambda cp, x: cp.take(x, [0], mode="clip"),
        lambda cp, x: x.astype("f8", casting="safe"),
        lambda cp, x: cp.zeros(2, like=x),
        lambda cp, x: cp.var(x, mean=0),
        lambda cp, x: x.var(correction=1),
        lambda cp, x: cp.reshape(x, shape=(4, 3)),
        lambda cp, x: x.item(0),
        lambda cp, x: cp.einsum("ij->i", x, out=x),
    ],
)
def test_keywords_that_cupy_lacks(cp, x, call):
    with pytest.raises(TypeError):
        call(cp, x)


def test_clip_method_has_min_and_max(cp, x):
    assert np.array_equal(x.clip(min=5).get(), x.get().clip(5))
    assert np.array_equal(cp.clip(x, None, 5).get(), x.get().clip(None, 5))


def test_sort_kinds(cp, x):
    with pytest.raises(ValueError, match="kind can only be None or 'stable'"):
        cp.argsort(x, kind="quicksort")
    assert cp.argsort(cp.asarray([1, 0, 1, 0]), kind="stable").tolist() == [1, 3, 0, 2]


def test_numpy_functions_dispatch_to_the_device(cp, x):
    host = x.get()
    assert type(np.tanh(x)) is cp.ndarray
    assert np.array_equal(np.tanh(x).get(), np.tanh(host))
    assert np.array_equal(np.concatenate([x, x]).get(), np.concatenate([host, host]))
    assert float(np.linalg.norm(x)) == pytest.approx(np.linalg.norm(host))
    assert np.result_type(x, np.float64) == np.float64
    with pytest.raises(TypeError, match="no implementation found"):
        np.insert(x, 0, 1)
    with pytest.raises(NotImplementedError):
        np.maximum.reduce(x)


def test_out_is_written_and_must_fit(cp, x):
    out = cp.empty((3, 4), cp.float32)
    assert cp.multiply(x, 2, out=out) is out
    assert np.array_equal(out.get(), x.get() * 2)
    assert cp.multiply(x, 3, out) is out
    with pytest.raises(ValueError, match="Out shape is mismatched"):
        cp.multiply(x[0], 2, out=out)  # NumPy would repeat the row
    with pytest.raises(ValueError, match="Out shape is mismatched"):
        cp.sum(x, 0, out=out)
    with pytest.raises(TypeError, match="same_kind"):
        cp.add(x, 0.5, out=cp.zeros((3, 4), cp.int32))


def test_ufuncs_with_two_results(cp):
    fraction, whole = cp.modf(cp.asarray([1.5, -2.25]))
    assert (fraction.tolist(), whole.tolist()) == ([0.5, -0.25], [1.0, -2.0])


# Indexing


def test_out_of_range_index_arrays_wrap(cp, x):
    host = x.get()
    assert np.array_equal(x[cp.asarray([3, -4, 7])].get(), host[[0, 2, 1]])
    assert np.array_equal(x[..., cp.asarray([4, 5])].get(), host[:, [0, 1]])
    assert np.array_equal(x[cp.asarray([3]), cp.asarray([-5])].get(), host[[0], [3]])
    assert np.array_equal(cp.take(x, cp.asarray([5]), 0).get(), host[[2]])
    assert np.array_equal(cp.take_along_axis(x, cp.asarray([[3, 4, 5, -1]]), 0).get(), [[0, 5, 10, 11]])
    x[cp.asarray([5])] = 9
    assert (x.get()[2] == 9).all()


def test_out_of_range_integers_raise(x):
    with pytest.raises(IndexError, match="out of bounds for axis 0 with size 3"):
        _ = x[5]
    with pytest.raises(IndexError, match="too many indices"):
        _ = x[0, 0, 0]


def test_float_index_arrays_are_refused(cp, x):
    with pytest.raises(IndexError, match="arrays used as indices must be of integer or boolean type"):
        _ = x[cp.asarray([0.0])]


@pytest.mark.parametrize("contiguous", [True, False])
def test_duplicate_writes_have_no_defined_winner(cp, contiguous):
    a = cp.zeros((5, 2)) if contiguous else cp.zeros((2, 5)).T
    winners = set()
    for _ in range(40):
        a[cp.asarray([1, 1, 1])] = cp.asarray([[1.0], [2.0], [3.0]])
        winners.add(float(a[1, 0]))
    assert winners == {1.0, 2.0, 3.0}
    assert float(a[0, 0]) == 0


def test_the_winner_depends_on_the_seed_alone():
    def winners(seed):
        with strict_cupy(seed) as cp:
            a = cp.zeros(1)
            found = []
            for _ in range(20):
                a[cp.zeros(8, int)] = cp.arange(8.0)
                found.append(float(a[0]))
        return found

    assert winners(1) == winners(1)
    assert winners(1) != winners(2)


def test_put_along_axis_writes_and_randomises(cp):
    a = cp.zeros((2, 3))
    cp.put_along_axis(a, cp.asarray([[2], [4]]), 7.0, 1)
    assert a.tolist() == [[0, 0, 7], [0, 7, 0]]
    seen = set()
    for _ in range(30):
        cp.put_along_axis(a, cp.asarray([[0, 0], [1, 1]]), cp.asarray([[1.0, 2.0], [1.0, 2.0]]), 1)
        seen.add((float(a[0, 0]), float(a[1, 1])))
    assert len(seen) == 4


def test_add_at_accumulates_every_duplicate_in_random_order(cp):
    rng = np.random.default_rng(0)
    values, where = rng.normal(size=(500, 2)).astype(np.float32), rng.integers(0, 3, 500)
    sums = []
    for _ in range(5):
        a = cp.zeros((3, 2), cp.float32)
        cp.add.at(a, cp.asarray(where), cp.asarray(values))
        sums.append(a.get())
    expected = np.zeros((3, 2))
    np.add.at(expected, where, values.astype(float))
    assert all(np.allclose(s, expected, atol=1e-3) for s in sums)
    assert len({s.tobytes() for s in sums}) > 1  # the order of a float32 sum shows in its last bits


def test_masks_and_one_argument_where(cp, x):
    host = x.get()
    assert np.array_equal(x[x > 5].get(), host[host > 5])
    x[x > 5] = 0
    assert float(x.max()) == 5
    assert [part.tolist() for part in cp.where(x == 5)] == [[1], [1]]
    with pytest.raises(ValueError, match="Must provide both 'x' and 'y' or neither"):
        cp.where(x > 0, x)


# Views


VIEWS = {
    "row": lambda cp, x: x[1],
    "element": lambda cp, x: x[1, 2],
    "slice": lambda cp, x: x[1:3],
    "backwards": lambda cp, x: x[::-1, ::2],
    "newaxis": lambda cp, x: x[:, None],
    "ellipsis": lambda cp, x: x[..., 1],
    "T": lambda cp, x: x.T,
    "mT": lambda cp, x: x.mT,
    "transpose": lambda cp, x: x.transpose(1, 0),
    "cupy.transpose": lambda cp, x: cp.transpose(x, (1, 0)),
    "reshape": lambda cp, x: x.reshape(2, 6),
    "cupy.reshape": lambda cp, x: cp.reshape(x, (-1,)),
    "ravel": lambda cp, x: x.ravel(),
    "swapaxes": lambda cp, x: cp.swapaxes(x, 0, 1),
    "moveaxis": lambda cp, x: cp.moveaxis(x, 0, 1),
    "expand_dims": lambda cp, x: cp.expand_dims(x, 0),
    "squeeze": lambda cp, x: x[None].squeeze(),
    "flip": lambda cp, x: cp.flip(x, 0),
    "split": lambda cp, x: cp.split(x, 2, 1)[1],
    "array_split": lambda cp, x: cp.array_split(x, 2)[0],
    "view": lambda cp, x: x.view(),
    "atleast_3d": lambda cp, x: cp.atleast_3d(x),
    "iteration": lambda cp, x: list(x)[2],
    "view of a view": lambda cp, x: x[1:].T[0],
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_views_share_memory_and_launch_nothing(cp, x, view):
    with counting() as counts:
        part = view(cp, x)
    assert (counts.launches, counts.syncs) == (0, 0)
    assert part.base is x
    assert cp.may_share_memory(part, x)
    before = x.get()
    part[...] = 100.0
    part += 1
    x.__imul__(2)
    cp.subtract(part, 2, out=part)
    assert (part.get() == 200).all()
    assert np.array_equal(x.get()[x.get() != 200], 2 * before[x.get() != 200])
    assert (x.get() == 200).sum() == part.size


def test_copies_do_not_share_memory(cp, x):
    copies = [x.copy(), cp.copy(x), copy.copy(x), copy.deepcopy(x), x.flatten(), x + 0, x[[0, 1]], x.T.reshape(-1)]
    copies += [cp.ascontiguousarray(x.T), cp.concatenate([x]), cp.roll(x, 0), cp.tril(x), x.astype(x.dtype)]
    for made in copies:
        assert made.base is None
        assert not cp.may_share_memory(made, x)


def test_broadcast_views_cannot_be_written(cp, x):
    view = cp.broadcast_to(x, (2, 3, 4))
    assert view.base is x
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1


def test_in_place_operators_keep_the_array(x):
    before, row = x, x[1]
    x += 1
    x *= 2
    x[0] -= 1
    assert x is before
    assert row.tolist() == [10, 12, 14, 16]
    assert x[0].tolist() == [1, 3, 5, 7]


def test_shape_can_be_set_where_no_copy_is_needed(x):
    view = x.T
    x.shape = (2, 6)
    assert x.shape == (2, 6)
    with pytest.raises(AttributeError, match="ncompatible shape"):
        view.shape = (12,)


# Numerics


def test_results_are_c_ordered(cp, x):
    f = cp.asfortranarray(x)
    assert f.flags.f_contiguous
    for result in (f + f, cp.tanh(f), -f, f[cp.asarray([0, 1])], f.sum(1, keepdims=True), f @ f.T, f.copy()):
        assert result.flags.c_contiguous
    assert (cp.where(f > 0, f, f)).flags.c_contiguous
    assert f.astype(cp.float64).flags.f_contiguous  # order "K" keeps
    assert cp.zeros_like(f).flags.f_contiguous


def test_empty_is_garbage(cp, x):
    assert np.isnan(cp.empty((2, 3), cp.float32).get()).all()
    assert np.isnan(cp.empty(2, complex).get()).all()
    assert np.isnan(cp.empty_like(x).get()).all()
    assert (np.abs(cp.empty(3, cp.int32).get()) > 1000).all()
    assert cp.empty(3, bool).get().all()


def test_scalars_do_not_widen_but_numpy_scalars_do(cp, x):
    assert (x * 2.0).dtype == np.float32
    assert (2 - x).dtype == np.float32
    assert (x * np.float64(2)).dtype == np.float64


def test_complex_arrays(cp):
    z = cp.asarray([1 + 2j, 3 - 1j])
    assert z.real.tolist() == [1, 3]
    assert z.conj().imag.tolist() == [-2, 1]
    z.imag[...] = 0.0
    z.real = cp.asarray([5.0, 6.0])
    assert z.tolist() == [5, 6]
    assert cp.iscomplexobj(z)
    assert complex(z[0]) == 5
    assert (z * 1j).dtype == np.complex128


def test_real_and_imag_of_a_real_array(x):
    assert x.real is x
    assert x.conj() is x
    assert x.imag.tolist() == np.zeros((3, 4)).tolist()


@pytest.mark.parametrize(
    "call",
    [
        lambda xp, x: xp.einsum("ij,kj->ik", x, x),
        lambda xp, x: xp.tensordot(x, x, axes=([0], [0])),
        lambda xp, x: xp.matmul(x, x.T),
        lambda xp, x: xp.outer(x[0], x[1]),
        lambda xp, x: xp.pad(x, ((1, 0), (0, 2))),
        lambda xp, x: xp.pad(x, 1, mode="edge"),
        lambda xp, x: xp.stack([x, x], axis=1),
        lambda xp, x: xp.concatenate([x, x[:1]], axis=0),
        lambda xp, x: xp.split(x, [1, 3], axis=1)[1],
        lambda xp, x: xp.tile(x, (2, 1)),
        lambda xp, x: xp.repeat(x, 2, axis=1),
        lambda xp, x: xp.roll(x, 1, axis=0),
        lambda xp, x: xp.cumsum(x, axis=1),
        lambda xp, x: xp.argsort(-x, axis=1),
        lambda xp, x: xp.sort(-x, axis=0),
        lambda xp, x: xp.argmax(x, axis=1, keepdims=True),
        lambda xp, x: xp.var(x, axis=0, ddof=1),
        lambda xp, x: xp.tril(x, -1),
        lambda xp, x: xp.isfinite(x),
        lambda xp, x: xp.logaddexp(x, 1.0),
        lambda xp, x: xp.unique(x)[:3],
        lambda xp, x: xp.linspace(0, 1, 5),
        lambda xp, x: xp.bincount(x.astype(int).ravel(), minlength=20),
        lambda xp, x: xp.linalg.svd(x, compute_uv=False),
        lambda xp, x: xp.searchsorted(x[0], x[0]),
        lambda xp, x: xp.full((2,), 3, dtype=xp.int32),
        lambda xp, x: xp.eye(3, k=1),
        lambda xp, x: xp.meshgrid(x[0], x[:, 0])[1],
        lambda xp, x: 2 ** (x % 3) // 2,
        lambda xp, x: ~(x > 3) | (x < 1),
        lambda xp, x: abs(-x),
    ],
)
def test_values_are_those_of_numpy(cp, x, call):
    expected = call(np, x.get())
    result = call(cp, x)
    assert type(result) is cp.ndarray
    assert result.dtype == expected.dtype
    assert np.array_equal(result.get(), expected)


# Random numbers


def test_the_generator_is_poor(cp):
    rng = cp.random.default_rng(0)
    assert rng.random((2, 3)).shape == (2, 3)
    assert rng.integers(0, 5, 10).dtype == np.int64
    for name in ("normal", "choice", "permutation", "shuffle", "bit_generator"):
        assert not hasattr(rng, name)


# Counting


def measured(function):
    with counting() as counts:
        function()
    return counts


@pytest.mark.parametrize(
    "wait",
    [
        lambda cp, x: float(x[0, 0]),
        lambda cp, x: int(x[0, 0]),
        lambda cp, x: bool(x[0, 0]),
        lambda cp, x: complex(x[0, 0]),
        lambda cp, x: x[0, 0].item(),
        lambda cp, x: x.get(),
        lambda cp, x: x.tolist(),
        lambda cp, x: repr(x),
        lambda cp, x: f"{x[0, 0]:.1f}",
        lambda cp, x: cp.asnumpy(x),
    ],
)
def test_fetching_counts_as_sync_and_transfer(cp, x, wait):
    counts = measured(lambda: wait(cp, x))
    assert (counts.syncs, counts.device_to_host, counts.launches) == (1, 1, 0)


@pytest.mark.parametrize(
    ("wait", "syncs"),
    [
        (lambda cp, x, mask: x[mask], 1),
        (lambda cp, x, mask: x.__setitem__(mask, 0.0), 1),
        (lambda cp, x, mask: cp.where(mask), 1),
        (lambda cp, x, mask: mask.nonzero(), 1),
        (lambda cp, x, mask: cp.flatnonzero(mask), 1),
        (lambda cp, x, mask: cp.argwhere(mask), 1),
        (lambda cp, x, mask: cp.unique(x), 1),
        (lambda cp, x, mask: cp.bincount(cp.arange(3)), 2),
        (lambda cp, x, mask: cp.cuda.Device().synchronize(), 1),
        (lambda cp, x, mask: cp.cuda.Stream.null.synchronize(), 1),
        (lambda cp, x, mask: cp.where(mask, x, 0.0), 0),
        (lambda cp, x, mask: x[cp.asarray([0])], 0),
        (lambda cp, x, mask: x.sum(), 0),
    ],
)
def test_results_of_unknown_size_synchronise(cp, x, wait, syncs):
    mask = x > 3
    counts = measured(lambda: wait(cp, x, mask))
    assert counts.syncs == syncs
    assert counts.device_to_host == 0


def test_uploads_are_counted(cp, x):
    counts = measured(lambda: (cp.asarray(N), cp.array([1, 2]), x[[0, 1]], x.take([0], 0)))
    assert counts.host_to_device == 4
    counts = measured(lambda: (cp.asarray(x), cp.zeros(3), x[cp.arange(2)], x + 1.0, x.set(N)))
    assert counts.host_to_device == 1


@pytest.mark.parametrize(
    ("work", "launches"),
    [
        (lambda cp, x: x + x * 2, 2),
        (lambda cp, x: x.__iadd__(1), 1),
        (lambda cp, x: cp.tanh(x, out=x), 1),
        (lambda cp, x: x.sum(0), 1),
        (lambda cp, x: x @ x.T, 1),
        (lambda cp, x: cp.concatenate([x, x]), 1),
        (lambda cp, x: x.__setitem__(slice(0, 2), 0.0), 1),
        (lambda cp, x: x.T.reshape(-1), 1),  # no view exists
        (lambda cp, x: x.copy(), 1),
        (lambda cp, x: x.fill(0), 1),
        (lambda cp, x: cp.zeros(3), 1),
        (lambda cp, x: cp.empty(3), 0),
        (lambda cp, x: x.astype(x.dtype, copy=False), 0),
        (lambda cp, x: cp.modf(x), 1),
    ],
)
def test_launches_are_counted(cp, x, work, launches):
    assert measured(lambda: work(cp, x)).launches == launches


def test_float64_in_a_float32_computation_is_counted(cp, x):
    double = cp.ones((3, 4))
    counts = measured(lambda: (x + double, x * np.float64(2), x.sum(dtype=cp.float64)))
    assert counts.float64_results == 3
    counts = measured(lambda: x.__iadd__(double))  # the result is float32, the arithmetic is not
    assert counts.float64_results == 1
    counts = measured(lambda: (x + 1.0, x @ x.T, x.astype(cp.float64), double + double, x.argmax(), x > 0))
    assert counts.float64_results == 0


def test_counts_nest_and_reset(cp, x):
    with counting() as outer:
        float(x[0, 0])
        with counting() as inner:
            float(x[0, 0])
        float(x[0, 0])
        assert (outer.syncs, inner.syncs) == (3, 1)
        outer.reset()
        assert outer.syncs == 0
        float(x[0, 0])
    float(x[0, 0])
    assert (outer.syncs, inner.syncs) == (1, 1)


def test_a_training_like_step_needs_no_sync(cp):
    W, x = cp.ones((3, 3), cp.float32), cp.ones((3, 2), cp.float32)

    def step():
        h = cp.tanh(W @ x)
        dW = ((1 - h * h) * 2) @ x.T
        cp.subtract(W, 0.1 * dW, out=W)

    counts = measured(step)
    assert (counts.syncs, counts.host_to_device, counts.float64_results) == (0, 0, 0)
    assert counts.launches == 8


# The fixtures of this suite


def test_backend_fixture_sets_the_backend(backend):
    x = asarray([1.0])
    assert xp_of(x) is backend
    assert current_backend() == backend.__name__


def test_without_the_fake_cupy_needs_a_device():
    try:
        with use_backend("cupy"):
            pass
    except BackendError as error:
        assert "use 'numpy'" in str(error)


LEAKS = """
import sys
import numpy
from minirnn.arrays import current_backend, use_backend
from minirnn.testing import strict_cupy

kept, cupy_before = [], sys.modules.get("cupy")

def test_backend():
    with strict_cupy():
        use_backend("cupy")

def test_the_backend_is_back():
    assert current_backend() == "numpy"

def test_error_state():
    numpy.seterr(divide="ignore")

def test_the_error_state_is_back():
    assert numpy.geterr()["divide"] == "warn"

def test_module():
    kept.append(strict_cupy())
    kept[0].__enter__()

def test_the_module_is_back():
    assert sys.modules.get("cupy") is cupy_before

def test_clean(backend):
    backend.zeros(3)
"""


def test_a_leak_fails_the_test_that_leaks_and_no_other(tmp_path, request):
    root = request.config.rootpath
    (tmp_path / "conftest.py").write_text((root / "tests" / "conftest.py").read_text())
    (tmp_path / "test_leaks.py").write_text(LEAKS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "8 passed, 3 errors" in run.stdout, run.stdout
    for leak in ("backend: 'numpy' became 'cupy'", "error handling: ", "module cupy: "):
        assert f"Failed: test leaked global state: {leak}" in run.stdout
