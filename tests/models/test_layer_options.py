"""What recurrent layers can, models can: their options are handed on, kept in checkpoints, and refused if misspelt."""

from itertools import cycle

import numpy as np
import pytest

import minirnn as mr
from minirnn import CharLM, Seq2Seq, Tagger
from minirnn.arguments import defaults_of
from minirnn.checking import check_rule
from minirnn.models.char_lm import CELLS, DECIDED
from minirnn.nn.attentive import of_a_step
from minirnn.nn.weights import options_of
from minirnn.tape import no_grad

IDS = np.array([[1, 4, 0, 2, 3], [2, 2, 1, 0, 4]])
SOURCES, TARGETS = np.array([[5, 4, 7], [6, 4, 0]]), np.array([[4, 7, 2], [5, 2, 0]])
OF_LAYERS = {
    "everything that an LSTM has": (
        "lstm",
        {"proj_size": 3, "peepholes": True, "forget_bias": 1.0, "zoneout": 0.2, "weight_drop": 0.3, "residual": True},
    ),
    "layer norm": ("lstm", {"layer_norm": True, "proj_size": 3, "learned_state": True}),
    "the GRU of the paper": ("gru", {"reset_after": False, "init": "orthogonal", "bias": False}),
    "relu": ("rnn", {"nonlinearity": "relu", "layer_norm": True}),
    "locked dropout": ("gru", {"dropout": 0.3, "locked_dropout": True}),
}
OF_A_STEP = {
    "peepholes": ("lstm", {"peepholes": True, "forget_bias": 1.0}),
    "layer norm": ("lstm", {"layer_norm": True}),
    "layer norm in a GRU": ("gru", {"layer_norm": True, "init": "orthogonal"}),
    "layer norm in an RNN": ("rnn", {"layer_norm": True, "nonlinearity": "relu"}),
    "the GRU of the paper": ("gru", {"reset_after": False, "bias": False}),
}
LOOKS = (("additive", "output"), ("general", "context"), ("scaled_dot", "nothing"), ("none", "nothing"))


def char_lm(cell="lstm", **options):
    return CharLM(5, 4, 6, 2, cell, **{"dtype": "float64", **options})


def seq2seq(cell="lstm", attention="additive", feed="output", **options):
    return Seq2Seq(9, 8, 4, 5, 2, cell, attention=attention, feed=feed, **{"dtype": "float64", **options})


@pytest.mark.parametrize(("cell", "options"), OF_LAYERS.values(), ids=OF_LAYERS)
def test_a_character_model_hands_options_on_and_comes_back_with_them(tmp_path, cell, options):
    lm = char_lm(cell, **options)
    assert {name: getattr(lm.rnn, name) for name in options} == options
    assert options.items() <= lm.config.items()
    rule, arrays, names = lm.as_rule(IDS)
    assert check_rule(rule, arrays, names=names, max_entries=3).ok
    mr.save(lm, tmp_path / "lm.npz")
    loaded = mr.load(tmp_path / "lm.npz")
    assert loaded.config == lm.config
    with lm.evaluating():
        assert np.array_equal(loaded(IDS)[0].numpy(), lm(IDS)[0].numpy())
    plain = char_lm(cell).state_dict()
    assert lm.state_dict().keys() != plain.keys() or "dropout" in options or "init" in options


@pytest.mark.parametrize(("cell", "options"), OF_LAYERS.values(), ids=OF_LAYERS)
def test_a_tagger_hands_options_on(cell, options):
    tagger = Tagger(5, 3, 4, 6, 2, cell, dtype="float64", **options)
    assert {name: getattr(tagger.rnn, name) for name in options} == options
    tagger.loss((IDS, [5, 2]), IDS % 3)[0].backward()
    assert all(p.grad is not None for p in tagger.parameters())


@pytest.mark.parametrize(("attention", "feed"), LOOKS, ids=[f"{a} {f}" for a, f in LOOKS])
@pytest.mark.parametrize(("cell", "options"), OF_A_STEP.values(), ids=OF_A_STEP)
def test_a_translator_has_the_steps_that_its_options_ask_for(tmp_path, cell, options, attention, feed):
    model = seq2seq(cell, attention, feed, **options)
    top = model.decoder if attention == "none" else model.decoder.rnn
    for rnn in (model.encoder, model.lower, top):
        assert {name: getattr(rnn, name) for name in options} == options
    mr.save(model, tmp_path / "model.npz")
    loaded = mr.load(tmp_path / "model.npz")
    assert loaded.config == model.config
    scores, written = loaded(SOURCES, TARGETS).numpy(), []
    with no_grad():  # and one token at a time, which goes other ways
        state = loaded.start(SOURCES)
        for ids in ([1, 1], *TARGETS[:, :-1].T):
            logits, _, state = loaded.step(state, np.array(ids))
            written.append(logits)
    np.testing.assert_allclose(np.stack(written, axis=1), scores, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("options", "look"), [*zip(OF_A_STEP.values(), cycle(LOOKS), strict=False)], ids=[*OF_A_STEP])
