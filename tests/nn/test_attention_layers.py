"""Layers that look: they are their formulas, step by step what they are at once, and blind to padding."""

import copy
import pickle

import numpy as np
import pytest

from minirnn import nn, ops, use_workers
from minirnn.arrays import asarray, to_numpy, use_backend
from minirnn.checking import check_rule
from minirnn.nn import Attention, AttentiveDecoder, HierarchicalPooling, MultiheadAttention
from minirnn.nn.attention import KINDS
from minirnn.nn.attentive import CELLS, FEEDS
from minirnn.tape import Tensor
from minirnn.testing import counting, strict_cupy

T, B, S, D, H, F = 4, 3, 5, 3, 4, 6
LENGTHS = [5, 2, 1]
every_kind = pytest.mark.parametrize("kind", KINDS)
every_feed = pytest.mark.parametrize("feed", FEEDS)
every_cell = pytest.mark.parametrize("cell", CELLS)


def numbers(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def assert_close(found, expected, tolerance=1e-12):
    np.testing.assert_allclose(to_numpy(found), to_numpy(expected), rtol=tolerance, atol=tolerance)


def memory_size(kind):
    return H if "dot" in kind else F


def attention_of(kind):
    return Attention(H, memory_size(kind), kind, dtype="float64", seed=1)


def decoder_of(cell="lstm", kind="general", feed="output"):
    return AttentiveDecoder(D, H, memory_size(kind), cell, kind, feed, dtype="float64", seed=1)


def compared(attention, h, m):
    """The score of a query and a word, by hand."""
    key, query, v = (
        None if p is None else p.numpy() for p in (attention.weight_key, attention.weight_query, attention.v)
    )
    return {
        "dot": lambda: h @ m,
        "scaled_dot": lambda: h @ m / np.sqrt(H),
        "general": lambda: h @ key @ m,
        "additive": lambda: v @ np.tanh(query @ h + key @ m),
    }[attention.kind]()


def looked_by_hand(attention, h, words):
    """Context and weights of one query in one memory without padding."""
    e = np.exp([compared(attention, h, m) for m in words])
    return e / e.sum() @ words, e / e.sum()


def gradients(module):
    return {name: to_numpy(p.grad) for name, p in module.named_parameters()}


def loss_of(outputs):
    """A number that weighs everything differently."""
    return sum(((y * asarray(numbers(*y.shape, seed=7))).sum() for y in outputs), Tensor.around(asarray(0.0)))


# Attention


@every_kind
def test_attention_is_its_formula(backend, kind):
    attention = attention_of(kind)
    queries, memory = numbers(T, B, H), numbers(S, B, memory_size(kind))
    contexts, weights = (y.numpy() for y in attention(queries, memory, lengths=LENGTHS))
    for b, n in enumerate(LENGTHS):
        for t in range(T):
            context, w = looked_by_hand(attention, queries[t, b], memory[:n, b])
            assert_close(contexts[t, b], context)
            assert_close(weights[t, b], [*w, *[0] * (S - n)])


@every_kind
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_attention_has_the_right_gradients(kind, lengths):
    inputs = [Tensor(x, requires_grad=True) for x in (numbers(T, B, H), numbers(S, B, memory_size(kind)))]
    rule, arrays, _ = attention_of(kind).as_rule(*inputs, lengths)
    check_rule(rule, arrays)


def test_attention_has_the_parameters_of_its_kind():
    shapes = {kind: {n: p.shape for n, p in Attention(H, memory_size(kind), kind).named_parameters()} for kind in KINDS}
    general, additive = {"weight_key": (H, F)}, {"weight_key": (H, F), "weight_query": (H, H), "v": (H,)}
    assert shapes == {"dot": {}, "scaled_dot": {}, "general": general, "additive": additive}
    wide = {name: p.shape for name, p in Attention(H, F, "additive", attention_size=7).named_parameters()}
    assert wide == {"weight_key": (7, F), "weight_query": (7, H), "v": (7,)}
    assert all(p.dtype == np.float64 for p in Attention(H, F, dtype="float64").parameters())


@every_kind
@pytest.mark.parametrize("filling", [np.nan, np.inf, 7.0])
def test_what_stands_past_the_end_of_a_memory_is_nothing(kind, filling):
    queries, memory = numbers(T, B, H), numbers(S, B, memory_size(kind))
    other = np.where((np.arange(S)[:, None] < LENGTHS)[..., None], memory, filling)
    found = []
    for words in (memory, other):
        attention, words = attention_of(kind), Tensor(words, requires_grad=True)
        outputs = attention(queries, words, lengths=LENGTHS)
        loss_of(outputs).backward()
        found.append([*(y.numpy() for y in outputs), words.grad, *gradients(attention).values()])
    for x, y in zip(*found, strict=True):
        np.testing.assert_array_equal(x, y)
    assert not any(found[1][2][n:, b].any() for b, n in enumerate(LENGTHS))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((0, F), ValueError, "query_size must be a positive integer, got 0"),
        ((H, 1.5), ValueError, "memory_size must be a positive integer, got 1.5"),
        ((H, F, "cosine"), ValueError, "kind must be one of dot, scaled_dot, general, additive, got 'cosine'"),
        (
            (H, F, "dot"),
            ValueError,
            "kind 'dot' needs query_size and memory_size to be the same, got 4 and 6; 'general'",
        ),
        ((H, H, "dot", 3), ValueError, "attention_size is of kind 'additive' only, got 3 for 'dot'"),
        ((H, F, "additive", 0), ValueError, "attention_size must be a positive integer, got 0"),
    ],
)
def test_attention_refuses_bad_options(arguments, error, words):
    with pytest.raises(error, match=words):
        Attention(*arguments)


