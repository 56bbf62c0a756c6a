"""The derivations of the cells as tables: every line of ``rules/rnn.py``, ``lstm.py`` and ``gru.py``, by its number.

Some lines here are two of the derivation in one, for the rules compute them so: ``da_i = dc * g * i * (1 - i)`` is (3),
then (2). What has an index, ``dhs[t]`` or ``dW_hi[t]``, belongs to a whole sequence, and is its part at step t; and
``W_hi``, ``a_xs_i`` are the rows of gate i in ``W_hh``, ``a_xs``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Line(NamedTuple):
    """A line of a derivation: which, its two sides, and what it says."""

    number: str
    left: str
    right: str
    says: str


class Derivation(NamedTuple):
    """A step there and back, each in the order of computation, and the names of the gates in the order of their rows.

    An RNN has one block of rows, without a name.
    """

    name: str
    gates: tuple[str, ...]
    there: tuple[Line, ...]
    back: tuple[Line, ...]


def derivation_of(rule: str, static: Mapping[str, Any], bias: bool) -> Derivation:
    """The derivation of a sequence rule with these static arguments.

    Parameters
    ----------
    rule : {"rnn", "lstm", "gru"}
    static : dict
        ``nonlinearity`` or ``reset_after``, where they are not the rule's own defaults.
    bias : bool
        Whether a GRU has a ``b_hn``.

    Raises
    ------
    ValueError
        If there is none.
    """
    if rule == "rnn":
        return _rnn(static.get("nonlinearity", "tanh"))
    if rule == "lstm":
        return LSTM
    if rule == "gru":
        return _gru_after(" + b_hn" if bias else "") if static.get("reset_after", True) else GRU_BEFORE
    raise ValueError(f"rule must be rnn, lstm or gru, whose lines are known here, got {rule}")


ASKED = Line("", "dh", "dhs[t] + dh_prev[t+1]", "two readers: the loss or the layer above, and step t + 1")
HIGHWAY = "the highway: no matrix in its way"


def part_of_gradient(name: str, da: str = "", h: str = "h_prev", number: str = "1") -> Line:
    """What this step adds to the gradient of a gate's rows of ``W_hh``."""
    W = f"W_h{name or 'h'}"
    return Line(
        number,
        f"d{W}[t]",
        f"{da or f'da_{name}'} {h}.T",
        "the part of this step: what is asked, times what the matrix was multiplied by",
    )


def _rnn(nonlinearity: str) -> Derivation:
    slope = {"tanh": "(1 - h_t**2)", "relu": "(h_t > 0)"}[nonlinearity]
    return Derivation(
        "RNN" if nonlinearity == "tanh" else "RNN with relu",
        ("",),
        (Line("1, 2", "h_t", f"{nonlinearity}(a_xs[t] + W_hh h_prev)", "the new state"),),
        (
            ASKED,
            Line("2", "da", f"dh * {slope}", f"through the {nonlinearity}: its slope follows from its output"),
            Line("1", "dh_prev", "W_hh.T da", "what is asked of the state before: this goes to step t - 1"),
            part_of_gradient("", "da"),
        ),
    )


LSTM = Derivation(
    "LSTM",
    ("i", "f", "g", "o"),
    (
        Line("1, 2", "i", "sigmoid(a_xs_i[t] + W_hi h_prev)", "input gate: how much of the candidate comes in"),
        Line("1, 2", "f", "sigmoid(a_xs_f[t] + W_hf h_prev)", "forget gate: how much of the old cell stays"),
        Line("1, 2", "g", "tanh(a_xs_g[t] + W_hg h_prev)", "candidate"),
        Line("1, 2", "o", "sigmoid(a_xs_o[t] + W_ho h_prev)", "output gate: how much of the cell is shown"),
        Line("3", "c_t", "f * c_prev + i * g", HIGHWAY),
        Line("4", "h_t", "o * tanh(c_t)", "what is shown of the cell"),
    ),
    (
        ASKED,
        Line("4", "dc", "dc_prev[t+1] + dh * o * (1 - tanh(c_t)**2)", "c_t is read by h_t, and by step t + 1"),
        Line("4, 2", "da_o", "dh * tanh(c_t) * o * (1 - o)", "through h_t to the output gate"),
        Line("3, 2", "da_i", "dc * g * i * (1 - i)", "through c_t to the input gate"),
        Line("3, 2", "da_f", "dc * c_prev * f * (1 - f)", "through c_t to the forget gate"),
        Line("3, 2", "da_g", "dc * i * (1 - g**2)", "through c_t to the candidate"),
        Line("3", "dc_prev", "dc * f", f"to step t - 1 by {HIGHWAY}, only the forget gate"),
        Line("1", "dh_prev", "W_hi.T da_i + W_hf.T da_f + W_hg.T da_g + W_ho.T da_o", "to step t - 1 by the matrices"),
        *(part_of_gradient(gate) for gate in "ifgo"),
    ),
)  # fmt: skip

_RESET, _UPDATE = (
    Line("1, 2", gate, f"sigmoid(a_xs_{gate}[t] + W_h{gate} h_prev)", says)
    for gate, says in (
        ("r", "reset gate: how much of the state the candidate sees"),
        ("z", "update gate: how much of the old state stays"),
    )
)
_MIX = Line("4", "h_t", "(1 - z) * n + z * h_prev", HIGHWAY)
_TO_N = "through h_t to the candidate"
_TO_Z = Line("4, 2", "da_z", "dh * (h_prev - n) * z * (1 - z)", "through h_t to the update gate")
_TO_H = "to step t - 1: by the highway, z, and by the matrices"


def _gru_after(bias: str) -> Derivation:
    return Derivation(
        "GRU",
        ("r", "z", "n"),
        (
            _RESET,
            _UPDATE,
            Line("1, 3", "n", f"tanh(a_xs_n[t] + r * (W_hn h_prev{bias}))", "candidate"),
            _MIX,
        ),
        (
            ASKED,
            Line("4, 3", "da_n", "dh * (1 - z) * (1 - n**2)", _TO_N),
            _TO_Z,
            Line("3, 2", "da_r", f"da_n * (W_hn h_prev{bias}) * r * (1 - r)", "through n to the reset gate"),
            Line("4, 3, 1", "dh_prev", "dh * z + W_hr.T da_r + W_hz.T da_z + W_hn.T (da_n * r)", _TO_H),
            part_of_gradient("r"),
            part_of_gradient("z"),
            part_of_gradient("n", "(da_n * r)", number="3, 1"),
            *([Line("3, 1", "db_hn[t]", "da_n * r", "the part of this step: what is asked")] if bias else []),
        ),
    )  # fmt: skip


GRU_BEFORE = Derivation(
    "GRU that resets the state before the matrix",
    ("r", "z", "n"),
    (
        _RESET,
        _UPDATE,
        Line("3a, 3b, 3c", "n", "tanh(a_xs_n[t] + W_hn (r * h_prev))", "candidate"),
        _MIX,
    ),
    (
        ASKED,
        Line("4, 3c", "da_n", "dh * (1 - z) * (1 - n**2)", _TO_N),
        _TO_Z,
        Line("3b, 3a, 2", "da_r", "(W_hn.T da_n) * h_prev * r * (1 - r)", "through n to the reset gate"),
        Line("4, 3b, 3a, 1", "dh_prev", "dh * z + (W_hn.T da_n) * r + W_hr.T da_r + W_hz.T da_z", _TO_H),
        part_of_gradient("r"),
        part_of_gradient("z"),
        part_of_gradient("n", h="(r * h_prev)", number="3b"),
    ),
)
