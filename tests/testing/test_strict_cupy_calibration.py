"""The strict fake against the real CuPy, which need only be importable: its refusals come before any kernel runs."""

from __future__ import annotations

import ast
import ctypes
import importlib.util
import inspect
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from minirnn.testing import backends
from minirnn.testing.strict_cupy.linalg import cublas
from minirnn.testing.strict_cupy.module import Generator, fake

real = pytest.importorskip("cupy", reason="CuPy is not installed")

ON_A_DEVICE = "cupy" in backends()
HOST = np.arange(12, dtype=np.float32).reshape(3, 4)
PUBLIC = sorted(name for name in vars(fake) if not name.startswith("__"))
FUNCTIONS = [name for name in PUBLIC if inspect.isfunction(getattr(fake, name)) and name != "size"]  # it is compiled
CLASSES = ("ndarray", "ufunc", "linalg", "RawKernel", "RawModule")  # each library has its own
UFUNCS = [name for name in PUBLIC if isinstance(getattr(fake, name), fake.ufunc)]


def real_array(host: np.ndarray = HOST):
    """A CuPy array. Without a device it is over host memory, and has shape, strides and refusals: no kernel runs there.

    With one a kernel that touched such memory would be the end of the process's device.
    """
    if ON_A_DEVICE:
        return real.asarray(host)
    buffer = host.copy()
    memory = real.cuda.UnownedMemory(buffer.ctypes.data, buffer.nbytes, buffer, 0)
    return real.ndarray(host.shape, host.dtype, real.cuda.MemoryPointer(memory, 0))


# Names


@pytest.mark.parametrize("name", PUBLIC)
def test_everything_on_the_fake_exists_in_cupy(name):
    assert hasattr(real, name)


@pytest.mark.parametrize(
    "name",
    ["block", "insert", "errstate", "seterr", "vecdot", "matvec", "nditer", "unstack", "longdouble"],
)
def test_what_the_fake_says_cupy_lacks_is_lacking(name):
    assert not hasattr(real, name)
    assert hasattr(np, name)
    assert not hasattr(fake, name)


def test_attributes_of_the_array_exist_on_cupys():
    offered = {name for name in dir(fake.ndarray) if not re.fullmatch(r"_[^_].*", name)}
    assert offered - set(dir(real.ndarray)) <= {"__annotations__", "__weakref__"}


@pytest.mark.parametrize(
    "name",
    ["__index__", "__contains__", "__imatmul__", "__round__", "setflags", "resize", "ctypes", "__array_interface__"],
)
def test_attributes_that_cupy_lacks_are_lacking(name):
    assert not hasattr(real.ndarray, name)
    assert not hasattr(fake.ndarray, name)


def test_parts_of_cupy_that_are_no_functions():
    assert {name for name in vars(fake.linalg) if not name.startswith("_")} <= set(dir(real.linalg))
    assert {name for name in vars(Generator) if not name.startswith("_")} <= set(dir(real.random.Generator))
    assert set(vars(fake.random)) <= set(dir(real.random))
    assert set(vars(fake.cuda)) <= set(dir(real.cuda))
    for part in ("runtime", "driver", "memory"):
        assert set(vars(getattr(fake.cuda, part))) <= set(dir(getattr(real.cuda, part))), part
    for name in ("normal", "choice", "permutation", "shuffle", "bit_generator"):
        assert not hasattr(real.random.Generator, name)
    assert hasattr(real.ndarray, "__hash__") and real.ndarray.__hash__ is None and fake.ndarray.__hash__ is None
    assert real.ndarray.__module__ == fake.ndarray.__module__ == "cupy"
    assert real.ndarray.__array_priority__ == fake.ndarray.__array_priority__


def test_constants_and_types_are_numpys_in_both():
    for name in PUBLIC:
        if isinstance(getattr(fake, name), (type, float)) and name not in CLASSES:
            assert (
                getattr(real, name) is getattr(fake, name)
                or getattr(real, name) == getattr(fake, name)
                or name == "nan"
            )


# Signatures


def parameters(function) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


