"""The decoder as one rule: it is the decoder composed on the tape, and what it looks into is told by the mask alone."""

import numpy as np
import pytest

from minirnn import ops, rules, use_workers
from minirnn.arrays import asarray, to_numpy
from minirnn.rules.combinators import attentive, projected, ragged, reverse, scan, shard, truncate, zoneout
from minirnn.tape import differentiable, rule_of
from minirnn.testing import arrays_in, check_laws, in_pieces

T, B, H, S, F, K, A = 5, 3, 4, 4, 3, 2, 6
CELLS = {  # step, gates, shapes of further inputs, number of states, shapes of further weights, static arguments
    "rnn": (rules.rnn_step, 1, (), 1, (), {"nonlinearity": "relu"}),
    "lstm": (rules.lstm_step, 4, (), 2, (), {}),
    "lstm with everything": (rules.lstm_step, 4, (), 2, ((H, H), (3, H)), {}),
    "gru": (rules.gru_step, 3, (), 1, ((H,),), {}),
    "gru of the paper": (rules.gru_step, 3, (), 1, (), {"reset_after": False}),
    "zoneout": (zoneout(rules.lstm_step), 4, ((H, B), (H, B)), 2, (), {}),
}
SCORES = {"dot": (), "dot of queries": ("W_query",), "additive": ("W_query", "v"), "additive, h as it is": ("v",)}
every_cell = pytest.mark.parametrize("cell", CELLS)
every_score = pytest.mark.parametrize("score", SCORES)
every_feed = pytest.mark.parametrize("feed", ["output", "context"])


def arguments(cell="lstm", score="additive", feed="output", *, T=T, S=S, masked=True, seed=0):
    """Arrays for the decoder of a cell; of the mask, one column is real, one in part, and one at its first token."""
    _, gates, inputs, states, more, _ = CELLS[cell]
    random, has, K_fed = np.random.default_rng(seed), SCORES[score], F if feed == "context" else K
    A_keys = A if "W_query" in has else H
    shapes = [(T, gates * H, B), *((T, *shape) for shape in inputs), (K_fed, B), *[(H, B)] * states]
    shapes += [(S, A_keys, B), (S, F, B), None, (gates * H, K_fed)]
    shapes += [(A, H) if "W_query" in has else None, (A_keys,) if "v" in has else None]
    shapes += [None if feed == "context" else (K, F + H), (gates * H, H), *more]
    arrays = [None if shape is None else asarray(random.normal(size=shape)) for shape in shapes]
    if masked:
        arrays[place_of("mask", cell)] = asarray(np.arange(S)[:, None] < np.array([S, 2, 1]))
    return arrays


def place_of(name, cell="lstm"):
    _, _, inputs, states, *_ = CELLS[cell]
    names = ["a_xs", *("more" for _ in inputs), "fed_0", *("state" for _ in range(states)), "keys", "values", "mask"]
    return [*names, "W_fed", "W_query", "v", "W_out", "W_hh"].index(name)


def explicit(cell="lstm"):
    return attentive(CELLS[cell][0])


def composed(cell="lstm", scale=1.0):
    """The same decoder on the tape, of the simplest operations there are; only the step is a rule."""
    step, _, inputs, states, _, static = CELLS[cell]
    step, n = differentiable(step), len(inputs)

    def decoder(*arrays):
        (a_xs, *xs), (fed, *hs) = arrays[: 1 + n], arrays[1 + n : 2 + n + states]
        keys, values, mask, W_fed, W_query, v, W_out, *weights = arrays[2 + n + states :]
        feds, tops, looks = [], [], []
        for t in range(a_xs.shape[0]):
            hs = step(a_xs[t] + W_fed @ fed, *(x[t] for x in xs), *hs, *weights, **static)
            hs = hs if isinstance(hs, tuple) else (hs,)
            q = hs[0] if W_query is None else W_query @ hs[0]
            fits = scale * keys * q if v is None else v.reshape(-1, 1) * (keys + q).tanh()
            scores = fits.sum(axis=1)
            scores = scores if mask is None else ops.where(mask, scores, -1e9)
            w = scores.softmax(axis=0)
            context = (w.reshape(w.shape[0], 1, -1) * values).sum(axis=0)
            fed = context if W_out is None else (W_out @ ops.concat(context, hs[0])).tanh()
            feds.append(fed)
            tops.append(hs[0])
            looks.append(w)
        return ops.stack(*feds), ops.stack(*tops), ops.stack(*looks), fed, *hs

    return rule_of(decoder)


