"""Recurrent cells: one step of a recurrence, for those who write the loop through time themselves."""

from __future__ import annotations

from typing import Any

from minirnn import ops
from minirnn.arguments import booleans, flag, positive
from minirnn.arrays import float_dtype, xp_of
from minirnn.nn.init import uniform_by_fan
from minirnn.nn.inputs import floats_like, states_like
from minirnn.nn.module import Module, Parameter
from minirnn.nn.recurrent import NONLINEARITIES, gru_input_bias
from minirnn.nn.weights import with_options
from minirnn.seeds import own_seed
from minirnn.tape import Tensor

# What every cell takes and has; `with_options` puts it into the docstring of each, where help() shows it.
OPTIONS = """\
input_size, hidden_size : int
    ``D`` and ``H``.
bias : bool, default True
    Whether there are ``bias_ih`` and ``bias_hh``.
dtype : dtype, default "float32"
    float32 or float64.
seed : int, optional
    Draws the initial weights; without it the next of `minirnn.use_seed`.

Attributes
----------
weight_ih, weight_hh : Parameter
    ``(G, D)`` and ``(G, H)``, with G the number of gates times H.
bias_ih, bias_hh : Parameter or None
    ``(G,)``.\
"""


class Cell(Module):
    """One step, with the parameters of one layer; base of `RNNCell`, `LSTMCell` and `GRUCell`."""

    FIXED: tuple[str, ...] = ("input_size", "hidden_size", "bias", "seed")
    GATES: int
    STATES: tuple[str, ...]
    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Any
    bias_hh: Any

    def __init_subclass__(cls, **keywords: Any):
        """Writes the options into the docstring of the cell."""
        super().__init_subclass__(**keywords)
        cls.__doc__ = with_options(cls.__doc__, OPTIONS)

    def __init__(self, input_size: int, hidden_size: int, bias: bool, dtype: Any, seed: int | None):
        positive(input_size=input_size, hidden_size=hidden_size)
        booleans(bias=bias)
        D, H, dtype = int(input_size), int(hidden_size), float_dtype(dtype)  # a NumPy integer could overflow below
        self.input_size, self.hidden_size, self.bias, self.seed = D, H, bool(bias), own_seed(seed)
        G = self.GATES * H
        shapes = {"weight_ih": (G, D), "weight_hh": (G, H), "bias_ih": (G,), "bias_hh": (G,)}
        for name, shape in shapes.items():
            drawn = uniform_by_fan(shape, H, self.seed, name)
            setattr(self, name, Parameter(drawn, dtype, name) if bias or name.startswith("weight") else None)

    def _columns(self, x: Any, state: Any) -> tuple[Tensor, list[Tensor]]:
        """``x (D, B)`` and the states, each ``(H, B)``: zeros without ``state``."""
        weight, H = self.weight_hh, self.hidden_size
        x = floats_like(weight, x, "x", ("B", self.input_size))
        B = x.shape[0]
        if state is None:
            return x.T, [Tensor.around(xp_of(weight.array).zeros((H, B), weight.dtype)) for _ in self.STATES]
        return x.T, [part.T for part in states_like(weight, state, dict.fromkeys(self.STATES, H), {"batch": B})]


class RNNCell(Cell):
    """One step of a simple recurrence: ``h_t = tanh(W_ih x + b_ih + W_hh h_prev + b_hh)``, or relu of it.

    Parameters
    ----------
    nonlinearity : {"tanh", "relu"}, default "tanh"
        The function that makes the new state of its pre-activation.
    {OPTIONS}

    Examples
    --------
    >>> import numpy as np
    >>> cell = RNNCell(3, 5)
    >>> cell(np.zeros((4, 3), "float32")).shape
    (4, 5)
    """

    FIXED = (*Cell.FIXED, "nonlinearity")
    GATES, STATES = 1, ("h",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        dtype: Any = "float32",
        seed: int | None = None,
    ):
        if nonlinearity not in NONLINEARITIES:
            raise ValueError(f"nonlinearity must be one of {', '.join(NONLINEARITIES)}, got {nonlinearity!r}")
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, bias, dtype, seed)

    def forward(self, x: Any, state: Any = None) -> Tensor:
        """``x (B, D)`` and ``h (B, H)``, or zeros without it, to the new ``h (B, H)``."""
        x, (h,) = self._columns(x, state)
        a = ops.affine(x, self.weight_ih, self.bias_ih + self.bias_hh if self.bias else None)
        return ops.rnn_step(a, h, self.weight_hh, nonlinearity=self.nonlinearity).T


class LSTMCell(Cell):
    """One step of long short-term memory; the equations stand in ``minirnn/rules/lstm.py``.

    Parameters
    ----------
    {OPTIONS}

    Examples
    --------
    >>> import numpy as np
    >>> cell = LSTMCell(3, 5)
    >>> state = None
    >>> for x_t in np.zeros((7, 4, 3), "float32"):
    ...     state = cell(x_t, state)
    >>> h, c = state
    >>> h.shape, c.shape
    ((4, 5), (4, 5))
    """

    GATES, STATES = 4, ("h", "c")

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, dtype: Any = "float32", seed: int | None = None
    ):
        super().__init__(input_size, hidden_size, bias, dtype, seed)

    def forward(self, x: Any, state: Any = None) -> tuple[Tensor, Tensor]:
        """``x (B, D)`` and ``(h, c)``, each ``(B, H)``, or zeros without it, to the new ``(h, c)``."""
        x, (h, c) = self._columns(x, state)
        a = ops.affine(x, self.weight_ih, self.bias_ih + self.bias_hh if self.bias else None)
        h, c = ops.lstm_step(a, h, c, self.weight_hh)
        return h.T, c.T


class GRUCell(Cell):
    """One step of a gated recurrent unit; the equations stand in ``minirnn/rules/gru.py``.

    Parameters
    ----------
    reset_after : bool, default True
        Whether the reset gate acts on the projection of the state (PyTorch), or on the state (Cho et al. 2014).
    {OPTIONS}

    Examples
    --------
    >>> import numpy as np
    >>> cell = GRUCell(3, 5, reset_after=False)
    >>> cell(np.zeros((4, 3), "float32"), np.ones((4, 5), "float32")).shape
    (4, 5)
    """

    FIXED = (*Cell.FIXED, "reset_after")
    GATES, STATES = 3, ("h",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        reset_after: bool = True,
        dtype: Any = "float32",
        seed: int | None = None,
    ):
        self.reset_after = flag(reset_after=reset_after)
        super().__init__(input_size, hidden_size, bias, dtype, seed)

    def forward(self, x: Any, state: Any = None) -> Tensor:
        """``x (B, D)`` and ``h (B, H)``, or zeros without it, to the new ``h (B, H)``."""
        x, (h,) = self._columns(x, state)
        b = gru_input_bias(self.bias_ih, self.bias_hh, self.reset_after) if self.bias else None
        b_hn = self.bias_hh[2 * self.hidden_size :] if self.bias and self.reset_after else None
        a = ops.affine(x, self.weight_ih, b)
        return ops.gru_step(a, h, self.weight_hh, b_hn, reset_after=self.reset_after).T
