"""What a translator is made of and told: teacher forcing, smoothing, tied weights, dropout, contexts, copies."""

import copy
import json
import pickle
from itertools import combinations

import numpy as np
import pytest
from translators import LENGTHS, SOURCES, TARGETS, few, model, nats, played, same_bits, started, written

from minirnn import ops
from minirnn.arrays import to_numpy, use_backend
from minirnn.models import Seq2Seq
from minirnn.tape import no_grad
from minirnn.testing import counting, strict_cupy
from minirnn.text import BOS, EOS, PAD, TokenVocabulary
from minirnn.training import Adam, clip_grad_norm_

# Teacher forcing


def without_padding(**options):
    """A translator that never writes PAD, so that what it writes can be given to it as a target."""
    translator = model(**options)
    with no_grad():
        translator.head.bias[PAD] = -100.0
    return translator


def own_choices(translator, sources, steps):
    """What it writes when it is told nothing, whatever it has written: ``(B, steps)``."""
    state, ids, found = started(translator, sources), np.full(len(sources), BOS), []
    with translator.evaluating(), no_grad():
        for _ in range(steps):
            logits, _, state = translator.step(state, ids)
            ids = to_numpy(logits).argmax(axis=1)
            found.append(ids)
    return np.stack(found, axis=1)


@few
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_untaught_the_loss_is_that_of_its_own_choices_fed_back(backend, options, dropout):
    """The choices are made without dropout, and then are inputs as any others."""
    translator = without_padding(**options, dropout=dropout)
    translator.teacher_forcing = 0
    choices = own_choices(translator, SOURCES, 5)
    loss, _ = translator.loss(SOURCES, TARGETS)
    translator.seek(0)
    translator.teacher_forcing = 1
    assert abs(loss.item() - nats(translator(SOURCES, choices).numpy()).mean()) < 1e-12
    translator.seek(0)
    assert abs(loss.item() - translator.loss(SOURCES, TARGETS)[0].item()) > 1e-6


class Spied(Seq2Seq):
    """Shows what its decoder read."""

    def _partly_own(self, sources, inputs):
        self.seen = super()._partly_own(sources, inputs)
        return self.seen


def test_half_taught_each_token_is_the_true_one_or_its_own():
    """Of 2,000 places about half; a token of its own is the one that it would have written behind those before it."""
    random = np.random.default_rng(0)
    translator = Spied(9, 8, 4, 5, cell="gru", feed="output", dtype="float64", seed=1)
    translator.load_state_dict({name: 4 * array for name, array in translator.state_dict().items()})
    with no_grad():
        translator.head.bias[PAD] = -100.0
    sources, targets = random.integers(4, 9, (100, 4)), random.integers(4, 8, (100, 21))
    true = np.concatenate([np.full((100, 1), BOS), targets[:, :-1]], axis=1)
    translator.teacher_forcing = 0.7
    translator.loss(sources, targets)
    read = translator.seen
    assert (read[:, 0] == BOS).all()
    would = translator.eval()(sources, np.concatenate([read[:, 1:], read[:, :1]], axis=1)).numpy().argmax(axis=-1)
    own, true, read = would[:, :-1], true[:, 1:], read[:, 1:]
    assert ((read == own) | (read == true)).all()
    told = (read == true)[own != true]
    assert told.size > 1000 and abs(told.mean() - 0.7) < 0.04


def test_choices_are_drawn_anew_and_again_after_seek(backend):
    translator, losses = model(), []
    translator.teacher_forcing = 0.5
    for _ in range(2):
        translator.seek(3)
        losses.append([translator.loss(SOURCES, TARGETS)[0].item() for _ in range(4)])
    assert losses[0] == losses[1] and len(set(losses[0])) > 1
    assert translator.draws == 7


def test_evaluated_a_translator_is_told_all(backend):
    translator = model(dropout=0.3)
    expected = played(translator.eval())
    translator.teacher_forcing = 0.0
    assert same_bits(played(translator), expected) and translator.draws == 0
    with translator.train().evaluating():
        assert same_bits(played(translator), expected) and translator.draws == 0
    assert not np.array_equal(played(translator)["scores"], expected["scores"])


# The loss


