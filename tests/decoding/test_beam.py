"""Beam search against searches that take no shortcut, and what each of its settings promises."""

import itertools

import numpy as np
import pytest
from fake_translator import FakeTranslator, V, never_ends
from hypothesis import given, settings
from hypothesis import strategies as st

from minirnn.decoding import beam_search, greedy, penalised
from minirnn.text import BOS, EOS, PAD, UNK

WORDS = [i for i in range(V) if i not in (PAD, BOS, EOS)]

seeds = st.integers(0, 999)
sources_of_one = st.lists(st.integers(UNK, 9), min_size=1, max_size=4)
batches = st.lists(sources_of_one, min_size=1, max_size=4)
penalties = st.fixed_dictionaries(
    {
        "length_penalty": st.sampled_from([0, 0.6, 1, 2.5]),
        "coverage_penalty": st.sampled_from([0, 0.2, 1.5]),
    }
)


def padded(batch, width=0):
    sources = np.full((len(batch), max(width, *map(len, batch), 1)), PAD)
    for row, source in zip(sources, batch, strict=True):
        row[: len(source)] = source
    return sources


def outcome(model, source, ids, total, ended, length_penalty, coverage_penalty):
    """What a hypothesis should be, by the formula of Wu et al. as it stands in their paper."""
    looks = [model.weights(source, ids[:t]) for t in range(len(ids))]
    score = total / ((5 + len(ids)) ** length_penalty / (5 + 1) ** length_penalty)
    if coverage_penalty:
        with np.errstate(divide="ignore"):
            score += coverage_penalty * sum(np.log(min(sum(look[s] for look in looks), 1)) for s in range(len(source)))
    return score, ids, total, ended, np.array(looks).reshape(len(ids), len(source))


def every_outcome(model, source, limit):
    """All that a model can write with so many ids: sentences that end, and those that are cut. They sum to one."""
    for length in range(limit + 1):
        for ids in itertools.product(range(model.size), repeat=length):
            total = sum(model.log_probabilities(source, ids[:t])[i] for t, i in enumerate(ids) if i != EOS)
            if EOS not in ids:
                end = 0 if length == limit else model.log_probabilities(source, ids)[EOS]
                yield ids, total + end, length < limit


def plain_search(model, source, beam, limit, block_ngrams=0, trace=None, **penalties):
    """Beam search as one would tell it: one sentence, lists and loops, every candidate sorted, no early end but one."""
    living, done = [((), 0.0)], []
    for _ in range(limit):
        candidates = []
        for place, (ids, total) in enumerate(living):
            log_p = model.log_probabilities(source, ids)
            ngrams = [ids[k : k + block_ngrams] for k in range(len(ids) - block_ngrams + 1)]
            for i in [EOS, *range(UNK, model.size)]:
                ngram = (*ids, i)[-block_ngrams:]
                if log_p[i] > -np.inf and not (block_ngrams and ngram in ngrams):
                    candidates.append((-(total + log_p[i]), place, i))
        candidates.sort()
        if not candidates:
            break
        done += [(living[place][0], -minus, True) for minus, place, i in candidates[:beam] if i == EOS]
        living = [((*living[place][0], i), -minus) for minus, place, i in candidates if i != EOS][:beam]
        if trace is not None:
            trace.append(([total for _, total in living], list(done)))
        if len(done) >= beam:
            break
    if len(done) < beam:
        done += [(*alive, False) for alive in living]
    return sorted((outcome(model, source, *each, **penalties) for each in done), key=lambda each: -each[0])


def agree(hypotheses, expected, rtol=1e-12):
    assert [(h.ids, h.ended) for h in hypotheses] == [(ids, ended) for _, ids, _, ended, _ in expected]
    for h, (score, _, total, _, attention) in zip(hypotheses, expected, strict=True):
        np.testing.assert_allclose([h.score, h.log_probability], [score, total], rtol=rtol)
        assert (h.attention == attention).all() and h.attention.shape == attention.shape


@given(seeds, batches, st.integers(1, 6), st.integers(1, 6), st.integers(1, 7), st.integers(0, 3), penalties)
def test_a_batch_is_what_a_plain_search_finds_for_each_of_its_sentences(
    backend, seed, batch, beam, n_best, limit, block_ngrams, penalties
):
    model = FakeTranslator(seed, xp=backend)
    found = beam_search(
        model, padded(batch), beam, n_best=min(n_best, beam), max_length=limit, block_ngrams=block_ngrams, **penalties
    )
    for source, hypotheses in zip(batch, found, strict=True):
        expected = plain_search(model, tuple(source), beam, limit, block_ngrams, **penalties)
        agree(hypotheses, expected[: min(n_best, beam)])


