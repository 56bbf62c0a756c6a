"""Layers: rules with parameters that have names, under PyTorch's names, layouts and defaults."""

from minirnn.nn import convert
from minirnn.nn.attention import Attention
from minirnn.nn.attentive import AttentiveDecoder
from minirnn.nn.cells import GRUCell, LSTMCell, RNNCell
from minirnn.nn.heads import HierarchicalPooling, MultiheadAttention
from minirnn.nn.layers import Dropout, Embedding, Linear
from minirnn.nn.module import Module, Parameter
from minirnn.nn.recurrent import GRU, LSTM, RNN
from minirnn.nn.sequences import pad_sequences, unpad_sequences

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Attention",
    "AttentiveDecoder",
    "Dropout",
    "Embedding",
    "GRUCell",
    "HierarchicalPooling",
    "LSTMCell",
    "Linear",
    "Module",
    "MultiheadAttention",
    "Parameter",
    "RNNCell",
    "convert",
    "pad_sequences",
    "unpad_sequences",
]
