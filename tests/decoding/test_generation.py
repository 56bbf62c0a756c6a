"""Generation: seeds, greedy by hand, the state that is carried, prompts, and what must not change."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minirnn import CharLM, DataError, Vocabulary, generate, sampler, stream_characters
from minirnn.decoding.stepping import stepper
from minirnn.nn import LSTM

CHARACTERS = "\n abcdefgh"


def model(characters=CHARACTERS, **settings):
    """Weights eight times as large as at first, for an untrained model hardly cares what came before."""
    lm = CharLM(Vocabulary(characters), 5, 8, seed=3, dtype="float64", **({"num_layers": 2} | settings))
    lm.load_state_dict({name: 8 * array for name, array in lm.state_dict().items()})
    return lm


def by_hand(lm, ids, length, choose):
    """The text after ``ids``, every character from the whole prefix, without any state."""
    ids = list(ids)
    for _ in range(length):
        logits, _ = lm(np.array([ids]))
        ids.append(choose(logits.numpy()[0, -1]))
    return lm.vocabulary.decode(ids[-length:])


prompts = st.text(CHARACTERS, min_size=1, max_size=6)
samplings = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.0, 0.5, 1.0, 2.0]),
        "top_k": st.sampled_from([0, 1, 3]),
        "top_p": st.sampled_from([0.5, 1.0]),
        "seed": st.integers(0, 99),
    }
)


@settings(max_examples=15)
@given(prompts, samplings)
def test_the_state_carried_equals_the_whole_prefix_run_again(backend, prompt, sampling):
    lm = model()
    text = generate(lm, prompt, 8, **sampling)
    assert text == prompt + by_hand(lm, lm.vocabulary.encode(prompt), 8, sampler(**sampling))


def test_temperature_zero_takes_the_highest_score_every_time(backend):
    lm = model()
    text = generate(lm, "abc", 12, temperature=0)
    assert text == "abc" + by_hand(lm, lm.vocabulary.encode("abc"), 12, lambda logits: int(logits.argmax()))
    assert text == generate(lm, "abc", 12, temperature=0, seed=9) == generate(lm, "abc", 12, top_k=1)


def test_the_same_seed_writes_the_same_text_and_another_another(backend):
    lm = model()
    texts = [generate(lm, "a", 40, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert {len(text) for text in texts} == {41}


@settings(max_examples=10)
@given(prompts, samplings)
def test_streaming_gives_the_characters_of_generate(backend, prompt, sampling):
    lm = model()
    pieces = list(stream_characters(lm, prompt, 7, **sampling))
    assert [len(piece) for piece in pieces] == [1] * 7
    assert prompt + "".join(pieces) == generate(lm, prompt, 7, **sampling)


@settings(max_examples=15)
@given(st.lists(st.text(CHARACTERS, max_size=6), min_size=1, max_size=4), samplings)
def test_texts_written_together_are_those_written_alone(backend, texts, sampling):
    lm, seed = model(), sampling.pop("seed")
    together = generate(lm, texts, 8, **sampling, seed=seed)
    assert together == [generate(lm, text, 8, **sampling, seed=seed + k) for k, text in enumerate(texts)]
    assert generate(lm, tuple(texts), 8, **sampling, seed=seed) == together


def test_few_or_no_texts_and_characters():
    lm = model()
    assert generate(lm, []) == generate(lm, [], 0) == []
    assert generate(lm, ["ab", ""], 0) == ["ab", ""]
    assert generate(lm, ["ab"], 9, seed=3) == [generate(lm, "ab", 9, seed=3)]


def test_texts_written_together_by_a_model_that_must_be_called(backend):
    lm = model(num_layers=1)
    lm.rnn = LSTM(5, 8, peepholes=True, dtype="float64")
    lm.to("cupy" if backend.__name__ == "cupy" else "numpy")
    lm.load_state_dict({name: 8 * array for name, array in lm.state_dict().items()})
    assert generate(lm, ["a", "bcd"], 8, seed=4) == [generate(lm, "a", 8, seed=4), generate(lm, "bcd", 8, seed=5)]


def test_of_several_prompts_the_bad_one_is_named():
    lm = model()
    with pytest.raises(DataError, match=r"prompt 1: text has 'X' at position 2"):
        generate(lm, ["ab", "abX"], 3)
    with pytest.raises(TypeError, match="text must be a str, got int"):
        generate(lm, ["ab", 5], 3)
    with pytest.raises(TypeError, match="text must be a str, got list"):
        stream_characters(lm, ["ab"], 3)
    with pytest.raises(ValueError, match="seed must be an integer"):
        generate(lm, ["ab"], 3, seed="x")
    skipped = generate(lm, ["aXb", "XX"], 5, unknown="skip")
    assert skipped == ["aXb" + generate(lm, "ab", 5)[2:], "XX" + generate(lm, "", 5, seed=1)]


def test_training_goes_on_beside_a_text_that_was_begun():
    lm, untouched = model(), model()
    stream = stream_characters(lm, "a", 20)
    begun = next(stream)
    for parameter in lm.parameters():
        parameter.array *= -1
    assert begun + "".join(stream) == generate(untouched, "a", 20)[1:] != generate(lm, "a", 20)[1:]


def test_a_character_is_there_as_soon_as_it_is_chosen():
    lm, calls = model(), []
    forward = lm.forward
    lm.forward = lambda *inputs: calls.append(inputs[0].shape) or forward(*inputs)  # now it has to be called
    stream = stream_characters(lm, "abc", 1_000_000)
    assert calls == []
    list(itertools.islice(stream, 3))
    assert calls == [(1, 3), (1, 1), (1, 1)]  # the prompt once, then one character at a time


def test_in_place_too_a_character_is_there_as_soon_as_it_is_chosen(monkeypatch):
    calls = []

    def counted(lm, prompts, steps):
        scores, step = stepper(lm, prompts, steps)
        calls.append([ids.tolist() for ids in prompts])
        return scores, lambda ids: calls.append(ids) or step(ids)

    monkeypatch.setattr("minirnn.decoding.generation.stepper", counted)
    lm = model()
    stream = stream_characters(lm, "abc", 1_000_000)
    assert calls == []
    first, second, _ = itertools.islice(stream, 3)
    assert calls == [[[2, 3, 4]], lm.vocabulary.encode(first), lm.vocabulary.encode(second)]


def test_two_streams_do_not_disturb_each_other():
    lm = model()
    together = list(zip(*(stream_characters(lm, "a", 9, seed=seed) for seed in (1, 2)), strict=True))
    assert ["".join(column) for column in zip(*together, strict=True)] == [
        generate(lm, "a", 9, seed=seed)[1:] for seed in (1, 2)
    ]


def test_without_a_prompt_the_text_begins_as_after_a_line_break():
    lm = model("ab\nc")
    assert generate(lm, "", 40) == generate(lm, "\n", 40)[1:] != generate(lm, "a", 40)[1:]
    no_line_break = model("xyz")
    assert generate(no_line_break, "", 9) == generate(no_line_break, "x", 9)[1:]


def test_length_zero_is_the_prompt():
    assert generate(model(), "abc", 0) == "abc"
    assert generate(model(), "", 0) == ""
    assert list(stream_characters(model(), "abc", 0)) == []


def test_unseen_characters_of_the_prompt_are_refused_skipped_or_replaced():
    lm = model()
    with pytest.raises(DataError, match=r"'X' at position 1"):
        generate(lm, "aXb", 5)
    skipped, replaced = (generate(lm, "aXb", 5, unknown=policy) for policy in ("skip", "replace"))
    assert skipped == "aXb" + generate(lm, "ab", 5)[2:]
    assert replaced == "aXb" + generate(lm, "a b", 5)[3:]
    assert generate(lm, "XYZ", 5, unknown="skip") == "XYZ" + generate(lm, "", 5)


@pytest.mark.parametrize("training", [True, False])
def test_generating_drops_nothing_and_keeps_mode_and_draws(backend, training):
    plain, lm = model(), model(dropout=0.6)
    lm.train(training).seek(7)
    assert generate(lm, "ab", 9) == generate(plain, "ab", 9)
    next(stream_characters(lm, "ab", 9))  # left in the middle
    assert {(m.training, m.draws) for _, m in lm.named_modules()} == {(training, 7)}


def test_the_mode_returns_even_when_generating_fails():
    lm = model(dropout=0.5)
    weights = lm.state_dict()
    weights["head.bias"][:] = np.nan
    lm.load_state_dict(weights)
    with pytest.raises(ValueError, match="logits must be finite"):
        generate(lm, "a", 3)
    assert lm.training


def test_generating_records_no_graph():
    lm = model()
    generate(lm, "abc", 5)
    assert all(p.grad is None for p in lm.parameters())
    logits, _ = lm(np.array([[1, 2]]))
    assert logits.requires_grad  # recording is on again


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"length": -1}, "length must be .* got -1"),
        ({"length": 2.0}, r"length must be .* got 2\.0"),
        ({"length": True}, "length must be .* got True"),
        ({"temperature": -0.1}, r"temperature must be .* got -0\.1"),
        ({"temperature": float("nan")}, "temperature must be .* got nan"),
        ({"top_k": -1}, "top_k must be .* got -1"),
        ({"top_p": 0.0}, r"top_p must be .* got 0\.0"),
        ({"seed": -1}, "seed must be .* got -1"),
        ({"seed": "x"}, "seed must be .* got 'x'"),
        ({"unknown": "ignore"}, "unknown must be .* got 'ignore'"),
        ({"prompt": 5}, "text must be a str, got int"),
        ({"prompt": None}, "text must be a str, got NoneType"),
    ],
)
def test_bad_arguments_are_explained_before_the_first_character(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        stream_characters(model(), **arguments)  # the call itself, not the first next()
    with pytest.raises((ValueError, TypeError), match=message):
        generate(model(), **arguments)


def test_a_model_without_vocabulary_says_how_to_give_it_one():
    with pytest.raises(ValueError, match=r"lm has no vocabulary; build it as CharLM\(vocabulary"):
        generate(CharLM(5, 3, 4), "a")


def test_what_is_given_in_the_wrong_place_is_named():
    with pytest.raises(TypeError, match="lm must be a character model, got str"):
        generate("h", model())
