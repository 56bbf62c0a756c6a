"""What every layer and model is: a function of tensors whose parameters have names."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set, ValuesView
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from typing import Any, ClassVar, Self

import numpy as np

from minirnn.arguments import booleans, chosen, defaults_of, not_negative
from minirnn.arrays import Array, asarray, float_dtype
from minirnn.explaining import described
from minirnn.nn.inputs import numbers
from minirnn.rules.combinators.form import combinators_of
from minirnn.tape import Tensor, rule_of

PLAIN = (str, int, float, type(None))  # holds no parameter, so a list of a million words costs next to nothing

# By id the modules that are in evaluation mode here, whatever their own mode is; each id stays taken while it is a key.
_evaluated: ContextVar[Mapping[int, Module]] = ContextVar("minirnn_evaluated")


class Parameter(Tensor):
    """A tensor that training changes: it requires a gradient."""

    __slots__ = ()

    def __init__(self, data: Any, dtype: Any = None, name: str | None = None):
        super().__init__(data, requires_grad=True, dtype=dtype, name=name)


class Module:
    """Base of layers and models. Parameters and modules in attributes are found by their attribute's name.

    So are those in lists, tuples and dicts, to any depth: ``layers.0.weight``, ``heads.noun.weight``. A subclass writes
    ``forward``; calling the module calls it. Recurrent state is passed in and returned, never kept.

    Attributes
    ----------
    FIXED : tuple of str
        Of a class: arguments that say what the module is. Once they are set they cannot be changed.
    CHECKED : dict of str to function
        Of a class: arguments that can be set at any time, with what refuses bad values; ``CHECKED["p"](p=0.5)`` returns
        what is kept.

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

    FIXED: tuple[str, ...] = ()
    CHECKED: ClassVar[Mapping[str, Callable[..., Any]]] = {}
    _training: bool = True
    draws: int = 0  # random masks drawn so far while training: the position in the module's random stream

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if vars(cls).get("__slots__"):
            raise TypeError(f"{cls.__name__} must not have __slots__: a parameter that stands in one is not found")

    def __setattr__(self, name: str, value: Any) -> None:
        """Checks what is ``CHECKED``, and refuses what would leave the module another than its parameters are of."""
        before = vars(self).get(name)
        if name in self.FIXED and name in vars(self) and not (isinstance(value, type(before)) and value == before):
            raise AttributeError(
                f"{name} is what this {type(self).__name__} was built with, {before!r}, and cannot become {value!r}; "
                "build another"
            )
        if isinstance(before, Parameter) and not isinstance(value, (Parameter, type(None))):
            raise TypeError(
                f"{name} is a parameter and must remain one, got {type(value).__name__}; {name}.data = ... changes its "
                "numbers, Parameter(...) makes another"
            )
        if isinstance(before, Module) and not isinstance(value, (Module, type(None))):
            raise TypeError(f"{name} is a module and must remain one, got {value!r}")
        super().__setattr__(name, self.CHECKED[name](**{name: value}) if name in self.CHECKED else value)

    def __repr__(self) -> str:
        """The module and, under the names that their parameters begin with, all below it; then what is shared."""
        (_, own), *below = ((name, f"{type(m).__name__}({m._told()})") for name, m in self.named_modules())
        named = {id(parameter): name for name, parameter in self.named_parameters()}
        shared = [(name, f"is {named[id(p)]}") for name, p in self._entries() if name != named[id(p)]]
        return "\n".join([own, *(f"  {name}: {told}" for name, told in below), *(f"  {n} {of}" for n, of in shared)])

    def _told(self) -> str:
        """The arguments that `chosen` finds, and those that show in other ways."""
        told = {name: repr(value) for name, value in chosen(self).items() if name != "seed"}
        defaults = defaults_of(type(self))
        for name, part in vars(self).items():
            if part is None and defaults.get(name) is True:
                told[name] = "False"  # a parameter that is not there
            elif callable(part) and name in defaults and not isinstance(part, Module):
                told[name] = described(part)
        dtypes = {str(p.dtype) for p in self.parameters()} if "dtype" in defaults else set()
        if dtypes - {defaults.get("dtype")}:
            told["dtype"] = " and ".join(sorted(map(repr, dtypes)))
        return ", ".join(f"{name}={value}" for name, value in told.items())

    def forward(self, *inputs: Any, **options: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward()")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        return self.forward(*inputs, **options)

    def named_modules(self, prefix: str = "", above: tuple[Module, ...] = ()) -> Iterator[tuple[str, Module]]:
        """This module under the name ``prefix``, then all below it; what refers back to one ``above`` is no child."""
        yield prefix, self
        for name, child in parts_of(vars(self)):
            if isinstance(child, Module) and not any(child is module for module in (self, *above)):
                yield from child.named_modules(f"{prefix}.{name}" if prefix else name, (self, *above))

    def _entries(self) -> Iterator[tuple[str, Parameter]]:
        """Every place where a parameter stands, by its full name; a shared parameter comes more than once."""
        for prefix, module in self.named_modules():
            for name, part in parts_of(vars(module)):
                if isinstance(part, Parameter):
                    yield f"{prefix}.{name}" if prefix else name, part

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Each parameter once, under the first name it is found by."""
        seen = set()
        for name, parameter in self._entries():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def parameters(self) -> list[Parameter]:
        return [parameter for _, parameter in self.named_parameters()]

    def zero_grad(self) -> None:
        for parameter in self.parameters():
            parameter.grad = None

    @property
    def training(self) -> bool:
        """Whether dropout and the like act: from the start on, until `eval` is called, and not within `evaluating`."""
        return self._training and id(self) not in _evaluated.get({})

    @training.setter
    def training(self, mode: bool) -> None:
        booleans(training=mode)
        self._training = mode

    def train(self, mode: bool = True) -> Self:
        """Switches what behaves differently while training (dropout) on, in this module and all below it."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        return self.train(False)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode for the length of a block, in this module and all below it, whatever mode they are in.

        The mode belongs to the current context; another thread is never affected. What `train` or `eval` switch within
        the block counts from its end on.
        """
        below = {id(module): module for _, module in self.named_modules()}
        token = _evaluated.set({**_evaluated.get({}), **below})
        try:
            yield
        finally:
            _evaluated.reset(token)

    def seek(self, step: int) -> None:
        """Moves every random stream below to ``step``: the same step draws the same masks, whatever happened before."""
        not_negative(step=step)
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
        return {name: parameter.numpy() for name, parameter in self._entries()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over the parameters of ``state``: of this library, or a PyTorch module's ``state_dict()`` as it is.

        Raises
        ------
        KeyError
            If names are missing or unknown; all are listed.
        TypeError
            If the state is no mapping, or something in it no array or tensor of real numbers.
        ValueError
            If a shape differs, a number overflows in the dtype of the parameter, or two names of one parameter have
            different arrays. Whatever is raised, nothing has changed.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be a mapping from names to arrays, got {type(state).__name__}")
        own = dict(self._entries())
        missing, unknown = [n for n in own if n not in state], [n for n in state if n not in own]
        if missing or unknown:
            raise KeyError(f"state does not fit: missing {missing}, unknown {unknown}; the module has {list(own)}")
        arrays = {name: _converted(numbers(state[name], name, p.shape), p.dtype, name) for name, p in own.items()}
        named = {id(p): name for name, p in own.items()}
        for name, p in own.items():
            other = named[id(p)]
            if other != name and not np.array_equal(arrays[name], arrays[other], equal_nan=True):
                raise ValueError(f"{name} and {other} are one parameter, and the state has different arrays for them")
        converted = [(p, asarray(arrays[name], p.dtype, p.backend)) for name, p in own.items()]
        for parameter, array in converted:
            parameter.array, parameter.writes = array, [0]

    def as_rule(
        self, *inputs: Any, method: Callable[..., Any] | None = None
    ) -> tuple[Callable, tuple[Array, ...], list[str]]:
        """The module as a rule of its parameters and its floating inputs, to be gradient-checked like any other.

        The rule computes with copies of the modules, in which its arguments stand for the parameters: the module itself
        is not touched, and every call draws the same dropout masks.

        Parameters
        ----------
        *inputs
            What the method takes. Floating arrays and tensors, also in tuples, lists and dicts, become arguments of
            the rule; the rest stays fixed.
        method : callable, optional
            The function of the class that computes, such as ``CharLM.loss``; without it ``forward``.

        Returns
        -------
        rule, arrays, names
            ``rule(*arrays)`` computes what the method does; ``names`` says what each array is. Outputs that
            are detached, such as the state a language model hands on, are left out: no gradient is claimed for them.

        Raises
        ------
        TypeError
            If no output is a tensor that depends on a parameter or a floating input.
        """
        parameters = dict(self.named_parameters())
        compute: Callable[..., Any] = type(self).forward if method is None else method
        _, *signature = inspect.signature(compute).parameters
        labels = [*signature, *(f"input {k}" for k in range(len(signature), len(inputs)))]
        floating = [leaf for label, x in zip(labels, inputs, strict=False) for leaf in floating_leaves(x, label)]
        arrays = [p.array for p in parameters.values()]
        arrays += [x.array if isinstance(x, Tensor) else x for _, x in floating]

        def answer(tensors: Sequence[Tensor]) -> Any:
            stand_ins = {id(p): t for p, t in zip(parameters.values(), tensors, strict=False)}
            arguments = iter(tensors[len(parameters) :])
            return compute(twin(self, stand_ins), *(rebuilt(x, arguments) for x in inputs))

        first = answer([Tensor(x, requires_grad=True) for x in arrays])
        attached = [t.requires_grad for t in flatten(first)]
        if not any(attached):
            raise TypeError(
                f"{compute.__name__} of {type(self).__name__} must return a tensor made of its parameters or floating "
                f"inputs, or several, got {type(first).__name__}"
            )

        def function(*tensors: Tensor) -> tuple[Tensor, ...]:
            return tuple(t for t, kept in zip(flatten(answer(tensors)), attached, strict=True) if kept)

        function.__name__ = type(self).__name__ + ("" if method is None else f".{method.__name__}")
        rule: Any = rule_of(function)
        rule.combinators = tuple(chain(*(combinators_of(module) for _, module in self.named_modules())))
        return rule, tuple(arrays), [*parameters, *(name for name, _ in floating)]


def parts_of(container: Any, prefix: str = "", above: tuple[Any, ...] = ()) -> Iterator[tuple[str, Module | Parameter]]:
    """Modules and parameters in dicts, lists and tuples, also in one another, named by the keys that lead to them.

    What holds itself is looked into once: a container ``above`` is passed over.

    Raises
    ------
    TypeError
        If one has no name: in a set or a deque, or under a key that is not a text without dots.
    """
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(container, (list, tuple)):
        items = enumerate(container)
    elif isinstance(container, Mapping):
        items = container.items()
    elif isinstance(container, (Set, deque, ValuesView)):
        items = ((None, value) for value in container)
    above = (*above, container)
    for key, value in items:
        if isinstance(value, PLAIN) or any(value is one for one in above):
            continue
        place = f"{prefix}.{key}" if prefix else f"{key}"
        within = ((place, value),) if isinstance(value, (Module, Parameter)) else parts_of(value, place, above)
        for name, part in within:
            if not isinstance(container, (list, tuple)) and (not isinstance(key, str) or "." in key):
                named = isinstance(container, Mapping)
                where = f"under the key {key!r}" if named else f"in a {type(container).__name__}"
                raise TypeError(
                    f"{prefix} must hold its parts in a list, or in a dict by texts without dots, which name their "
                    f"parameters; got a {type(part).__name__} {where}"
                )
            yield name, part


def _converted(x: np.ndarray, dtype: np.dtype, name: str) -> np.ndarray:
    """``x`` in another dtype.

    Raises
    ------
    ValueError
        If a finite number is none there.
    """
    with np.errstate(over="ignore"):
        converted = x.astype(dtype, copy=False)
    overflown = np.isfinite(x) & ~np.isfinite(converted)
    if overflown.any():
        raise ValueError(f"{name} must fit into {dtype}, the dtype of the parameter, got {x[overflown][0]}")
    return converted


def flatten(output: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and dicts, in reading order."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, (tuple, list, Mapping)):
        for part in output.values() if isinstance(output, Mapping) else output:
            yield from flatten(part)


def floating_leaves(x: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The floating arrays and tensors in nested tuples, lists and dicts, named by where they stand."""
    if isinstance(x, (tuple, list, Mapping)):
        for k, part in x.items() if isinstance(x, Mapping) else enumerate(x):
            yield from floating_leaves(part, f"{name}[{k!r}]")
    elif getattr(getattr(x, "dtype", None), "kind", "") == "f":
        yield name, x


def rebuilt(x: Any, leaves: Iterator[Tensor]) -> Any:
    """``x`` with the next of ``leaves`` in the place of every floating array or tensor in it."""
    if isinstance(x, Mapping):
        return {key: rebuilt(part, leaves) for key, part in x.items()}
    if isinstance(x, (tuple, list)):
        return _sequence_like(x, (rebuilt(part, leaves) for part in x))
    return next(leaves) if getattr(getattr(x, "dtype", None), "kind", "") == "f" else x


def _sequence_like(x: Any, parts: Iterable) -> Any:
    """A list or tuple of the kind of ``x``, which may have named fields."""
    return type(x)._make(parts) if hasattr(x, "_make") else type(x)(parts)


def twin(module: Module, stand_ins: Mapping[int, Any]) -> Any:
    """A copy of a module and all below it, in which others (by ``id``) stand for some parameters and modules."""
    copies: dict[int, Module] = {}

    def copied(value: Any) -> Any:
        if isinstance(value, (Module, Parameter)) and id(value) in stand_ins:
            return stand_ins[id(value)]
        if isinstance(value, Parameter):
            return value
        if not isinstance(value, Module):
            if next(parts_of(value), None) is None:
                return value
            if isinstance(value, Mapping):
                return {key: copied(part) for key, part in value.items()}
            return _sequence_like(value, map(copied, value))
        if id(value) not in copies:
            copies[id(value)] = copy = object.__new__(type(value))
            vars(copy).update({key: copied(part) for key, part in vars(value).items()})
            copy.training = value.training  # which a copy, unlike what it copies, has to itself in every context
        return copies[id(value)]

    return copied(module)