@pytest.mark.parametrize("name", [*FUNCTIONS, *(f"linalg.{name}" for name in vars(fake.linalg) if name[0] != "_")])
def test_parameters_are_cupys(name):
    mine, theirs = fake, real
    for part in name.split("."):
        mine, theirs = getattr(mine, part), getattr(theirs, part)
    known = {parameter.name: (position, parameter) for position, parameter in enumerate(parameters(theirs))}
    for position, parameter in enumerate(parameters(mine)):
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        assert parameter.name in known
        where, twin = known[parameter.name]
        assert parameter.kind == parameter.KEYWORD_ONLY or position == where
        plain = (int, float, str, bool, type(None))
        if type(parameter.default) in plain and type(twin.default) in plain:
            assert parameter.default == twin.default


def test_methods_take_cupys_arguments():
    """CuPy's methods are compiled: the first line of the docstring is all that is known of their arguments."""
    compared = 0
    for name, function in vars(fake.ndarray).items():
        doc = getattr(getattr(real.ndarray, name, None), "__doc__", None) or ""
        found = re.match(rf"_ndarray_base\.{name}\(self(.*?)\)", doc)
        if name.startswith("_") or not inspect.isfunction(function) or not found:
            continue
        theirs = [part.split("=")[0].split()[-1] for part in found[1].split(",") if part.strip()]
        positions = [p.name for p in parameters(function)[1:] if p.kind == p.POSITIONAL_OR_KEYWORD]
        assert positions == theirs[: len(positions)], name
        assert {p.name for p in parameters(function)[1:] if p.kind == p.KEYWORD_ONLY} <= set(theirs), name
        compared += 1
    assert compared > 30


# Kernels of one's own


def test_raw_kernels_take_what_cupys_take():
    """They are compiled: names, order and defaults of their arguments stand in the first line of the docstring."""
    for kind in ("RawKernel", "RawModule"):
        mine, theirs = getattr(fake, kind), getattr(real, kind)
        documented = re.match(rf"{kind}\((.*?)\)\n", theirs.__doc__)[1].split(", ")
        theirs_in_order = [part.split("=")[0].split()[-1] for part in documented if part != "*"]
        keyword_only = theirs_in_order[documented.index("*") :]
        positions = [p.name for p in parameters(mine) if p.kind == p.POSITIONAL_OR_KEYWORD]
        assert positions == theirs_in_order[: len(positions)]
        assert {p.name for p in parameters(mine) if p.kind == p.KEYWORD_ONLY} <= set(keyword_only)
    assert "grid, block, args, \\*, shared_mem=0" in real.RawKernel.__call__.__doc__
    assert [p.name for p in parameters(fake.RawKernel.__call__)] == ["self", "grid", "block", "args", "shared_mem"]
    assert hasattr(real.RawKernel, "max_dynamic_shared_size_bytes") and hasattr(real.RawModule, "get_function")


NUMBERS = [np.uintp(0), np.bool_(True), np.int32(-5), np.uint32(2**31), np.int64(-(2**40)), np.uint64(2**63)]
NUMBERS += [np.float32(0.1), np.float64(0.1)]


@pytest.mark.parametrize("x", NUMBERS, ids=lambda x: f"{x.dtype.name}_{x}")
def test_a_number_reaches_a_kernel_in_its_own_bytes(x):
    """A null pointer is such a number, too; CuPy hands over the address of what it has made of it."""
    made = real._core._scalar.CScalar(x)
    assert ctypes.string_at(made.ptr, x.itemsize) == x.tobytes()


def test_the_product_that_adds_takes_what_cupys_takes():
    """Which is read in its source: to import it needs cuBLAS."""
    text = Path(importlib.util.find_spec("cupy.cublas").origin).read_text(encoding="utf-8")
    (theirs,) = (node for node in ast.parse(text).body if getattr(node, "name", "") == "gemm")
    mine = parameters(cublas.gemm)
    assert [p.name for p in mine] == [argument.arg for argument in theirs.args.args]
    defaults = [p.default for p in mine if p.default is not inspect.Parameter.empty]
    assert defaults == [ast.literal_eval(default) for default in theirs.args.defaults]
    imported = {f"{i.module}.{name.name}" for i in ast.parse(text).body if hasattr(i, "module") for name in i.names}
    assert {"cupy_backends.cuda.libs.cublas", "cupy.cuda.device"} <= imported
    assert "environ" not in text and "TF32" not in text  # it does not look for itself
    assert hasattr(real.cuda.device, "get_cublas_handle")
    (library,) = (Path(importlib.util.find_spec("cupy_backends").origin).parent / "cuda" / "libs").glob("cublas.*.so")
    assert b"setMathMode(intptr_t handle, int mode)" in library.read_bytes()


