"""What the tests of minirnn, and of code built on it, are made with.

`minirnn.testing.strategies` draws arguments of rules; it is imported by name, because it needs ``hypothesis``.
`minirnn.testing.bug_zoo` holds rules that are wrong on purpose.
`minirnn.testing.oracles` makes the gradients of a cell in up to six ways and sets them side by side.
"""

from minirnn.testing.backends import backends, on_backend
from minirnn.testing.captured import arrays_in, saved_bytes
from minirnn.testing.laws import check_laws
from minirnn.testing.pieces import in_pieces
from minirnn.testing.sequence_laws import check_sequence_laws, is_a_chain_of_steps
from minirnn.testing.strict_cupy import Counts, broken_cupy, counting, failing, strict_cupy

__all__ = [
    "Counts",
    "arrays_in",
    "backends",
    "broken_cupy",
    "check_laws",
    "check_sequence_laws",
    "counting",
    "failing",
    "in_pieces",
    "is_a_chain_of_steps",
    "on_backend",
    "saved_bytes",
    "strict_cupy",
]
