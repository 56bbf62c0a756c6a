"""Weights in and out of recurrent layers, in the gate orders and layouts of PyTorch, Keras and ONNX.

All three store the same cells. With G rows for all gates (H, 4H or 3H):

                 here and in PyTorch    Keras                            ONNX
    LSTM gates   i f g o                i f g o  (it writes c for g)     i o f g  (c for g)
    GRU gates    r z n                  z r n    (h for n)               z r n    (h for n)
    weights      (G, D), (G, H)         transposed: (D, G), (H, G)       (directions, G, D), (directions, G, H)
    biases       two, each (G,)         their sum (G,), but both,        both in a row: (directions, 2G)
                                        (2, G), with reset_after
    reset_after  only True in PyTorch   True or False                    linear_before_reset = 1 or 0
    peepholes    (3, H), i f o;         none                             (directions, 3H), i o f
                 none in PyTorch
    projection   (P, H)                 none                             none

The update gate means the same everywhere: ``h_t = (1 - z) * n + z * h_prev``. Where a layout is a permutation, so is
the conversion, bit for bit. Where Keras has one bias for two of ours, they are added up on the way out, and on the way
in it becomes ``bias_ih`` beside a ``bias_hh`` of zeros: there and back again keeps the outputs, not the split.

What only happens while training (dropout, weight-drop, gradients cut in time) is no weight, and no hindrance. Residual
connections are no weights either: in Keras and ONNX, where each layer stands alone, they are the user's to draw. An
option for which the other side has no place is refused with a ValueError that names it. Whatever a ``from_`` function
refuses, it has changed nothing.

Sources: the operators RNN, LSTM and GRU of the ONNX standard (version 22); SimpleRNN, LSTM, GRU and Bidirectional of
Keras 3; torch.nn.
"""

from minirnn.nn.convert.keras import from_keras, to_keras
from minirnn.nn.convert.onnx import from_onnx, to_onnx
from minirnn.nn.convert.pytorch import from_torch, to_torch

__all__ = ["from_keras", "from_onnx", "from_torch", "to_keras", "to_onnx", "to_torch"]
