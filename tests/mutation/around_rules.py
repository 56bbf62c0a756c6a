"""What kills a mutant of a combinator or of RTRL: numbers first, then all that numbers do not say.

Each check takes the combinators of some world, and raises: `GradcheckError` for wrong numbers, `AssertionError` for
anything else. Those here are of one trial; what a combinator promises besides is in ``promises.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from inspect import signature

import numpy as np
from promises import CLOSE, PROMISES, Tools
from trials import Trial, trials

from minirnn.arrays import asarray, to_numpy
from minirnn.checking import GradcheckError
from minirnn.checking.contract import pull_back
from minirnn.explaining import argument_names
from minirnn.testing.captured import saved_bytes
from minirnn.testing.inner_laws import passes_complex_numbers
from minirnn.testing.laws import any_memory_layout, float32_stays_float32

NOT_ANALYTIC = ("clip_through_time",)  # it compares


def check_around_rules(tools: Tools, names: Collection[str], through: tuple[str, str] | None = None) -> None:
    """Raise unless all is right that is made with the combinators of these names, or passes ``through`` a function."""
    concerned = [trial for trial in trials() if trial.uses & set(names) and through in (None, *trial.passes)]
    for trial in concerned:
        gives_the_numbers(tools, trial)
    for check_some, those in PROMISES.items():
        if not set(those).isdisjoint(names):
            check_some(tools)
    alone = [trial for trial in concerned if len(trial.uses) == 1]
    for trial in {(trial.uses, len(trial.inputs)): trial for trial in reversed(alone)}.values():
        does_what_is_wanted(tools, trial)
    for trial in {trial.uses: trial for trial in reversed(concerned)}.values():  # the first of each kind
        keeps_the_contract(tools, trial)
        runs_on_a_device(tools, trial)
        if trial in alone:
            keeps_its_kind(tools, trial)
        else:
            does_what_is_wanted(tools, trial)
        if trial.uses.isdisjoint(NOT_ANALYTIC):
            passes_complex_numbers(trial.make(tools), trial.inputs, trial.static)


def gives_the_numbers(tools: Tools, trial: Trial) -> None:
    """Outputs and gradients are those of what the combinators stand for."""
    outputs, pullback = trial.make(tools)(*trial.inputs, **trial.static)
    _refuse_other_outputs(outputs, trial.outputs)
    _refuse_other_gradients(pullback(*trial.cotangents), trial.gradients)


def keeps_the_contract(tools: Tools, trial: Trial) -> None:
    """Nothing is written into, and the same comes twice."""
    rule = trial.make(tools)
    pull_back(rule, trial.inputs, trial.static, argument_names(rule, len(trial.inputs)), seed=0)


def does_what_is_wanted(tools: Tools, trial: Trial) -> None:
    """Each gradient comes alone, every other one comes, and for none nothing is kept."""
    rule, n = trial.make(tools), len(trial.inputs)
    if "wanted" not in signature(rule).parameters:
        return
    entries = len(rule(*trial.inputs, **trial.static)[1](*trial.cotangents))
    alone = [tuple(k == one for k in range(n)) for one in range(n)]
    for wanted in [(True, False) * (n // 2) + (True,) * (n % 2), *alone, (False,) * n]:
        outputs, pullback = rule(*trial.inputs, wanted=wanted, **trial.static)
        _refuse_other_outputs(outputs, trial.outputs)
        gradients = pullback(*trial.cotangents)
        assert len(gradients) in (n, entries), f"{len(gradients)} entries in place of {n} or {entries}"
        _refuse_other_gradients(gradients, [g if w else None for g, w in zip(trial.gradients, wanted, strict=True)])
        kept = saved_bytes(pullback)
        assert any(wanted) or kept == 0, f"with nothing wanted {rule.__name__} keeps {kept} bytes"


def runs_on_a_device(tools: Tools, trial: Trial) -> None:
    """There are the same numbers where every array has to be asked for, and none is of the host."""
    there = [None if x is None else asarray(x, backend="cupy") for x in trial.inputs]
    outputs, pullback = trial.make(tools)(*there, **trial.static)
    _refuse_other_outputs(map(to_numpy, outputs), trial.outputs)
    gradients = pullback(*(asarray(c, backend="cupy") for c in trial.cotangents))
    _refuse_other_gradients([None if g is None else to_numpy(g) for g in gradients], trial.gradients)


def keeps_its_kind(tools: Tools, trial: Trial) -> None:
    """float32 stays, and memory may be laid out in any way."""
    rule = trial.make(tools)
    float32_stays_float32(rule, trial.inputs, trial.static)
    any_memory_layout(rule, trial.inputs, trial.static)


def _refuse_other_outputs(found: Iterable, expected: Sequence) -> None:
    for k, (y, reference) in enumerate(zip(found, expected, strict=True)):
        assert y.shape == reference.shape, f"output {k} has shape {y.shape}, not {reference.shape}"
        assert np.allclose(y, reference, rtol=CLOSE, atol=CLOSE), f"output {k} has other numbers"


def _refuse_other_gradients(found: Sequence, expected: Sequence) -> None:
    assert all(dx is None for dx in found[len(expected) :]), "a gradient of what was not given"
    for k, (dx, reference) in enumerate(zip(found, expected, strict=False)):
        assert (dx is None) == (reference is None), f"gradient {k} is {dx}, not {reference}"
        if dx is not None:
            assert dx.shape == reference.shape, f"gradient {k} has shape {dx.shape}, not {reference.shape}"
            if not np.allclose(dx, reference, rtol=CLOSE, atol=CLOSE):
                raise GradcheckError(f"gradient {k} has other numbers than a numeric derivative")
