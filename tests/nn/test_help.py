"""What ``help`` says of a layer: every option is listed there, wherever its text stands in the source."""

from inspect import getdoc, signature

import pytest

from minirnn import CharLM, Seq2Seq, Tagger, nn
from minirnn.nn.weights import Options

LAYERS = [nn.RNN, nn.LSTM, nn.GRU, nn.RNNCell, nn.LSTMCell, nn.GRUCell]
LAYERS += [nn.Attention, nn.AttentiveDecoder, nn.MultiheadAttention]
HAND_ON = [nn.AttentiveDecoder, CharLM, Seq2Seq, Tagger]  # options that they do not list themselves


@pytest.mark.parametrize("layer", [*LAYERS, *HAND_ON[1:]])
def test_help_lists_every_option_once(layer):
    options = [name for name in signature(layer).parameters if name != "options"]
    if "options" in signature(layer).parameters:
        options += ["**options"] if layer in HAND_ON else Options.__annotations__
    parameters = getdoc(layer).partition("Parameters\n")[2].partition("\n\n")[0]
    entries = [line.partition(" : ")[0] for line in parameters.splitlines() if line and not line.startswith((" ", "-"))]
    assert sorted(", ".join(entries).split(", ")) == sorted(options)


def test_a_layer_without_a_docstring_stays_without():
    class Own(nn.GRU):
        pass

    assert Own.__doc__ is None
