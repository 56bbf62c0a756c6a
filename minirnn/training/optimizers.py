"""Optimizers: how a gradient becomes a step.

Each is a few lines of arithmetic on one array and its moments, written in place and in pieces that stay in the cache:
an update reads and writes several arrays as long as the parameters, and does little with each number, so its time is
the time the memory takes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from minirnn.arguments import at_least_0
from minirnn.arrays import Array, asarray, home_of, xp_of
from minirnn.kernels import kernels_of
from minirnn.nn.inputs import numbers
from minirnn.nn.module import Parameter
from minirnn.tape import Tensor, no_grad
from minirnn.training.clipping import distinct

# Numbers updated at a time on the CPU. Fewer would stay in a nearer cache, but threads would wait for Python's lock: of
# 8.3 million numbers, pieces of 2**14 take 27 milliseconds, 2**17 9.5, 2**18 8, 2**20 8 to 10.
PIECE = 2**18
OPERATIONS = 20  # of an update with each number, about


class Optimizer:
    """What all optimizers share. A subclass names its ``moments`` and writes ``update``.

    Parameters
    ----------
    parameters : iterable of Tensor
        What to change; at least one, and each is changed once, however often it is named. One that is frozen
        (``requires_grad = False`` of a layer's parameter) stays as it is until it no longer is.
    lr : float
        Learning rate; like all settings it may be assigned at any time.
    weight_decay : float
        Adds ``weight_decay * w`` to the gradient of ``w`` (an L2 penalty).

    Raises
    ------
    TypeError
        If a parameter is no tensor, is the result of a computation, or could never have a gradient.
    ValueError
        If there is none, one is a view with gaps, or a setting is out of range.
    """

    moments: tuple[str, ...] = ()  # arrays kept between steps, one of each per parameter, zero at first
    below: Mapping[str, float] = {"lr": math.inf, "weight_decay": math.inf}  # settings: numbers from 0 to below that
    decays_gradient = True  # whether weight decay is a part of the gradient, or left to ``update``
    allowed: Array | None = None  # of the step under way: one number on a device, and none where the host has looked
    at_rates: Any = ()  # of the step under way, what ``rates`` returned

    def __init__(self, parameters: Iterable[Tensor], lr: float, weight_decay: float = 0.0):
        self.parameters = distinct(parameters)
        if not self.parameters:
            raise ValueError("parameters must hold at least one tensor, got none")
        for p in self.parameters:
            if not p.requires_grad and not isinstance(p, Parameter):
                raise TypeError("parameters must be tensors that require a gradient, got one that does not")
            if p.node is not None:
                raise TypeError(
                    f"parameters must be tensors that nothing has computed, got one that {p.node.name} made; "
                    "no gradient would be left in it"
                )
            if not p.array.flags.c_contiguous:  # a piece of it would be a piece of a copy
                raise ValueError(
                    f"parameters must be contiguous, got a view of shape {p.shape}; Tensor(t.data) copies it"
                )
        self.lr, self.weight_decay, self.steps = lr, weight_decay, 0
        self.state: list[dict[str, Array]] = [
            {name: xp_of(p.array).zeros(p.shape, p.dtype) for name in self.moments} for p in self.parameters
        ]

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuses a setting that is out of range."""
        if name in self.below:
            at_least_0(below=self.below[name], **{name: value})
            value = float(value)
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        settings = {"lr": self.lr, **self.settings()}
        told = ", ".join(f"{name}={value!r}" for name, value in settings.items() if name != "moments")
        numbers = sum(p.size for p in self.parameters)
        return f"{type(self).__name__}({len(self.parameters)} parameters of {numbers:,} numbers, {told})"

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for p in self.parameters:
            p.grad = None

    def step(self, allowed: Array | None = None, rates: Array | None = None) -> None:
        """Changes every parameter that has a gradient.

        Parameters
        ----------
        allowed : array, (), optional
            One number on the device, not yet read by the host. If it is not finite, the step changes no weight and no
            moment; ``steps`` still grows by one. Optimizers for which ``refuses()`` is False ignore it.
        rates : array, optional
            What ``rates()`` returns, where it has travelled to the device already.
        """
        self.allowed, self.at_rates = allowed, self.rates() if rates is None else rates
        flat = self._vectors()
        decay = self.weight_decay if self.decays_gradient else 0

        def update(part: slice) -> None:
            """Changes a part of all numbers, which are counted from the first parameter to the last."""
            before = 0
            for arrays in flat:
                size = len(arrays[0])
                length = PIECE if home_of(arrays[0]) == "numpy" else max(1, size)  # a GPU prefers one launch
                stop = min(part.stop - before, size)
                for start in range(max(0, part.start - before), stop, length):
                    w, g, *m = (a[start : min(start + length, stop)] for a in arrays)
                    self.update(w, g + decay * w if decay else g, *m)
                before += size

        if flat:
            numbers = sum(len(w) for w, *_ in flat)
            kernels_of(flat[0][0]).side_by_side(update, numbers, OPERATIONS * numbers)
        self.steps, self.allowed = self.steps + 1, None

    def rates(self) -> tuple[float, ...]:
        """The numbers of the next update that change from step to step: the learning rate, and what follows from it."""
        return (self.lr,)

    def settings(self) -> dict[str, Any]:
        """The numbers of an update that stay as they are, by name."""
        changing = ("parameters", "state", "lr", "steps", "allowed", "at_rates")
        return {name: value for name, value in vars(self).items() if name not in changing}

    def refuses(self) -> bool:
        """Whether its ``step`` and ``update`` heed ``allowed``: a subclass that writes its own has others."""
        return type(self).step is Optimizer.step and type(self).update in (
            SGD.update,
            RMSprop.update,
            Adam.update,
        )

    def _vectors(self) -> list[list[Array]]:
        """Weights, gradients and moments of the parameters that have a gradient, as vectors.

        On a device those of all parameters are one, which then share the memory of their arrays.
        """
        graded = [p for p in self.parameters if p.grad is not None]
        if not graded:
            return []
        kernels = kernels_of(graded[0].array)
        gradients = kernels.laid_out([p.grad for p in graded])
        weights, *moments = self.lay_out(graded)
        return kernels.vectors(weights, gradients, *moments)

    def lay_out(self, parameters: Iterable[Tensor]) -> list[list[Array]]:
        """The arrays of these parameters and each of their moments: on a device in one memory from now on.

        Moments go where their parameter has gone, and take its dtype. Counts as a write into the parameters.
        """
        own = {id(p): moments for p, moments in zip(self.parameters, self.state, strict=True)}
        found = [(p, own[id(p)]) for p in parameters]
        for p, state in found:
            for name, array in state.items():
                if (array.dtype, home_of(array)) != (p.dtype, p.backend):
                    state[name] = asarray(array, p.dtype, p.backend)
        kernels = kernels_of(found[0][0].array)
        weights = kernels.laid_out([p.array for p, _ in found])
        moments = [kernels.laid_out([state[name] for _, state in found]) for name in self.moments]
        with no_grad():
            for k, (p, state) in enumerate(found):
                p.array = weights[k]
                p.writable()
                state.update((name, arrays[k]) for name, arrays in zip(self.moments, moments, strict=True))
        return [weights, *moments]

    def update(self, w: Array, g: Array, *moments: Array) -> None:
        """Changes a piece ``w`` of a parameter and its moments in place; ``g`` is only read.

        On a device ``w`` is all parameters, one after the other; ``self.steps`` are those taken before.
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, np.ndarray]:
        """Moments by number of the parameter, and the number of steps: all that resuming needs."""
        arrays = {f"{k}.{name}": a for k, moments in enumerate(self.state) for name, a in moments.items()}
        return {"steps": np.array(self.steps)} | {name: Tensor.around(a).numpy() for name, a in arrays.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what ``state_dict`` returned.

        Raises
        ------
        KeyError, TypeError, ValueError
            If a name is missing, something is no array of real numbers, or a shape differs; nothing is changed.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"optimizer state must be what state_dict returns, got {type(state).__name__}")
        given = {}
        for name, own in self.state_dict().items():
            if name not in state:
                raise KeyError(f"optimizer state has no {name!r}; it belongs to another optimizer or other parameters")
            given[name] = numbers(state[name], f"optimizer state {name!r}", own.shape)
        if not 0 <= given["steps"] < math.inf:
            raise ValueError(f"optimizer state 'steps' must be a number from 0 on, got {given['steps']}")
        taken = [
            {name: asarray(given[f"{k}.{name}"], p.dtype, p.backend) for name in moments}
            for k, (p, moments) in enumerate(zip(self.parameters, self.state, strict=True))
        ]
        self.steps, self.state = int(given["steps"]), taken


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum on request (Sutskever et al. 2013, in PyTorch's form).

        m = momentum * m + g
        w = w - lr * m

    Examples
    --------
    >>> w = Tensor([1.0], requires_grad=True)
    >>> w.grad = w.data + 1
    >>> SGD([w], lr=0.1).step()
    >>> w
    Tensor([0.8], requires_grad=True)
    """

    below: Mapping[str, float] = {**Optimizer.below, "momentum": 1}

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.0, weight_decay: float = 0.0):
        self.momentum = momentum
        self.moments = ("m",) if momentum else ()
        super().__init__(parameters, lr, weight_decay)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuses momentum where no moment is kept, and what is out of range."""
        if name == "momentum" and not vars(self).get("moments", True):
            at_least_0(below=self.below[name], momentum=value)
            if value == 0:
                return
            raise ValueError(f"momentum must be above 0 from the start, got 0 then and {value!r} now")
        super().__setattr__(name, value)

    def update(self, w, g, *moments):
        m = moments[0] if moments else None
        kernels_of(w).sgd(w, g, m, self.at_rates, self.momentum, self.allowed)


class RMSprop(Optimizer):
    """Divides the gradient by a running root mean square of itself (Tieleman & Hinton 2012).

    v = alpha * v + (1 - alpha) * g**2
    w = w - lr * g / (sqrt(v) + eps)
    """

    below: Mapping[str, float] = {**Optimizer.below, "alpha": 1, "eps": math.inf}
    moments = ("v",)

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        self.alpha, self.eps = alpha, eps
        super().__init__(parameters, lr, weight_decay)

    def update(self, w, g, v):
        kernels_of(w).rmsprop(w, g, v, self.at_rates, self.alpha, self.eps, self.allowed)


class Adam(Optimizer):
    """Momentum and a running root mean square, both corrected for starting at zero (Kingma & Ba 2015).

    The correction counts the steps t of the optimizer, not those of each parameter as in PyTorch: a parameter that gets
    its first gradient late moves by more at first.

    In float32 one gradient beyond about 6e20 makes ``v`` infinite, and its weight stands still from then on: clip
    before the step, as `fit` does.

    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    w = w - lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps)
    """

    below: Mapping[str, float] = {**Optimizer.below, "eps": math.inf}
    moments = ("m", "v")

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        self.betas, self.eps = betas, eps
        super().__init__(parameters, lr, weight_decay)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuses a setting that is out of range."""
        if name == "betas":
            if not isinstance(value, (tuple, list)) or len(value) != 2:
                raise ValueError(f"betas must be a pair of numbers, got {value!r}")
            at_least_0(below=1, beta1=value[0], beta2=value[1])
            value = float(value[0]), float(value[1])
        super().__setattr__(name, value)

    def rates(self) -> tuple[float, ...]:
        """The corrected learning rate, the correction of the root of ``v``, and what is kept of the weight: all."""
        (beta1, beta2), t = self.betas, self.steps + 1
        return self.lr / (1 - beta1**t), 1 / math.sqrt(1 - beta2**t), 1.0

    def update(self, w, g, m, v):
        kernels_of(w).adam(w, g, m, v, self.at_rates, *self.betas, self.eps, self.allowed)


class AdamW(Adam):
    """Adam whose weight decay acts on the weight and not on the moments (Loshchilov & Hutter 2019).

    w = w - lr * weight_decay * w,   then Adam's step
    """

    decays_gradient = False

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ):
        super().__init__(parameters, lr, betas, eps, weight_decay)

    def rates(self) -> tuple[float, ...]:
        """As Adam's; of the weight there is kept what has not decayed."""
        lr, growth, _ = super().rates()
        return lr, growth, 1 - self.lr * self.weight_decay
