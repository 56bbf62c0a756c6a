"""The tape: records which rules made a tensor, and plays their pullbacks in reverse. It knows no rule by name."""

from minirnn.tape.lifting import differentiable, inside_rule, rule_of
from minirnn.tape.record import Edge, Node, no_grad, pull_back, watching
from minirnn.tape.tensor import Tensor, bare_index

__all__ = [
    "Edge",
    "Node",
    "Tensor",
    "bare_index",
    "differentiable",
    "inside_rule",
    "no_grad",
    "pull_back",
    "rule_of",
    "watching",
]