def test_streams_pools_and_graphs_take_what_cupys_take():
    """They are compiled: names and defaults of their arguments stand in the first line of the docstring, if any do."""
    pairs = [
        (fake.cuda.Stream, "__init__", real.cuda.Stream.__init__),
        (fake.cuda.Stream, "begin_capture", real.cuda.Stream.begin_capture),
        (fake.cuda.Stream, "end_capture", real.cuda.Stream.end_capture),
        (fake.cuda.Stream, "is_capturing", real.cuda.Stream.is_capturing),
        (fake.cuda.Graph, "launch", real.cuda.Graph.launch),
    ]
    for holder, name, theirs in pairs:
        documented = re.match(rf"\w+\.{name}\((.*?)\)", theirs.__doc__)[1].split(", ")[1:]
        mine = [f"{p.name}={p.default}" for p in parameters(getattr(holder, name))[1:]]
        assert mine == documented, name
    offered = {name for name in vars(fake.cuda.MemoryPool) if not name.startswith("_")}
    assert offered <= set(dir(real.cuda.MemoryPool)) and hasattr(real.cuda.Stream, "null")
    assert [p.name for p in parameters(real.cuda.using_allocator)] == ["allocator"]
    assert complaint(fake.cuda.Graph) == complaint(real.cuda.Graph)


def test_the_libraries_that_refuse_to_be_recorded_ask_whether_they_are():
    """Their words are in code that needs a device to run; that they ask is in the names that they are linked with."""
    home = Path(importlib.util.find_spec("cupy_backends").origin).parent / "cuda" / "libs"

    def asks(name: str) -> bool:
        (library,) = home.glob(f"{name}.*.so")
        return b"runtime_streamIsCapturing" in library.read_bytes()

    assert [name for name in ("cublas", "curand", "cusolver", "cusparse") if not asks(name)] == []
    assert not asks("nvrtc")
    (memory,) = Path(importlib.util.find_spec("cupy").origin).parent.glob("cuda/memory.*.so")
    assert b"runtime_streamIsCapturing" in memory.read_bytes()  # copies between host and device


def test_what_is_asked_of_an_array_before_a_launch():
    for x in (fake.asarray(HOST), real_array()):
        assert [y._c_contiguous for y in (x, x.T, x[:, ::2], x[1:])] == [True, False, False, True]
        assert x.data.device_id == 0
    assert fake.cuda.Device(0).attributes["MaxSharedMemoryPerBlockOptin"] == 232448  # compute capability 9.0


def test_what_is_asked_of_a_device():
    """CuPy's attributes are those of CUDA that its module of the runtime names; no other can be asked for."""
    named = {name.removeprefix("cudaDevAttr") for name in dir(real.cuda.runtime) if name.startswith("cudaDevAttr")}
    assert set(fake.cuda.Device.attributes) <= named and "ComputeCapabilityMajor" not in named
    offered = {name for name in vars(fake.cuda.Device) if not name.startswith("_")}
    assert offered - set(dir(real.cuda.Device)) == set()
    assert "by the string '35'" in real.cuda.Device.compute_capability.__doc__
    assert re.fullmatch(r"\d\d+", fake.cuda.Device(0).compute_capability)


