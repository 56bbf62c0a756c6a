"""Text as training data: read it, give its characters numbers, cut it into batches."""

from minirnn.text.reading import DataError, read_text
from minirnn.text.stream import TextStream
from minirnn.text.vocabulary import Vocabulary, entropy_of_characters

__all__ = ["DataError", "TextStream", "Vocabulary", "entropy_of_characters", "read_text"]
