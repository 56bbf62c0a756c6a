"""Devices that are missing, too old, taken or full: each is one error that says what it means, and changes nothing."""

import sys

import numpy as np
import pytest

from minirnn import CharLM, Tensor, TextStream, Trainer, ops
from minirnn.arrays import BackendError, DeviceMemoryError, asarray, current_backend, device_errors, module_of
from minirnn.cli import main
from minirnn.devices import comes_from_a_device, in_words, is_out_of_memory
from minirnn.testing import broken_cupy, failing, on_backend, strict_cupy
from minirnn.testing.strict_cupy.faults import MEANINGS, CUDADriverError, CUDARuntimeError, OutOfMemoryError

# What cannot be used, and what is said of it: status, devices counted, CUDA of the driver

UNUSABLE = {
    "no driver": (35, 0, 0, "there is no NVIDIA driver here (cudaErrorInsufficientDriver"),
    "old driver": (35, 0, 11040, "the driver is too old: it serves CUDA 11.4, and CuPy needs 12.9: update it"),
    "no device": (100, 0, 12090, "the driver finds no CUDA device: nvidia-smi lists those there are"),
    "mismatch": (803, 0, 12090, "the libraries and the kernel module of the NVIDIA driver are of different versions"),
    "too old": (209, 1, 12090, "the device is too old for this CuPy"),
    "taken": (46, 1, 12090, "the device is taken: another process keeps it for itself"),
    "full": (2, 1, 12090, "the device has no memory left"),
}
every_fault = pytest.mark.parametrize("fault", UNUSABLE)


@every_fault
def test_the_backend_is_refused_in_one_line_that_helps(fault):
    status, devices, driver, words = UNUSABLE[fault]
    with broken_cupy(status, devices, driver):
        for ask in (module_of, lambda name: asarray([1.0], backend=name)):
            with pytest.raises(BackendError) as caught:
                ask("cupy")
            said = str(caught.value)
            assert words in said and MEANINGS[status] in said and "use 'numpy', or 'auto'" in said and "\n" not in said
        assert module_of("auto") is np and current_backend() == "numpy"


@every_fault
def test_the_command_line_ends_with_5_and_the_doctor_names_the_trouble(fault, tmp_path, capsys):
    status, devices, driver, words = UNUSABLE[fault]
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be " * 100)
    with broken_cupy(status, devices, driver):
        assert main(["train", str(text), "-o", str(tmp_path / "run"), "--backend", "cupy"]) == 5
        assert words in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_the_doctor_names_the_trouble(capsys):
    with broken_cupy(35, 0, 11040):
        assert main(["doctor"]) == 0  # nothing essential is broken: NumPy computes
    assert "the driver is too old: it serves CUDA 11.4, and CuPy needs 12.9" in capsys.readouterr().out


def test_the_doctor_describes_a_device_that_works(capsys):
    with strict_cupy():
        assert main(["doctor"]) == 0
    assert "strict fake, compute capability 9.0" in capsys.readouterr().out


def test_a_cupy_that_cannot_be_imported_is_not_called_missing(monkeypatch):
    def broken(name):
        try:
            raise OSError("libcudart.so.12: cannot open shared object file")
        except OSError as error:
            raise ImportError("\n====\nFailed to import CuPy.\n====") from error

    monkeypatch.setattr("importlib.import_module", broken)
    with pytest.raises(BackendError, match=r"installed but cannot be imported: libcudart.so.12: cannot open"):
        module_of("cupy")


def test_a_package_that_cupy_misses_is_named(monkeypatch):
    def broken(name):
        raise ModuleNotFoundError("No module named 'fastrlock'", name="fastrlock")

    monkeypatch.setattr("importlib.import_module", broken)
    with pytest.raises(BackendError, match="CuPy needs fastrlock, which is not installed"):
        module_of("cupy")


# While it computes


def test_what_no_device_raised_passes_unchanged():
    error = MemoryError("of the host")
    with pytest.raises(MemoryError) as caught, device_errors("step 1"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (OutOfMemoryError(2**20, 2**30), DeviceMemoryError, "Out of memory allocating 1,048,576 bytes"),
        (CUDARuntimeError(2), DeviceMemoryError, "a smaller batch, shorter sequences or a smaller model need less"),
        (CUDARuntimeError(700), BackendError, "the device is lost to this process: start it anew"),
        (CUDADriverError(700), BackendError, "the device is lost to this process: start it anew"),
    ],
)
def test_errors_of_the_device_say_what_was_going_on(error, kind, words):
    with strict_cupy(), pytest.raises(kind) as caught, device_errors("step 7"):
        raise error
    assert type(caught.value) is kind and str(caught.value).startswith("step 7: ") and words in str(caught.value)
    assert caught.value.__cause__ is error and isinstance(caught.value, MemoryError) == (kind is DeviceMemoryError)


