"""What layers ask of their inputs, and how they say it when they do not get it."""

from __future__ import annotations

from typing import Any

import numpy as np

from minirnn.arrays import Array, asarray, to_numpy
from minirnn.kernels import numpy as host
from minirnn.kernels.capturing import checked_before
from minirnn.tape import Tensor, inside_rule


def ids_on(backend: str, ids: Any, size: int, name: str = "ids", ndim: int | None = None) -> Array:
    """``ids`` as int64 on ``backend``, checked on the host: a GPU would wrap what is out of range without a word.

    Raises
    ------
    TypeError
        If they are not integers.
    ValueError
        If they are empty, or do not have ``ndim`` axes.
    IndexError
        If one lies outside ``[0, size)``.
    """
    if checked_before(ids, size, name) and ids.ndim == (ndim or ids.ndim):
        return ids
    found = integers(ids, name, "a rectangular array of integers")
    if (ndim is not None and found.ndim != ndim) or found.size == 0:
        raise ValueError(f"{name} must be a non-empty array of {ndim or 'any number of'} axes, got shape {found.shape}")
    host.check_ids(found, size, name)
    return asarray(found, np.int64, backend)


def integers(x: Any, name: str, form: str, hint: str = "") -> np.ndarray:
    """``x`` as an array of integers on the host, or an empty one: NumPy takes an empty list for one of floats.

    Raises
    ------
    TypeError
        If they are not integers.
    ValueError
        If they are a list of rows of different lengths, which is not of the ``form`` that is asked for.
    """
    try:
        found = to_numpy(x.array if isinstance(x, Tensor) else x)
    except ValueError:
        raise ValueError(f"{name} must be {form}, got rows of different lengths{hint}") from None
    if found.dtype.kind not in "iu" and found.size:
        raise TypeError(f"{name} must be integers, got dtype {found.dtype}")
    return found


def tensor_of(x: Any, name: str) -> Tensor:
    """``x`` as a tensor.

    Raises
    ------
    TypeError
        If it is not made of numbers.
    """
    try:
        return x if isinstance(x, Tensor) else Tensor(x)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None


def numbers(x: Any, name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """``x`` as an array of real numbers on the host, of ``shape`` if one is given.

    Raises
    ------
    TypeError, ValueError
    """
    try:
        found = to_numpy(x.array if isinstance(x, Tensor) else x)
    except (TypeError, ValueError, RuntimeError) as error:  # a ragged list; PyTorch's tensor that has a gradient
        raise TypeError(f"{name} must be an array of real numbers, got {type(x).__name__}: {error}") from None
    if found.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be an array of real numbers, got dtype {found.dtype}")
    if shape is not None and found.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {found.shape}")
    return found


def floats_like(
    parameter: Tensor, x: Any, name: str, shape: tuple[int | str, ...], axes: tuple[str, ...] = ()
) -> Tensor:
    """``x`` as a tensor of the dtype of ``parameter``, where it lives, and of ``shape``: a letter stands for any size.

    Parameters
    ----------
    axes : tuple of str, optional
        What the sizes in ``shape`` are, for the error message.

    Raises
    ------
    TypeError
        If it is not made of numbers, or of those of another dtype, or lives elsewhere.
    ValueError
        If the shape does not fit.
    """
    found = tensor_of(x, name)
    complex_step = found.dtype.kind == "c" and inside_rule()
    if found.dtype != parameter.dtype and not complex_step:
        buildable = found.dtype in (np.dtype("float32"), np.dtype("float64"))
        build = f", or build the layer with dtype={str(found.dtype)!r}" if buildable else ""
        convert = "layers take real numbers" if found.dtype.kind == "c" else f"convert it{build}"
        raise TypeError(f"{name} must have the dtype of the weights, {parameter.dtype}, got {found.dtype}; {convert}")
    if found.backend != parameter.backend:
        raise TypeError(
            f"{name} and the weights live in different places: {name} on {found.backend}, the weights on "
            f"{parameter.backend}; move one of them with .to({parameter.backend!r}) or .to({found.backend!r})"
        )
    fits = found.ndim == len(shape) and all(
        isinstance(n, str) or n == m for n, m in zip(shape, found.shape, strict=True)
    )
    if not fits:
        meaning = f"; its axes are {', '.join(axes)}" if axes else ""
        raise ValueError(f"{name} must have shape ({', '.join(map(str, shape))}), got {found.shape}{meaning}")
    return found


def states_like(parameter: Tensor, state: Any, sizes: dict[str, int], before: dict[str, int]) -> list[Tensor]:
    """The tensors of a recurrent state: one by itself, several as a tuple.

    Parameters
    ----------
    parameter : Tensor
        Whose dtype and place they must have.
    state : tensor, or tuple of them
    sizes : dict of str to int
        The name of each, and the length of its last axis.
    before : dict of str to int
        What comes before the last axis, and how long it is.

    Raises
    ------
    TypeError
        If one is not made of numbers, or of those of another dtype, or lives elsewhere.
    ValueError
        If there are too many or too few, or a shape does not fit.
    """
    if len(sizes) > 1 and not (isinstance(state, (tuple, list)) and len(state) == len(sizes)):
        several = f" of {len(state)}" if isinstance(state, (tuple, list)) else ""
        raise ValueError(f"state must be a pair ({', '.join(sizes)}), got {type(state).__name__}{several}")
    if len(sizes) == 1 and isinstance(state, (tuple, list)):
        raise ValueError(f"state must be one tensor {', '.join(sizes)}, got {type(state).__name__} of {len(state)}")
    parts, axes = (state if len(sizes) > 1 else (state,)), (*before, "features")
    return [
        floats_like(parameter, part, name, (*before.values(), size), axes)
        for part, (name, size) in zip(parts, sizes.items(), strict=True)
    ]
