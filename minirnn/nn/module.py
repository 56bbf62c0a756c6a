"""What every layer and model is: a function of tensors whose parameters have names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import numpy as np

from minirnn.arrays import Array, asarray, float_dtype
from minirnn.tape import Tensor, rule_of


class Parameter(Tensor):
    """A tensor that training changes: it requires a gradient."""

    __slots__ = ()

    def __init__(self, data: Any, dtype: Any = None, name: str | None = None):
        super().__init__(data, requires_grad=True, dtype=dtype, name=name)


class Module:
    """Base of layers and models. Parameters and modules assigned to attributes are found by their attribute's name.

    A subclass writes ``forward``; calling the module calls it. Recurrent state is passed in and returned, never kept.

    Examples
    --------
    >>> class Scale(Module):
    ...     def __init__(self):
    ...         self.factor = Parameter([2.0])
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> scale = Scale()
    >>> [name for name, _ in scale.named_parameters()], scale(Tensor([3.0])).item()
    (['factor'], 6.0)
    """

    training: bool = True
    draws: int = 0  # random masks drawn so far while training: the position in the module's random stream

    def forward(self, *inputs: Any, **options: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward()")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        return self.forward(*inputs, **options)

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module under the name ``prefix``, then all below it."""
        yield prefix, self
        for key, value in vars(self).items():
            children = enumerate(value) if isinstance(value, (list, tuple)) else [(None, value)]
            for k, child in children:
                if isinstance(child, Module):
                    name = key if k is None else f"{key}.{k}"
                    yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def _entries(self) -> Iterator[tuple[str, Module, str, Parameter]]:
        """Every place where a parameter stands: full name, owner, attribute, parameter; a shared one more than once."""
        for prefix, module in self.named_modules():
            for key, value in vars(module).items():
                if isinstance(value, Parameter):
                    yield f"{prefix}.{key}" if prefix else key, module, key, value

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Each parameter once, under the first name it is found by."""
        seen = set()
        for name, _, _, parameter in self._entries():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def parameters(self) -> list[Parameter]:
        return [parameter for _, parameter in self.named_parameters()]

    def zero_grad(self) -> None:
        for parameter in self.parameters():
            parameter.grad = None

    def train(self, mode: bool = True) -> Self:
        """Switches what behaves differently while training (dropout) on, in this module and all below it."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        return self.train(False)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode for the length of a block; afterwards every module is in the mode it was in."""
        modes = [(module, module.training) for _, module in self.named_modules()]
        self.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode

    def seek(self, step: int) -> None:
        """Moves every random stream below to ``step``: the same step draws the same masks, whatever happened before."""
        for _, module in self.named_modules():
            module.draws = step

    def to(self, backend: str | None = None, dtype: Any = None) -> Self:
        """Moves the parameters to another backend or another floating dtype, in place; gradients are dropped."""
        dtype = None if dtype is None else float_dtype(dtype)
        moved = [(p, asarray(p.array, dtype or p.dtype, backend or p.backend)) for p in self.parameters()]
        for parameter, array in moved:
            parameter.array, parameter.writes, parameter.grad = array, [0], None
        return self

    def state_dict(self) -> dict[str, np.ndarray]:
        """A copy of every parameter as a NumPy array, by name."""
        return {name: parameter.numpy() for name, _, _, parameter in self._entries()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over the parameters of ``state``: of this library, or a PyTorch module's ``state_dict()`` as it is.

        Raises
        ------
        KeyError
            If names are missing or unknown; all are listed.
        ValueError
            If a shape differs. Nothing is changed in either case.
        """
        own = {name: parameter for name, _, _, parameter in self._entries()}
        missing, unknown = [n for n in own if n not in state], [n for n in state if n not in own]
        if missing or unknown:
            raise KeyError(f"state does not fit: missing {missing}, unknown {unknown}; the module has {list(own)}")
        arrays = {name: np.asarray(state[name]) for name in own}
        for name, parameter in own.items():
            if arrays[name].shape != parameter.shape:
                raise ValueError(f"{name} must have shape {parameter.shape}, got {arrays[name].shape}")
        converted = [(p, asarray(arrays[name], p.dtype, p.backend)) for name, p in own.items()]
        for parameter, array in converted:
            parameter.array, parameter.writes = array, [0]

    def as_rule(self, *inputs: Any) -> tuple[Callable, tuple[Array, ...], list[str]]:
        """The module as a rule of its parameters and its floating inputs, to be gradient-checked like any other.

        Parameters
        ----------
        *inputs
            What ``forward`` takes. Floating arrays and tensors become arguments of the rule; the rest stays fixed.

        Returns
        -------
        rule, arrays, names
            ``rule(*arrays)`` computes what ``module(*inputs)`` does; ``names`` says what each array is. Outputs that
            are detached, such as the state a language model hands on, are left out: no gradient is claimed for them.
        """
        parameters = dict(self.named_parameters())
        floating = [k for k, x in enumerate(inputs) if getattr(getattr(x, "dtype", None), "kind", "") == "f"]

        attached = [t.requires_grad for t in flatten(self(*inputs))]

        def function(*tensors: Tensor) -> tuple[Tensor, ...]:
            stand_ins = {id(p): t for p, t in zip(parameters.values(), tensors, strict=False)}
            arguments = list(inputs)
            for k, t in zip(floating, tensors[len(parameters) :], strict=True):
                arguments[k] = t
            places = [(owner, key, p) for _, owner, key, p in self._entries()]
            try:
                for owner, key, p in places:
                    vars(owner)[key] = stand_ins[id(p)]
                return tuple(t for t, kept in zip(flatten(self(*arguments)), attached, strict=True) if kept)
            finally:
                for owner, key, p in places:
                    vars(owner)[key] = p

        function.__name__ = type(self).__name__
        arrays = [p.array for p in parameters.values()]
        arrays += [x.array if isinstance(x, Tensor) else x for x in (inputs[k] for k in floating)]
        return rule_of(function), tuple(arrays), [*parameters, *(f"input {k}" for k in floating)]


def flatten(output: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, in reading order."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, (tuple, list)):
        for part in output:
            yield from flatten(part)
