"""Gradient clipping: the remedy for exploding gradients (Pascanu et al. 2012), and the gate that no NaN passes.

Clipping is a step of training and never part of a rule: a clipped gradient is not the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from minirnn.arguments import positive_number
from minirnn.arrays import Array, xp_of
from minirnn.kernels import kernels_of
from minirnn.tape import Tensor
from minirnn.workers import one_blas_thread


class NonFiniteGradientError(ArithmeticError):
    """A gradient holds NaN or infinity; the step must not be taken. Gradients and parameters are as they were."""


def distinct(parameters: Iterable[Tensor]) -> list[Tensor]:
    """The parameters, each once.

    Raises
    ------
    TypeError
        If they are not a list of tensors.
    """
    if isinstance(parameters, Tensor):  # its rows would be copies
        raise TypeError("parameters must be a list of tensors, got one tensor; put it into a list")
    if not isinstance(parameters, Iterable):
        raise TypeError(f"parameters must be a list of tensors, got {type(parameters).__name__}")
    found = list({id(p): p for p in parameters}.values())
    for p in found:
        if not isinstance(p, Tensor):
            raise TypeError(f"parameters must be tensors, got {type(p).__name__}")
    return found


def gradient_norm(parameters: Iterable[Tensor]) -> float:
    """The length of all gradients together, as one vector, which on a device they become: it is looked at once.

    Raises
    ------
    NonFiniteGradientError
        If a gradient is not finite, naming its parameter.
    """
    return _seen(parameters, math.inf)[0]


@one_blas_thread()
def _seen(parameters: Iterable[Tensor], max_norm: float) -> tuple[float, Any]:
    """The norm, and by what all gradients are to be multiplied; refuses as `gradient_norm` does."""
    graded = [(p.name or f"parameter {k}", p) for k, p in enumerate(parameters) if p.grad is not None]
    if not graded:
        return 0.0, 1.0
    norm, factor = _verdict([p for _, p in graded], None, max_norm)
    norm = float(norm)  # here the host waits for a device
    if math.isnan(norm):
        raise NonFiniteGradientError(_refusal(graded))
    return norm, factor


def _verdict(graded: Sequence[Tensor], loss: Any, max_norm: float) -> tuple[Any, Any]:
    """The norm of all gradients together, and by what they are to be multiplied (``kernels/clipping.py``)."""
    kernels = kernels_of(graded[0].grad)
    gradients = kernels.laid_out([p.grad for p in graded])
    for p, gradient in zip(graded, gradients, strict=True):
        p.grad = gradient
    return kernels.verdict([vector for (vector,) in kernels.vectors(gradients)], loss, max_norm)


@one_blas_thread()
def clip_unseen(parameters: Iterable[Tensor], loss: Array, max_norm: float | None) -> tuple[Array, Array]:
    """``clip_grad_norm_`` in float32 on a device, without waiting: what that would raise is left to be looked at later.

    Parameters
    ----------
    parameters : iterable of Tensor
    loss : array, ()
        Of the step.
    max_norm : float or None
        Without it nothing is clipped.

    Returns
    -------
    norm : array, ()
        Before clipping; NaN where a gradient is not finite.
    factor : array, ()
        What all gradients were multiplied with: NaN where the loss or a gradient is not finite.
    """
    graded = [p for p in distinct(parameters) if p.grad is not None]
    if not graded:
        return loss * 0, loss * 0 + 1
    norm, factor = _verdict(graded, loss, math.inf if max_norm is None else max_norm)
    _replace(graded, lambda g: g * factor)
    return norm, factor


def _refusal(graded: Iterable[tuple[str, Tensor]]) -> str:
    """What is wrong with the first gradient that is not finite."""
    counts = ((name, p, int((~xp_of(p.grad).isfinite(p.grad)).sum())) for name, p in graded)
    name, p, bad = next(found for found in counts if found[-1])
    return (
        f"the gradient of {name} {p.shape} has {bad} of {p.size} entries that are not finite; the step is refused "
        "(a smaller learning rate or clip norm may help)"
    )


def clip_grad_norm_(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scales all gradients by one factor, so that together they are no longer than ``max_norm``.

    Parameters
    ----------
    parameters : iterable of Tensor
        Those whose ``grad`` is ``None`` are passed over.
    max_norm : float
        Positive. With infinity nothing is clipped: the norm is returned, and gradients that are not finite are still
        refused.

    Returns
    -------
    float
        The norm before clipping.

    Raises
    ------
    NonFiniteGradientError
        If a gradient is not finite; none is changed.
    ValueError
        If ``max_norm`` is not a positive number.

    Notes
    -----
    The direction is kept: g <- g * min(1, max_norm / norm) (Pascanu et al. 2012, algorithm 1).

    Examples
    --------
    >>> w = Tensor([0.0, 0.0], requires_grad=True)
    >>> w.grad = w.data + [3.0, 4.0]
    >>> clip_grad_norm_([w], max_norm=1.0), w.grad.tolist()
    (5.0, [0.6000000000000001, 0.8])
    """
    if max_norm != math.inf:
        positive_number(max_norm=max_norm)
    parameters = distinct(parameters)
    norm, factor = _seen(parameters, float(max_norm))
    if norm > max_norm:
        _replace(parameters, lambda g: g * factor)
    return norm


def clip_grad_value_(parameters: Iterable[Tensor], clip_value: float) -> float:
    """Limits every entry of every gradient to ``[-clip_value, clip_value]``; the direction may change.

    Returns, refuses and raises as ``clip_grad_norm_`` does.

    Examples
    --------
    >>> w = Tensor([0.0, 0.0], requires_grad=True)
    >>> w.grad = w.data + [3.0, -0.5]
    >>> _ = clip_grad_value_([w], clip_value=1.0)
    >>> w.grad
    array([ 1. , -0.5])
    """
    positive_number(clip_value=clip_value)
    clip_value = float(clip_value)
    parameters = distinct(parameters)
    norm = gradient_norm(parameters)
    _replace(parameters, lambda g: xp_of(g).clip(g, -clip_value, clip_value))
    return norm


def _replace(parameters: Iterable[Tensor], function: Callable[[Array], Array]) -> None:
    """Applies a function of single numbers to all gradients."""
    graded = [p for p in parameters if p.grad is not None]
    if graded:
        kernels = kernels_of(graded[0].grad)
        for p, gradient in zip(graded, kernels.each(function, [p.grad for p in graded]), strict=True):
            p.grad = gradient
