"""Runs are killed at every call that changes the disk, and at random: what is left can be loaded and gone on with.

They end with the files of a run that was never stopped, byte for byte. Stopped by a signal, they save, or at once leave
nothing behind.
"""

from collections.abc import Iterator

from apart import apart
from counting import Tried


def campaign(long: bool, seed: int) -> Iterator[Tried]:
    """Runs of Python's and of the command line; the long part stops them at more of their calls, and more often."""
    return apart("killed_runs.py", "long" if long else "quick", str(seed))