def test_a_translator_with_such_steps_has_the_right_gradient(options, look):
    (cell, options), (attention, feed) = options, look
    rule, arrays, names = seq2seq(cell, attention, feed, **options).as_rule(SOURCES, TARGETS)
    assert check_rule(rule, arrays, names=names, max_entries=2).ok


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_models_are_equal_whether_a_default_is_spelled_out_or_not(cell):
    """A run is resumed with the configuration that it was begun with."""
    for kind, needed, taken in (
        (CharLM, (5,), [name for name in options_of(CELLS[cell]) if name not in DECIDED]),
        (Seq2Seq, (9, 8), of_a_step(CELLS[cell])),
    ):
        spelled = {name: value for name, value in defaults_of(CELLS[cell]).items() if name in taken}
        assert {"init", "bias", "layer_norm"} <= spelled.keys()
        own = {name: value for name, value in defaults_of(kind).items() if name not in ("options", "vocab_size")}
        own = {name: value for name, value in own.items() if "vocabulary" not in name}
        assert kind(*needed, **{**spelled, **own, "cell": cell}).config == kind(*needed, cell=cell).config


def test_what_was_changed_is_in_the_configuration_and_in_the_file(tmp_path):
    lm, translator = char_lm(dropout=0.1), seq2seq()
    lm.dropout, lm.rnn.zoneout, lm.rnn.weight_drop = 0.4, 0.3, 0.2
    translator.dropout, translator.label_smoothing = 0.4, 0.1
    for model, now in (
        (lm, {"dropout": 0.4, "zoneout": 0.3, "weight_drop": 0.2}),
        (translator, {"dropout": 0.4, "label_smoothing": 0.1}),
    ):
        mr.save(model, tmp_path / "model.npz")
        loaded = mr.load(tmp_path / "model.npz")
        assert now.items() <= model.config.items() and loaded.config == model.config
        given = (IDS, IDS) if model is lm else (SOURCES, TARGETS)
        assert loaded.train().loss(*given)[0].item() == model.loss(*given)[0].item()


def test_numbers_of_numpy_are_kept_as_pythons_own():
    lm = char_lm(proj_size=np.int64(3), zoneout=np.float32(0.5), layer_norm=np.bool_(True))
    assert {type(value) for value in lm.config.values()} <= {int, float, bool, str}


def test_a_tied_embedding_is_as_long_as_the_projection():
    assert CharLM(5, 3, 6, proj_size=3, tie_weights=True).head.weight.shape == (5, 3)
    with pytest.raises(ValueError, match="tie_weights needs embedding_size == proj_size, got 6 and 3"):
        CharLM(5, 6, 6, proj_size=3, tie_weights=True)


def test_locked_dropout_holds_before_the_scores_too():
    lm = CharLM(5, 4, 400, dropout=0.5, num_layers=2, locked_dropout=True, dtype="float64")
    lm.head.weight.data, lm.head.bias.data = np.eye(5, 400), np.zeros(5)  # scores are five of the units
    dropped = lm(IDS)[0].numpy() == 0
    assert np.array_equal(dropped.all(axis=1), dropped.any(axis=1)) and 0 < dropped.mean() < 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: char_lm(zonout=0.1), "CharLM has no option 'zonout'; did you mean 'zoneout'?"),
        (lambda: char_lm(hidden_sise=3), "CharLM has no option 'hidden_sise'; did you mean 'hidden_size'?"),
        (lambda: char_lm("gru", peepholes=True), "CharLM has no option 'peepholes'; it has vocab_size, embedding_size"),
        (lambda: char_lm(bidirectional=True), "CharLM has no option 'bidirectional'; it has vocab_size"),
        (lambda: char_lm(through_time=None), "CharLM has no option 'through_time'; it has vocab_size"),
        (lambda: Tagger(5, 3, batch_first=True), "Tagger has no option 'batch_first'; it has vocab_size"),
        (lambda: Tagger(5, 3, layernorm=True), "Tagger has no option 'layernorm'; did you mean 'layer_norm'?"),
        (lambda: seq2seq(zoneout=0.1), "Seq2Seq has no option 'zoneout'; it has source_vocabulary"),
        (lambda: seq2seq("gru", reset_aftr=False), "Seq2Seq has no option 'reset_aftr'; did you mean 'reset_after'?"),
        (
            lambda: mr.nn.AttentiveDecoder(2, 3, 4, peephole=True),
            "AttentiveDecoder has no option 'peephole'; did you mean 'peepholes'?",
        ),
        (lambda: mr.nn.AttentiveDecoder(2, 3, 4, num_layers=2), "AttentiveDecoder has no option 'num_layers'; it has"),
    ],
)
def test_what_is_misspelt_or_not_the_users_to_choose_is_refused(make, words):
    with pytest.raises(TypeError) as caught:
        make()
    assert str(caught.value).startswith(words)