def given(outputs, seed=1):
    random = np.random.default_rng(seed)
    return [asarray(random.normal(size=y.shape)) for y in outputs]


def run(rule, inputs, only=None, **static):
    """Outputs, and gradients for random cotangents: of all outputs, or of ``only`` one."""
    outputs, pullback = rule(*inputs, **static)
    cotangents = [c if only in (None, k) else 0 * c for k, c in enumerate(given(outputs))]
    return [*outputs, *pullback(*cotangents)[: len(inputs)]]


def assert_close(found, expected, tolerance=1e-12):
    for k, (x, y) in enumerate(zip(found, expected, strict=True)):
        assert (x is None) == (y is None), f"entry {k}"
        if x is not None:
            np.testing.assert_allclose(to_numpy(x), to_numpy(y), rtol=tolerance, atol=tolerance, err_msg=f"entry {k}")


@every_cell
@every_score
@every_feed
def test_it_is_the_decoder_composed_on_the_tape(cell, score, feed):
    inputs, static = arguments(cell, score, feed), CELLS[cell][-1]
    scale = {} if "additive" in score else {"scale": 0.6}
    expected = run(composed(cell, **scale), inputs)
    assert_close(run(explicit(cell), inputs, **scale, **static), expected)


@pytest.mark.parametrize("only", range(6))
@every_feed
def test_each_output_by_itself_asks_for_the_same(only, feed):
    inputs = arguments(feed=feed)
    assert_close(run(explicit(), inputs, only=only), run(composed(), inputs, only=only))


@pytest.mark.parametrize(("cell", "score", "feed"), [("lstm", "additive", "output"), ("gru", "dot", "context")])
def test_all_laws(backend, cell, score, feed):
    # whole steps are kept: what only some of their gradients need as well. Every output by itself is tested above
    without = ("keeps_what_it_reads", "every_subset_of_outputs")
    for T, masked in ((3, True), (1, False)):
        inputs = arguments(cell, score, feed, T=T, S=3, masked=masked)
        check_laws(explicit(cell), inputs, {} if score == "additive" else {"scale": 0.6}, without=without)


@every_feed
@every_score
def test_nothing_is_kept_that_nobody_asks_for(score, feed):
    """All of a step is kept by the step; of what the decoder keeps itself, every array has a say in some gradient."""

    def step(a, h_prev):  # which keeps nothing
        return a + h_prev, lambda dh: (dh, dh)

    inputs = arguments("rnn", score, feed)[:-1]
    names = [k for k, x in enumerate(inputs) if x is not None and x.dtype.kind == "f"]
    for asked in names:
        wanted = tuple(k == asked for k in range(len(inputs)))
        outputs, pullback = attentive(step)(*inputs, wanted=wanted)
        cotangents = given(outputs)
        before = pullback(*cotangents)[asked].copy()
        for kept in arrays_in(pullback):
            if kept.dtype.kind == "f" and kept.size:
                saved, changed = kept.copy(), False
                for poison in (0, np.nan):
                    kept[...] = poison
                    changed |= not np.array_equal(pullback(*cotangents)[asked], before)
                kept[...] = saved
                assert changed, f"for argument {asked} an array {kept.shape} is kept"


@every_feed
def test_no_steps_hand_the_states_on(feed):
    inputs = arguments(feed=feed, T=0)
    outputs, pullback = explicit()(*inputs)
    assert [y.shape[0] for y in outputs[:3]] == [0, 0, 0]
    for end, state in zip(outputs[3:], inputs[1:4], strict=True):
        np.testing.assert_array_equal(end, state)
    dfed, dh, dc = given(outputs)[3:]
    gradients = pullback(*given(outputs))
    for found, expected in zip(gradients[1:4], (dfed, dh, dc), strict=True):
        np.testing.assert_array_equal(found, expected)
    for x, dx in zip(inputs[4:], gradients[4:], strict=False):
        assert dx is None or (dx.shape == x.shape and not dx.any())


