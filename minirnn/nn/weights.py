"""What all recurrent layers are made of: options, and the parameters of every layer and direction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import cleandoc, signature
from typing import Any, ClassVar, TypedDict

import numpy as np

from minirnn import ops
from minirnn.arguments import booleans, flag, positive, share
from minirnn.arrays import float_dtype, xp_of
from minirnn.nn.init import RECURRENT, recurrent_weight
from minirnn.nn.module import Module, Parameter
from minirnn.seeds import own_seed
from minirnn.tape import Tensor

Combinator = Callable[[Callable], Callable]  # from a sequence rule to a sequence rule

# What every recurrent layer takes; `with_options` puts it into the docstring of each, where help() shows it.
OPTIONS = """\
input_size, hidden_size : int
    ``D`` and ``H``.
num_layers : int, default 1
    How many layers; each reads the outputs of the one below.
bias : bool, default True
    Whether there are ``bias_ih_l{k}`` and ``bias_hh_l{k}``; PyTorch has both.
batch_first : bool, default False
    Whether inputs and outputs are ``(B, T, ...)`` rather than ``(T, B, ...)``; states never are.
dropout : float, default 0
    Probability, below 1, with which outputs of a layer are dropped on their way to the next, while training; with one
    layer there is no such way, and nothing is dropped.
bidirectional : bool, default False
    Whether each layer also reads every sequence from its end; the outputs of both stand side by side.
locked_dropout : bool, default False
    Drops the same units at every step of a sequence (Gal & Ghahramani 2016).
weight_drop : float, default 0
    Probability with which entries of ``weight_hh`` are dropped, the same for all steps of a call, while training
    (DropConnect; Merity et al. 2017). The parameter itself is not touched.
zoneout : float, default 0
    Probability with which a unit keeps its old state, h and c apart, while training; at evaluation the expectation
    (Krueger et al. 2017). A step there and back then takes about 1.4 times as long, of a small RNN 3 times.
layer_norm : bool, default False
    Normalises both projections, and the LSTM's cell state where it is read (Ba et al. 2016); the equations stand in
    ``minirnn/nn/layer_norm.py``. Its steps are composed of operations, and take 2 to 5 times as long there and back
    (batch of 32, H of 128 and 256, on two CPU cores), those of a small RNN 6 times.
residual : bool, default False
    From the second layer on, adds to the outputs of a layer those of the one below, before dropout.
learned_state : bool, default False
    Makes the state that is used where none is given a parameter, ``initial_h`` (and ``initial_c``), zero at first.
init : {"uniform", "orthogonal"}, default "uniform"
    PyTorch's initial weights; or orthogonal recurrent blocks, Glorot uniform input blocks, and biases of zero.
through_time : callable, optional
    A combinator for the sequence rule of every layer, such as ``lambda rule: truncate(rule, 20)``. Pickle refuses a
    layer with a lambda; it takes functions of a module, and such as ``functools.partial(truncate, window=20)``.
    Workers share the columns of a batch, so it must treat each column by itself, as those of this library do.
dtype : dtype, default "float32"
    float32 or float64.
seed : int, optional
    Draws the initial weights and all masks; without it the next of `minirnn.use_seed`.