@pytest.mark.parametrize(
    ("kind", "inputs", "error", "words"),
    [
        ("general", (numbers(T, B, H + 1), numbers(S, B, F)), ValueError, r"queries must have shape \(T, B, 4\), got"),
        ("general", (numbers(T, B, H), numbers(S, B + 1, F)), ValueError, r"memory must have shape \(S, 3, 6\), got"),
        ("general", (numbers(T, B, H), numbers(S, B, F), [1, 2]), ValueError, "one integer for each of 3 sequences"),
        ("general", (numbers(T, B, H), numbers(S, B, F), [1, 2, 6]), ValueError, r"lengths must lie in 1..5, .* got 6"),
        ("general", (numbers(T, B, H).astype("float32"), numbers(S, B, F)), TypeError, "queries must have the dtype"),
        ("dot", (numbers(T, B, H), numbers(S, B, H).astype("float32")), TypeError, "memory must have the dtype"),
        ("dot", (np.ones((T, B, H), int), numbers(S, B, H)), TypeError, "queries must be floating-point numbers, got"),
    ],
)
def test_attention_refuses_bad_inputs(kind, inputs, error, words):
    with pytest.raises(error, match=words):
        attention_of(kind)(*inputs)


# The decoder


def decoded_by_hand(decoder, xs, words):
    """Outputs and weights for one column, word after word, from a state of zeros."""
    attention, feed, rnn = decoder.attention, decoder.feed, decoder.rnn
    W_out, W_fed = decoder.weight_out.numpy(), None if decoder.weight_fed is None else decoder.weight_fed.numpy()
    weights = {name.removesuffix("_l0"): value for name, value in rnn.state_dict().items()}
    W_ih, G = weights["weight_ih"], len(weights["weight_ih"])
    cell = {nn.RNN: nn.RNNCell, nn.LSTM: nn.LSTMCell, nn.GRU: nn.GRUCell}[type(rnn)](G, H, dtype="float64")
    cell.load_state_dict({**weights, "weight_ih": np.eye(G)})  # it is given its input projected
    state, h, fed, outs, looks = None, np.zeros(H), np.zeros(H), [], []
    for x in xs:
        if feed == "context":
            context, w = looked_by_hand(attention, h, words)
            fed = context
        a = W_ih @ x + (0 if feed == "nothing" else W_fed @ fed)
        state = cell(a[None], state)
        h = (state[0] if isinstance(state, tuple) else state).numpy()[0]
        if feed != "context":
            context, w = looked_by_hand(attention, h, words)
        outs.append(np.tanh(W_out @ np.concatenate([context, h])))
        looks.append(w)
        fed = outs[-1]
    return np.array(outs), np.array(looks)


