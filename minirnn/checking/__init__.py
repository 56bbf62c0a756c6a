"""The gradient check: a rule's pullback against numbers that know nothing of it."""

from minirnn.checking.differences import along, best_step, central, complex_step, forward, richardson
from minirnn.checking.gradcheck import check_rule
from minirnn.checking.report import ArgumentReport, GradcheckError, GradcheckReport

__all__ = [
    "ArgumentReport",
    "GradcheckError",
    "GradcheckReport",
    "along",
    "best_step",
    "central",
    "check_rule",
    "complex_step",
    "forward",
    "richardson",
]
