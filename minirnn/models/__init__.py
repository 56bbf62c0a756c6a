"""Models: modules put together for a task."""

from minirnn.models.char_lm import CharLM

__all__ = ["CharLM"]