@settings(max_examples=10)
@given(seeds, sources_of_one, st.integers(1, 3), penalties)
def test_a_beam_as_wide_as_there_are_sentences_finds_the_best_of_all(seed, source, limit, penalties):
    model, source = FakeTranslator(seed, size=5), tuple(source)
    outcomes = list(every_outcome(model, source, limit))
    assert sum(np.exp(total) for _, total, _ in outcomes) == pytest.approx(1)
    allowed = [each for each in outcomes if not {PAD, BOS}.intersection(each[0])]
    expected = sorted((outcome(model, source, *each, **penalties) for each in allowed), key=lambda each: -each[0])
    beam = 5**limit
    [found] = beam_search(model, [source], beam, n_best=beam, max_length=limit, **penalties)
    finite = [each for each in expected if each[0] > -np.inf]  # what covers nothing is last, in any order
    agree(found[: len(finite)], finite)
    assert len(found) == len(expected)


@given(seeds, sources_of_one, st.integers(1, 6))
def test_one_hypothesis_is_greedy(seed, source, limit):
    model, ids, total = FakeTranslator(seed), (), 0.0
    while len(ids) < limit:
        log_p = model.log_probabilities(tuple(source), ids)
        log_p[[PAD, BOS]] = -np.inf
        total += log_p.max()
        if log_p.argmax() == EOS:
            break
        ids += (int(log_p.argmax()),)
    [found] = greedy(model, [source], limit)
    assert (found.ids, found.ended) == (ids, len(ids) < limit)
    assert found.log_probability == pytest.approx(total, rel=1e-12)
    assert [[found]] == beam_search(model, [source], 1, max_length=limit)


@given(seeds, sources_of_one, st.integers(2, 6), st.integers(1, 8), penalties)
def test_a_score_is_that_of_the_sentence_fed_again(seed, source, beam, limit, penalties):
    model, source = FakeTranslator(seed), tuple(source)
    [found] = beam_search(model, [source], beam, n_best=beam, max_length=limit, **penalties)
    for h in found:
        refed = (*h.ids, EOS) if h.ended else h.ids
        total = sum(model.log_probabilities(source, refed[:t])[i] for t, i in enumerate(refed))
        assert h.log_probability == pytest.approx(total, rel=1e-12)
        assert h.score == penalised(h.log_probability, len(h.ids), h.attention, **penalties)
        np.testing.assert_allclose(h.attention.sum(axis=1), 1)
        assert h.ended or len(h.ids) == limit
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
    assert len({(h.ids, h.ended) for h in found}) == len(found) == (min(beam, V - 2) if limit == 1 else beam)


@given(seeds, batches, st.integers(0, 3))
def test_padding_and_neighbours_change_nothing(seed, batch, more):
    model = FakeTranslator(seed)
    together = beam_search(model, padded(batch, len(max(batch, key=len)) + more), 3, n_best=2)
    alone = [beam_search(model, [source], 3, n_best=2)[0] for source in batch]
    assert together == alone
    for one, other in zip(itertools.chain(*together), itertools.chain(*alone), strict=True):
        assert np.array_equal(one.attention, other.attention)


@given(seeds, batches)
def test_in_float32_too(backend, seed, batch):
    exact, rounded = (FakeTranslator(seed, xp=backend, dtype=dtype) for dtype in ("float64", "float32"))
    for one, other in zip(*(greedy(model, padded(batch)) for model in (exact, rounded)), strict=True):
        assert one.ids == other.ids
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-5)


@pytest.mark.parametrize("size", [4, 5, 7, 50, 51, 997])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray, lambda x: np.repeat(x, 2, axis=1)[:, ::2]])
def test_any_vocabulary_and_any_layout_of_the_logits(size, layout):
    model = FakeTranslator(3, size=size)
    expected = plain_search(model, (4, 5), 4, 6, length_penalty=1, coverage_penalty=0)
    step = model.step
    model.step = lambda state, ids: (layout((out := step(state, ids))[0]), *out[1:])
    agree(beam_search(model, [[4, 5]], 4, n_best=4, max_length=6)[0], expected[:4])