Notes
-----
Of a layer that is built, what is for training may be set again at any time: ``dropout``, ``locked_dropout``,
``weight_drop``, ``zoneout``, ``through_time``, and ``seed``, by which masks are drawn. All else is what the layer is.\
"""


class Options(TypedDict, total=False):
    """What every recurrent layer takes by keyword; ``OPTIONS`` says what each means."""

    locked_dropout: bool
    weight_drop: float
    zoneout: float
    layer_norm: bool
    residual: bool
    learned_state: bool
    init: str
    through_time: Combinator | None
    dtype: Any
    seed: int | None


def with_options(doc: str | None, options: str) -> str | None:
    """A docstring with ``options`` in the place of ``{OPTIONS}``: written once, shown wherever they are taken."""
    return doc and cleandoc(doc).replace("{OPTIONS}", options)


def options_of(layer: type) -> list[str]:
    """The names of all that a recurrent layer takes."""
    return [name for name in signature(layer).parameters if name != "options"] + list(Options.__annotations__)


def refuse_unknown(owner: type, options: Iterable[str], handed_on: Iterable[str]) -> None:
    """Refuses options that ``owner`` neither takes nor hands on, naming the first, and which may have been meant.

    Raises
    ------
    TypeError
    """
    known = [name for name in signature(owner).parameters if name != "options"]
    known += [name for name in handed_on if name not in known]
    for name in options:
        if name not in known:
            from difflib import get_close_matches  # only here: an import for the rare mistake

            near = [f"did you mean {other!r}?" for other in get_close_matches(name, known, n=1, cutoff=0.75)]
            hint = "arrays live where use_backend says" if name == "device" else "".join(near)
            raise TypeError(f"{owner.__name__} has no option {name!r}; {hint or 'it has ' + ', '.join(known)}")


class RecurrentWeights(Module):
    """Options and parameters of recurrent layers one above the other, in one direction or both.

    Its parameters are the ``OPTIONS`` above, all but ``through_time``, which `Recurrent` takes.

    Raises
    ------
    ValueError
        If an option is not what is said above, or contradicts another.
    TypeError
        If a flag is not ``True`` or ``False``.
    """

    FIXED: tuple[str, ...] = (
        *("input_size", "hidden_size", "num_layers", "bias", "batch_first", "bidirectional"),
        *("layer_norm", "residual", "learned_state", "init"),
    )
    CHECKED: ClassVar = {
        "dropout": share,
        "locked_dropout": flag,
        "weight_drop": share,
        "zoneout": share,
        "seed": own_seed,
    }
    seed: int
    GATES: int  # blocks of H rows in a pre-activation
    STATES: tuple[str, ...]
    proj_size: int = 0  # the size of the outputs, if it is not H

    def __init_subclass__(cls, **keywords: Any):
        """Writes the options into the docstring of the layer."""
        super().__init_subclass__(**keywords)
        cls.__doc__ = with_options(cls.__doc__, OPTIONS)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        *,
        locked_dropout: bool = False,
        weight_drop: float = 0.0,
        zoneout: float = 0.0,
        layer_norm: bool = False,
        residual: bool = False,
        learned_state: bool = False,
        init: str = "uniform",
        dtype: Any = "float32",
        seed: int | None = None,
    ):
        positive(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        booleans(bias=bias, batch_first=batch_first, bidirectional=bidirectional)
        booleans(layer_norm=layer_norm, residual=residual, learned_state=learned_state)
        self.dropout, self.locked_dropout = dropout, locked_dropout
        self.weight_drop, self.zoneout = weight_drop, zoneout
        if init not in RECURRENT:
            raise ValueError(f"init must be one of {', '.join(RECURRENT)}, got {init!r}")
        # a NumPy integer of a few bits would overflow where sizes are multiplied
        self.input_size, self.hidden_size, self.num_layers = int(input_size), int(hidden_size), int(num_layers)
        self.bias, self.batch_first, self.bidirectional = bool(bias), bool(batch_first), bool(bidirectional)
        self.layer_norm, self.residual, self.learned_state = bool(layer_norm), bool(residual), bool(learned_state)
        self.init, dtype, self.seed = str(init), float_dtype(dtype), own_seed(seed)
        self._make_parameters(dtype)

    def _make_parameters(self, dtype: np.dtype) -> None:
        below = self.input_size
        for layer in range(self.num_layers):
            for at in self._suffixes(layer):
                for kind, shape in self._shapes(below).items():
                    name = f"{kind}_{at}"
                    setattr(self, name, Parameter(self._initial(kind, shape, name), dtype, name))
            below = self._directions * self._sizes["h"]
        if self.learned_state:
            for name, size in self._sizes.items():
                zeros = np.zeros((self.num_layers * self._directions, size))
                setattr(self, f"initial_{name}", Parameter(zeros, dtype, f"initial_{name}"))

    # --- what the cells add ------------------------------------------------------------------------------------------

    def _shapes(self, D: int) -> dict[str, tuple[int, ...]]:
        """The parameters of one layer and direction that reads ``D`` features."""
        G, P = self.GATES * self.hidden_size, self._sizes["h"]
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (G, D), "weight_hh": (G, P)}
        if self.bias:
            shapes |= {"bias_ih": (G,), "bias_hh": (G,)}
        if self.layer_norm:
            shapes |= {"gain_ih": (G,), "gain_hh": (G,)}
        return shapes

    def _initial(self, kind: str, shape: tuple[int, ...], name: str) -> np.ndarray:
        return recurrent_weight(self.init, kind, shape, self.hidden_size, self.seed, name)

    def _input_bias(self, at: str) -> Tensor:
        """The bias of the input projection: all of both biases that can be added before the recurrence."""
        return self._of("bias_ih", at) + self._of("bias_hh", at)

    def _more_weights(self, at: str) -> tuple[Tensor | None, ...]:
        """What the cell's rule takes after ``W_hh``."""
        return ()

    # --- its parts by name -------------------------------------------------------------------------------------------

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _sizes(self) -> dict[str, int]:
        """The number of features of each state."""
        return {name: self.proj_size or self.hidden_size if name == "h" else self.hidden_size for name in self.STATES}

    def _suffixes(self, layer: int) -> tuple[str, ...]:
        return (f"l{layer}", f"l{layer}_reverse")[: self._directions]

    def _of(self, kind: str, at: str) -> Any:
        """A parameter; ``None`` where the layer has none of this kind."""
        return getattr(self, f"{kind}_{at}", None)

    def _input_weights(self, at: str) -> tuple[Tensor, Tensor | None]:
        """``W_ih`` and ``b``. With layer norm the biases come after the normalisation, in the step."""
        b = self._input_bias(at) if self.bias and not self.layer_norm else None
        return self._of("weight_ih", at), b

    def _recurrent_weights(self, at: str) -> tuple[Tensor | None, ...]:
        W_hh = self._of("weight_hh", at)
        if self.weight_drop and self.training:
            W_hh = ops.dropout(W_hh, p=self.weight_drop, seed=self.seed, stream=f"weight_drop_{at}", step=self.draws)
        return (W_hh, *(self._norms(at, "ih", "hh") if self.layer_norm else ()), *self._more_weights(at))

    def _norms(self, at: str, *of: str) -> list[Tensor]:
        """Gain and shift, one after the other, of each projection or state that is normalised."""
        parts: list[Tensor] = []
        for name in of:
            gain, bias = self._of(f"gain_{name}", at), self._of(f"bias_{name}", at)
            parts += (gain, Tensor.around(xp_of(gain.array).zeros(gain.shape, gain.dtype)) if bias is None else bias)
        return parts
