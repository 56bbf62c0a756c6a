"""Where arrays live, how the switch behaves in threads and without a device, and that random bits have coordinates."""

import importlib
import threading
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn import arrays
from minirnn.arrays import (
    BackendError,
    asarray,
    current_backend,
    float_dtype,
    home_of,
    module_of,
    random_generator,
    to_numpy,
    use_backend,
    xp_of,
)
from minirnn.testing import counting, strict_cupy

# Homes


def test_an_array_tells_its_home(backend):
    x = asarray([1.0, 2.0])
    assert home_of(x) == current_backend() == backend.__name__
    assert xp_of(x, None, x) is backend
    assert isinstance(x, backend.ndarray)


def test_scalars_of_numpy_live_on_the_host():
    assert home_of(np.float32(1)) == "numpy" and xp_of(np.int64(1), np.ones(2)) is np


@pytest.mark.parametrize("x", [1.0, [1.0], "a", None, range(3)])
def test_home_of_refuses_what_is_no_array(x):
    with pytest.raises(TypeError, match=f"expected a NumPy or CuPy array, got {type(x).__name__}"):
        home_of(x)


@pytest.mark.parametrize("given", [(), (None,), (None, None)])
def test_xp_of_needs_an_array(given):
    with pytest.raises(TypeError, match="at least one array"):
        xp_of(*given)


def test_mixed_homes_are_named():
    with strict_cupy() as cupy, pytest.raises(TypeError) as caught:
        xp_of(np.ones(2), None, cupy.ones(2))
    assert "argument 0: numpy, argument 2: cupy" in str(caught.value)
    assert ".to('numpy')" in str(caught.value)


# The switch


def test_use_backend_as_a_call_holds_until_the_next():
    with strict_cupy() as cupy:
        use_backend("cupy")
        assert current_backend() == "cupy" and isinstance(asarray([1]), cupy.ndarray)
        use_backend("numpy")
        assert current_backend() == "numpy" and isinstance(asarray([1]), np.ndarray)


def test_use_backend_as_a_context_goes_back_even_after_an_error():
    with strict_cupy(), use_backend("cupy"):
        with pytest.raises(ZeroDivisionError), use_backend("numpy"):
            assert current_backend() == "numpy"
            raise ZeroDivisionError
        assert current_backend() == "cupy"
    assert current_backend() == "numpy"


def test_other_threads_are_never_affected():
    seen, inside, done = [], threading.Event(), threading.Event()

    def other():
        inside.wait(10)
        seen.append(current_backend())
        with use_backend("numpy"):
            done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with strict_cupy(), use_backend("cupy"):
        inside.set()
        assert done.wait(10)
        assert current_backend() == "cupy"
    thread.join(10)
    assert seen == ["numpy"]


@pytest.mark.parametrize("name", ["gpu", "", "CUPY", None, 1])
def test_unknown_backend(name):
    with pytest.raises(ValueError, match=r"backend must be 'numpy', 'cupy' or 'auto', got"):
        use_backend(name)
    assert current_backend() == "numpy"


# Without a device


def no_cupy(name):
    raise ModuleNotFoundError(f"No module named {name!r}")


def cupy_with(count):
    """What ``import_module`` gives where CuPy is installed and counts its devices with ``count``."""
    module = ModuleType("cupy")
    module.cuda = SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=count))
    return lambda name: module


def raising(error):
    raise error


WITHOUT_DEVICE = {
    "missing": (no_cupy, "CuPy is not installed"),
    "no words": (cupy_with(lambda: raising(OSError())), "no usable device: OSError"),
    "no device": (cupy_with(lambda: 0), "CuPy finds no CUDA device"),
}


@pytest.mark.parametrize("case", WITHOUT_DEVICE)
def test_cupy_without_a_device_is_one_clear_error(monkeypatch, case):
    import_module, why = WITHOUT_DEVICE[case]
    monkeypatch.setattr(importlib, "import_module", import_module)
    for ask in (use_backend, module_of, lambda name: asarray([1.0], backend=name)):
        with pytest.raises(BackendError) as caught:
            ask("cupy")
        assert why in str(caught.value) and "\n" not in str(caught.value)
        assert "'numpy'" in str(caught.value)
    assert current_backend() == "numpy"


