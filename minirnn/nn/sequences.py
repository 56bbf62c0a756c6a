"""Sequences of different lengths as one padded tensor, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minirnn import ops
from minirnn.arguments import booleans
from minirnn.nn.inputs import integers, tensor_of
from minirnn.tape import Tensor


def pad_sequences(sequences: Sequence[Any], batch_first: bool = False) -> tuple[Tensor, np.ndarray]:
    """Sequences side by side, the shorter ones filled up with zeros; gradients flow back to those that are tensors.

    Parameters
    ----------
    sequences : list of tensors or arrays
        Each ``(T_k, ...)``: of any lengths above 0, alike in what comes after.
    batch_first : bool
        Whether the result is ``(B, T, ...)`` rather than ``(T, B, ...)``.

    Returns
    -------
    padded : Tensor
        ``(T, B, ...)``, T the length of the longest.
    lengths : array of int
        ``(B,)``, on the host, as the recurrent layers take them.

    Raises
    ------
    TypeError
        If a sequence is not made of numbers, they differ in dtype, or ``batch_first`` is not ``True`` or ``False``.
    ValueError
        If there is none, one is empty, or they differ in shape after the first axis.

    Examples
    --------
    >>> padded, lengths = pad_sequences([[1, 2, 3], [4]], batch_first=True)
    >>> padded, lengths.tolist()
    (Tensor([[1, 2, 3],
            [4, 0, 0]]), [3, 1])
    """
    booleans(batch_first=batch_first)
    if not isinstance(sequences, (list, tuple)) or not sequences:
        raise ValueError(f"sequences must be a list of at least one, got {sequences!r}")
    tensors = [tensor_of(x, f"sequences[{k}]") for k, x in enumerate(sequences)]
    for k, x in enumerate(tensors):
        if x.ndim == 0 or x.shape[0] == 0:
            raise ValueError(f"sequences[{k}] must have at least one step, got shape {x.shape}")
        if x.shape[1:] != tensors[0].shape[1:]:
            alike = ", ".join(("T", *map(str, tensors[0].shape[1:])))
            raise ValueError(f"sequences[{k}] must have shape ({alike}) as sequences[0] has, got {x.shape}")
        if x.dtype != tensors[0].dtype:
            raise TypeError(f"sequences[{k}] must have dtype {tensors[0].dtype} as sequences[0] has, got {x.dtype}")
    lengths = np.array([x.shape[0] for x in tensors])
    rest = ((0, 0),) * (tensors[0].ndim - 1)
    filled = (ops.pad(x, widths=((0, int(lengths.max()) - x.shape[0]), *rest)) for x in tensors)
    return ops.stack(*filled, axis=0 if batch_first else 1), lengths


def unpad_sequences(padded: Any, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The sequences that stand side by side in ``padded``, each ``(lengths[k], ...)``, without their padding.

    Parameters
    ----------
    padded : Tensor or array
        ``(T, B, ...)``, or ``(B, T, ...)`` with ``batch_first``.
    lengths : list, array or tensor of int
        One for each sequence, from 1 to T.

    Raises
    ------
    TypeError
        If lengths are not integers, or ``batch_first`` is not ``True`` or ``False``.
    ValueError
        If their number or one of them does not fit, or ``padded`` has fewer than two axes.

    Examples
    --------
    >>> unpad_sequences([[1, 2, 3], [4, 0, 0]], [3, 1], batch_first=True)
    [Tensor([1, 2, 3]), Tensor([4])]
    """
    booleans(batch_first=batch_first)
    padded = tensor_of(padded, "padded")
    if padded.ndim < 2:
        raise ValueError(f"padded must have shape (T, B, ...), or (B, T, ...) with batch_first, got {padded.shape}")
    rows = padded if batch_first else padded.swapaxes(0, 1)
    B, T = rows.shape[:2]
    return [rows[k, : int(n)] for k, n in enumerate(checked_lengths(lengths, B, T))]


def checked_lengths(lengths: Any, B: int, T: int) -> np.ndarray:
    """``lengths`` as an array on the host, if they are integers from 1 to ``T``, one for each of ``B`` sequences.

    Raises
    ------
    TypeError
        If they are not integers.
    ValueError
        If there are more or fewer than ``B``, or one lies outside of 1..T.

    Examples
    --------
    >>> checked_lengths([3, 0], B=2, T=3)
    Traceback (most recent call last):
    ...
    ValueError: lengths must lie in 1..3, the number of steps, got 0 for sequence 1
    """
    found = integers(lengths, "lengths", f"one integer for each of {B} sequences")
    if found.shape != (B,):
        raise ValueError(f"lengths must hold one integer for each of {B} sequences, got shape {found.shape}")
    wrong = (found < 1) | (found > T)
    if wrong.any():
        k = int(wrong.argmax())
        raise ValueError(f"lengths must lie in 1..{T}, the number of steps, got {found[k]} for sequence {k}")
    return found.astype(np.int64)