@every_cell
@every_kind
@every_feed
def test_the_decoder_is_its_formula(cell, kind, feed):
    decoder = decoder_of(cell, kind, feed)
    x, memory = numbers(T, B, D), numbers(S, B, memory_size(kind))
    outs, weights = (y.numpy() for y in decoder(x, memory, lengths=LENGTHS))
    for b, n in enumerate(LENGTHS):
        expected, looks = decoded_by_hand(decoder, x[:, b], memory[:n, b])
        assert_close(outs[:, b], expected)
        assert_close(weights[:, b, :n], looks)
        assert not weights[:, b, n:].any()


@every_feed
@pytest.mark.parametrize(("cell", "kind"), [("lstm", "additive"), ("gru", "general"), ("rnn", "scaled_dot")])
def test_the_decoder_has_the_right_gradients(cell, kind, feed):
    decoder = decoder_of(cell, kind, feed)
    state = tuple(numbers(B, H, seed=k) for k in range(2))
    inputs = numbers(3, B, D), numbers(S, B, memory_size(kind)), state if cell == "lstm" else state[0], LENGTHS
    rule, arrays, _ = decoder.as_rule(*inputs)
    check_rule(rule, arrays, max_entries=12)


def columns(decoder, kind, seed=0):
    """Inputs, first state, memory and mask, as `run` takes them."""
    xs, memory = Tensor(numbers(T, D, B, seed=seed)), Tensor(numbers(S, memory_size(kind), B, seed=seed))
    mask = asarray(np.arange(S)[:, None] < np.array(LENGTHS))
    states = [Tensor(numbers(H, B, seed=9 + k)) for k in range(len(decoder.rnn.STATES))]
    return xs, decoder.first_state(states, memory, mask), memory, mask


@every_cell
@every_kind
@every_feed
def test_step_by_step_is_all_at_once(backend, cell, kind, feed):
    decoder = decoder_of(cell, kind, feed)
    xs, state, memory, mask = columns(decoder, kind)
    whole = decoder.run(xs, state, memory, mask)
    loss_of([*whole[:2], *whole[2]]).backward()
    expected = gradients(decoder)
    decoder.zero_grad()
    xs, state, memory, mask = columns(decoder, kind)
    parts, keys = [], decoder.attention.keys(memory)
    for t in range(T):
        *outputs, state = decoder.run(xs[t : t + 1], state, memory, mask, keys)
        parts.append(outputs)
    outs, weights = (ops.concat(*some) for some in zip(*parts, strict=True))
    for found, whole_one in zip((outs, weights, *state), (*whole[:2], *whole[2]), strict=True):
        assert_close(found.array, whole_one.array)
    loss_of([outs, weights, *state]).backward()
    for name, gradient in gradients(decoder).items():
        assert_close(gradient, expected[name])


@every_feed
def test_a_column_in_company_is_what_it_is_alone(feed):
    decoder, x, memory = decoder_of(feed=feed), numbers(T, B, D), numbers(S, B, F)
    memory[2:, 1] = memory[1:, 2] = np.nan
    outs, weights = decoder(x, memory, lengths=LENGTHS)
    for b, n in enumerate(LENGTHS):
        alone, looks = decoder(x[:, b : b + 1], memory[:n, b : b + 1])
        assert_close(outs.numpy()[:, b], alone.numpy()[:, 0])
        assert_close(weights.numpy()[:, b, :n], looks.numpy()[:, 0])


