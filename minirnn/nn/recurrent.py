"""Recurrent layers: stacks of sequence rules, with PyTorch's names, layouts and defaults."""

from __future__ import annotations

from typing import Any

from minirnn import ops
from minirnn.arrays import float_dtype, xp_of
from minirnn.nn.init import uniform_by_fan
from minirnn.nn.inputs import at_least_0, floats_like, positive
from minirnn.nn.module import Module, Parameter
from minirnn.tape import Tensor

State = tuple[Tensor, Tensor]  # h and c, each (num_layers, B, H)


class LSTM(Module):
    """Stacked long short-term memory; see ``minirnn/rules/lstm.py`` for its equations and their derivatives.

    Parameters
    ----------
    input_size, hidden_size : int
        ``D`` and ``H``.
    num_layers : int
        Each layer reads the outputs of the one below.
    bias : bool
        Whether there are ``bias_ih_l{k}`` and ``bias_hh_l{k}`` (they are added up; PyTorch has both).
    batch_first : bool
        Whether inputs and outputs are ``(B, T, ...)`` rather than ``(T, B, ...)``; states never are.
    dropout : float
        Probability with which outputs of a layer are dropped on their way to the next, while training.
    dtype : dtype
        float32 or float64.
    seed : int
        Of the initial weights and of the dropout masks; give each layer of a model its own.

    Attributes
    ----------
    weight_ih_l{k} : Parameter
        ``(4H, D)``, from layer 1 on ``(4H, H)``; gates in the order i f g o.
    weight_hh_l{k} : Parameter
        ``(4H, H)``.
    bias_ih_l{k}, bias_hh_l{k} : Parameter
        ``(4H,)``.

    Examples
    --------
    >>> import numpy as np
    >>> lstm = LSTM(input_size=3, hidden_size=5, num_layers=2)
    >>> out, (h_n, c_n) = lstm(np.zeros((7, 4, 3), "float32"))  # seven steps, four sequences
    >>> out.shape, h_n.shape, c_n.shape
    ((7, 4, 5), (2, 4, 5), (2, 4, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        *,
        dtype: Any = "float32",
        seed: int = 0,
    ):
        positive(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        at_least_0(below=1, dropout=dropout)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout, self.seed = bias, batch_first, dropout, seed
        dtype, H = float_dtype(dtype), hidden_size
        for layer in range(num_layers):
            D = H if layer else input_size
            shapes: dict[str, tuple[int, ...]] = {"weight_ih": (4 * H, D), "weight_hh": (4 * H, H)}
            if bias:
                shapes |= {"bias_ih": (4 * H,), "bias_hh": (4 * H,)}
            for kind, shape in shapes.items():
                name = f"{kind}_l{layer}"
                setattr(self, name, Parameter(uniform_by_fan(shape, H, seed, name), dtype, name))

    def forward(self, x: Any, state: State | None = None) -> tuple[Tensor, State]:
        """Outputs of the last layer and the final state of every layer.

        Parameters
        ----------
        x : Tensor or array
            ``(T, B, D)``, or ``(B, T, D)`` with ``batch_first``.
        state : (h_0, c_0), optional
            Each ``(num_layers, B, H)``; zeros without it.

        Returns
        -------
        out : Tensor
            ``(T, B, H)``, or ``(B, T, H)`` with ``batch_first``.
        (h_n, c_n) : tuple of Tensor
            Each ``(num_layers, B, H)``.

        Raises
        ------
        ValueError
            If a shape does not fit.
        TypeError
            If a dtype is not that of the weights.
        """
        shape = ("B", "T", self.input_size) if self.batch_first else ("T", "B", self.input_size)
        x = floats_like(self._of("weight_ih", 0), x, "x", shape)
        xs = x.transpose(1, 2, 0) if self.batch_first else x.transpose(0, 2, 1)  # (T, D, B): columns are the batch
        hs, state = self.run(self.project(xs, 0), state)
        return hs.transpose(2, 0, 1) if self.batch_first else hs.transpose(0, 2, 1), state

    def _of(self, kind: str, layer: int) -> Parameter:
        return getattr(self, f"{kind}_l{layer}")

    def project(self, xs: Tensor, layer: int) -> Tensor:
        """The input part of the pre-activations, ``W_ih x_t + b``, all steps at once: ``(T, D, B)`` to ``(T, 4H, B)``.

        It also takes one matrix ``(D, B)``: the projection of a table of embeddings serves every token looked up in it.
        """
        b = self._of("bias_ih", layer) + self._of("bias_hh", layer) if self.bias else None
        return ops.affine(xs, self._of("weight_ih", layer), b)

    def run(self, a_xs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """All layers over a sequence whose input to the lowest is projected already.

        Parameters
        ----------
        a_xs : Tensor
            ``(T, 4H, B)``, from ``project``.
        state : (h_0, c_0), optional
            Each ``(num_layers, B, H)``; zeros without it.

        Returns
        -------
        hs : Tensor
            ``(T, H, B)``, outputs of the last layer as columns.
        (h_n, c_n) : tuple of Tensor
            Each ``(num_layers, B, H)``.
        """
        T, _, B = a_xs.shape
        if T == 0:
            raise ValueError("x must have at least one step, got none")
        h_0, c_0 = self._state_as_columns(state, B)
        drop = self.dropout if self.training else 0.0
        self.draws += drop > 0
        hs, ends = a_xs, []
        for layer in range(self.num_layers):
            if layer:
                if drop:
                    hs = ops.dropout(hs, p=drop, seed=self.seed, stream=f"dropout_l{layer}", step=self.draws)
                a_xs = self.project(hs, layer)
            hs, h_T, c_T = ops.lstm(a_xs, h_0[layer], c_0[layer], self._of("weight_hh", layer))
            ends.append((h_T, c_T))
        h_n, c_n = (ops.stack(*column).swapaxes(1, 2) for column in zip(*ends, strict=True))
        return hs, (h_n, c_n)

    def _state_as_columns(self, state: State | None, B: int) -> tuple[Tensor, Tensor]:
        """``h_0`` and ``c_0`` as ``(num_layers, H, B)``."""
        weight, shape = self._of("weight_hh", 0), (self.num_layers, B, self.hidden_size)
        if state is None:
            zeros = Tensor.around(xp_of(weight.array).zeros((self.num_layers, self.hidden_size, B), weight.dtype))
            return zeros, zeros
        if not isinstance(state, (tuple, list)) or len(state) != 2:
            raise ValueError(f"state must be a pair (h_0, c_0), got {type(state).__name__}")
        h_0, c_0 = (floats_like(weight, x, name, shape) for x, name in zip(state, ("h_0", "c_0"), strict=True))
        return h_0.swapaxes(1, 2), c_0.swapaxes(1, 2)
