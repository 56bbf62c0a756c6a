"""From a model's logits to text: sampling, generation, beam search, translation, and what a text owes to the corpus."""

from minirnn.decoding.beam import beam_search, greedy
from minirnn.decoding.generation import generate, stream_characters
from minirnn.decoding.hypotheses import Hypothesis, penalised
from minirnn.decoding.memorised import longest_training_substring, novel_ngram_share
from minirnn.decoding.sampling import probabilities, sampler
from minirnn.decoding.translation import Translation, translate

__all__ = [
    "Hypothesis",
    "Translation",
    "beam_search",
    "generate",
    "greedy",
    "longest_training_substring",
    "novel_ngram_share",
    "penalised",
    "probabilities",
    "sampler",
    "stream_characters",
    "translate",
]
