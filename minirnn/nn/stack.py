"""How recurrent layers run: states in and out, lengths, layer upon layer, and what happens between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from inspect import signature
from typing import Any, Self

from minirnn import ops
from minirnn.arrays import Array, asarray, random_generator, xp_of
from minirnn.explaining import name_of
from minirnn.nn.inputs import floats_like, states_like
from minirnn.nn.module import twin
from minirnn.nn.sequences import checked_lengths
from minirnn.nn.weights import Combinator, Options, RecurrentWeights, refuse_unknown
from minirnn.rules.combinators import in_runs, looked_up, projected, ragged, reverse, scan, shard, zoneout
from minirnn.rules.combinators.form import combinators_of, positional
from minirnn.tape import Tensor, differentiable

State = Tensor | tuple[Tensor, ...]  # h, or (h, c), each (num_layers * directions, B, H)
Probe = Callable[[str, str, int, Array], Any]  # (place, name, t, array)


class Recurrent(RecurrentWeights):
    """A stack of sequence rules; each layer and direction is one node on the tape, from input projection to last step.

    Parameters
    ----------
    {OPTIONS}
    """

    def __init__(self, *sizes: Any, through_time: Combinator | None = None, **options: Any):
        refuse_unknown(type(self), options, Options.__annotations__)
        super().__init__(*sizes, **options)
        self.through_time = through_time

    def __setattr__(self, name: str, value: Any) -> None:
        """Makes the layer's rules, at first and whenever ``through_time`` or ``zoneout`` is set again."""
        if name == "through_time":
            self._lift(value)  # or raises, and nothing has changed
        before = vars(self).get(name)
        super().__setattr__(name, value)
        if name == "zoneout" and "through_time" in vars(self):
            try:
                self._lift(self.through_time)
            except BaseException:
                super().__setattr__(name, before)
                raise

    def _lift(self, through_time: Combinator | None) -> None:
        """Puts together the rules of both directions, for features and for tokens, and lifts them."""
        check_combinator(through_time)
        step, sequence = self._cell()
        if self.zoneout:
            sequence = scan(zoneout(step))

        def both_ways(rule: Callable) -> tuple[Callable, Callable]:
            rule = in_runs(ragged(rule))
            rule = rule if through_time is None else made_by(through_time, rule)
            return differentiable(shard(rule)), differentiable(shard(reverse(rule)))

        self._projecting, self._looking_up = both_ways(projected(sequence)), both_ways(looked_up(sequence))
        keywords = signature(self._projecting[0]).parameters
        self._counts_calls = "step" in keywords  # truncate_randomly draws anew each time
        self._takes_probe = "probe" in keywords

    @property
    def combinators(self) -> tuple[str, ...]:
        """Names of the combinators that made the sequence rules, the outermost first."""
        return combinators_of(self._projecting[0].rule)  # type: ignore[attr-defined]

    def running_through_time(self, combinator: Combinator | None) -> Self:
        """A layer beside this one, of the same parameters, whose sequence rules ``combinator`` makes."""
        other = twin(self, {})
        other.through_time = combinator
        return other

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("_projecting", "_looking_up")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """What was pickled or copied, with new rules: those are functions within functions, which pickle refuses."""
        vars(self).update(state)
        self._lift(self.through_time)

    def _cell(self) -> tuple[Callable, Callable]:
        """The rules of the cell: one step, and a sequence."""
        raise NotImplementedError

    def _static(self) -> dict[str, Any]:
        """Keywords of these rules."""
        return {}

    def forward(
        self, x: Any, state: State | None = None, lengths: Any = None, *, probe: Probe | None = None
    ) -> tuple[Tensor, Any]:
        """Outputs of the last layer, and the final state of every layer and direction.

        Parameters
        ----------
        x : Tensor or array
            ``(T, B, D)``, or ``(B, T, D)`` with ``batch_first``.
        state : Tensor or array, for the LSTM a pair of them; optional
            ``h_0``, or ``(h_0, c_0)``, each ``(num_layers * directions, B, H)``: layer 0 forward, layer 0 reverse,
            layer 1 forward, ... (an LSTM's h has ``proj_size`` features, if that is given). Without it zeros, or what
            ``learned_state`` has learned.
        lengths : list, array or tensor of int, optional
            ``(B,)``: how many steps of each sequence are real, at least 1. What comes after them is never read.
        probe : callable, optional
            Called as ``probe(place, name, t, array)`` with every gate, state and, once ``backward`` passes, gradient of
            every step (with zoneout or layer norm, states and gradients only). The place is ``"l0"``,
            ``"l0_reverse"``, ``"l1"``, ... as in the names of the parameters, the array ``(features, B)``, valid only
            during the call. A `minirnn.rules.combinators.Record` keeps those of one place.

        Returns
        -------
        out : Tensor
            ``(T, B, directions * H)``, or ``(B, T, directions * H)``; zero after the end of a sequence.
        state : Tensor, for the LSTM a pair of them
            ``h_n``, or ``(h_n, c_n)``, in the form of ``state``: each sequence's at its own end.

        Raises
        ------
        ValueError
            If a shape does not fit, ``x`` has no step, or a length does not lie in 1..T; or if a probe is given and
            ``through_time`` made a rule that takes none.
        TypeError
            If a dtype is not that of the weights, something lives on another backend, lengths are not integers, or the
            probe is no function.

        Examples
        --------
        >>> from collections import defaultdict
        >>> import numpy as np
        >>> from minirnn.nn import GRU
        >>> from minirnn.rules.combinators import Record
        >>> records, gru = defaultdict(Record), GRU(3, 5, num_layers=2)
        >>> x = np.ones((7, 4, 3), "float32")
        >>> out, h_n = gru(x, probe=lambda place, name, t, array: records[place](name, t, array))
        >>> out.sum().backward()
        >>> sorted(records), records["l0"]["z"].shape, records["l1"]["dh"].shape
        (['l0', 'l1'], (7, 5, 4), (7, 5, 4))
        """
        shape = ("B", "T", self.input_size) if self.batch_first else ("T", "B", self.input_size)
        x = floats_like(self._of("weight_ih", "l0"), x, "x", shape)
        xs = x.transpose(1, 2, 0) if self.batch_first else x.transpose(0, 2, 1)  # (T, D, B): columns are the batch
        hs, state = self._run(xs, None, state, lengths, probe)
        return hs.transpose(2, 0, 1) if self.batch_first else hs.transpose(0, 2, 1), state

    def project(self, xs: Tensor) -> tuple[Tensor, ...]:
        """What ``run`` looks tokens up in: the input part of the lowest layer's pre-activations, for each direction.

        ``xs`` is ``(E, V)``, the embeddings of all tokens as columns, and each table ``(G, V)``; G is the number of
        gates times H.
        """
        return tuple(ops.affine(xs, *self._input_weights(at)) for at in self._suffixes(0))

    def run(
        self,
        tables: Sequence[Tensor],
        ids: Any,
        state: State | None = None,
        lengths: Any = None,
        *,
        probe: Probe | None = None,
    ) -> tuple[Tensor, Any]:
        """All layers over tokens, whose embeddings are projected already, as columns.

        A token costs a look-up in place of a product: worth it as soon as there are more tokens than words to project.

        Parameters
        ----------
        tables : sequence of Tensor
            ``(G, V)`` for each direction, from ``project``.
        ids : array of int
            ``(T, B)``, on the backend of the weights.
        state, lengths, probe : optional
            As in ``forward``.

        Returns
        -------
        hs : Tensor
            ``(T, directions * H, B)``, outputs of the last layer as columns.
        state : Tensor, for the LSTM a pair of them
            As from ``forward``.

        Raises
        ------
        IndexError
            If an id of a real token lies outside ``[0, V)``.
        ValueError, TypeError
            As from ``forward``, of tables and ids too.
        """
        if not isinstance(tables, (tuple, list)) or len(tables) != self._directions:
            raise ValueError(f"tables must be what project() returns, a tuple of {self._directions}, one per direction")
        weight, rows = self._of("weight_hh", "l0"), self.GATES * self.hidden_size
        tables = [floats_like(weight, table, f"tables[{k}]", (rows, "V")) for k, table in enumerate(tables)]
        dtype = getattr(ids, "dtype", type(ids).__name__)
        if getattr(dtype, "kind", "") not in ("i", "u"):
            raise TypeError(f"ids must be an array of integers (T, B), got {dtype}")
        if ids.ndim != 2:
            raise ValueError(f"ids must be (T, B), got shape {ids.shape}")
        return self._run(ids, tables, state, lengths, probe)

    def _run(
        self, x: Any, tables: Sequence[Tensor] | None, state: Any, lengths: Any, probe: Probe | None
    ) -> tuple[Tensor, Any]:
        """The stack over features ``(T, D, B)``, or with tables over ids ``(T, B)``."""
        T, *_, B = x.shape
        if T == 0:
            raise ValueError("x must have at least one step, got none")
        if probe is not None:
            self._check(probe)
        lengths = None if lengths is None else checked_lengths(lengths, B, T)
        states = self._state_as_columns(state, B)
        if self.training and (self.dropout or self.weight_drop or self.zoneout or self._counts_calls):
            self.draws += 1
        hs, ends = self._layer(0, x, tables, states, lengths, probe)
        for layer in range(1, self.num_layers):
            below, read = hs, self._dropped(hs, layer)
            hs, more = self._layer(layer, read, None, states, lengths, probe)
            hs, ends = hs + below if self.residual else hs, ends + more
        lasts = tuple(ops.stack(*parts).swapaxes(1, 2) for parts in zip(*ends, strict=True))
        return hs, lasts if len(lasts) > 1 else lasts[0]

    def _check(self, probe: Any) -> None:
        if not callable(probe):
            raise TypeError(f"probe must be None or a function of (place, name, t, array), got {probe!r}")
        if not self._takes_probe:
            rule = self._projecting[0].__name__
            raise ValueError(f"probe must be None for {rule}, which takes none")

    def _layer(
        self,
        layer: int,
        x: Any,
        tables: Sequence[Tensor] | None,
        states: list[Tensor],
        lengths: Any,
        probe: Probe | None,
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """One layer in all its directions: outputs side by side, and of each direction the states at its end."""
        outputs, ends = [], []
        for k, at in enumerate(self._suffixes(layer)):
            place = layer * self._directions + k
            static = self._static()
            if self._counts_calls:
                static["step"] = self.draws * len(states[0]) + place
            if probe is not None:
                static["probe"] = partial(probe, at)
            op = (self._projecting if tables is None else self._looking_up)[k]
            hs, *last = op(
                x,
                *self._keeps(at, x.shape[0], x.shape[-1]),
                *(part[place] for part in states),
                *(self._input_weights(at) if tables is None else (tables[k],)),
                *self._recurrent_weights(at),
                lengths=lengths,
                **static,
            )
            outputs.append(hs)
            ends.append(last)
        return outputs[0] if len(outputs) == 1 else ops.concat(*outputs, axis=1), ends

    def _dropped(self, hs: Tensor, layer: int) -> Tensor:
        if not (self.dropout and self.training):
            return hs
        over = (0,) if self.locked_dropout else ()
        stream = f"dropout_l{layer}"
        return ops.dropout(hs, p=self.dropout, seed=self.seed, stream=stream, step=self.draws, over=over)

    def _keeps(self, at: str, T: int, B: int) -> list[Tensor]:
        """For each state what zoneout keeps of it, ``(T, H, B)``: drawn while training, its expectation otherwise."""
        weight, keeps = self._of("weight_hh", at), []
        for name, size in self._sizes.items() if self.zoneout else ():
            if self.training:
                drawn = random_generator(self.seed, f"zoneout_{name}_{at}", self.draws)
                keep = asarray(drawn.random((T, size, B), "float32") < self.zoneout, weight.dtype, weight.backend)
            else:
                xp = xp_of(weight.array)
                keep = xp.broadcast_to(xp.full((1, 1, 1), self.zoneout, weight.dtype), (T, size, B))
            keeps.append(Tensor.around(keep))
        return keeps

    def _state_as_columns(self, state: Any, B: int) -> list[Tensor]:
        """Each state as ``(num_layers * directions, H, B)``."""
        weight, places = self._of("weight_hh", "l0"), self.num_layers * self._directions
        if state is not None:
            sizes = {f"{name}_0": size for name, size in self._sizes.items()}
            parts = states_like(weight, state, sizes, {"num_layers * directions": places, "batch": B})
            return [part.swapaxes(1, 2) for part in parts]
        shapes = {name: (places, size, B) for name, size in self._sizes.items()}
        if self.learned_state:
            learned = {name: getattr(self, f"initial_{name}") for name in shapes}
            return [ops.broadcast_to(learned[name].reshape(*s[:2], 1), shape=s) for name, s in shapes.items()]
        return [Tensor.around(xp_of(weight.array).zeros(s, weight.dtype)) for s in shapes.values()]


def check_combinator(through_time: Any) -> None:
    """Refuses what is no function, or a rule that a combinator has made already.

    Raises
    ------
    ValueError
    """
    if through_time is not None and (not callable(through_time) or combinators_of(through_time)):
        got = getattr(through_time, "__name__", repr(through_time))
        raise ValueError(f"through_time must be a combinator, a function of a sequence rule, got {got}")


def made_by(through_time: Combinator, rule: Callable) -> Callable:
    """What the combinator makes of a rule: one that takes the same arrays, and lengths.

    Raises
    ------
    TypeError
        If it makes anything else.
    """
    made: Any = through_time(rule)
    form = signature(made).parameters if callable(made) and not hasattr(made, "rule") else {}
    if "lengths" not in form or positional(made) != positional(rule):
        raise TypeError(
            f"through_time must return a sequence rule made of the one that it is given, {name_of(rule)}, "
            f"got {getattr(made, '__name__', made)!s}"
        )
    return made
