"""Models: modules put together for a task."""

from minirnn.models.char_lm import CharLM
from minirnn.models.seq2seq import Seq2Seq
from minirnn.models.tagger import Tagger

__all__ = ["CharLM", "Seq2Seq", "Tagger"]
