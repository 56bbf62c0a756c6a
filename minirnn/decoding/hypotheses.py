"""What a search finds: a sentence of ids, how likely the model holds it, and the score by which it is ranked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Hypothesis:
    """One way to continue what the model read.

    Attributes
    ----------
    ids : tuple of int
        ``T`` ids, without BOS and EOS.
    score : float
        By which hypotheses of one sentence are ranked: :func:`penalised` of what follows.
    log_probability : float
        Of these ids, and of the end after them if it was reached; in nats.
    ended : bool
        Whether the model came to an end. If not, the hypothesis was cut: it had as many ids as were allowed, or none
        was allowed to follow.
    attention : ndarray, (T, S), or None
        Row t says where the model looked when it chose ``ids[t]``; None of a model that does not attend.
    """

    ids: tuple[int, ...]
    score: float
    log_probability: float
    ended: bool
    attention: np.ndarray | None = field(default=None, compare=False, repr=False)


def penalised(
    log_probability: float,
    length: int,
    attention: np.ndarray | None = None,
    length_penalty: float = 0.0,
    coverage_penalty: float = 0.0,
) -> float:
    r"""The score of a hypothesis: its log-probability, made comparable with that of shorter and longer ones.

    A log-probability is a sum of negative numbers, so the shortest hypothesis tends to have the highest. With length
    penalty α and coverage penalty β,

    .. math:: \frac{\log p}{((5 + T) / 6)^α} + β \sum_s \log \min\Bigl(\sum_t a_{ts}, 1\Bigr)

    Parameters
    ----------
    log_probability : float
    length : int
        T, the number of ids without the end.
    attention : ndarray, (T, S), optional
        The weights ``a``; needed only for a coverage penalty.
    length_penalty : float
        0 ranks by probability alone.
    coverage_penalty : float
        How much it costs to leave words of the source unattended.

    Raises
    ------
    ValueError
        If there is a coverage penalty but no attention.

    References
    ----------
    Wu et al. 2016, "Google's neural machine translation system", equation 14. They do not say whether the end counts
    as one of the words; here it does not.

    Examples
    --------
    >>> penalised(-6.0, length=13), penalised(-6.0, length=13, length_penalty=1.0)
    (-6.0, -2.0)
    """
    score = log_probability / length_divisor(length, length_penalty)
    if coverage_penalty:
        if attention is None:
            raise ValueError(f"a model that does not attend takes no coverage_penalty, got {coverage_penalty!r}")
        with np.errstate(divide="ignore"):  # a word that was never looked at costs everything
            score += coverage_penalty * np.log(np.minimum(attention.sum(axis=0, dtype=np.float64), 1)).sum()
    return float(score)


def length_divisor(length: Any, length_penalty: float) -> Any:
    """What a log-probability is divided by; it grows with the length, a number or an array of them."""
    return ((5 + length) / 6) ** length_penalty