def test_by_hand():
    p = {  # of the end and of two words, after what was written
        (): {EOS: 0.1, 4: 0.5, 5: 0.4},
        (4,): {EOS: 0.4, 4: 0.3, 5: 0.3},
        (5,): {EOS: 0.9, 4: 0.1},
    }

    def table(source, prefix, logits):
        logits[:] = -np.inf
        for i, probability in p.get(prefix, {EOS: 1}).items():
            logits[i] = np.log(probability)
        return logits

    model = FakeTranslator(change=table)
    [likeliest] = greedy(model, [[7]])
    assert (likeliest.ids, np.exp(likeliest.log_probability)) == ((4,), pytest.approx(0.2))  # 0.5 * 0.4
    [[better, other]] = beam_search(model, [[7]], 2, n_best=2, length_penalty=0)
    assert (better.ids, np.exp(better.score)) == ((5,), pytest.approx(0.36))  # 0.4 * 0.9
    assert (other.ids, np.exp(other.score)) == ((4,), pytest.approx(0.2))
    [[longest]] = beam_search(model, [[7]], 4, length_penalty=9)
    assert (longest.ids, np.exp(longest.log_probability)) == ((4, 4), pytest.approx(0.15))  # over (7 / 6) ** 9 = 4.0


def test_equals_come_in_the_order_of_hypotheses_and_ids():
    model = FakeTranslator(change=lambda source, prefix, logits: 0 * logits)
    [found] = beam_search(model, [[4]], 4, n_best=4, max_length=2, length_penalty=0)
    assert [(h.ids, h.ended) for h in found] == [((), True), ((UNK,), True), ((UNK, UNK), False), ((UNK, 4), False)]
    assert found == beam_search(model, [[4]], 4, n_best=4, max_length=2, length_penalty=0)[0]


def test_a_model_that_never_ends_is_cut():
    model = FakeTranslator(change=never_ends)
    found = beam_search(model, padded([[4], [4, 5, 6]]), 3, n_best=2)
    assert [[(len(h.ids), h.ended) for h in each] for each in found] == [[(12, False)] * 2, [(16, False)] * 2]
    assert [len(h.ids) for h in greedy(model, padded([[4], [4, 5, 6]]), 5)] == [5, 5]


@given(seeds, st.integers(1, 4), st.integers(1, 5))
def test_no_ngram_comes_twice(seed, block_ngrams, beam):
    def repeats(source, prefix, logits):
        return never_ends(source, prefix, logits) + 30 * np.eye(V)[4]

    model = FakeTranslator(seed, change=repeats)
    assert all(set(h.ids) == {4} for h in greedy(model, [[4, 5]], 12))
    [found] = beam_search(model, [[4, 5]], beam, n_best=beam, max_length=12, block_ngrams=block_ngrams)
    for h in found:
        ngrams = [h.ids[k : k + block_ngrams] for k in range(len(h.ids) - block_ngrams + 1)]
        assert len(set(ngrams)) == len(ngrams)
    if block_ngrams == 1:  # after three words nothing may follow: what is stuck is cut
        assert {(len(h.ids), h.ended) for h in found} == {(len(WORDS), False)}


@given(seeds, st.integers(1, 3), penalties)
def test_a_search_goes_on_only_while_something_could_get_ahead(seed, n_best, penalties):
    def ends_soon(source, prefix, logits):
        return logits + 2 * np.eye(V)[EOS]

    model, source, limit, beam, trace = FakeTranslator(seed, change=ends_soon), (4, 5), 20, 6, []
    beam_search(model, [source], beam, n_best=n_best, max_length=limit, **penalties)
    plain_search(model, source, beam, limit, trace=trace, **penalties)
    for step, (totals, done) in enumerate(trace, 1):
        scores = sorted(outcome(model, source, *each, **penalties)[0] for each in done)
        beaten = (
            len(done) >= n_best and penalised(max(totals), limit, None, penalties["length_penalty"]) <= scores[-n_best]
        )
        if beaten or len(done) >= beam or step == limit:
            assert len(model.columns) == step
            break