def test_what_is_asked_for_a_cluster():
    """The rest cuda.h says: attribute 14 is NON_PORTABLE_CLUSTER_SIZE_ALLOWED, status 912 INVALID_CLUSTER_SIZE."""
    (said,) = re.findall(r"funcSetAttribute\((.*)\)", real.cuda.driver.funcSetAttribute.__doc__)
    names = [argument.split()[-1] for argument in said.split(", ")]
    assert names == [p.name for p in parameters(fake.cuda.driver.funcSetAttribute)] == ["f", "attribute", "value"]
    assert isinstance(real.RawKernel.kernel, type(real.RawKernel.max_dynamic_shared_size_bytes))  # read from an object
    assert "ptr" in dir(real.cuda.function.Function)
    theirs, mine = real.cuda.driver.CUDADriverError, fake.cuda.driver.CUDADriverError
    assert (mine.__module__, mine.__mro__[1:]) == (theirs.__module__, theirs.__mro__[1:])


# Universal functions


@pytest.mark.parametrize("name", UFUNCS)
def test_ufuncs_have_cupys_name_arity_and_methods(name):
    mine, theirs = getattr(fake, name), getattr(real, name)
    assert isinstance(theirs, real.ufunc)
    assert (mine.name, mine.nin, mine.nout, mine.nargs) == (theirs.name, theirs.nin, theirs.nout, theirs.nargs)
    for method, arguments in (("reduce", ()), ("accumulate", ()), ("at", (0, 1))):
        assert refuses(mine, method, fake.asarray(HOST), arguments) == refuses(theirs, method, real_array(), arguments)


def refuses(ufunc, method, x, arguments) -> bool:
    try:
        getattr(ufunc, method)(x, *arguments)
    except NotImplementedError:
        return True
    except Exception:  # on a machine without a device the supported ones fail later
        return False
    return False


@pytest.mark.parametrize("dtype", "?bBhHiIlLqQefdFD")
def test_add_at_takes_the_dtypes_that_cupys_takes(dtype):
    zeros, where = np.zeros(3, dtype), np.arange(3)
    mine = complaint(lambda: fake.add.at(fake.asarray(zeros), fake.asarray(where), fake.asarray(zeros)))
    theirs = complaint(lambda: real.add.at(real_array(zeros), real_array(where), real_array(zeros)))
    assert (mine == theirs) if "only supports" in theirs else (mine == "none")


# Refusals and views: the same lines, with `cp` the fake or CuPy and `n` a host array


def complaint(function) -> str:
    try:
        function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def run(line: str, cp, x):
    return eval(line, {"cp": cp, "x": x, "n": HOST, "np": np})


REFUSALS = """
np.asarray(x)
np.array([x, x])
np.float32(x[0, 0])
n.__setitem__(0, x[0])
x.__setitem__(slice(1, 3), n[1:3])
x.__setitem__(0, [1, 2])
x.fill(n)
x @ n
n @ x
x @ 2
x.dot(2)
cp.dot(x, n)
cp.tensordot(x, n)
cp.stack([x, n])
cp.split(n, 1)
cp.moveaxis(n, 0, 1)
cp.expand_dims(n, 0)
cp.broadcast_to(n, (3, 4))
cp.cumsum(n)
cp.inner(n, n)
cp.vdot(n, n)
cp.median(n)
cp.size(n)
cp.repeat(x, n)
cp.where(x, x)
cp.take_along_axis(x, x, 0)
x.sum(where=1)
x.sum(initial=1)
cp.sum(x, initial=0)
cp.max(x, where=1)
cp.add.reduce(x, initial=0)
x.sum(out=n)
x.max(initial=0)
x.var(correction=1)
np.sum(x, initial=0)
np.insert(x, 0, 1)
np.linalg.norm(x, where=1)
np.maximum.reduce(x)
cp.maximum(x, 0, where=True)
cp.add(x, x, order="C")
cp.add(x)
cp.tanh(x, x, x)
cp.maximum.reduce(x)
cp.logaddexp.at(x, 0, 1)
cp.clip(x, min=0)
cp.clip(x, 0)
x.astype("f4", casting="safe")
x.take([0], mode="wrap")
cp.zeros(2, like=x)
x.item(0)
x.item()
x[0:0].item()
bool(x)
hash(x)
range(x)
[1, 2][x]
round(x[0, 0])
cp.ones(x)
cp.zeros((x,))
x[5]
x[0, 0, 0]
x.sum(axis=5)
x.sum(axis=(0, 0))
cp.expand_dims(x, 9)
cp.flip(x, 9)
cp.take(x, 0, 9)
x.reshape(5)
x.reshape(-1, -1)
x.transpose(0)
x.transpose(0, 0)
x.squeeze(0)
x.argsort(kind="quicksort")
x.sort(kind="mergesort")
x.set([1])
len(x[0, 0])
list(x[0, 0])
cp.array(["a"])
cp.array([object()])
cp.zeros(3, dtype=object)
x.astype(object)
setattr(x, "grad", 1)
setattr(x, "dtype", "i4")
setattr(x, "strides", (4, 4))
setattr(x.T, "shape", (12,))
setattr(x, "shape", (5,))
x.flags.writeable
x.flags["WRITEABLE"]
""".strip().splitlines()


