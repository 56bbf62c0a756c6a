"""Text as training data: read it, give its characters or tokens numbers, cut it into batches."""

from minirnn.text.grammars import Pairs, generated
from minirnn.text.pairs import PairStream, read_pairs
from minirnn.text.reading import DataError, read_text
from minirnn.text.stream import TextStream
from minirnn.text.tokens import BOS, EOS, PAD, UNK, TokenVocabulary
from minirnn.text.vocabulary import Vocabulary, entropy_of_characters

__all__ = [
    "BOS",
    "EOS",
    "PAD",
    "UNK",
    "DataError",
    "PairStream",
    "Pairs",
    "TextStream",
    "TokenVocabulary",
    "Vocabulary",
    "entropy_of_characters",
    "generated",
    "read_pairs",
    "read_text",
]