@every_feed
@pytest.mark.parametrize("kind", ["general", "additive"])
def test_workers_change_nothing(kind, feed):
    found = []
    for number in (1, 2):
        decoder, memory = decoder_of("lstm", kind, feed), Tensor(numbers(S, B, F), requires_grad=True)
        with use_workers(number):
            outputs = decoder(numbers(T, B, D), memory, lengths=LENGTHS)
            loss_of(outputs).backward()
        found.append([*(y.numpy() for y in outputs), memory.grad, *gradients(decoder).values()])
    for x, y in zip(*found, strict=True):
        assert_close(x, y)


@every_feed
@pytest.mark.parametrize("kind", ["scaled_dot", "additive"])
def test_a_training_step_stays_float32_and_does_not_wait_for_the_device(kind, feed):
    with strict_cupy(), use_backend("cupy"):
        decoder = AttentiveDecoder(D, H, memory_size(kind), attention=kind, feed=feed)
        x, memory = (Tensor(numbers(*shape).astype("float32")) for shape in ((T, B, D), (S, B, memory_size(kind))))
        with counting() as counts:
            outs, weights = decoder(x, memory, lengths=LENGTHS)
            (outs.sum() + weights.sum()).backward()
        assert counts.syncs == 0 and counts.float64_results == 0
        assert {p.grad.dtype.name for p in decoder.parameters()} == {outs.dtype.name} == {"float32"}


def test_without_a_state_it_starts_from_zeros():
    decoder, x, memory = decoder_of(), numbers(T, B, D), numbers(S, B, F)
    zeros = np.zeros((B, H))
    for found, expected in zip(decoder(x, memory), decoder(x, memory, (zeros, zeros)), strict=True):
        np.testing.assert_array_equal(found.numpy(), expected.numpy())
    other, _ = decoder(x, memory, (zeros + 1, zeros))
    assert abs(other.numpy() - decoder(x, memory)[0].numpy()).max() > 1e-3


@every_feed
def test_the_decoder_can_be_copied_and_pickled(feed):
    decoder, inputs = decoder_of(feed=feed), (numbers(T, B, D), numbers(S, B, F))
    expected = decoder(*inputs)[0].numpy()
    for other in (copy.deepcopy(decoder), pickle.loads(pickle.dumps(decoder))):
        np.testing.assert_array_equal(other(*inputs)[0].numpy(), expected)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"cell": "mlp"}, ValueError, "cell must be one of rnn, lstm, gru, got 'mlp'"),
        ({"attention": None}, ValueError, "attention must be one of dot, scaled_dot, general, additive, got None"),
        ({"feed": "both"}, ValueError, "feed must be one of nothing, output, context, got 'both'"),
        ({"attention": "dot"}, ValueError, "kind 'dot' needs query_size and memory_size to be the same, got 4 and 6"),
        ({"hidden_size": 0}, ValueError, "size must be a positive integer, got 0"),
        ({"dtype": "int32"}, ValueError, "dtype must be float32 or float64, got 'int32'"),
    ],
)
def test_the_decoder_refuses_bad_options(options, error, words):
    with pytest.raises(error, match=words):
        AttentiveDecoder(**{"input_size": D, "hidden_size": H, "memory_size": F, **options})


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ((numbers(T, B, D + 1), numbers(S, B, F)), r"x must have shape \(T, B, 3\), got \(4, 3, 4\)"),
        ((numbers(T, B, D), numbers(S, B + 1, F)), r"memory must have shape \(S, 3, 6\), got \(5, 4, 6\)"),
        ((numbers(T, B, D), numbers(S, B, F), numbers(B, H)), r"state must be a pair \(h, c\), got ndarray"),
        ((numbers(T, B, D), numbers(S, B, F), (numbers(B, H), numbers(B, D))), r"c must have shape \(3, 4\), got"),
        ((numbers(T, B, D), numbers(S, B, F), None, [5, 0, 1]), "lengths must lie in 1..5, .* got 0 for sequence 1"),
    ],
)
def test_the_decoder_refuses_bad_inputs(inputs, words):
    with pytest.raises(ValueError, match=words):
        decoder_of()(*inputs)