@pytest.mark.parametrize("case", WITHOUT_DEVICE)
def test_auto_falls_back_without_a_device(monkeypatch, case):
    monkeypatch.setattr(importlib, "import_module", WITHOUT_DEVICE[case][0])
    with use_backend("auto"):
        assert current_backend() == "numpy"


def test_auto_takes_a_device_that_works():
    with strict_cupy(), use_backend("auto"):
        assert current_backend() == "cupy"


def test_the_device_is_tried_once_and_not_at_every_array():
    with strict_cupy(), use_backend("cupy"):
        asarray([1.0])
        with counting() as counts:
            asarray([1.0])
            asarray(np.ones(3), "float32", "cupy")
    assert counts.syncs == 0 and counts.host_to_device == 2


# Making and fetching


def test_asarray_copies(backend):
    source = np.arange(6.0).reshape(2, 3).T
    x = asarray(source)
    source[...] = -1
    assert np.array_equal(to_numpy(x), np.arange(6.0).reshape(2, 3).T)
    assert x.flags.c_contiguous
    y = asarray(x)
    y[...] = 0
    assert to_numpy(x).sum() == 15


def test_asarray_names_dtype_and_place():
    with strict_cupy() as cupy:
        x = asarray([1, 2], "float32", backend="cupy")
        assert isinstance(x, cupy.ndarray) and x.dtype == np.float32
        assert isinstance(asarray(x), np.ndarray)  # the current backend is NumPy


def test_to_numpy_takes_everything(backend):
    assert np.array_equal(to_numpy(backend.arange(3)), [0, 1, 2])
    assert to_numpy(np.float64(2)).shape == ()
    x = np.ones(2)
    assert to_numpy(x) is x


@pytest.mark.parametrize("dtype", ["float32", "f4", np.float32, np.dtype("f4"), "float64", float, np.float64])
def test_float_dtypes(dtype):
    found = float_dtype(dtype)
    assert isinstance(found, np.dtype) and found == np.dtype(dtype)


@pytest.mark.parametrize("dtype", ["float16", "int32", int, bool, "complex64", "banana", None, ">f4", object, 3.5, []])
def test_what_parameters_cannot_be(dtype):
    with pytest.raises(ValueError, match="dtype must be float32 or float64, got"):
        float_dtype(dtype)


# Random streams

coordinates = st.tuples(st.integers(0, 2**64 - 1), st.text(max_size=8), st.integers(0, 2**63))


@given(coordinates)
def test_same_coordinates_same_bits(place):
    first, second = random_generator(*place), random_generator(*place)
    assert np.array_equal(first.integers(0, 2**63, 50), second.integers(0, 2**63, 50))


@given(coordinates, st.integers(0, 2**64 - 1), st.text(max_size=8), st.integers(0, 2**63))
def test_every_coordinate_matters(place, seed, stream, step):
    old_seed, old_stream, old_step = place
    others = [(seed, old_stream, old_step), (old_seed, stream, old_step), (old_seed, old_stream, step)]
    bits = random_generator(*place).integers(0, 2**63, 4)
    for other in others:
        same = np.array_equal(bits, random_generator(*other).integers(0, 2**63, 4))
        assert same == (other == place)


def test_steps_do_not_overlap():
    long = random_generator(3, "mask", step=0).random(10_000)
    next_step = random_generator(3, "mask", step=1).random(10_000)
    assert len(np.intersect1d(long, next_step)) == 0


def test_seeds_of_numpy_are_seeds():
    assert random_generator(np.int64(5), "a", np.int32(2)).random() == random_generator(5, "a", 2).random()


@pytest.mark.parametrize(("name", "value"), [("seed", -1), ("step", -1), ("seed", 1.0), ("step", None), ("seed", "1")])
def test_bad_coordinates_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name} must be an integer that is not negative, got {value!r}"):
        random_generator(**{"seed": 0, name: value})


def test_drawing_leaves_numpy_random_state_alone():
    before = np.random.get_state()[1].tolist()
    random_generator(0).random(10)
    assert np.random.get_state()[1].tolist() == before


def test_module_of_is_exported_where_arrays_are_made(backend):
    assert arrays.module_of(current_backend()) is backend