def test_label_smoothing_while_training_only(backend):
    """A share of 0.2 of the certainty is spread over all tokens, PAD and the target among them."""
    translator = model(label_smoothing=0.2)
    loss = translator.loss(SOURCES, TARGETS)[0].item()
    scores = translator(SOURCES, TARGETS).numpy()
    spread = np.mean([nats(scores, np.where(TARGETS != PAD, k, PAD)) for k in range(1, 8)], axis=0) * 7
    log_p = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    spread = (spread - log_p[..., PAD][TARGETS != PAD]) / 8
    assert abs(loss - (0.8 * nats(scores) + 0.2 * spread).mean()) < 1e-12
    assert abs(translator.eval().loss(SOURCES, TARGETS)[0].item() - nats(scores).mean()) < 1e-12


def test_a_tied_weight_is_one_parameter_whose_gradient_is_the_sum_of_both_uses(backend):
    tied, untied = (model(tie_embeddings=tie, embedding_size=5) for tie in (True, False))
    assert tied.head.weight is tied.target_embedding.weight
    assert [name for name, _ in untied.named_parameters() if name not in dict(tied.named_parameters())] == [
        "head.weight"
    ]
    assert set(tied.state_dict()) == set(untied.state_dict())
    untied.load_state_dict(tied.state_dict())
    one, two = played(tied), played(untied)
    assert np.array_equal(one.pop("scores"), two.pop("scores"))
    both = one.pop("d target_embedding.weight"), two.pop("d target_embedding.weight") + two.pop("d head.weight")
    assert np.allclose(*both, rtol=1e-11, atol=1e-14)
    assert same_bits(one, two)


# Dropout


@few
def test_dropout_while_training_only(backend, options):
    translator, plain = model(**options, dropout=0.5), model(**options)
    expected = played(plain)
    translator.seek(3)
    first, second = played(translator), translator.loss(SOURCES, TARGETS)[0].item()
    translator.seek(3)
    assert same_bits(played(translator), first) and first["loss"] != second
    assert not np.allclose(first["scores"], expected["scores"])
    assert np.array_equal(translator.eval()(SOURCES, TARGETS).numpy(), expected["scores"])


@few
def test_dropout_of_embeddings_between_layers_and_before_the_scores(options):
    """Of sources, of targets, before the scores; and with a second layer before it, on either side."""
    masks = model(**options, dropout=0.5).loss(SOURCES, TARGETS)[0].to_dot().count('label="dropout"')
    assert masks == (5 if options.get("num_layers") == 2 else 3)
    assert 'label="dropout"' not in model(**options, dropout=0.5).eval().loss(SOURCES, TARGETS)[0].to_dot()


def test_no_two_dropout_masks_are_drawn_alike(monkeypatch):
    """Nor do models of other seeds draw what this one does."""
    drawn = []
    dropout = ops.dropout
    monkeypatch.setattr(ops, "dropout", lambda x, **how: drawn.append(tuple(how.values())) or dropout(x, **how))
    for seed in (1, 2):
        model(num_layers=3, dropout=0.5, seed=seed).loss(SOURCES, TARGETS)
    assert len(drawn) == 2 * 7 and len(set(drawn)) == len(drawn)


def test_dropout_before_the_scores():
    """The head is made to show outputs: dropped ones are zero, the others twice as large, but for what came before."""
    translator = model(target_vocabulary=9, dropout=0.5)
    with no_grad():
        translator.head.weight[...] = 0.0
        translator.head.bias[...] = 0.0
        for k in range(5):
            translator.head.weight[k, k] = 1.0
    shown = translator(np.full((6, 3), 4), np.full((6, 40), 4)).numpy()[..., :5]
    assert 0.4 < (shown == 0).mean() < 0.6
    assert np.abs(shown).max() > 1  # a tanh, rescaled


