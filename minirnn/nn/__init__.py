"""Layers: rules with parameters that have names, under PyTorch's names, layouts and defaults."""

from minirnn.nn.layers import Dropout, Embedding, Linear
from minirnn.nn.module import Module, Parameter
from minirnn.nn.recurrent import LSTM

__all__ = ["LSTM", "Dropout", "Embedding", "Linear", "Module", "Parameter"]
