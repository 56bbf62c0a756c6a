"""Choosing the next token: temperature, top-k and top-p turn logits into a distribution, and a seeded draw decides."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import numpy as np

from minirnn.arguments import not_negative
from minirnn.arrays import random_generator


def sampler(
    *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, seed: int | Sequence[int] = 0
) -> Callable[[np.ndarray], Any]:
    """A function that chooses the next token from the logits, one call after the other.

    The settings are checked once, here, and not again for every token.

    Parameters
    ----------
    temperature : float
        The logits are divided by it: below 1 the likely tokens become likelier. 0 is greedy: always the highest logit,
        the lowest id among equals, and nothing is drawn.
    top_k : int
        Keep the k highest logits, the lower ids among equals; 0 keeps all.
    top_p : float
        Keep the smallest set of tokens whose probabilities reach this sum, in (0, 1]; 1 keeps all. With ``top_k``, the
        probabilities are those after it.
    seed : int, or sequence of int
        Same seed, same logits: same choices. With B seeds there is a stream of draws for each row of a batch: row b is
        chosen as by a sampler of its own with ``seed[b]``.

    Returns
    -------
    choose : callable
        ``choose(logits)`` gives an int for logits of shape (V,), and an int64 array of shape (B,) for (B, V). Each call
        takes the next draw, or the next B. Logits are NumPy arrays; NaN and infinity are refused with a ValueError, and
        so is another number of rows than there are seeds.

    Raises
    ------
    ValueError
        If a setting is outside its range.

    References
    ----------
    top-k: Fan et al. 2018, "Hierarchical neural story generation". top-p: Holtzman et al. 2020, "The curious case of
    neural text degeneration".

    Examples
    --------
    >>> choose = sampler(temperature=0.8, top_k=2, seed=1)
    >>> sorted({choose(np.array([1.0, 3.0, 2.5])) for _ in range(20)})
    [1, 2]
    """
    _check_settings(temperature, top_k, top_p)
    several = isinstance(seed, Sequence) and not isinstance(seed, str)
    seeds: Any = seed if several else [seed]
    streams = [_stream(s) for s in seeds]

    def choose(logits: np.ndarray) -> Any:
        weights = _weights(logits, temperature, top_k, top_p)
        if several and weights.shape[:-1] != (len(streams),):
            raise ValueError(f"logits must have a row for each of {len(streams)} seeds, got shape {weights.shape}")
        if temperature == 0:
            chosen = weights.argmax(axis=-1)
            return int(chosen) if weights.ndim == 1 else chosen
        # Inverse of the cumulative distribution: the first id whose cumulative weight exceeds the draw. A draw is below
        # 1, hence below the total even when rounded, and an id of weight 0 never exceeds what came before it.
        cumulative = np.add.accumulate(weights, axis=-1)
        if weights.ndim == 1:
            return int(cumulative.searchsorted(streams[0].random() * cumulative[-1], side="right"))
        draws = np.array([s.random() for s in streams]) if several else streams[0].random(len(weights))
        return (cumulative <= (draws * cumulative[:, -1])[:, None]).sum(axis=-1)

    return choose


def draws(seeds: Sequence[int], length: int) -> np.ndarray:
    """What a sampler with these seeds draws in so many calls, ``(length, B)``: numbers in [0, 1)."""
    return np.stack([_stream(seed).random(length) for seed in seeds], axis=1)


def _stream(seed: int) -> np.random.Generator:
    return random_generator(seed, "sampling")


def probabilities(logits: np.ndarray, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> np.ndarray:
    """The distribution from which :func:`sampler` draws.

    Parameters
    ----------
    logits : ndarray, (V,) or (B, V)
    temperature, top_k, top_p
        As in :func:`sampler`; at temperature 0 the whole mass is on the token that greedy takes.

    Returns
    -------
    ndarray of float64
        The shape of ``logits``; sums to 1 over the last axis, and is exactly 0 where a token is not kept.

    Raises
    ------
    ValueError
        If a setting is outside its range, or the logits are not finite or of another shape.

    Examples
    --------
    >>> probabilities(np.log([0.5, 0.25, 0.25]), top_p=0.7).round(3)
    array([0.667, 0.333, 0.   ])
    """
    _check_settings(temperature, top_k, top_p)
    weights = _weights(logits, temperature, top_k, top_p)
    return weights / weights.sum(axis=-1, keepdims=True)


def _weights(logits: np.ndarray, temperature: float, top_k: int, top_p: float) -> np.ndarray:
    """The probabilities up to a factor: the highest is 1, so they neither overflow nor all vanish."""
    logits = np.asarray(logits)
    if logits.dtype.kind not in "fiu" or logits.ndim not in (1, 2) or not logits.shape[-1]:
        raise ValueError(
            f"logits must be real numbers of shape (V,) or (B, V), got {logits.dtype} of shape {logits.shape}"
        )
    narrow = logits.dtype.itemsize <= 4
    logits = logits.astype(np.float64, order="C")
    finite = np.isfinite(logits)
    first = finite.argmin()  # of the bad ones, if there are any; quicker than asking whether all are good
    if not finite.item(first):
        place = tuple(int(k) for k in np.unravel_index(first, logits.shape))
        raise ValueError(f"logits must be finite, got {logits[place]} at {place}; the model has diverged")
    if temperature == 0:
        return np.arange(logits.shape[-1]) == logits.argmax(axis=-1, keepdims=True)
    highest = logits[logits.argmax()] if logits.ndim == 1 else logits.max(axis=-1, keepdims=True)  # argmax is quicker
    if narrow and temperature > 1e-200:  # numbers of float32 are 7e38 apart at most
        weights = np.exp((logits - highest) / float(temperature))
    else:
        with np.errstate(over="ignore"):  # all but the highest may go to -inf, and their weight to 0
            weights = np.exp((logits - highest) / float(temperature))
    if top_k or top_p < 1:
        weights[_dropped(logits, weights, top_k, top_p)] = 0
    return weights


def _dropped(logits: np.ndarray, weights: np.ndarray, top_k: int, top_p: float) -> np.ndarray:
    """Which tokens top-k and top-p leave out: True for those, in the shape of ``weights``."""
    # Highest first, the lower id among equals. The logits decide: weights that differ in the last bits may round alike.
    order = (-logits).argsort(axis=-1, kind="stable")
    ranked = np.take_along_axis(weights, order, axis=-1)
    out = np.zeros(ranked.shape, dtype=bool)
    if top_k:
        out[..., top_k:] = True
        ranked[..., top_k:] = 0
    if top_p < 1:
        cumulative = ranked.cumsum(axis=-1)
        # The token that crosses the line belongs to the set: what counts is whether those before it had reached it.
        out[..., 1:] |= cumulative[..., :-1] >= float(top_p) * cumulative[..., -1:]
    dropped = np.empty_like(out)
    np.put_along_axis(dropped, order, out, axis=-1)
    return dropped


def _check_settings(temperature: float, top_k: int, top_p: float) -> None:
    if not isinstance(temperature, Real) or not 0 <= temperature <= sys.float_info.max:
        raise ValueError(f"temperature must be a finite number of at least 0 (0 is greedy), got {temperature!r}")
    not_negative(top_k=top_k)
    if not isinstance(top_p, Real) or not 0 < top_p <= 1:
        raise ValueError(f"top_p must be a number above 0 and at most 1 (1 keeps all), got {top_p!r}")