def test_what_can_only_draw_level_is_not_waited_for():
    def end_or_loop(source, prefix, logits):  # even chances at first, then no other way
        logits[:] = -np.inf
        logits[[4] if prefix else [EOS, 4]] = 0
        return logits

    model = FakeTranslator(change=end_or_loop)
    [[found]] = beam_search(model, [[4]], 2, length_penalty=0)
    assert (found.ids, len(model.columns)) == ((), 1)
    [both] = beam_search(model, [[4]], 2, length_penalty=0, n_best=2, block_ngrams=1)
    assert [(h.ids, h.ended, h.score) for h in both] == [((), True, np.log(0.5)), ((4,), False, np.log(0.5))]  # stuck


def test_columns_leave_when_their_search_is_over():
    def ends_at_once(source, prefix, logits):  # or else never
        if source == (4,):
            logits[:] = -np.inf
            logits[EOS] = 0
        return never_ends(source, prefix, logits) if source != (4,) else logits

    model = FakeTranslator(change=ends_at_once)
    found = beam_search(model, padded([[4], [5, 5], [4], [6]]), 3)
    assert [len(h.ids) for [h] in found] == [0, 14, 0, 12]
    assert model.columns == [4, *[6] * 11, *[3] * 2]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_model_that_has_diverged_is_refused(backend, bad):
    def diverges(source, prefix, logits):
        if len(prefix) == 2:
            logits[[PAD] if bad != -np.inf else ...] = bad  # of what nobody would choose, or of all
        return logits

    model = FakeTranslator(change=lambda *of: diverges(*of[:2], never_ends(*of)), xp=backend)
    with pytest.raises(
        ValueError, match="logits without a softmax: NaN, infinity or nothing but -inf; it has diverged"
    ):
        greedy(model, [[4]])


def test_large_logits_stay_finite():
    model = FakeTranslator(change=lambda source, prefix, logits: 1e4 * logits, dtype="float32")
    [[found]] = beam_search(model, [[4, 5]], 3, max_length=5)
    assert found.ended and np.isfinite(found.score)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"beam": 0}, "beam must be a positive integer, got 0"),
        ({"beam": 2.0}, r"beam must be a positive integer, got 2\.0"),
        ({"beam": True}, "beam must be a positive integer, got True"),
        ({"n_best": 0}, "n_best must be a positive integer, got 0"),
        ({"n_best": 4, "beam": 3}, "n_best must be at most beam, which is 3, got 4"),
        ({"max_length": 0}, "max_length must be a positive integer, got 0"),
        ({"max_length": -3}, "max_length must be a positive integer, got -3"),
        ({"length_penalty": -0.1}, r"length_penalty must be a number from 0 to below 10, got -0\.1"),
        ({"length_penalty": np.nan}, "length_penalty must be .* got nan"),
        ({"length_penalty": 10}, "length_penalty must be .* got 10"),
        ({"coverage_penalty": -1}, "coverage_penalty must be .* got -1"),
        ({"coverage_penalty": "1"}, "coverage_penalty must be .* got '1'"),
        ({"block_ngrams": -1}, "block_ngrams must be an integer that is not negative, got -1"),
        ({"block_ngrams": 1.5}, r"block_ngrams must be .* got 1\.5"),
        ({"block_ngrams": True}, "block_ngrams must be .* got True"),
        ({"sources": np.empty((0, 3), int)}, r"sources must have shape \(B, S\), .* got \(0, 3\)"),
        ({"sources": np.empty((3, 0), int)}, r"sources must have shape \(B, S\), .* got \(3, 0\)"),
        ({"sources": [4, 5]}, r"sources must have shape \(B, S\), .* got \(2,\)"),
        ({"sources": [[4, 5], [4]]}, "sources must be an array of real numbers, got list"),
        ({"sources": [[4.0]]}, "sources must be integers, got dtype float64"),
        ({"sources": [[4], [PAD]]}, r"sources\[1\] must be tokens and then only PAD \(0\), .* got \[0\]"),
        ({"sources": [[PAD, 4]]}, r"sources\[0\] must be tokens and then only PAD \(0\), .* got \[0 4\]"),
    ],
)
def test_bad_arguments_are_explained_before_the_model_is_asked(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        beam_search(None, **({"sources": [[4]]} | arguments))


def test_a_coverage_penalty_takes_attention():
    model = FakeTranslator(attends=False)
    assert beam_search(model, [[4, 5]])[0][0].attention is None
    with pytest.raises(ValueError, match=r"a model that does not attend takes no coverage_penalty, got 0\.2"):
        beam_search(model, [[4, 5]], coverage_penalty=0.2)
