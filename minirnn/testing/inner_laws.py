"""Laws on what goes on inside a rule: what it keeps, what it does with complex numbers, what it shows to a probe."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from minirnn.arrays import Array, to_numpy
from minirnn.checking.contract import call_rule, is_differentiable
from minirnn.explaining import argument_names
from minirnn.testing.captured import arrays_in
from minirnn.testing.variants import cotangents_like, each
from minirnn.testing.verdicts import bits, gradients_with_names, refuse, refuse_different

Static = Mapping[str, Any]


def keeps_what_it_reads(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """Whatever is wanted, every array of floats that the pullback holds has a say in some gradient.

    Each is filled with zeros and with NaN in turn; if no gradient changes it was kept for nobody.
    """
    static = dict(static or {})
    flags = [static.pop("wanted")] if "wanted" in static else [None]
    if "wanted" in inspect.signature(rule).parameters:
        n = len(argument_names(rule, len(inputs)))
        flags += [tuple(j == k for j in range(n)) for k in range(n) if is_differentiable(inputs[k])]
    for wanted in flags:
        asked = static if wanted is None else {**static, "wanted": wanted}
        outputs, pullback = call_rule(rule, each(lambda x: x.copy(), inputs), asked)
        if any(z is not None and z.size == 0 for z in (*inputs, *outputs)):
            return  # where nothing is computed nothing is read
        cotangents = cotangents_like(outputs, seed)
        gradients = bits(pullback(*cotangents))
        for kept in arrays_in(pullback):
            if kept.dtype.kind == "f" and _can_be_written(kept):
                before, changed = kept.copy(), False
                for poison in (0, np.nan):
                    kept[...] = poison
                    with np.errstate(all="ignore"):
                        changed |= bits(pullback(*cotangents)) != gradients
                kept[...] = before
                whom = "all gradients" if wanted is None else f"wanted={wanted}"
                what = f"for {whom} it keeps an array {kept.shape} that its pullback never reads"
                refuse(not changed, "keeps_what_it_reads", rule, what)


def _can_be_written(x: Array) -> bool:
    return isinstance(getattr(x, "ndim", None), int) and getattr(x.flags, "writeable", True)


def passes_complex_numbers(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """Where a rule takes complex numbers its pullback does: second derivatives by complex step rest on it.

    Cotangents ``u + i v`` come back as ``pullback(u) + i pullback(v)``, and an argument that is complex with imaginary
    part zero changes no gradient; each output and each argument in turn, so that the others stay real.
    """
    static, name = static or {}, "passes_complex_numbers"
    outputs, pullback = call_rule(rule, inputs, static)
    us, vs = cotangents_like(outputs, seed), cotangents_like(outputs, seed + 1)
    gradients = pullback(*us)
    analytic = complex_arguments(rule, inputs, static)
    if not analytic:
        return
    for k, v in enumerate(vs):
        found = pullback(*us[:k], us[k] + 1j * v, *us[k + 1 :])
        zeros = [0 * u for u in us]
        expected = pullback(*zeros[:k], v, *zeros[k + 1 :])
        what = f"is not linear in a complex cotangent of output {k}"
        refuse_different(name, rule, each(_real, found), gradients, what, rounded=outputs)
        refuse_different(name, rule, each(_imaginary, found), expected, what, rounded=outputs)
    for k in analytic:
        _, pullback = call_rule(rule, _with_complex(inputs, k), static)
        what = f"is another where argument {k} is complex with imaginary part zero"
        refuse_different(name, rule, each(_real, pullback(*us)), gradients, what, rounded=outputs)


def complex_arguments(rule: Callable, inputs: Sequence, static: Static | None = None) -> list[int]:
    """Places of the arguments that may be complex: all outputs then are, and no imaginary part is thrown away."""

    def can_be(k: int) -> bool:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", np.exceptions.ComplexWarning)
                outputs, _ = call_rule(rule, _with_complex(inputs, k), static or {})
        except Exception:  # whatever a rule raises on complex numbers, it means that it takes none
            return False
        return all(y.dtype.kind == "c" for y in outputs)

    return [k for k, x in enumerate(inputs) if is_differentiable(x) and can_be(k)]


def _with_complex(inputs: Sequence, k: int) -> list:
    return [*inputs[:k], inputs[k].astype(np.result_type(inputs[k].dtype, np.complex64)), *inputs[k + 1 :]]


def _real(x: Array) -> Array:
    return x.real.copy()


def _imaginary(x: Array) -> Array:
    return x.imag.copy()


def probes_see_the_truth(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """A probe changes no bit though it tries to, and shown on the way back are the gradients that they are called.

    All ``da...`` of a step together are that step of the first argument's gradient. ``dh`` is what the loss asks of
    h_t and what the rest of the sequence, run by itself from the states shown, asks of its first state.
    Rules without the keyword ``probe`` keep this law by having nothing to show.
    """
    if "probe" not in inspect.signature(rule).parameters:
        return
    static, name = static or {}, "probes_see_the_truth"
    outputs, pullback = call_rule(rule, inputs, static)
    cotangents = cotangents_like(outputs, seed)
    gradients = pullback(*cotangents)
    seen: dict[str, dict[int, Array]] = {}

    def probe(what: str, t: int, array: Array) -> None:
        seen.setdefault(what, {})[t] = array.copy()
        if isinstance(array, np.ndarray):  # on a device nothing would keep it from it
            with suppress(ValueError):
                array[...] = 0

    shown, probed_pullback = call_rule(rule, inputs, {**static, "probe": probe})
    refuse(bits(shown) != bits(outputs), name, rule, "with a probe the outputs have other bits")
    refuse(bits(probed_pullback(*cotangents)) != bits(gradients), name, rule, "with a probe a gradient has other bits")

    dhs, da_xs, names = cotangents[0], gradients[0], argument_names(rule, len(inputs))
    states = [p for p in names if p.endswith("_0")]
    first = names.index(states[0])
    xs, weights = inputs[:first], inputs[first + len(states) :]
    parts = [what for what in seen if what.startswith("da")]
    missing = {f"d{states[k][0]}" for k in range(len(states))} - set(seen)
    refuse(bool(missing) or not parts, name, rule, f"the probe was not shown {sorted(missing) or 'da'}")
    for t in range(len(da_xs)):
        da = np.concatenate([to_numpy(seen[part][t]) for part in parts])
        refuse_different(name, rule, [da], [to_numpy(da_xs[t])], f"is not what was shown as {', '.join(parts)}")
        entering = [seen[state[0]][t] for state in states]
        _, rest_pullback = call_rule(rule, [*(x[t + 1 :] for x in xs), *entering, *weights], static)
        asked = dict(gradients_with_names(rule, rest_pullback(dhs[t + 1 :], *cotangents[1:])))
        dh = to_numpy(asked[states[0]] + dhs[t])
        refuse_different(
            name, rule, [to_numpy(seen["dh"][t])], [dh], f"of step {t}, shown as dh, is wrong", of="output"
        )
        if {"dc", "da_g"} <= set(seen):  # of the LSTM: da_g = dc * i * (1 - g**2)
            i, g, dc, da_g = (to_numpy(seen[what][t]) for what in ("i", "g", "dc", "da_g"))
            refuse_different(
                name, rule, [dc * i * (1 - g * g)], [da_g], f"by dc as shown at step {t} is wrong", of="output"
            )