# The bridge, and contexts


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_every_layer_begins_where_the_encoder_ended(backend, cell, bidirectional):
    translator = model(cell=cell, bidirectional=bidirectional, num_layers=2, attention="dot")
    weights = translator.state_dict()
    state = started(translator, SOURCES)
    own = np.concatenate([np.stack([s.numpy() for s in state.lower])[:, 0], [s.numpy().T for s in state.top]], axis=0)
    for b, source in enumerate(SOURCES):
        ids = source[source != PAD][:, None]
        _, ends = translator.encoder(translator.source_embedding(ids))
        ends = np.stack([part.numpy()[:, 0] for part in (ends if cell == "lstm" else (ends,))])
        k, n = ends.shape[0], 0
        if bidirectional:
            for part in range(k):
                for layer in range(2):
                    both = ends[part, 2 * layer : 2 * layer + 2].reshape(-1)
                    dense = weights[f"bridge.{n}.weight"] @ both + weights[f"bridge.{n}.bias"]
                    expected = np.tanh(dense) if part == 0 else dense
                    assert np.allclose(own[layer * k + part, b], expected, rtol=1e-12)
                    n += 1
            assert not any(name.startswith(f"bridge.{n}") for name in weights)
        else:
            assert np.allclose(own[:, b], ends.swapaxes(0, 1).reshape(2 * k, 5), rtol=1e-12)
            assert not any(name.startswith("bridge") for name in weights)


