"""Initial weights, drawn on the host so that both backends start from the same bits."""

from __future__ import annotations

import math

import numpy as np

from minirnn.arrays import random_generator


def uniform_by_fan(shape: tuple[int, ...], fan: int, seed: int, stream: str) -> np.ndarray:
    """PyTorch's default for linear and recurrent layers: uniform in ``[-1/sqrt(fan), 1/sqrt(fan)]``."""
    bound = 1 / math.sqrt(fan)
    return random_generator(seed, stream).uniform(-bound, bound, shape)


def normal(shape: tuple[int, ...], seed: int, stream: str) -> np.ndarray:
    """PyTorch's default for embeddings: standard normal."""
    return random_generator(seed, stream).standard_normal(shape)