# Many heads


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("to_itself", [True, False])
def test_many_heads_are_torchs(backend, to_itself, causal, lengths, batch_first=False, bias=True):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.MultiheadAttention(F, 2, bias=bias, batch_first=batch_first, dtype=torch.float64)
    if bias:
        with torch.no_grad():
            theirs.in_proj_bias.copy_(torch.tensor(numbers(3 * F)))
            theirs.out_proj.bias.copy_(torch.tensor(numbers(F)))
    ours = MultiheadAttention(F, 2, bias=bias, batch_first=batch_first, dtype="float64")
    ours.load_state_dict(theirs.state_dict())
    mask = np.tri(S if to_itself else T, S, dtype=bool) if causal else None
    values = [numbers(S, B, F)] * 3 if to_itself else [numbers(T, B, F), numbers(S, B, F), numbers(S, B, F, seed=1)]
    values = [x.swapaxes(0, 1) for x in values] if batch_first else values
    inputs = [Tensor(x, requires_grad=True) for x in values]
    others = [torch.tensor(x, requires_grad=True) for x in values]
    inputs, others = ([inputs[0]] * 3, [others[0]] * 3) if to_itself else (inputs, others)
    padding = None if lengths is None else torch.tensor(np.arange(S) >= np.array(lengths)[:, None])
    y, weights = ours(*inputs, lengths=lengths, mask=mask)
    z, looks = theirs(*others, key_padding_mask=padding, attn_mask=torch.tensor(~mask) if causal else None)
    assert_close(y.array, z.detach().numpy())
    assert_close(weights.array, looks.detach().numpy() if batch_first else looks.detach().numpy().swapaxes(0, 1))
    cotangent = numbers(*y.shape, seed=2)
    y.backward(asarray(cotangent))
    z.backward(torch.tensor(cotangent))
    for a, b in zip(inputs, others, strict=True):
        assert_close(a.grad, b.grad.numpy())
    expected = {name: p.grad.numpy() for name, p in theirs.named_parameters()}
    for name, gradient in gradients(ours).items():
        assert_close(gradient, expected[name])


@pytest.mark.parametrize("bias", [True, False])
def test_so_they_are_with_the_batch_in_front_and_without_biases(bias):
    test_many_heads_are_torchs(None, False, True, LENGTHS, batch_first=True, bias=bias)


def test_a_query_that_may_look_at_nothing_finds_zeros():
    layer, x = MultiheadAttention(F, 2, bias=False, dtype="float64"), Tensor(numbers(S, B, F), requires_grad=True)
    y, weights = layer(x, x, x, mask=np.arange(S)[:, None] > np.arange(S))  # only what was before it
    assert not y.numpy()[0].any() and not weights.numpy()[0].any() and y.numpy()[1:].all()
    y[0].sum().backward()
    assert not x.grad.any()


def test_weights_are_dropped_while_training():
    layer, x = MultiheadAttention(F, 1, dropout=0.4, dtype="float64", seed=1), numbers(S, B, F)
    plain = layer.eval()(x, x, x)
    assert_close(MultiheadAttention(F, 1, dtype="float64", seed=1)(x, x, x)[0].array, plain[0].array)
    _, weights = layer.train()(x, x, x)
    dropped = weights.numpy() == 0
    assert 0.2 < dropped.mean() < 0.6
    assert_close(weights.numpy()[~dropped], plain[1].numpy()[~dropped] / 0.6)
    values = x @ layer.in_proj_weight.numpy()[2 * F :].T
    found = np.einsum("tbs,sbf->tbf", weights.numpy(), values)
    layer.seek(0)
    y, again = layer(x, x, x)
    assert_close(y.array, found @ layer.out_proj.weight.numpy().T)
    assert np.array_equal(again.numpy(), weights.numpy()) and not np.array_equal(
        layer(x, x, x)[1].numpy(), again.numpy()
    )


