"""Recurrent layers, with PyTorch's names, layouts and defaults: what each cell adds to the stack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import numpy as np

from minirnn import rules
from minirnn.arguments import at_least_0, flag, not_negative
from minirnn.arrays import Array, xp_of
from minirnn.nn.layer_norm import layer_norm_gru_step, layer_norm_lstm_step, layer_norm_rnn_step
from minirnn.nn.stack import Recurrent, State
from minirnn.nn.weights import Options
from minirnn.rules.combinators import scan
from minirnn.tape import Tensor, differentiable

__all__ = ["GRU", "LSTM", "NONLINEARITIES", "RNN", "State", "gru_input_bias"]

NONLINEARITIES = ("tanh", "relu")


class RNN(Recurrent):
    """Stacked simple recurrence; see ``minirnn/rules/rnn.py`` for its equation and the derivative.

    Parameters
    ----------
    nonlinearity : {"tanh", "relu"}, default "tanh"
        The function that makes the new state of its pre-activation.
    {OPTIONS}

    Attributes
    ----------
    weight_ih_l{k}, weight_hh_l{k} : Parameter
        ``(H, D)``, from layer 1 on ``(H, directions * H)``, and ``(H, H)``; with the ending ``_reverse`` those of the
        other direction.
    bias_ih_l{k}, bias_hh_l{k} : Parameter
        ``(H,)``.
    gain_ih_l{k}, gain_hh_l{k} : Parameter
        ``(H,)``, with ``layer_norm``.
    initial_h : Parameter
        ``(num_layers * directions, H)``, with ``learned_state``.

    Examples
    --------
    >>> import numpy as np
    >>> rnn = RNN(input_size=3, hidden_size=5, bidirectional=True)
    >>> out, h_n = rnn(np.zeros((7, 4, 3), "float32"), lengths=[7, 2, 5, 1])  # seven steps, four sequences
    >>> out.shape, h_n.shape
    ((7, 4, 10), (2, 4, 5))
    """

    FIXED = (*Recurrent.FIXED, "nonlinearity")
    GATES, STATES = 1, ("h",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        **options: Unpack[Options],
    ):
        if nonlinearity not in NONLINEARITIES:
            raise ValueError(f"nonlinearity must be one of {', '.join(NONLINEARITIES)}, got {nonlinearity!r}")
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, **options)

    def _cell(self) -> tuple[Callable, Callable]:
        if self.layer_norm:
            step = layer_norm_rnn_step(self.nonlinearity)
            return step, scan(step)
        return rules.rnn_step, rules.rnn

    def _static(self) -> dict[str, Any]:
        return {} if self.layer_norm else {"nonlinearity": self.nonlinearity}


class LSTM(Recurrent):
    """Stacked long short-term memory; see ``minirnn/rules/lstm.py`` for its equations and their derivatives.

    Parameters
    ----------
    proj_size : int, default 0
        Size P of the outputs and of h, if it is to be smaller than H: h_t is projected by ``weight_hr`` (Sak et al.
        2014). 0 for none.
    peepholes : bool, default False
        Lets the gates see the cell state, one weight per unit and gate (Gers & Schmidhuber 2000).
    forget_bias : float, optional
        What the biases of the forget gate add up to at first: 1 keeps gradients alive from the start (Gers et al. 2000,
        Jozefowicz et al. 2015).
    {OPTIONS}

    Attributes
    ----------
    weight_ih_l{k}, weight_hh_l{k} : Parameter
        ``(4H, D)``, from layer 1 on ``(4H, directions * P)``, and ``(4H, P)``; gates in the order i f g o, and P is H
        without projection. With the ending ``_reverse`` those of the other direction.
    bias_ih_l{k}, bias_hh_l{k} : Parameter
        ``(4H,)``; they are added up.
    weight_hr_l{k} : Parameter
        ``(P, H)``, with ``proj_size``.
    peepholes_l{k} : Parameter
        ``(3, H)``, rows i f o, with ``peepholes``.
    gain_ih_l{k}, gain_hh_l{k}, gain_c_l{k}, bias_c_l{k} : Parameter
        ``(4H,)`` twice and ``(H,)`` twice, with ``layer_norm``; the last with ``bias`` only.
    initial_h, initial_c : Parameter
        ``(num_layers * directions, P)`` and ``(..., H)``, with ``learned_state``.

    Examples
    --------
    >>> import numpy as np
    >>> lstm = LSTM(input_size=3, hidden_size=5, num_layers=2)
    >>> out, (h_n, c_n) = lstm(np.zeros((7, 4, 3), "float32"))  # seven steps, four sequences
    >>> out.shape, h_n.shape, c_n.shape
    ((7, 4, 5), (2, 4, 5), (2, 4, 5))
    """

    FIXED = (*Recurrent.FIXED, "proj_size", "peepholes", "forget_bias")
    GATES, STATES = 4, ("h", "c")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        peepholes: bool = False,
        forget_bias: float | None = None,
        **options: Unpack[Options],
    ):
        self.peepholes = flag(peepholes=peepholes)
        not_negative(proj_size=proj_size)
        if proj_size and isinstance(hidden_size, (int, np.integer)) and proj_size >= hidden_size:
            raise ValueError(f"proj_size must be smaller than hidden_size, {hidden_size}, got {proj_size}")
        if forget_bias is not None:
            at_least_0(forget_bias=forget_bias)
            if not bias:
                raise ValueError(f"forget_bias={forget_bias} needs bias=True: without biases there is none to set")
        if peepholes and options.get("layer_norm"):
            raise ValueError(
                "peepholes=True and layer_norm=True exclude each other: the LSTM of Ba et al. (2016) has no peepholes"
            )
        self.proj_size, self.forget_bias = int(proj_size), None if forget_bias is None else float(forget_bias)
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, **options)

    def _cell(self) -> tuple[Callable, Callable]:
        if self.layer_norm:
            return layer_norm_lstm_step, scan(layer_norm_lstm_step)
        return rules.lstm_step, rules.lstm

    def _shapes(self, D: int) -> dict[str, tuple[int, ...]]:
        shapes, H = super()._shapes(D), self.hidden_size
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, H)
        if self.peepholes:
            shapes["peepholes"] = (3, H)
        if self.layer_norm:
            shapes |= {"gain_c": (H,), "bias_c": (H,)} if self.bias else {"gain_c": (H,)}
        return shapes

    def _initial(self, kind: str, shape: tuple[int, ...], name: str) -> np.ndarray:
        values, H = super()._initial(kind, shape, name), self.hidden_size
        if self.forget_bias is not None and kind in ("bias_ih", "bias_hh"):
            values[H : 2 * H] = self.forget_bias if kind == "bias_ih" else 0
        return values

    def _more_weights(self, at: str) -> tuple[Tensor | None, ...]:
        W_hr = self._of("weight_hr", at)
        if self.layer_norm:
            return (*self._norms(at, "c"), *((W_hr,) if self.proj_size else ()))
        return W_hr, self._of("peepholes", at)


class GRU(Recurrent):
    """Stacked gated recurrent units; see ``minirnn/rules/gru.py`` for their equations and their derivatives.

    Parameters
    ----------
    reset_after : bool, default True
        Where the reset gate acts: on the projection of the state (True: PyTorch, cuDNN), or on the state before it is
        projected (False: Cho et al. 2014).
    {OPTIONS}

    Attributes
    ----------
    weight_ih_l{k}, weight_hh_l{k} : Parameter
        ``(3H, D)``, from layer 1 on ``(3H, directions * H)``, and ``(3H, H)``; gates in the order r z n. With the
        ending ``_reverse`` those of the other direction.
    bias_ih_l{k}, bias_hh_l{k} : Parameter
        ``(3H,)``; they are added up, but for the last block of ``bias_hh``, b_hn: with ``reset_after`` it is added
        inside the reset gate, ``n = tanh(a_n + r * (W_hn h_prev + b_hn))``.
    gain_ih_l{k}, gain_hh_l{k} : Parameter
        ``(3H,)``, with ``layer_norm``.
    initial_h : Parameter
        ``(num_layers * directions, H)``, with ``learned_state``.

    Examples
    --------
    >>> import numpy as np
    >>> gru = GRU(input_size=3, hidden_size=5, batch_first=True)
    >>> out, h_n = gru(np.zeros((4, 7, 3), "float32"))  # four sequences, seven steps
    >>> out.shape, h_n.shape
    ((4, 7, 5), (1, 4, 5))
    """

    FIXED = (*Recurrent.FIXED, "reset_after")
    GATES, STATES = 3, ("h",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        reset_after: bool = True,
        **options: Unpack[Options],
    ):
        self.reset_after = flag(reset_after=reset_after)
        if not reset_after and options.get("layer_norm"):
            raise ValueError("layer_norm=True needs reset_after=True: it normalises what the reset gate acts on")
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, **options)

    def _cell(self) -> tuple[Callable, Callable]:
        if self.layer_norm:
            return layer_norm_gru_step, scan(layer_norm_gru_step)
        return rules.gru_step, rules.gru

    def _static(self) -> dict[str, Any]:
        return {} if self.layer_norm else {"reset_after": self.reset_after}

    def _input_bias(self, at: str) -> Tensor:
        return gru_input_bias(self._of("bias_ih", at), self._of("bias_hh", at), self.reset_after)

    def _more_weights(self, at: str) -> tuple[Tensor | None, ...]:
        if self.layer_norm:
            return ()
        return (self._of("bias_hh", at)[2 * self.hidden_size :] if self.bias and self.reset_after else None,)


def gru_input_bias(bias_ih: Tensor, bias_hh: Tensor, reset_after: bool) -> Tensor:
    """The bias of the input projection: all of both, but with ``reset_after`` not b_hn, which the reset gate scales."""
    return outside_of_reset(bias_ih, bias_hh) if reset_after else bias_ih + bias_hh


@differentiable
def outside_of_reset(
    bias_ih: Array,  # (3H,) rows r z n
    bias_hh: Array,  # (3H,)
) -> tuple[Array, Callable]:
    """``bias_ih`` plus the r and z of ``bias_hh``; one rule, as cells add them up anew at every step."""
    xp, rz = xp_of(bias_ih, bias_hh), 2 * len(bias_hh) // 3
    b = xp.concatenate([bias_ih[:rz] + bias_hh[:rz], bias_ih[rz:]])

    def outside_of_reset_pullback(db: Array) -> tuple[Array, Array]:
        return db, xp.concatenate([db[:rz], xp.zeros_like(db[rz:])])

    return b, outside_of_reset_pullback
