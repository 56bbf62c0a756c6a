"""The search and the model together: what is found for a batch is what the model, fed it again, says of it."""

from itertools import chain

import numpy as np
import pytest

from minirnn.decoding import beam_search, greedy
from minirnn.models import Seq2Seq
from minirnn.testing.pieces import in_pieces
from minirnn.text import EOS, PAD
from minirnn.workers import use_workers

SOURCES = np.array([[4, 5, 6, 7], [8, 9, PAD, PAD], [5, 5, 4, PAD], [7, PAD, PAD, PAD]])
MODELS = [
    {"attention": "general", "feed": "output", "cell": "gru", "num_layers": 2},
    {"attention": "additive", "feed": "context", "bidirectional": True},
    {"attention": "dot", "feed": "nothing", "cell": "rnn"},
    {"attention": "none"},
]


def model(**settings):
    """Weights four times as large as at first, for an untrained model hardly cares what came before."""
    made = Seq2Seq(10, 9, embedding_size=5, hidden_size=6, seed=2, dtype="float64", **settings)
    made.load_state_dict({name: 4 * array for name, array in made.state_dict().items()})
    return made


@pytest.mark.parametrize("settings", MODELS, ids=lambda settings: settings["attention"])
def test_scores_are_those_of_the_sentences_fed_again(backend, settings):
    translator = model(**settings)
    # With a beam wider than there are ids, sentences have unlike numbers of hypotheses at first, and at the end.
    found = beam_search(translator, SOURCES, 12, n_best=12, max_length=5)
    assert len({h.ids for each in found for h in each}) > 12
    for source, hypotheses in zip(SOURCES, found, strict=True):
        source = source[source != PAD]
        for h in hypotheses:
            ids = [*h.ids, EOS] if h.ended else list(h.ids)
            logits = translator(source[None], np.array([ids])).numpy()[0]
            log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            np.testing.assert_allclose(h.log_probability, log_p[np.arange(len(ids)), ids].sum(), rtol=1e-10)
            if settings["attention"] == "none":
                assert h.attention is None
            else:
                assert h.attention.shape == (len(h.ids), len(source))
                np.testing.assert_allclose(h.attention.sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("settings", MODELS, ids=lambda settings: settings["attention"])
def test_a_batch_is_its_sentences_one_by_one(settings):
    translator = model(**settings)
    for beam in (1, 3):
        together = beam_search(translator, SOURCES, beam, n_best=beam)
        for source, hypotheses in zip(SOURCES, together, strict=True):
            [alone] = beam_search(translator, source[source != PAD][None], beam, n_best=beam)
            assert [(h.ids, h.ended) for h in hypotheses] == [(h.ids, h.ended) for h in alone]
            for one, other in zip(hypotheses, alone, strict=True):
                assert one.score == pytest.approx(other.score, rel=1e-12)
                if one.attention is not None:
                    np.testing.assert_allclose(one.attention, other.attention, atol=1e-12)
    assert greedy(translator, SOURCES) == [best for [best] in beam_search(translator, SOURCES, 1)]


@pytest.mark.parametrize("settings", MODELS, ids=lambda settings: settings["attention"])
def test_workers_share_out_a_search_and_find_the_same(settings):
    translator = model(**settings)
    with use_workers(1):
        alone = beam_search(translator, SOURCES, 3, n_best=3)
    for workers in (2, 5):  # sentences of unlike lengths, and fewer of them than workers
        with in_pieces(workers=workers):
            together, again = (beam_search(translator, SOURCES, 3, n_best=3) for _ in range(2))
        assert together == again  # the same bits
        for one, other in zip(chain(*alone), chain(*together), strict=True):
            assert (one.ids, one.ended) == (other.ids, other.ended)
            assert one.score == pytest.approx(other.score, rel=1e-12)
            if one.attention is not None:
                np.testing.assert_allclose(one.attention, other.attention, atol=1e-12)


def test_searching_drops_nothing_records_nothing_and_leaves_the_mode():
    plain, translator = model(), model(dropout=0.6)
    assert translator.training
    assert greedy(translator, SOURCES) == greedy(plain, SOURCES)
    assert translator.training and {module.draws for _, module in translator.named_modules()} == {0}
    assert all(parameter.grad is None for parameter in translator.parameters())