@pytest.mark.parametrize("line", REFUSALS)
def test_both_refuse_with_the_same_kind_of_error(line):
    mine = complaint(lambda: run(line, fake, fake.asarray(HOST)))
    theirs = complaint(lambda: run(line, real, real_array()))
    assert mine != "none"
    assert mine.partition(":")[0] == theirs.partition(":")[0], (mine, theirs)


def test_most_messages_read_like_cupys():
    def words(text: str) -> set[str]:
        return set(re.findall(r"\w+", text.lower().replace("cupy._core.core._ndarray_base", "cupy.ndarray")))

    alike = 0
    for line in REFUSALS:
        mine = words(complaint(lambda: run(line, fake, fake.asarray(HOST))))  # noqa: B023  # called at once
        theirs = words(complaint(lambda: run(line, real, real_array())))  # noqa: B023  # called at once
        alike += len(mine & theirs) > 0.6 * len(mine | theirs)
    assert alike > 0.75 * len(REFUSALS)


VIEWS = """
x[0]
x[0, 1]
x[0][1:]
x[::-1, ::2]
x[None]
x[...]
x.T
x.mT
x.view()
x.ravel()
x.reshape(4, 3)
x.swapaxes(0, 1)
x[None].squeeze()
cp.transpose(x)
cp.moveaxis(x, 0, -1)
cp.expand_dims(x, (0, 1))
cp.flip(x, 0)
cp.rot90(x)
cp.split(x, 2, 1)[1]
cp.array_split(x, 2)[0]
cp.broadcast_to(x, (2, 3, 4))
cp.broadcast_arrays(x, x[:1])[1]
x.diagonal()
list(x)[1]
""".strip().splitlines()


@pytest.mark.parametrize("line", VIEWS)
def test_views_are_views_of_the_same_layout_in_both(line):
    x, y = fake.asarray(HOST), real_array()
    mine, theirs = run(line, fake, x), run(line, real, y)
    assert mine.base is x
    assert theirs.base is y
    assert (mine.shape, mine.flags.c_contiguous) == (theirs.shape, theirs.flags.c_contiguous)
    assert mine.strides == theirs.strides or 0 in mine.strides + theirs.strides
    assert mine.data.ptr - x.data.ptr == theirs.data.ptr - y.data.ptr


SAME = """
x.astype("f4", copy=False)
cp.astype(x, "f4", copy=False)
x.real
x.conj()
x.squeeze()
x[0].T
cp.ascontiguousarray(x)
""".strip().splitlines()


@pytest.mark.parametrize("line", SAME)
def test_where_cupy_returns_the_array_itself_the_fake_does_so(line):
    x, y = fake.asarray(HOST), real_array()
    assert (run(line, fake, x) is x) == (run(line, real, y) is y)


class Tensor:
    __array_ufunc__ = None

    def __radd__(self, other):
        return "mine"

    __rmatmul__ = __radd__


def test_both_defer_to_an_operand_that_opts_out():
    for x in (fake.asarray(HOST), real_array()):
        assert (x + Tensor(), x @ Tensor()) == ("mine", "mine")


def test_the_real_cupy_is_not_the_fake():
    assert real is sys.modules["cupy"]
    assert real is not fake
