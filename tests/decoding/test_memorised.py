"""What was copied is found, and what is new is counted, as by the slow definitions."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn.decoding import longest_training_substring, novel_ngram_share

few_letters = st.text(alphabet="ab", max_size=14)


@given(few_letters, few_letters)
def test_longest_substring_is_that_of_trying_all(generated, corpus):
    count = len(generated)
    pieces = [generated[i:j] for i in range(count) for j in range(i + 1, count + 1) if generated[i:j] in corpus]
    assert longest_training_substring(generated, corpus) == max(pieces, key=len, default="")


@given(few_letters, few_letters, st.integers(1, 4))
def test_novel_share_is_that_of_counting(generated, corpus, n):
    pieces = {generated[i : i + n] for i in range(len(generated) - n + 1)}
    novel = [piece for piece in pieces if piece not in corpus]
    assert novel_ngram_share(generated, corpus, n) == (len(novel) / len(pieces) if pieces else 0.0)


def test_extremes():
    assert longest_training_substring("abc", "xabcx") == "abc" and novel_ngram_share("abc", "xabcx", 2) == 0
    assert longest_training_substring("abc", "xyz") == "" and novel_ngram_share("abc", "xyz", 2) == 1
    assert longest_training_substring("", "xyz") == longest_training_substring("abc", "") == ""


@pytest.mark.parametrize("n", [0, -1, 2.0, "3", None])
def test_refuses_a_bad_n(n):
    with pytest.raises(ValueError, match="n must be a positive integer"):
        novel_ngram_share("abc", "abc", n)


def test_a_large_corpus_takes_seconds_at_most():
    rng = np.random.default_rng(0)
    words = ["".join(map(chr, rng.integers(97, 123, size=rng.integers(2, 9)))) for _ in range(2000)]
    corpus = " ".join(rng.choice(words, 160_000))[:1_000_000]
    generated = corpus[500_000:500_500] + " ".join(rng.choice(words, 300))[:1500]
    start = time.perf_counter()
    assert len(longest_training_substring(generated, corpus)) >= 500
    assert 0 < novel_ngram_share(generated, corpus, 8) < 1
    assert time.perf_counter() - start < 8  # about 1 s on an idle core
