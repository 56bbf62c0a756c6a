"""What the tests of minirnn, and of code built on it, are made with.

`minirnn.testing.strategies` draws arguments of rules; it is imported by name, because it needs ``hypothesis``.
`minirnn.testing.bug_zoo` holds LSTMs that are wrong on purpose.
"""

from minirnn.testing.captured import arrays_in, saved_bytes
from minirnn.testing.laws import check_laws
from minirnn.testing.strict_cupy import Counts, counting, strict_cupy

__all__ = ["Counts", "arrays_in", "check_laws", "counting", "saved_bytes", "strict_cupy"]
