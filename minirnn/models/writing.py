"""A decoder in the middle of its work: what it reads, and where each of its translations stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minirnn.arrays import Array, xp_of
from minirnn.nn.inputs import ids_on
from minirnn.rules.attention import as_columns, by_column
from minirnn.tape import Tensor


@dataclass(frozen=True)
class Writing:
    """Where a decoder stands with N translations: what it reads, of B sentences, and its states, of N columns.

    Column n belongs to sentence ``n // (N // B)``: however many translations of a sentence there are, its memory is
    kept once.

    Parameters
    ----------
    memory : Tensor
        ``(S, F, B)``; without attention ``(1, F, B)``, the one context.
    keys : Tensor or None
        ``(S, A, B)``.
    mask : array of bool or None
        ``(S, B)``.
    lower : tuple of Tensor
        States of all layers but the last, each ``(layers, N, H)``; empty if there is one layer.
    top : tuple of Tensor
        States of the last layer, each ``(features, N)``.
    """

    memory: Tensor
    keys: Tensor | None
    mask: Array | None
    lower: tuple[Tensor, ...]
    top: tuple[Tensor, ...]

    def __len__(self) -> int:
        return self.top[0].shape[-1]

    def laid_out(self) -> Writing:
        """The same, its memory laid out for looks: else every step would lay it out anew."""
        return self._reading(lambda memory: as_columns(by_column(memory)), self.mask)

    def of(self, sentences: slice, columns: slice) -> Writing:
        """A part of the sentences, which has these columns: views, for a worker."""
        mask = None if self.mask is None else self.mask[:, sentences]
        lower = tuple(Tensor.around(part.array[:, columns]) for part in self.lower)
        top = tuple(Tensor.around(part.array[:, columns]) for part in self.top)
        return replace(self._reading(lambda memory: memory[..., sentences], mask), lower=lower, top=top)

    def with_states(self, parts: Sequence[Writing]) -> Writing:
        """What all sentences read, with the states of parts of them side by side."""
        lower, top = (
            tuple(Tensor.around(joined([state.array for state in same], axis=1)) for same in zip(*states, strict=True))
            for states in ([part.lower for part in parts], [part.top for part in parts])
        )
        return replace(self, lower=lower, top=top)

    def take(self, rows: Any) -> Writing:
        """The columns ``rows``, in their order; each may be taken more than once, or not at all.

        Raises
        ------
        IndexError
            If there is no such column.
        TypeError, ValueError
            If rows are not integers ``(M,)``, M > 0.
        """
        rows = ids_on("numpy", rows, len(self), "rows", ndim=1)
        owners = rows // (len(self) // self.memory.shape[-1])
        firsts = np.flatnonzero(np.concatenate([[True], owners[1:] != owners[:-1]]))[: len(rows)]
        each = len(rows) // max(1, len(firsts))
        kept = owners[firsts]
        if not np.array_equal(np.repeat(kept, each), owners):  # not as many of each: then every column has its own
            kept = owners
        xp = xp_of(self.memory.array)
        at = xp.asarray(rows)
        columns = [Tensor.around(part.array[..., at]) for part in self.top]
        lower = [Tensor.around(part.array[:, at]) for part in self.lower]
        here = replace(self, lower=tuple(lower), top=tuple(columns))
        if np.array_equal(kept, np.arange(self.memory.shape[-1])):
            return here
        chosen = xp.asarray(kept)
        mask = None if self.mask is None else self.mask[:, chosen]
        return here._reading(lambda memory: as_columns(by_column(memory)[chosen]), mask)

    def _reading(self, change: Callable[[Array], Array], mask: Array | None) -> Writing:
        """The same states, memory and keys changed; where the keys are the memory itself they stay so."""
        memory, keys = Tensor.around(change(self.memory.array)), self.keys
        if keys is not None:
            keys = memory if keys is self.memory else Tensor.around(change(keys.array))
        return replace(self, memory=memory, keys=keys, mask=mask)


def joined(parts: Sequence[Array], axis: int) -> Array:
    """The arrays side by side; a single one as it is."""
    return parts[0] if len(parts) == 1 else xp_of(*parts).concatenate(parts, axis)
