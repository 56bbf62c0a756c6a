"""Files with a valid seal, made to do harm, for everything that loads: each is refused or is what it says it is.

Nothing in them is imported or called, nothing but they is opened, memory is bounded, and a second is enough.
"""

from collections.abc import Iterator

from apart import apart
from counting import Tried


def campaign(long: bool, seed: int) -> Iterator[Tried]:
    """Sixty files made by hand, and checkpoints of two runs in which one entry is another; some of those, or all."""
    return apart("hostile_watched.py", "long" if long else "quick", str(seed))
