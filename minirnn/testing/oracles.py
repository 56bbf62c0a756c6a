"""Six ways to the gradients of a recurrent cell, side by side: who is wrong stands alone.

A gradient that nobody can look up has to be believed, or made twice. Here it is made up to six times:

    BPTT            the backward pass through time that somebody wrote out; it is the one under test
    unrolled        the cell's equations as single operations on the tape, which differentiates them by itself
    RTRL            forward in time: what every weight has done to the state so far (Williams & Zipser 1989)
    complex step    the outputs, entry by entry, at inputs moved by 1e-24 i: exact to rounding
    differences     the outputs, entry by entry, at four points around the inputs, with an estimate of the error
    PyTorch         if it is installed, and knows the cell

They have little in common. Numbers know nothing of any backward pass, so where they disagree with BPTT alone, the
backward pass is wrong. Where BPTT and numbers agree, and disagree with the rest, the gradient is right and the cell is
another one: no gradient check can see that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from minirnn import rules
from minirnn.arrays import random_generator, to_numpy
from minirnn.checking.differences import DOUBLE, along, best_step, central, complex_step
from minirnn.explaining import name_of
from minirnn.rules.combinators import projected
from minirnn.rules.combinators.form import positional
from minirnn.rules.rtrl import add_up, influences
from minirnn.tape import Tensor
from minirnn.testing.side_by_side import SideBySide
from minirnn.testing.unrolled import unrolled

T, B, D, H, P = 4, 3, 2, 5, 3  # several steps and columns, and no two sizes of a cell alike
EXACT = 1e-12  # by how much gradients may differ, relative to the largest, if nothing but rounding is between them
Arrays = dict[str, np.ndarray]


class UnavailableError(Exception):
    """An oracle has no answer, and says why."""


@dataclass(frozen=True)
class Cell:
    """A kind of cell: the rule that knows it, its keyword arguments, how many gates, and optional weights."""

    rule: Callable
    gates: int
    static: Mapping[str, Any]
    weights: Mapping[str, tuple[int, ...]]


CELLS = {
    "rnn": Cell(rules.rnn, 1, {}, {}),
    "lstm": Cell(rules.lstm, 4, {}, {}),
    "lstm-peepholes": Cell(rules.lstm, 4, {}, {"peepholes": (3, H)}),
    "lstm-projection": Cell(rules.lstm, 4, {}, {"W_hr": (P, H)}),
    "lstm-projection-peepholes": Cell(rules.lstm, 4, {}, {"W_hr": (P, H), "peepholes": (3, H)}),
    "gru": Cell(rules.gru, 3, {}, {"b_hn": (H,)}),
    "gru-without-b_hn": Cell(rules.gru, 3, {}, {}),
    "gru-reset-before": Cell(rules.gru, 3, {"reset_after": False}, {}),
}


@dataclass(frozen=True)
class Problem:
    """A cell with inputs, and what is asked of its outputs: what every oracle is asked about."""

    cell: Cell
    rule: Callable  # the one under test
    inputs: Arrays  # xs, states, W_ih, b, and the weights of the rule
    cotangents: list[np.ndarray]  # of hs, h_T and, if there is one, c_T

    def run(self, inputs: Arrays) -> tuple[list[str], tuple[np.ndarray, ...], Callable]:
        """Runs the rule under test with its projection in front: its arguments, outputs and pullback."""
        rule = projected(self.rule)
        names = positional(rule)
        return names, *rule(*map(inputs.get, names), **self.cell.static)

    def of_rule(self, inputs: Mapping[str, Any]) -> tuple[list, list]:
        """States and weights as the rule of the cell takes them, ``None`` for those that are not there."""
        names = positional(self.cell.rule)[1:]
        states = [name for name in names if name.endswith("_0")]
        return [inputs[name] for name in states], [inputs.get(name) for name in names[len(states) :]]


def make_problem(name: str, rule: Callable | None, seed: int) -> Problem:
    """The cell in the required setting: several steps and columns, random states, something asked of every output."""
    cell, random = CELLS[name], random_generator(seed, f"oracles {name}")
    G, rows = cell.gates * H, cell.weights.get("W_hr", (H,))[0]
    shapes = {"xs": (T, D, B), "h_0": (rows, B), "c_0": (H, B), "W_ih": (G, D), "b": (G,), "W_hh": (G, rows)}
    shapes |= cell.weights
    order = positional(projected(cell.rule))
    inputs = {name: random.standard_normal(shapes[name]) for name in order if name in shapes}
    ends = [shapes[name] for name in order if name.endswith("_0")]
    cotangents = [random.standard_normal(shape) for shape in ((T, rows, B), *ends)]
    if rule is not None and (unknown := [name for name in positional(projected(rule)) if name not in order]):
        raise ValueError(
            f"rule must name its arguments as rules.{cell.rule.__name__} does ({', '.join(positional(cell.rule))}), "
            f"got {', '.join(unknown)}"
        )
    return Problem(cell, rule or cell.rule, inputs, cotangents)


# --- the oracles ------------------------------------------------------------------------------------------------------


def by_bptt(p: Problem) -> Arrays:
    names, _, pullback = p.run(p.inputs)
    gradients = dict(zip(names, pullback(*(c.copy() for c in p.cotangents)), strict=True))
    return {name: gradients[name] for name in p.inputs}


def by_unrolling(p: Problem) -> Arrays:
    leaves = {name: Tensor(x, requires_grad=True) for name, x in p.inputs.items()}
    states, weights = p.of_rule(leaves)
    a_xs = [leaves["W_ih"] @ leaves["xs"][t] + leaves["b"].reshape(-1, 1) for t in range(T)]
    outputs = unrolled(p.cell.rule, a_xs, *states, *weights, **p.cell.static)
    reduce(add, ((y * c).sum() for y, c in zip(outputs, p.cotangents, strict=True))).backward()
    return {name: to_numpy(leaf.grad) for name, leaf in leaves.items()}


def by_rtrl(p: Problem) -> Arrays:
    states, weights = p.of_rule(p.inputs)
    summed = [name for name in p.inputs if name != "xs" and not name.endswith("_0")]
    of, (dhs, *ends) = {"a_xs", *p.inputs} - {"xs"}, p.cotangents
    found: dict[Any, np.ndarray] = {}  # by name, and for a_xs by step
    by: dict[Any, tuple] = {}
    projection = {"W_ih": p.inputs["W_ih"], "b": p.inputs["b"]}
    run = influences(p.cell.rule, p.inputs["xs"], *states, *weights, of=of, **projection, **p.cell.static)
    for dh, (_, by) in zip(dhs, run, strict=True):
        add_up(found, by, [dh], weights=summed)
    add_up(found, by, ends, weights=summed)
    found["xs"] = np.stack([p.inputs["W_ih"].T @ found[t] for t in range(T)])
    return {name: found[name] for name in p.inputs}


def by_complex_step(p: Problem) -> Arrays:
    try:
        return _by_entry(p, complex_step)
    except TypeError as error:
        raise UnavailableError(f"the rule takes no complex numbers ({error})") from error


def by_differences(p: Problem) -> tuple[Arrays, dict[str, float]]:
    """Central differences of four points, and how far they may be off.

    Truncation is judged by steps of twice the length, where it is sixteen times as much; rounding by what all terms of
    the number that is differentiated add up to.
    """
    step = best_step(4)
    found, coarse = (_by_entry(p, lambda line, h=h: central(line, h)) for h in (step, 2 * step))
    terms = sum(np.abs(c * y).sum() for c, y in zip(p.cotangents, p.run(p.inputs)[1], strict=True))
    rounding = 4 * DOUBLE * terms / step
    return found, {
        name: float((np.abs(dx - coarse[name]).max() + rounding) / np.abs(dx).max()) for name, dx in found.items()
    }


def _by_entry(p: Problem, derivative: Callable) -> Arrays:
    """The derivative of ``sum_k <cotangent_k, output_k>`` by every entry of every input, forward passes only."""

    def gradient(name: str, x: np.ndarray) -> np.ndarray:
        def number(moved: np.ndarray) -> Any:
            inputs = {key: z.astype(moved.dtype) for key, z in p.inputs.items()} | {name: moved}
            return sum((c * y).sum() for c, y in zip(p.cotangents, p.run(inputs)[1], strict=True))

        units = np.eye(x.size).reshape(-1, *x.shape)
        return np.reshape([derivative(along(number, x, unit)) for unit in units], x.shape)

    return {name: gradient(name, x) for name, x in p.inputs.items()}


def by_pytorch(p: Problem) -> Arrays:
    if "peepholes" in p.inputs or not p.cell.static.get("reset_after", True):
        raise UnavailableError("PyTorch has no such cell")
    try:
        import torch
    except ImportError:
        raise UnavailableError("PyTorch is not installed (pip install torch)") from None
    layer = {rules.rnn: torch.nn.RNN, rules.lstm: torch.nn.LSTM, rules.gru: torch.nn.GRU}[p.cell.rule]
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn, and nobody else's numbers shall change
        theirs = layer(D, H, dtype=torch.float64, **({"proj_size": P} if "W_hr" in p.inputs else {}))
    names = {"W_ih": "weight_ih_l0", "b": "bias_ih_l0", "W_hh": "weight_hh_l0", "W_hr": "weight_hr_l0"}
    weights = {name: torch.tensor(p.inputs[own]) for own, name in names.items() if own in p.inputs}
    b_hh = np.zeros_like(p.inputs["b"])
    b_hh[-H:] = p.inputs.get("b_hn", 0)
    theirs.load_state_dict(weights | {"bias_hh_l0": torch.tensor(b_hh)})

    def rows(x: np.ndarray) -> Any:  # they have the batch in rows
        return torch.tensor(x.swapaxes(-1, -2).copy())

    leaves = {name: rows(x).requires_grad_() for name, x in p.inputs.items() if name in ("xs", "h_0", "c_0")}
    xs, *states = leaves.values()
    hs, ends = theirs(xs, tuple(h[None] for h in states) if len(states) > 1 else states[0][None])
    outputs = hs, *(end[0] for end in (ends if len(states) > 1 else (ends,)))
    sum((y * rows(c)).sum() for y, c in zip(outputs, p.cotangents, strict=True)).backward()

    found = {name: x.grad.numpy().swapaxes(-1, -2) for name, x in leaves.items()}
    by_parameter = {name: parameter.grad.numpy() for name, parameter in theirs.named_parameters()}
    found |= {own: by_parameter[name] for own, name in names.items() if own in p.inputs}
    found["b_hn"] = by_parameter["bias_hh_l0"][-H:]
    return {name: found[name] for name in p.inputs}


ORACLES: dict[str, Callable[[Problem], Any]] = {
    "BPTT": by_bptt,
    "unrolled": by_unrolling,
    "RTRL": by_rtrl,
    "complex step": by_complex_step,
    "differences": by_differences,
    "PyTorch": by_pytorch,
}


def compare(cell: str, rule: Callable | None = None, *, seed: int = 0, oracles: Sequence[str] = ()) -> SideBySide:
    """The gradients of a cell by all oracles, in one table of how far any two of them are apart.

    Parameters
    ----------
    cell : str
        One of ``CELLS``.
    rule : callable, optional
        The rule to put to the test in place of that of `minirnn.rules`: of the same arguments, under the same names.
        BPTT is then its pullback, and complex step and differences are those of its outputs.
    seed : int
        Draws inputs and cotangents.
    oracles : sequence of str, optional
        Which of ``ORACLES`` to ask; by default all. One that has no answer is left out, and the table says why.

    Returns
    -------
    SideBySide

    Raises
    ------
    ValueError
        If there is no such cell or oracle, or the rule has arguments of other names, or gradients of other shapes.

    Examples
    --------
    >>> table = compare("gru", oracles=["BPTT", "unrolled", "RTRL", "complex step"])
    >>> table.ok, bool(table.apart.max() < 1e-12)
    (True, True)

    A wrong rule stands alone:

    >>> from minirnn.testing.bug_zoo import lstm_with
    >>> compare("lstm", lstm_with("forget gate missing"), oracles=["BPTT", "RTRL", "complex step"]).camps
    [['RTRL', 'complex step'], ['BPTT']]
    """
    for kind, names, known in (("cell", [cell], CELLS), ("oracles", oracles, ORACLES)):
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"{kind} must be of {', '.join(map(repr, known))}, got {unknown[0]!r}")
    problem, gradients, accuracy, missing = make_problem(cell, rule, seed), {}, {}, {}
    for name in oracles or ORACLES:
        try:
            answer = ORACLES[name](problem)
        except UnavailableError as reason:
            missing[name] = str(reason)
            continue
        gradients[name], accuracy[name] = (
            answer if isinstance(answer, tuple) else (answer, dict.fromkeys(answer, EXACT))
        )
    of = cell if rule is None else f"{name_of(rule)} as {cell}"
    return SideBySide(f"gradients of {of}, T {T}, B {B}, D {D}, H {H}, seed {seed}", gradients, accuracy, missing)
