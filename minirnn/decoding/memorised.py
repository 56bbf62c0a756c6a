"""How much of a generated text was copied from the training text."""

from __future__ import annotations

from minirnn.arguments import positive


def longest_training_substring(generated: str, corpus: str) -> str:
    """The longest piece of a generated text that stands word for word in the training text; the first, if several.

    Parameters
    ----------
    generated, corpus : str
        What the model wrote, and what it was trained on.

    Examples
    --------
    >>> longest_training_substring("a rose by another name", "a rose by any other name")
    'a rose by an'
    """
    longest = ""
    for start in range(len(generated)):
        # Only a longer piece is of interest: a look-up either ends this start or makes the longest piece longer, so
        # there are at most twice as many as characters generated, and each runs at the speed of str.find.
        while start + len(longest) < len(generated):
            longer = generated[start : start + len(longest) + 1]
            if longer not in corpus:
                break
            longest = longer
    return longest


def novel_ngram_share(generated: str, corpus: str, n: int) -> float:
    """The share of a generated text's distinct n-grams (pieces of n characters) that the training text does not hold.

    Parameters
    ----------
    generated, corpus : str
        What the model wrote, and what it was trained on.
    n : int
        Characters per piece, at least 1.

    Returns
    -------
    float
        From 0 (every piece is known) to 1 (none is); 0 for a text of fewer than n characters, which has no pieces.

    Raises
    ------
    ValueError
        If ``n`` is not a positive integer.

    Examples
    --------
    >>> novel_ngram_share("abcx", "abcd", n=2)  # of ab, bc, cx the last is new
    0.3333333333333333
    """
    positive(n=n)
    pieces = {generated[k : k + n] for k in range(len(generated) - n + 1)}
    if not pieces:
        return 0.0
    known = pieces.intersection(corpus[k : k + n] for k in range(len(corpus) - n + 1))
    return (len(pieces) - len(known)) / len(pieces)