def test_many_heads_have_the_right_gradients_with_everything():
    layer = MultiheadAttention(F, 2, dropout=0.3, batch_first=True, dtype="float64", seed=1)
    rule, arrays, names = layer.as_rule(
        numbers(B, T, F), numbers(B, S, F), numbers(B, S, F), LENGTHS, np.tri(T, S, dtype=bool)
    )
    assert check_rule(rule, arrays, names=names, max_entries=12).ok


def test_many_heads_begin_as_torchs_do():
    layer = MultiheadAttention(60, 3)
    bound = np.sqrt(6 / (4 * 60))
    assert bound * 0.95 < np.abs(layer.in_proj_weight.numpy()).max() <= bound
    assert not layer.in_proj_bias.numpy().any() and not layer.out_proj.bias.numpy().any()
    assert np.abs(layer.out_proj.weight.numpy()).max() <= 60**-0.5


@pytest.mark.parametrize("filling", [np.nan, 7.0])
def test_many_heads_do_not_read_padding(filling):
    layer, query, key, value = MultiheadAttention(F, 2, dtype="float64"), *(numbers(S, B, F, seed=k) for k in range(3))
    real = (np.arange(S)[:, None] < LENGTHS)[..., None]
    expected = layer(query, key, value, lengths=LENGTHS)
    found = layer(query, np.where(real, key, filling), np.where(real, value, filling), lengths=LENGTHS)
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_array_equal(x.numpy(), y.numpy())


