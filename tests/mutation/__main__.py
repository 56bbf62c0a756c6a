"""Mutation testing of the backward passes: break each in every place, and see that the checks notice.

The problem. A gradient check that passes says that the gradients are right; but who says that the check would have
noticed if they were not? So every pullback, and everything that pullbacks call, is changed in one place at a time (a
sign, a term, a gate, an index, a transpose, a statement), and every such *mutant* goes through the gradient check and
the laws. One that lives is either another way to write the same thing, and listed in ``equivalent.py`` with the reason,
or a hole in the checks.

    python tests/mutation --rule lstm

prints what became of them; without ``--rule`` it takes in the whole library: 4,600 mutants in two minutes on an idle
core. The tests break each line in one of these ways.

The pieces: ``subjects.py`` finds what to change, ``operators.py`` says into what, ``mutants.py`` makes and loads the
changed rule, ``score.py`` kills it and counts. Combinators and RTRL are judged by ``around_rules.py`` and
``promises.py``, on the ``trials.py``, against what ``references.py`` and ``hand_written.py`` say in other words.
"""

import os
import sys

os.environ.setdefault(
    "OPENBLAS_NUM_THREADS", "1"
)  # products in blocks are taken with one thread only, and tested there

from command import main

if __name__ == "__main__":
    sys.exit(main())
