"""Calculus: every differentiable function as a rule, from ``tanh`` to a whole LSTM sequence.

The problem. Backpropagation needs two things of every function: its value, and later the way from the derivative of
the loss with respect to that value to its derivatives with respect to the arguments. The second needs numbers that only
the first has seen. So one call makes both: a *rule* is a plain function of arrays that returns its value and its
pullback.

    def tanh(x):
        y = xp_of(x).tanh(x)

        def tanh_pullback(dy):
            return (dy * (1 - y * y),)

        return y, tanh_pullback

Nothing else is needed. Rules are called one after the other, and their pullbacks in the opposite order: that is the
chain rule, and the whole of backpropagation. A value that is read twice receives two cotangents, and they add up.

Words:

    rule        a function of arrays that returns (output, pullback)
    cotangent   the derivative of the loss with respect to some value, in the shape of that value; PyTorch's ``.grad``.
                Named after its value: ``dy`` is the cotangent of ``y``. In sentences it is what is *asked* of y: how
                much the loss would gain if y grew. Whoever reads y asks something of it
    pullback    from the cotangents of the outputs to those of the arguments. PyTorch calls it backward, mathematics the
                vector-Jacobian product: it returns J.T @ dy and never makes the Jacobian J = dy/dx itself. The pullback
                of a recurrent rule is backpropagation through time (BPTT)
    slope       what a cotangent is multiplied with, element by element, on its way back through a function of single
                numbers or several: ``1 - y * y`` for tanh. It is known before any cotangent is
    static      given by keyword and without a derivative, such as an axis or an option
    wanted      the arguments whose cotangents the caller will ask for: one flag per positional argument
    column      one sequence of the batch: inside rules the batch is the last axis, and a step's array ``(features, B)``
    memory      what attention looks into: for each sequence its keys, which are compared with a query, and its values
    probe       a function that is shown what passes at every step, forward and backward
    tape        the record of which rule made which tensor, which ``backward`` follows: ``tape/``, not needed here
    influence   the derivative of a state with respect to an argument, carried forward in time: ``rtrl.py``

The contract:

1. Positional arguments are arrays; keyword arguments are static.
2. The output is an array or a tuple of arrays. The pullback takes exactly one cotangent per output and returns a tuple
   with one entry per positional argument; ``None`` only where no derivative exists (integer ids, masks, an optional
   argument that was not given).
3. The inner function is named ``<rule>_pullback``: tracebacks and profiles then speak.
4. A pullback is pure: it writes into nothing that it was given, that forward saved, or that it has returned; called
   twice it gives the same bits.
5. It captures what it needs and nothing more. What it captures is the memory that backpropagation keeps.
6. dtype and device come from the arguments. No rule names a dtype, a device, or ``cupy``.
7. Cotangents never arrive as ``None``; the tape supplies zeros.
8. A rule with costly parts takes the static keyword ``wanted`` (one flag per positional argument, default all): it
   neither saves nor computes what nobody will ask for, and returns ``None`` in its place. Nothing wanted = inference:
   nothing is saved.
"""

from minirnn.rules.attention import additive_scores, attention_contexts, attention_weights, dot_scores
from minirnn.rules.elementwise import (
    abs,
    add,
    astype,
    clip,
    divide,
    dropout,
    exp,
    log,
    maximum,
    minimum,
    multiply,
    negative,
    power,
    relu,
    sigmoid,
    sqrt,
    subtract,
    tanh,
    where,
)
from minirnn.rules.gru import gru, gru_step
from minirnn.rules.linear import affine, embedding, embedding_columns, matmul
from minirnn.rules.losses import affine_cross_entropy, cross_entropy, mean_squared_error
from minirnn.rules.lstm import lstm, lstm_step
from minirnn.rules.reductions import layer_norm, log_softmax, logsumexp, max, mean, min, softmax, std, sum, var
from minirnn.rules.rnn import rnn, rnn_step
from minirnn.rules.shaping import (
    broadcast_to,
    concat,
    expand_dims,
    flip,
    getitem,
    move,
    pad,
    reshape,
    split,
    squeeze,
    stack,
    swapaxes,
    take,
    transpose,
    unstack,
)

__all__ = [
    "abs",
    "add",
    "additive_scores",
    "affine",
    "affine_cross_entropy",
    "astype",
    "attention_contexts",
    "attention_weights",
    "broadcast_to",
    "clip",
    "concat",
    "cross_entropy",
    "divide",
    "dot_scores",
    "dropout",
    "embedding",
    "embedding_columns",
    "exp",
    "expand_dims",
    "flip",
    "getitem",
    "gru",
    "gru_step",
    "layer_norm",
    "log",
    "log_softmax",
    "logsumexp",
    "lstm",
    "lstm_step",
    "matmul",
    "max",
    "maximum",
    "mean",
    "mean_squared_error",
    "min",
    "minimum",
    "move",
    "multiply",
    "negative",
    "pad",
    "power",
    "relu",
    "reshape",
    "rnn",
    "rnn_step",
    "sigmoid",
    "softmax",
    "split",
    "sqrt",
    "squeeze",
    "stack",
    "std",
    "subtract",
    "sum",
    "swapaxes",
    "take",
    "tanh",
    "transpose",
    "unstack",
    "var",
    "where",
]
