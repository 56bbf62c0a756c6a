"""The gradient check: a rule's pullback against numbers that know nothing of it, and where it goes wrong if it does."""

from minirnn.checking.anatomy import Place
from minirnn.checking.differences import along, best_step, central, complex_step, forward, richardson
from minirnn.checking.gradcheck import check_rule
from minirnn.checking.locating import Guess, locate
from minirnn.checking.report import ArgumentReport, GradcheckError, GradcheckReport

__all__ = [
    "ArgumentReport",
    "GradcheckError",
    "GradcheckReport",
    "Guess",
    "Place",
    "along",
    "best_step",
    "central",
    "check_rule",
    "complex_step",
    "forward",
    "locate",
    "richardson",
]