@pytest.mark.parametrize("context", ["last", "mean", "max"])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_contexts_are_made_of_real_words(backend, context, bidirectional, sign):
    """Also where all of them are below the zeros that stand in the padding."""
    translator = model(attention="none", context=context, bidirectional=bidirectional, num_layers=2)
    with no_grad():
        for name, bias in translator.encoder.named_parameters():
            if "bias" in name:
                bias[...] = sign * 2.0
    found = started(translator, SOURCES).memory.numpy()
    for b, source in enumerate(SOURCES):
        out, (h, _) = translator.encoder(translator.source_embedding(source[source != PAD][:, None]))
        out, h = out.numpy()[:, 0], h.numpy()[len(h) // 2 :, 0]  # of the second layer
        expected = {"last": h.reshape(-1), "mean": out.mean(axis=0), "max": out.max(axis=0)}[context]
        assert found.shape == (1, len(expected), 3) and np.allclose(found[0, :, b], expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["dot", "scaled_dot"])
def test_dots_project_a_memory_of_another_length(kind):
    assert model(attention=kind).memory_projection.weight.shape == (5, 10)
    assert model(attention=kind, bidirectional=False).memory_projection is None
    assert model(attention="general").memory_projection is None


def test_no_two_parts_begin_alike():
    """Weights of one shape are drawn apart, or layers would begin as one."""
    weights = model(embedding_size=5, num_layers=3, target_vocabulary=9).state_dict()
    for one, other in combinations(weights, 2):
        assert weights[one].shape != weights[other].shape or (weights[one] != weights[other]).any(), (one, other)


# Kept, copied, and made again


def test_parameters_are_saved_and_loaded(backend):
    saved, other = model(num_layers=2), model(num_layers=2, seed=2)
    assert not np.array_equal(played(saved)["scores"], played(other)["scores"])
    state = saved.state_dict()
    assert {"encoder.weight_ih_l1_reverse", "bridge.3.weight", "lower.weight_hh_l0", "decoder.weight_out"} < set(state)
    other.load_state_dict(state)
    assert same_bits(played(other), played(saved))


@few
def test_a_translator_can_be_made_from_its_configuration(options):
    made = model(factor=1.0, **options, tie_embeddings=True, embedding_size=5, label_smoothing=0.1, dropout=0.2)
    again = Seq2Seq(**json.loads(json.dumps(made.config)))
    assert again.config == made.config and same_bits(played(again), played(made))


@pytest.mark.parametrize("way", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_a_copy_is_the_translator(way):
    words = TokenVocabulary.learn(["a b c d", "b c"], "words")
    translator = Seq2Seq(9, words, 5, 5, 2, tie_embeddings=True, dropout=0.3, feed="output", dtype="float64")
    translator.teacher_forcing = 0.5
    other = way(translator)
    assert other.head.weight is other.target_embedding.weight is not translator.head.weight
    assert other.target_vocabulary == words and other.config == translator.config
    assert [p.name for p in other.parameters()] == [name for name, _ in translator.named_parameters()]
    losses = [m.loss(SOURCES, TARGETS)[0].item() for m in (translator, other, translator)]
    assert losses[0] == losses[1] != losses[2]  # the same masks and choices, then others


def test_vocabularies_are_said_in_plain_words_and_taken_over():
    english, french = (TokenVocabulary.learn([text], "words") for text in ("the red cat sat", "le chat rouge"))
    translator, other = Seq2Seq(english, french, 4, 5), Seq2Seq(8, 7, 4, 5)
    assert (translator.source_size, translator.target_size) == (8, 7) == (other.source_size, other.target_size)
    assert other.vocabulary_to_plain() is Seq2Seq(english, 7, 4, 5).vocabulary_to_plain() is None
    plain = json.loads(json.dumps(translator.vocabulary_to_plain()))
    other.vocabulary_from_plain(plain)
    assert (other.source_vocabulary, other.target_vocabulary) == (english, french)
    other.vocabulary_from_plain(None)
    assert other.source_vocabulary is other.target_vocabulary is None


def test_a_few_sentences_are_learnt_by_heart():
    translator = Seq2Seq(9, 8, 8, 16, feed="output", dropout=0.1, dtype="float32")
    translator.teacher_forcing = 0.8
    optimizer = Adam(translator.parameters(), lr=0.03)
    for _ in range(60):
        optimizer.zero_grad()
        translator.loss(SOURCES, TARGETS)[0].backward()
        clip_grad_norm_(translator.parameters(), 1.0)
        optimizer.step()
    written = own_choices(translator, SOURCES, 5)
    for b, n in enumerate(LENGTHS):
        assert written[b, :n].tolist() == TARGETS[b, :n].tolist() and written[b, n - 1] == EOS


# dtype and backend


@few
@pytest.mark.parametrize("teacher_forcing", [1.0, 0.5])
def test_every_float32_stays_float32(backend, options, teacher_forcing):
    translator = model(**options, dtype="float32", dropout=0.4, label_smoothing=0.1)
    translator.teacher_forcing = teacher_forcing
    with counting() as counts:
        results = played(translator)
        scores, weights, state = written(
            translator, started(translator, SOURCES).take([0, 0, 2, 2]), TARGETS[:1].repeat(4, 0)
        )
    parts = [scores, state.memory, *state.lower, *state.top] + ([] if weights is None else [weights])
    assert {a.dtype.name for a in (*results.values(), *parts)} == {"float32"}
    assert counts.float64_results == 0


@few
def test_a_training_step_does_not_wait_for_the_device(options):
    with strict_cupy(), use_backend("cupy"):
        translator = model(**options, dtype="float32", dropout=0.4, label_smoothing=0.1)
        with counting() as counts:
            translator.loss(SOURCES, TARGETS)[0].backward()
        assert counts.syncs == 0


def test_a_step_does_not_wait_for_the_device():
    """Whoever searches decides when to look."""
    with strict_cupy(), use_backend("cupy"):
        translator = model(num_layers=2, feed="output")
        state = started(translator, SOURCES)
        with counting() as counts, translator.evaluating(), no_grad():
            for rows in ([0, 1, 2], [0, 0, 1, 1], [3, 0]):
                state = state.take(rows)
                _, _, state = translator.step(state, np.full(len(rows), 4))
        assert counts.syncs == 0


@pytest.mark.parametrize("attention", ["none", "dot"])
def test_a_step_takes_as_many_launches_however_many_sentences_there_are(attention):
    def launches(N):
        state = started(translator, np.repeat(SOURCES[:1], N, axis=0))
        with counting() as counts, translator.evaluating(), no_grad():
            translator.step(state.take(np.arange(N).repeat(2)), np.full(2 * N, 4))
        return counts.launches

    with strict_cupy(), use_backend("cupy"):
        translator = model(attention=attention)
        assert launches(2) == launches(7)


def test_initial_weights_have_the_same_bits_on_both_backends():
    host = model(factor=1.0).state_dict()
    with strict_cupy(), use_backend("cupy"):
        assert same_bits(model(factor=1.0).state_dict(), host)
    assert not same_bits(model(factor=1.0, seed=2).state_dict(), host)


@few
def test_results_agree_on_both_backends(options):
    def run():
        translator = model(**options, dropout=0.4, label_smoothing=0.1)
        translator.teacher_forcing = 0.5
        return played(translator)

    host = run()
    with strict_cupy(), use_backend("cupy"):
        device = run()
    assert all(np.allclose(host[name], device[name], rtol=1e-10, atol=1e-13) for name in host)
