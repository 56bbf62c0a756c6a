"""From a model's logits to text: sampling, generation, and what the text owes to the training text."""

from minirnn.decoding.generation import generate, stream_characters
from minirnn.decoding.memorised import longest_training_substring, novel_ngram_share
from minirnn.decoding.sampling import probabilities, sampler

__all__ = [
    "generate",
    "longest_training_substring",
    "novel_ngram_share",
    "probabilities",
    "sampler",
    "stream_characters",
]