@every_feed
@pytest.mark.parametrize("cut", [1, 3])
def test_two_halves_are_the_whole(feed, cut):
    """What is fed and the states carried on; so steps taken one by one, as in decoding, are those of training."""
    inputs = arguments(feed=feed)
    (feds, hs, ws, *ends), pullback = explicit()(*inputs)
    (*ys_1, fed, h, c), pullback_1 = explicit()(inputs[0][:cut], *inputs[1:])
    (*ys_2, fed_T, h_T, c_T), pullback_2 = explicit()(inputs[0][cut:], fed, h, c, *inputs[4:])
    whole = [np.concatenate(parts) for parts in zip(ys_1, ys_2, strict=True)]
    assert_close([*whole, fed_T, h_T, c_T], [feds, hs, ws, *ends])
    cotangents = given((feds, hs, ws, *ends))
    expected = pullback(*cotangents)
    da_2, dfed, dh, dc, *more_2 = pullback_2(*(d[cut:] for d in cotangents[:3]), *cotangents[3:])
    da_1, dfed_0, dh_0, dc_0, *more_1 = pullback_1(*(d[:cut] for d in cotangents[:3]), dfed, dh, dc)
    sums = [None if a is None else a + b for a, b in zip(more_1, more_2, strict=True)]
    assert_close([np.concatenate([da_1, da_2]), dfed_0, dh_0, dc_0, *sums], expected)


@every_score
@pytest.mark.parametrize("filling", [0.0, 1e6, -1e6])
def test_what_stands_in_the_padding_is_nothing(score, filling):
    inputs, keys, values = arguments(score=score), place_of("keys"), place_of("values")
    mask = inputs[place_of("mask")]
    expected = run(explicit(), inputs)
    other = list(inputs)
    for k in (keys, values):
        other[k] = np.where(mask[:, None], inputs[k], filling)
    found = run(explicit(), other)
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_array_equal(x, y)
    ws, dkeys, dvalues = found[2], found[6 + keys], found[6 + values]
    assert not ws[:, ~mask].any() and not dkeys.swapaxes(1, 2)[~mask].any() and not dvalues.swapaxes(1, 2)[~mask].any()


@every_score
def test_how_much_padding_there_is_is_nothing(score):
    inputs = arguments(score=score)
    keys, values, mask = (place_of(name) for name in ("keys", "values", "mask"))
    longer = list(inputs)
    for k in (keys, values):
        longer[k] = np.concatenate([inputs[k], np.ones((3, *inputs[k].shape[1:]))])
    longer[mask] = np.concatenate([inputs[mask], np.zeros((3, B), bool)])
    outputs, pullback = explicit()(*inputs)
    more, longer_pullback = explicit()(*longer)
    assert not more[2][:, S:].any()
    assert_close([*more[:2], more[2][:, :S], *more[3:]], outputs)
    cotangents = given(outputs)
    padded = [*cotangents[:2], np.concatenate([cotangents[2], np.ones((T, 3, B))], axis=1), *cotangents[3:]]
    found, expected = list(longer_pullback(*padded)), pullback(*cotangents)
    for k in (keys, values):
        assert not found[k][S:].any()
        found[k] = found[k][:S]
    assert_close(found, expected)


@every_score
def test_in_another_order_the_memory_has_its_weights_in_that_order(score):
    inputs, order = arguments(score=score), np.array([2, 0, 3, 1])
    keys, values, mask = (place_of(name) for name in ("keys", "values", "mask"))
    permuted = [x[order] if k in (keys, values, mask) else x for k, x in enumerate(inputs)]
    outputs, pullback = explicit()(*inputs)
    found, permuted_pullback = explicit()(*permuted)
    assert_close(found, [*outputs[:2], outputs[2][:, order], *outputs[3:]])
    cotangents = given(outputs)
    expected = [d[order] if k in (keys, values) else d for k, d in enumerate(pullback(*cotangents))]
    assert_close(permuted_pullback(*cotangents[:2], cotangents[2][:, order], *cotangents[3:]), expected)


def test_where_nothing_is_real_nothing_is_found(backend):
    inputs, mask = arguments(feed="context"), place_of("mask")
    inputs[mask] = asarray(np.arange(S)[:, None] < np.array([S, 0, 1]))
    feds, _, ws, *_ = (to_numpy(y) for y in explicit()(*inputs)[0])
    assert not ws[:, :, 1].any() and not feds[:, :, 1].any()
    np.testing.assert_allclose(ws.sum(axis=1)[:, [0, 2]], 1, rtol=1e-14)
    assert all(d is None or np.isfinite(to_numpy(d)).all() for d in run(explicit(), inputs))


