"""The CUDA kernels of the gates, run thread by thread on the CPU, against the array operations that are their twins."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from minirnn.kernels.launching import DTYPES, kernels_in, options, source_of
from minirnn.testing.cuda_emulator import emulated, why_not
from minirnn.testing.strict_cupy.twins import TWINS

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "kernels can be emulated")

H, B, STEPS = 5, 3, 4  # 15 threads fill blocks of 4 but for the last
SIZES = {"H": H, "B": B, "steps": STEPS, "numbers": H * B}
OVER_STEPS = ("lstm_slopes", "gru_slopes", "rnn_slopes")

# what an argument is, by its name: rows of H numbers; flags and the optional are tried both ways
ROWS = {
    "rnn": {},
    "lstm": {"a": 4, "gates": 4, "da": 4, "da_slope": 4},
    "gru": {"a": 3, "gates": 4, "dgates": 4, "slopes": 4},
    "gru without reset_after": {"a": 3, "gates": 3, "dgates": 3, "slopes": 3},
}
CASES = [
    ("rnn", "rnn_activate", {"relu": False}),
    ("rnn", "rnn_activate", {"relu": True}),
    ("rnn", "rnn_slopes", {"relu": False}),
    ("rnn", "rnn_slopes", {"relu": True}),
    ("rnn", "rnn_back", {}),
    ("lstm", "lstm_gates", {}),
    ("lstm", "lstm_gates", {"peepholes": None}),
    ("lstm", "lstm_slopes", {}),
    ("lstm", "lstm_slopes", {"peepholes": None, "carry": None}),
    ("lstm", "lstm_gates_back", {}),
    ("lstm", "lstm_gates_back", {"dm_t": None}),
    ("gru", "gru_gates", {}),
    ("gru", "gru_gates", {"b": None}),
    ("gru", "gru_slopes", {"reset_after": True}),
    ("gru", "gru_gates_back", {}),
    ("gru", "gru_gates_back", {"dh_t": None}),
    ("gru without reset_after", "gru_reset", {}),
    ("gru without reset_after", "gru_candidate", {}),
    ("gru without reset_after", "gru_slopes", {"reset_after": False}),
    ("gru without reset_after", "gru_candidate_back", {}),
    ("gru without reset_after", "gru_candidate_back", {"dh_t": None}),
    ("gru without reset_after", "gru_reset_back", {}),
]


def arguments(form: str, kernel: str, given: dict[str, Any], dtype: Any) -> dict[str, Any]:
    """Random ones, in the types that the kernel declares."""
    random, found = np.random.default_rng(0), {}
    for name, kind, pointer, _ in declared(form, kernel):
        if name in given or name in SIZES:
            x = given.get(name, SIZES.get(name))
            if kernel in OVER_STEPS and name == "numbers":
                x *= STEPS
            found[name] = x if x is None else DTYPES[kind].type(x)
        else:
            assert pointer
            rows = (3, H) if name == "peepholes" else (ROWS[form].get(name, 1) * H, B)
            steps = (STEPS,) if kernel in OVER_STEPS and name != "peepholes" else ()
            least = 0 if given.get("relu") and name == "h" and kernel == "rnn_slopes" else -1  # what relu leaves
            found[name] = random.uniform(least, 1, (*steps, *rows)).astype(dtype)
    return found


def declared(form: str, kernel: str):
    return kernels_in(code_of(form))[kernel]


def code_of(form: str) -> str:
    return source_of(f"{form.partition(' ')[0]}.cu")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float64", 4e-15)])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[1]} {case[2] or ''}")
def test_a_kernel_computes_what_its_twin_does(case, dtype, tolerance):
    """All that it writes, and it writes nothing else."""
    form, kernel, given = case
    found, before = arguments(form, kernel, given, dtype), arguments(form, kernel, given, dtype)
    expected = arguments(form, kernel, given, dtype)
    blocks = -(-H * B * (STEPS if kernel in OVER_STEPS else 1) // 4)
    real = "float" if dtype == "float32" else "double"
    emulated(code_of(form), options(real)).run(kernel, (blocks,), (4,), list(found.values()))
    twin = TWINS[kernel]
    twin(*list(expected.values())[: len(inspect.signature(twin).parameters)])
    written = 0
    for name, x in expected.items():
        if isinstance(x, np.ndarray) and name != "dk":  # which the twin uses as scratch
            np.testing.assert_allclose(found[name], x, rtol=0, atol=tolerance, err_msg=name)
            unchanged = np.array_equal(x, before[name])
            written += not unchanged
            assert not unchanged or np.array_equal(found[name], x), name
    assert written


def test_every_kernel_of_the_gates_is_tried():
    tried = {kernel for _, kernel, _ in CASES}
    assert tried == {name for source in ("rnn", "lstm", "gru") for name in kernels_in(source_of(f"{source}.cu"))}
