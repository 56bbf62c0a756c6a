"""One backward pass of a model, recorded step by step: what every instrument of this package reads.

The model runs on a twin whose recurrent stack goes one step at a time (``walking.py``) and shows every gate, state and
gradient to a `Record`. The graph is cut where the stack hands out its outputs. The way back above the cut tells what
the loss asks of them, step by step. The way back below it is linear in that, so it can be walked again with what is
asked of one step alone; and such walks, one for each step, add up to the gradient.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import ismethod
from typing import Any

import numpy as np

from minirnn import ops
from minirnn.arrays import Array, to_numpy, xp_of
from minirnn.lens.results import plural, titled
from minirnn.lens.walking import Walk, step_by_step
from minirnn.nn import Module, Parameter
from minirnn.nn.module import flatten, twin
from minirnn.nn.stack import Recurrent
from minirnn.rules.combinators import Record
from minirnn.rules.combinators.ordering import turn
from minirnn.tape import Tensor, pull_back

GATES = {"RNN": ("a",), "LSTM": ("i", "f", "g", "o"), "GRU": ("r", "z", "n")}  # blocks of rows of a pre-activation

Found = dict[int, tuple[Tensor, Array]]  # what the tape says: by id of a leaf, the leaf and its gradient


def record(function: Any, *inputs: Any, loss: Callable | None = None, label: str = "", **options: Any) -> Recording:
    """Runs a recurrent model forward and back, and keeps what passed at every step.

    Parameters
    ----------
    function : Module, or a method of one
        A model that is called with ``inputs``, or such as ``lm.loss``. It has one recurrent stack, an `nn.RNN`,
        `nn.LSTM` or `nn.GRU` of any number of layers and directions, and calls it once.
    *inputs, **options
        What ``function`` takes.
    loss : callable, optional
        Makes a loss, a tensor of one number, of what ``function`` returns (of the first, if it returns several). Not
        needed where that is the loss already.
    label : str
        What pictures and texts call the recording.

    Returns
    -------
    Recording
        The model itself is as it was: its parameters, their gradients, and its random streams.

    Raises
    ------
    TypeError
        If ``function`` is no module and no method of one.
    ValueError
        If the model has not one recurrent stack, does not call it once, or the stack has zoneout, layer norm or
        ``through_time``; or if what comes out is no loss that depends on the outputs of the stack.

    Examples
    --------
    >>> import numpy as np
    >>> from minirnn import lens, nn
    >>> xs = np.random.default_rng(0).standard_normal((20, 3, 5))
    >>> recording = lens.record(nn.GRU(5, 8, dtype="float64"), xs, loss=lambda out: (out[-1] ** 2).sum())
    >>> recording.places["l0"].record["dh"].shape
    (20, 8, 3)
    """
    model = function.__self__ if ismethod(function) else function
    if not isinstance(model, Module):
        raise TypeError(f"record needs a module, or a method of one such as lm.loss, got {function!r}")

    def run(copy: Module) -> Tensor:
        found = (partial(function.__func__, copy) if ismethod(function) else copy)(*inputs, **options)
        first = found[0] if isinstance(found, tuple) else found
        return first if loss is None else loss(first)

    return Recording(model, run, label)


@dataclass(frozen=True)
class Place:
    """One layer of the stack in one direction.

    Attributes
    ----------
    name : str
        ``"l0"``, ``"l0_reverse"``, ``"l1"``, ..., as in the names of the parameters.
    record : Record
        Every gate, state and gradient, ``(T, features, B)``, in the order of time, under the names that a probe sees.
    walk : Walk
        Its steps, in the order of the run.
    gates : tuple of str
        The blocks of its pre-activations: ``a`` of an RNN, ``i f g o`` of an LSTM, ``r z n`` of a GRU.
    """

    name: str
    record: Record
    walk: Walk
    gates: tuple[str, ...]

    @property
    def reverse(self) -> bool:
        """Whether it reads from the end."""
        return self.name.endswith("_reverse")

    def in_time(self, steps: Array) -> Array:
        """What stands in the order of the run, ``(T, ..., B)``, in the order of time."""
        return turn(steps, self.walk.lengths) if self.reverse else steps

    def blocks(self) -> dict[str, np.ndarray]:
        """The rows of ``W_hh`` that feed each gate, on the host."""
        parts = np.split(to_numpy(self.walk.weights["W_hh"]), len(self.gates))
        return dict(zip(self.gates, parts, strict=True))


class Recording:
    """A backward pass of a model, kept step by step; `record` makes it.

    It holds copies of the parameters: training the model further changes nothing in it.

    Attributes
    ----------
    cell, label : str
        ``"RNN"``, ``"LSTM"`` or ``"GRU"``; and what texts and pictures call the recording besides.
    loss : float
    gradients : dict of str to array
        Of every parameter of the model by its name, on the host.
    places : dict of str to Place
        Every layer and direction of the recurrent stack.
    steps, columns : int
        T and B.
    """

    def __init__(self, model: Module, run: Callable[[Module], Tensor], label: str = ""):
        self.label, self._run = label, run
        self._model = twin(model, {id(p): Parameter(p.array, p.dtype, p.name) for p in model.parameters()})
        self._prefix, self._stack = stack_of(self._model)
        self.cell, self._watched = type(self._stack).__name__, Watched(self._stack)
        loss = self._loss(self._watched)
        if not self._watched.roots:
            raise ValueError(f"the model must call its {self.cell} once to be recorded, and did not call it")
        above = pull_back([loss], [xp_of(loss.array).ones_like(loss.array)])
        self._asked = [above.pop(id(leaf), (leaf, None))[1] for leaf in self._watched.leaves]
        if all(d is None for d in self._asked):
            raise ValueError(f"the loss does not depend on the outputs of the {self.cell}: nothing flows back")
        below = self._back(self._asked)
        self._watched.recording = False
        self.loss = loss.item()
        self.gradients = {name: added(p, above, below) for name, p in self._model.named_parameters()}
        walks, records = self._watched.walks, self._watched.records
        self.places = {
            name: Place(name, records[name], walk, GATES[self.cell]) for name, walk in zip(records, walks, strict=True)
        }
        self.steps, self.columns = len(walks[0].ys), walks[0].ys.shape[-1]

    def _loss(self, stand_in: Module) -> Tensor:
        """The loss of the model with another module in the place of its stack."""
        loss = self._run(twin(self._model, {id(self._stack): stand_in}))
        if not isinstance(loss, Tensor) or loss.size != 1:
            got = f"shape {loss.shape}" if isinstance(loss, Tensor) else type(loss).__name__
            raise ValueError(f"a recording starts from a loss, a tensor of one number, got {got}; loss= makes one")
        if not loss.requires_grad:
            raise ValueError("the loss has no history: it depends on no parameter, or was computed under no_grad()")
        return loss

    def _back(self, asked: Sequence[Array | None]) -> Found:
        """From what is asked of outputs and final states of the stack, down through it."""
        pairs = [(root, d) for root, d in zip(self._watched.roots, asked, strict=True) if d is not None]
        return pull_back([root for root, _ in pairs], [d for _, d in pairs], retain_graph=True)

    def back_from(self, t: int, listener: Callable[[Place, int, tuple], Any]) -> None:
        """Walks back with what the loss asks of the outputs of step ``t`` alone, in the order of time.

        What it asks of the final states counts as asked at the last step.

        Parameters
        ----------
        t : int
        listener : callable
            Called as ``listener(place, step, gradients)`` after every step of every place, in the order of its run:
            with what this step gives to the gradients of the arguments of the place's rule.
        """
        outputs, *ends = self._asked
        if outputs is not None:
            whole, at = outputs, (slice(None),) * self._watched.time_axis + (t,)
            outputs = xp_of(whole).zeros_like(whole)
            outputs[at] = whole[at]
        for place in self.places.values():
            place.walk.listener = partial(listener, place)
        self._back([outputs, *(ends if t == self.steps - 1 else [None] * len(ends))])
        for place in self.places.values():
            place.walk.listener = None

    def gradients_through(self, combinator: Callable[[Callable], Callable]) -> dict[str, np.ndarray]:
        """Gradients of the parameters of the stack, by name, where ``combinator`` makes its sequence rules."""
        loss = self._loss(self._stack.running_through_time(combinator))
        found = pull_back([loss], [xp_of(loss.array).ones_like(loss.array)])
        return {f"{self._prefix}{name}": added(p, found) for name, p in self._stack.named_parameters()}

    def __str__(self) -> str:
        columns, places = plural(self.columns, "column"), ", ".join(self.places)
        return f"{self.title}: {plural(self.steps, 'step')}, {columns}, loss {self.loss:.4g}, at {places}"

    @property
    def title(self) -> str:
        """Cell and label."""
        return titled(self.cell, self.label)


def added(parameter: Parameter, *found: Found) -> np.ndarray:
    """The gradient of a parameter from several ways back, on the host; zeros where none came by."""
    parts = [part[id(parameter)][1] for part in found if id(parameter) in part]
    return to_numpy(sum(parts[1:], parts[0]) if parts else xp_of(parameter.array).zeros_like(parameter.array))


def stack_of(model: Module) -> tuple[str, Recurrent]:
    """The one recurrent stack of a model, and how the names of its parameters begin.

    Raises
    ------
    ValueError
        If there is none, more than one, or one whose backward pass is cut or changed.
    """
    stacks = {name: module for name, module in model.named_modules() if isinstance(module, Recurrent)}
    if len({id(stack) for stack in stacks.values()}) != 1:
        found = ", ".join(name or type(stack).__name__ for name, stack in stacks.items()) or "none"
        raise ValueError(f"a recording needs a model with one recurrent stack (nn.RNN, nn.LSTM, nn.GRU), got {found}")
    (name, stack), *_ = stacks.items()
    if stack.through_time is not None:
        raise ValueError(
            "through_time must be None in a recording: it may cut the gradient, and the lens shows all of it; "
            "lens.truncation says what cutting costs"
        )
    if stack.zoneout or stack.layer_norm:
        raise ValueError("zoneout must be 0 and layer_norm False in a recording: with either the steps show no gates")
    return f"{name}." if name else "", stack


class Watched(Module):
    """A recurrent stack that goes step by step, records what passes, and cuts the graph at its outputs.

    Models that project their embeddings and look tokens up in the result, as `CharLM` does, find that nothing was
    projected: what is looked up is an embedding, and its projection is part of a step.
    """

    def __init__(self, stack: Recurrent):
        self.walks: list[Walk] = []
        self.records: defaultdict[str, Record] = defaultdict(Record)
        self.recording, self.time_axis = True, 1 if stack.batch_first else 0
        self.stack = stack.running_through_time(partial(step_by_step, walks=self.walks))
        self.roots: list[Tensor] = []
        self.leaves: list[Tensor] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stack, name)

    def probe(self, place: str, name: str, t: int, array: Array) -> None:
        if self.recording:
            self.records[place](name, t, array)

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Tensor, Any]:
        if self.roots:
            cell = type(self.stack).__name__
            raise ValueError(f"the model must call its {cell} once to be recorded, and called it again")
        out, state = self.stack(x, state, lengths, probe=self.probe)
        self.roots = list(flatten((out, state)))
        self.leaves = [leaf_of(root) for root in self.roots]
        out, *ends = self.leaves
        return out, tuple(ends) if isinstance(state, tuple) else ends[0]

    def project(self, xs: Tensor) -> tuple[Tensor, ...]:
        return (xs,) * self.stack._directions

    def run(self, tables: Sequence[Tensor], ids: Any, state: Any = None, lengths: Any = None) -> tuple[Tensor, Any]:
        x = ops.embedding(tables[0].T, ids)  # (T, B, E)
        out, state = self(x.swapaxes(0, 1) if self.stack.batch_first else x, state, lengths)
        return out.transpose(1, 2, 0) if self.stack.batch_first else out.transpose(0, 2, 1), state


def leaf_of(root: Tensor) -> Tensor:
    """A tensor of the same numbers at which a gradient ends."""
    leaf = root.detach()
    leaf.requires_grad = True
    return leaf
