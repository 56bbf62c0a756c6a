"""What is cut into pieces for speed, cut so small that small examples go every way that large ones go.

A fast path that only a large sequence takes is one that no test of small ones has ever seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from minirnn import memory
from minirnn.decoding import candidates
from minirnn.kernels import cupy, numpy
from minirnn.rules import elementwise, losses
from minirnn.rules.combinators import windows
from minirnn.workers import blas_has_one_thread, one_blas_thread, use_workers

PIECES = {
    "RUN": 12,  # numbers of the steps prepared at once, and of scores in work
    "COLUMNS": 8,  # of a run
    "SMALL": 30,  # multiplications of the rows of a product taken at once
    "FEWEST": 1,  # rows of these
    "blocks_are_quicker": blas_has_one_thread,  # whichever kernels it has
    "ROWS": 2,  # added up one by one
    "PIECE": 24,  # scores of many classes held at once
}


@contextmanager
def in_pieces(workers: int = 2) -> Iterator[None]:
    """Within this block the batch is shared out, runs are short, products go by blocks of rows, and memory is reused.

    How things are cut is the same for the whole process, so this is for tests, and not for threads.

    Examples
    --------
    >>> import numpy as np
    >>> from minirnn.nn import GRU
    >>> gru, x = GRU(3, 4, dtype="float64"), np.ones((6, 5, 3))
    >>> whole, _ = gru(x)
    >>> with in_pieces():
    ...     pieces, _ = gru(x)
    >>> bool(np.allclose(whole.numpy(), pieces.numpy(), rtol=1e-12))
    True
    """
    holders = (elementwise, losses, windows, numpy, cupy, candidates)
    with ExitStack() as stack:
        for holder, name in ((holder, name) for holder in holders for name in PIECES if hasattr(holder, name)):
            stack.enter_context(patch.object(holder, name, PIECES[name]))
        stack.enter_context(patch.object(memory, "LARGE", 1))
        stack.enter_context(use_workers(workers))
        stack.enter_context(one_blas_thread())
        yield
