"""Launches: what a kernel declares is read from its source, and nothing else is ever passed to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minirnn.kernels import launching
from minirnn.kernels.launching import kernels_in, launch, source_of
from minirnn.testing import counting, strict_cupy
from minirnn.testing.strict_cupy.device import non_portable
from minirnn.testing.strict_cupy.faults import CUDADriverError
from minirnn.testing.strict_cupy.twins import TWINS

SOURCE = """
// Some kernels to be launched.
#include "shared.cuh"
#include "shared.cuh"

extern "C" __global__ void scaled(
    const REAL *x,             // (n,)
    const REAL *mask,          // (n,) or null
    const long long *ids,      // (n,)
    REAL by,
    REAL *y,                   // (n,) receives x * by
    bool twice,
    unsigned long long seed,
    int n)
{ }

extern "C" __global__ void __launch_bounds__(256, 1) bounded(
    double *x)
{ }
"""


@pytest.fixture
def cp(tmp_path, monkeypatch):
    """The fake device, which finds the source above, and notes what arrives at the twins of its kernels."""
    (tmp_path / "trial.cu").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "shared.cuh").write_text("// shared\n", encoding="utf-8")
    monkeypatch.setattr(launching, "CUDA", tmp_path)
    monkeypatch.setitem(TWINS, "scaled", lambda x, mask, ids, by, y, twice, seed, n: ARRIVED.append(locals()))
    monkeypatch.setitem(TWINS, "bounded", lambda x: ARRIVED.append(locals()))
    ARRIVED.clear()
    with strict_cupy() as cupy:
        yield cupy
    source_of.cache_clear()
    launching._compiled.cache_clear()


ARRIVED: list[dict] = []


def arguments(cp, dtype="float32", **others):
    """A call that is right, but for ``others``."""
    x = cp.ones(4, dtype)
    right = {"x": x, "mask": None, "ids": cp.zeros(4, "int64"), "by": 2, "y": cp.empty_like(x), "twice": True}
    return list((right | {"seed": 2**63, "n": 4} | others).values())


def of(grid=(1,), block=(32,), **options):
    return lambda cp, *given: launch("trial", "scaled", grid, block, *given, **options)


# What arrives


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_arrive_in_the_types_that_the_kernel_declares(cp, dtype):
    seen = []
    real = cp.RawKernel.__call__

    def look(self, grid, block, args, **options):
        seen.extend(args)
        real(self, grid, block, args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cp.RawKernel, "__call__", look)
        launch("trial", "scaled", (1,), (32,), *arguments(cp, dtype))
    assert [type(x) for x in seen[3:4] + seen[5:]] == [np.dtype(dtype).type, np.bool_, np.uint64, np.int32]
    assert type(seen[1]) is np.uintp and seen[1] == 0  # the null pointer
    (arrived,) = ARRIVED
    assert (arrived["by"], arrived["twice"], arrived["seed"], arrived["n"]) == (2.0, True, 2**63, 4)
    assert arrived["mask"] is None and arrived["x"].dtype == dtype


def test_headers_are_pasted_in_once(cp):
    assert source_of("trial.cu").count("// shared") == 1
    assert "#include" not in source_of("trial.cu")


def test_what_a_source_declares(cp):
    found = kernels_in(source_of("trial.cu"))
    assert {name: len(parameters) for name, parameters in found.items()} == {"scaled": 8, "bounded": 1}
    assert [p.nullable for p in found["scaled"]] == [False, True, *[False] * 6]
    assert found["scaled"][2] == ("ids", "long long", True, False)


def test_a_launch_is_counted_and_no_blocks_are_no_launch(cp):
    given = arguments(cp)
    with counting() as counts:
        of()(cp, *given)
        of(grid=(0,))(cp, *given)
        of(grid=(3, 0))(cp, *given)
    assert len(ARRIVED) == 1
    assert (counts.launches, counts.syncs) == (1, 0)


def test_each_kernel_is_compiled_once_for_each_type(cp):
    for dtype in ("float32", "float64", "float32", "float64"):
        launch("trial", "scaled", (1,), (32,), *arguments(cp, dtype))
    kept = launching._compiled.cache_info()
    assert (kept.misses, kept.hits) == (2, 2)
    assert launching._compiled(cp, "trial", "scaled", "double", False).options == ("-std=c++17", "-DREAL=double")


def test_with_other_macros_it_is_another_kernel(cp):
    for macros in ((), ["WIDE=1", "DEEP=2"], (), ["WIDE=1", "DEEP=2"]):
        of(macros=macros)(cp, *arguments(cp))
    kept = launching._compiled.cache_info()
    assert (kept.misses, kept.hits) == (2, 2)
    wide = launching._compiled(cp, "trial", "scaled", "float", False, "WIDE=1", "DEEP=2")
    assert wide.options == ("-std=c++17", "-DREAL=float", "-DWIDE=1", "-DDEEP=2")


def test_shared_memory_beyond_what_every_block_gets_is_asked_for(cp):
    for shared in (200 * 1024, 100 * 1024):
        of(shared=shared)(cp, *arguments(cp))
        function = launching._compiled(cp, "trial", "scaled", "float", False)
        assert function.max_dynamic_shared_size_bytes == 232448  # as a graph may hold the first launch
    assert len(ARRIVED) == 2
    with pytest.raises(ValueError, match="scaled may have at most 232448 bytes of shared memory in a block, got 23244"):
        of(shared=232449)(cp, *arguments(cp))


def test_a_cooperative_launch_has_two_dimensions_and_runs_at_once(cp, monkeypatch):
    monkeypatch.setitem(cp.cuda.Device.attributes, "MultiProcessorCount", 4)
    of(grid=(1, 4), cooperative=True)(cp, *arguments(cp))
    with pytest.raises(ValueError, match=r"The specified grid size \(\(1, 5\)\) exceeds the limit \(4\)"):
        of(grid=(1, 5), cooperative=True)(cp, *arguments(cp))
    of(grid=(1, 5))(cp, *arguments(cp))
    of(grid=(1,), cooperative=True)(cp, *arguments(cp))
    with pytest.raises(ValueError, match=r"scaled needs a second dimension of its grid to be cooperative, got \(4,\)"):
        of(grid=(4,), cooperative=True)(cp, *arguments(cp))
    with pytest.raises(ValueError, match="second dimension"):
        of(grid=(4, 1), cooperative=True)(cp, *arguments(cp))


@pytest.fixture
def many(cp):
    """A launch in clusters of so many blocks."""

    def launched(cluster, grid=(2, 32)):
        of(grid=grid, cluster=cluster)(cp, *arguments(cp))
        return launching._compiled(cp, "trial", "scaled", "float", False, *([f"CLUSTER={cluster}"] * (cluster > 1)))

    return launched


def test_each_size_of_a_cluster_is_another_kernel(many):
    assert len({id(many(cluster)) for cluster in (1, 2, 8, 16, 2)}) == 4 and len(ARRIVED) == 5
    assert many(8).options == ("-std=c++17", "-DREAL=float", "-DCLUSTER=8")


def test_more_blocks_than_every_device_takes_have_to_be_allowed(cp, many):
    pointers = {cluster: many(cluster).kernel.ptr for cluster in (8, 16)}
    assert pointers[16] in non_portable and pointers[8] not in non_portable
    fresh = cp.RawModule(code=source_of("trial.cu"), options=("-DCLUSTER=16",)).get_function("bounded")
    with pytest.raises(CUDADriverError, match="INVALID_CLUSTER_SIZE"):
        fresh((1, 16), (32,), (cp.ones(4),))
    cp.cuda.driver.funcSetAttribute(fresh.kernel.ptr, 14, 1)
    fresh((1, 16), (32,), (cp.ones(4),))
    with pytest.raises(CUDADriverError, match="INVALID_CLUSTER_SIZE"):
        many(32)
    with pytest.raises(NotImplementedError, match="larger clusters alone"):
        cp.cuda.driver.funcSetAttribute(fresh.kernel.ptr, 8, 1)


@pytest.mark.parametrize("grid", [(16,), (16, 12), (16, 4)])
def test_a_grid_is_made_of_whole_clusters(many, grid):
    with pytest.raises(ValueError, match="scaled needs clusters of 8 blocks along the second dimension, got"):
        many(8, grid)
    assert not ARRIVED


# What is refused

REFUSED = {
    "a host array": (lambda cp: {"x": np.ones(4, "f")}, TypeError, "x as float32 array on device 0, got numpy"),
    "another float": (lambda cp: {"y": cp.ones(4, "d")}, TypeError, "y as float32 array .* float64"),
    "complex": (lambda cp: {"x": cp.ones(4, "F")}, TypeError, "x in float32 or float64, got .* complex64"),
    "half": (lambda cp: {"x": cp.ones(4, "e")}, TypeError, "x in float32 or float64, got .* float16"),
    "short ids": (lambda cp: {"ids": cp.zeros(4, "i4")}, TypeError, "ids as int64 array .* int32"),
    "a view": (lambda cp: {"x": cp.ones((4, 4), "f").T}, ValueError, r"x contiguous, got .*\(4, 4\) with strides"),
    "half a view": (lambda cp: {"y": cp.ones(8, "f")[::2]}, ValueError, "y contiguous"),
    "no array": (lambda cp: {"x": None}, TypeError, "x as float32 array .* got None"),
    "a number for an array": (lambda cp: {"mask": 0}, TypeError, "mask as float32 array .* got 0"),
    "an array for a number": (lambda cp: {"n": cp.asarray(4)}, TypeError, "n as int32, got"),
    "a broken number": (lambda cp: {"n": 4.0}, TypeError, "n as int32, got 4.0"),
    "a large number": (lambda cp: {"n": 2**31}, ValueError, "n as int32, which is too small for 2147483648"),
    "a large NumPy number": (lambda cp: {"n": np.int64(2**31)}, ValueError, "n as int32, which is too small"),
    "a number below zero": (lambda cp: {"seed": -1}, ValueError, "seed as uint64, which is too small for -1"),
    "a number for a flag": (lambda cp: {"twice": 1}, TypeError, "twice as bool, got 1"),
    "a complex number": (lambda cp: {"by": 1j}, TypeError, "by as float32, got 1j"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_kernel_does_not_declare_is_refused_by_name(cp, case):
    wrong, error, message = REFUSED[case]
    with pytest.raises(error, match=f"^scaled takes {message}"):
        of()(cp, *arguments(cp, **wrong(cp)))
    assert not ARRIVED


def test_an_array_of_another_device_is_refused(cp, monkeypatch):
    given = arguments(cp)
    monkeypatch.setattr(cp.cuda.runtime, "getDevice", lambda: 1)
    with pytest.raises(TypeError, match="on device 1, got"):
        of()(cp, *given)


def test_too_few_and_too_many_arguments_are_refused(cp):
    for given in (arguments(cp)[:-1], [*arguments(cp), 1]):
        with pytest.raises(TypeError, match=f"scaled takes 8 arguments, x, mask, ids, .*, n; got {len(given)}"):
            of()(cp, *given)


def test_an_unknown_kernel_is_refused_with_the_known_ones(cp):
    with pytest.raises(ValueError, match=r"trial\.cu has the kernels scaled, bounded; got 'scale'"):
        launch("trial", "scale", (1,), (1,))


@pytest.mark.parametrize("grid", [(), (1, 1, 1, 1), (-1,), (2**31,), (1, 65536), (1, 1, 65536)])
def test_a_grid_that_no_device_takes_is_refused(cp, grid):
    with pytest.raises(ValueError, match=r"scaled takes a grid of 1 to 3 numbers from 0 to .* got \("):
        of(grid=grid)(cp, *arguments(cp))


@pytest.mark.parametrize("block", [(), (0,), (1025,), (32, 33), (1, 1, 65), (1, 1, 1, 1)])
def test_a_block_that_no_device_takes_is_refused(cp, block):
    with pytest.raises(ValueError, match=r"scaled takes a block of 1 to 3 numbers from 1 to .* got \("):
        of(block=block)(cp, *arguments(cp))


def test_two_parameters_on_a_line_are_refused(cp):
    code = 'extern "C" __global__ void f(\n    int n, int m)\n{ }'
    with pytest.raises(ValueError, match="f must declare one parameter a line, of a known type, not 'int n, int m'"):
        kernels_in(code)


# The fake, when nobody checks before it


def test_the_fake_refuses_what_a_device_would_misread(cp):
    kernel = cp.RawModule(code=source_of("trial.cu"), options=("-DREAL=float",)).get_function("scaled")
    x, ids, null = cp.ones(4, "f"), cp.zeros(4, "int64"), np.uintp(0)
    right = (x, null, ids, np.float32(2), x, np.bool_(True), np.uint64(0), np.int32(4))
    kernel((1,), (4,), right)
    for place, wrong in enumerate((cp.ones(4, "d"), x[::-1], null, 2.0, None, True, np.int64(0), 4)):
        with pytest.raises(TypeError, match=r"scaled declares .* which would misread"):
            kernel((1,), (4,), (*right[:place], wrong, *right[place + 1 :]))
    with pytest.raises(TypeError, match="8 arguments, each as a tuple"):
        kernel((1,), (4,), right[:-1])
    with pytest.raises(TypeError, match="each as a tuple"):
        kernel(1, (4,), right)
    with pytest.raises(ValueError, match="did not ask for 50000 bytes"):
        kernel((1,), (4,), right, shared_mem=50000)
    with pytest.raises(NotImplementedError, match="by their source alone"):
        cp.RawModule(path="trial.cubin")


# The sources that there are


def test_every_kernel_of_a_step_has_a_twin_and_every_twin_a_kernel():
    declared = [name for file in sorted(Path(launching.CUDA).glob("*.cu")) for name in kernels_in(source_of(file.name))]
    whole = "sequence", "sequence_back", "attending", "attending_back", "write_texts"  # the fake device emulates those
    assert sorted(declared) == sorted([*TWINS, *whole])
