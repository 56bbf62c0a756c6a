"""A file is read while it is replaced, and a second run is started where one is under way: nobody sees half of a file.

The second run is refused, until the first has ended; being killed counts.
"""

from collections.abc import Iterator

from apart import apart
from counting import Tried


def campaign(long: bool, seed: int) -> Iterator[Tried]:
    """Reads while another process writes, many in the long part; and runs in a directory that is taken."""
    del seed  # nothing here is drawn
    return apart("shared_files.py", "long" if long else "quick")