def looking(**options):
    return MultiheadAttention(F, 2, dtype="float64")(*[numbers(S, B, F)] * 3, **options)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MultiheadAttention(F, 4), "num_heads must divide embed_dim, 6, got 4"),
        (lambda: MultiheadAttention(0, 1), "embed_dim must be a positive integer, got 0"),
        (lambda: MultiheadAttention(F, 2)(*[numbers(S, B, 5)] * 3), "query must have the dtype"),
        (
            lambda: MultiheadAttention(F, 2, dtype="float64")(numbers(T, B, F), numbers(S, B, F), numbers(T, B, F)),
            r"value must have shape \(5, 3, 6\), got \(4, 3, 6\)",
        ),
        (
            lambda: MultiheadAttention(F, 2, dtype="float64")(*[numbers(S, B, F)] * 3, lengths=[1, 2]),
            "one integer for each of 3 sequences",
        ),
        (
            lambda: looking(mask=np.zeros((S, S))),
            "mask must be boolean, True where a query may look, got dtype float64",
        ),
        (
            lambda: looking(mask=np.ones((S, B), bool)),
            r"mask must have shape \(5, 5\), a row for each query, got \(5, 3\)",
        ),
        (lambda: looking(mask=[[True], [True, False]]), "mask: data must be numbers in a rectangular arrangement"),
        (lambda: MultiheadAttention(F, 2, 1.0), "dropout must be a number from 0 to below 1, got 1.0"),
        (lambda: MultiheadAttention(F, 2, bias=None), "bias must be True or False, got None"),
        (lambda: MultiheadAttention(F, 2, batch_first=1), "batch_first must be True or False, got 1"),
    ],
)
def test_many_heads_refuse_bad_input(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()


# Words to sentences to documents

DOCUMENTS, WORDS = [[4, 1, 2], [3, 0, 0], [2, 4, 0]], 4  # words of every sentence


def pooling():
    return HierarchicalPooling(D, 2, dtype="float64", seed=1)


def test_a_document_in_company_is_what_it_is_alone(backend):
    layer, words = pooling(), numbers(3, 3, WORDS, D)
    documents, of_sentences, of_words = (y.numpy() for y in layer(words, DOCUMENTS))
    assert documents.shape == (3, 4) and of_words.shape == (3, 3, WORDS)
    for b, lengths in enumerate(DOCUMENTS):
        n = sum(length > 0 for length in lengths)
        alone, looks, _ = layer(words[b : b + 1, :n, : max(lengths)], [lengths[:n]])
        assert_close(documents[b], alone.numpy()[0])
        assert_close(of_sentences[b], [*looks.numpy()[0], *[0] * (3 - n)])
        for k, length in enumerate(lengths):
            assert_close(of_words[b, k].sum(), float(length > 0))
            assert not of_words[b, k, length:].any()


def test_pooling_is_its_formula():
    layer, words = pooling(), numbers(1, 1, WORDS, D)
    documents, of_sentences, of_words = (y.numpy() for y in layer(words, [[WORDS]]))
    hs, _ = layer.words(words[0].swapaxes(0, 1))
    hs, looking = hs.numpy()[:, 0], layer.of_words
    e = np.exp(np.tanh(hs @ looking.weight.numpy().T + looking.bias.numpy()) @ looking.v.numpy())
    sentence = e / e.sum() @ hs
    assert_close(of_words[0, 0], e / e.sum())
    assert_close(documents, layer.sentences(sentence[None, None])[0].numpy()[0])  # of one sentence there is one weight
    assert_close(of_sentences, [[1.0]])


def test_pooling_has_the_right_gradients():
    rule, arrays, _ = pooling().as_rule(numbers(3, 3, WORDS, D), DOCUMENTS)
    check_rule(rule, arrays, max_entries=12)


def test_pooling_reads_no_padding():
    layer, words = pooling(), numbers(3, 3, WORDS, D)
    expected = layer(words, DOCUMENTS)
    padding = np.arange(WORDS) >= np.array(DOCUMENTS)[..., None]
    for x, y in zip(layer(np.where(padding[..., None], np.nan, words), DOCUMENTS), expected, strict=True):
        np.testing.assert_array_equal(x.numpy(), y.numpy())


@pytest.mark.parametrize(
    ("lengths", "error", "words"),
    [
        ([[4, 1, 2]], ValueError, r"lengths must be of shape \(3, 3\), one for every sentence, got \(1, 3\)"),
        ([[5, 1, 2], [3, 0, 0], [2, 4, 0]], ValueError, "lengths must lie in 0..4, the number of words, got 0..5"),
        ([[4, 1, -1], [3, 0, 0], [2, 4, 0]], ValueError, "lengths must lie in 0..4, the number of words, got -1..4"),
        (
            [[4, 1, 2], [3, 0, 1], [2, 4, 0]],
            ValueError,
            r"0 after the last sentence only, got \[3, 0, 1\] for document 1",
        ),
        (
            [[4, 1, 2], [3, 0, 0], [0, 0, 0]],
            ValueError,
            r"0 after the last sentence only, got \[0, 0, 0\] for document 2",
        ),
        (np.ones((3, 3)), TypeError, "lengths must be integers, got dtype float64"),
        (
            [[4, 1, 2], [3]],
            ValueError,
            r"lengths must be of shape \(3, 3\), one for every sentence, got rows of different length",
        ),
        ([], ValueError, r"lengths must be of shape \(3, 3\), one for every sentence, got \(0,\)"),
    ],
)
def test_pooling_refuses_bad_lengths(lengths, error, words):
    with pytest.raises(error, match=words):
        pooling()(numbers(3, 3, WORDS, D), lengths)


@pytest.mark.parametrize("shape", [(3, 0, WORDS, D), (3, 3, 0, D), (0, 0, 0, D)])
def test_pooling_refuses_documents_of_nothing(shape):
    with pytest.raises(ValueError, match="words must hold at least one sentence of one word, got shape"):
        pooling()(np.zeros(shape), np.zeros(shape[:2], int))


def test_of_no_document_there_is_no_vector():
    assert [y.shape for y in pooling()(np.zeros((0, 3, WORDS, D)), np.zeros((0, 3), int))] == [
        (0, 4),
        (0, 3),
        (0, 3, WORDS),
    ]