def trainer(graph=False):
    stream = TextStream("to be or not to be " * 8, seq_len=4, batch_size=2)
    return Trainer(CharLM(stream.vocabulary, 3, 4, 2, seed=1), stream, lr=0.1, clip_norm=0.1, graph=graph)


def everything(of):
    """All that training changes, in bytes and plain numbers."""
    parameters = {name: a.tobytes() for name, a in of.model.state_dict().items()}
    return parameters, {name: a.tobytes() for name, a in of.arrays().items()}, of.books(), of.loss


@pytest.mark.parametrize(("graph", "taken"), [(False, 2), (True, 1), (True, 2), (True, 3)])
def test_out_of_memory_at_any_moment_of_a_step_changes_nothing_and_the_step_can_be_tried_again(graph, taken):
    """With a graph, as its function is called first, as it is recorded, and as it is launched."""
    with on_backend("strict_cupy"):
        unharmed, harmed = trainer(graph), trainer(graph)
        unharmed.run(steps=taken)
        with failing(at=-1) as never:
            unharmed.train_step()
        last = never.allocations - 1
        harmed.run(steps=taken)
        for moment in (last - np.unique(np.r_[0:12, np.linspace(12, last, 18).astype(int)].clip(0, last))).tolist():
            if graph:  # what was recorded is given up where it failed
                harmed = trainer(graph)
                harmed.run(steps=taken)
            before = everything(harmed)
            with failing(at=moment), pytest.raises(DeviceMemoryError) as caught:
                harmed.train_step()
            words = str(caught.value)
            assert f"step {taken + 1} (inputs (2, 4), " in words and "parameters): the device has no" in words
            assert everything(harmed) == before
        harmed.train_step()
        assert everything(harmed) == everything(unharmed)


def test_out_of_memory_ends_a_command_with_5(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be " * 100)
    small = ["--hidden", "4", "--embed", "3", "--seq-len", "4", "--batch-size", "2", "--steps", "3"]
    with strict_cupy(), failing(at=400):
        assert main(["train", str(text), "-o", str(tmp_path / "run"), *small, "--backend", "cupy"]) == 5
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("minirnn: ") and "Out of memory allocating" in said
    assert "the device has no memory left: a smaller batch, shorter sequences or a smaller model need less" in said


# Mixed homes


def test_mixed_homes_are_named_wherever_they_meet():
    with strict_cupy() as cupy:
        host, there = Tensor(np.ones((2, 2))), Tensor(cupy.ones((2, 2)))
        lm, ids = CharLM(5, 3, 4), np.array([[1, 2]])
        state = tuple(Tensor(cupy.zeros((1, 1, 4), "float32")) for _ in range(2))
        for mix in (lambda: host + there, lambda: ops.matmul(there, host), lambda: lm(ids, state)):
            with pytest.raises(TypeError, match=r"arrays live in different places .*numpy.*cupy|.*cupy.*numpy"):
                mix()


# The errors of the fake are CuPy's


def test_the_errors_of_the_fake_read_like_cupys():
    real = pytest.importorskip("cupy", reason="CuPy is not installed")
    for status, meaning in MEANINGS.items():
        theirs = real.cuda.runtime.CUDARuntimeError(status)
        assert str(theirs) == meaning and theirs.status == status
        assert type(theirs).__module__ == CUDARuntimeError.__module__ and comes_from_a_device(theirs)
        assert in_words(theirs) == in_words(CUDARuntimeError(status))
    for sizes in ((1024, 10), (2**30, 2**20, 2**40)):
        theirs = real.cuda.memory.OutOfMemoryError(*sizes)
        assert str(theirs) == str(OutOfMemoryError(*sizes)) and isinstance(theirs, MemoryError)
        assert type(theirs).__module__ == OutOfMemoryError.__module__ and is_out_of_memory(theirs)
    assert comes_from_a_device(real.cuda.compiler.CompileException("nvrtc: error", "", "", ()))
    assert real.cuda.runtime.driverGetVersion() >= 0 and real.cuda.runtime.runtimeGetVersion() >= 12000
    assert sys.modules["cupy"] is real