@every_cell
@pytest.mark.parametrize("number", [1, 2, 5])
def test_workers_share_the_memory_out_with_the_columns(cell, number):
    inputs, static = arguments(cell), CELLS[cell][-1]
    expected = run(explicit(cell), inputs, **static)
    with use_workers(number):
        assert_close(run(shard(explicit(cell)), inputs, **static), expected)


@every_score
def test_in_pieces_and_without_a_mask(score):
    inputs = arguments("gru", score, masked=False)
    expected = run(explicit("gru"), inputs)
    with in_pieces(workers=2):
        assert_close(run(shard(explicit("gru")), inputs), expected)


def test_inference_keeps_nothing():
    inputs = arguments()
    outputs, pullback = explicit()(*inputs, wanted=(False,) * len(inputs))
    assert arrays_in(pullback) == [] and pullback(*given(outputs)) == (None,) * len(inputs)
    for found, expected in zip(outputs, explicit()(*inputs)[0], strict=True):
        np.testing.assert_array_equal(found, expected)


def test_ends_are_copies():
    (feds, *_, fed_T, h_T, c_T), _ = explicit()(*arguments())
    assert all(not np.shares_memory(end, feds) for end in (fed_T, h_T, c_T))


def test_its_arguments_have_names():
    rule = shard(attentive(rules.lstm_step))
    assert rule.__name__ == "shard(attentive(lstm_step))"
    (_, pullback) = attentive(rules.gru_step)(*arguments("gru"))
    assert pullback.__name__ == "attentive_pullback"


@pytest.mark.parametrize(
    "combinator", [reverse, ragged, projected, scan, lambda rule: truncate(rule, 2)], ids=lambda c: c.__name__
)
def test_other_combinators_refuse_it(combinator):
    with pytest.raises(TypeError, match=r"attentive\(lstm_step\)"):
        combinator(attentive(rules.lstm_step))


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("a_xs", (T, 4 * H + 1, B), r"W_fed \(G, K\) = \(17, 2\), got \(16, 2\)"),
        ("a_xs", (4 * H, B), r"needs a_xs \(T, G, B\), got shape \(16, 3\)"),
        ("fed_0", (K, B + 1), r"fed_0 \(K, B\) = \(2, 3\), got \(2, 4\)"),
        ("fed_0", (K,), r"needs fed_0 \(K, B\), got shape \(2,\)"),
        ("keys", (S, A + 1, B), r"W_query \(A, H\) = \(7, 4\), got \(6, 4\); v \(A,\) = \(7,\), got \(6,\)"),
        ("keys", (S, A), r"needs keys \(S, A, B\), got shape \(4, 6\)"),
        ("keys", (0, A, B), r"keys \(S, A, B\) = \(1, 6, 3\), got \(0, 6, 3\)"),
        ("values", (S + 1, F, B), r"values \(S, F, B\) = \(4, 3, 3\), got \(5, 3, 3\)"),
        ("values", (S, F), r"needs values \(S, F, B\), got shape \(4, 3\)"),
        ("mask", (B, S), r"mask \(S, B\) = \(4, 3\), got \(3, 4\)"),
        ("W_fed", (4 * H, K + 1), r"W_fed \(G, K\) = \(16, 2\), got \(16, 3\)"),
        ("W_query", (A, H + 1), r"attends with h \(H, B\) = \(4, 3\) needs W_query \(A, H\) = \(6, 4\)"),
        ("v", (A + 1,), r"v \(A,\) = \(6,\), got \(7,\)"),
        ("W_out", (K, F), r"W_out \(K, F \+ H\) = \(2, 7\), got \(2, 3\)"),
    ],
)
def test_bad_shapes_are_named(name, shape, message):
    inputs = arguments()
    inputs[place_of(name)] = np.ones(shape, bool if name == "mask" else float)
    with pytest.raises(ValueError, match=message):
        explicit()(*inputs)


def test_sizes_that_must_agree_are_named():
    inputs = arguments(score="dot", feed="context")
    inputs[place_of("keys")], inputs[place_of("fed_0")] = np.ones((S, H + 1, B)), np.ones((F + 1, B))
    with pytest.raises(
        ValueError, match=r"needs fed_0 \(F, B\) = \(3, 3\), got \(4, 3\); keys \(S, H, B\) = \(4, 4, 3\), got"
    ):
        explicit()(*inputs)
