"""The tagger: equal to the same model in PyTorch, its gradients checked, blind to padding, and able to learn."""

import numpy as np
import pytest

from minirnn.arrays import to_numpy, use_backend
from minirnn.checking import check_rule
from minirnn.models import Tagger
from minirnn.nn import GRU, Module
from minirnn.tape import no_grad
from minirnn.testing import counting, strict_cupy
from minirnn.training import Adam, clip_grad_norm_

V, K, E, H = 9, 4, 3, 5
LENGTHS = np.array([3, 5, 1, 4])  # in no order
CELLS = ("rnn", "lstm", "gru")


def model(**options):
    sizes = {"vocab_size": V, "num_tags": K, "embedding_size": E, "hidden_size": H, "num_layers": 2}
    return Tagger(**{**sizes, "dtype": "float64", "seed": 1, **options})


def sentences(lengths=LENGTHS, T=None, padding=0, seed=0):
    """Ids, tags and lengths of random sentences; the words and tags of sentence b depend on nothing but b and seed."""
    T, numbers = T or max(lengths), [np.random.default_rng([seed, b]) for b in range(len(lengths))]
    ids, tags = np.full((2, len(lengths), T), padding)
    for b, (n, random) in enumerate(zip(lengths, numbers, strict=True)):
        ids[b, :n], tags[b, :n] = random.integers(0, V, n), random.integers(0, K, n)
    return ids, tags, np.array(lengths)


def played(tagger, ids, tags, lengths):
    """The loss and all gradients, by name."""
    tagger.zero_grad()
    loss, _ = tagger.loss((ids, lengths), tags)
    loss.backward()
    return {"loss": loss.numpy()} | {f"d {name}": to_numpy(p.grad) for name, p in tagger.named_parameters()}


def same_bits(mine, other):
    return [name for name in other if not np.array_equal(mine[name], other[name])] == [] and mine.keys() == other.keys()


# Against PyTorch


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [True, False])
def test_equals_torch(cell, bidirectional):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # its threads and those of NumPy's BLAS would only wait for each other
    tagger = model(cell=cell, bidirectional=bidirectional)
    recurrent = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
    twin = torch.nn.ModuleDict(
        {
            "embedding": torch.nn.Embedding(V, E),
            "rnn": recurrent(E, H, 2, batch_first=True, bidirectional=bidirectional),
            "head": torch.nn.Linear(H * (1 + bidirectional), K),
        }
    ).double()
    twin.load_state_dict({name: torch.tensor(a) for name, a in tagger.state_dict().items()})
    ids, tags, lengths = sentences()
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        twin["embedding"](torch.tensor(ids)), lengths.tolist(), batch_first=True, enforce_sorted=False
    )
    hs, _ = torch.nn.utils.rnn.pad_packed_sequence(twin["rnn"](packed)[0], batch_first=True)
    real = torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]
    expected = torch.nn.functional.cross_entropy(twin["head"](hs)[real], torch.tensor(tags)[real])
    expected.backward()

    mine = played(tagger, ids, tags, lengths)
    assert abs(mine["loss"] - expected.item()) < 1e-12
    for name, p in twin.named_parameters():
        other = p.grad.numpy()
        assert np.abs(mine[f"d {name}"] - other).max() < 1e-10 * np.abs(other).max(), name


# The gradient, against numbers


class LossOf(Module):
    """A tagger as a function whose output is its loss, so that the gradient of the loss can be checked."""

    def __init__(self, tagger):
        self.tagger = tagger

    def forward(self, ids, tags, lengths):
        return self.tagger.loss((ids, lengths), tags)[0]


@pytest.mark.parametrize(
    "options",
    [{"cell": cell, "dropout": 0.3, "locked_dropout": True} for cell in CELLS] + [{}, {"bidirectional": False}],
)
def test_gradcheck_of_the_loss(options):
    tagger = model(**options)
    rule, arrays, names = LossOf(tagger).as_rule(*sentences())
    report = check_rule(rule, arrays, names=names, max_entries=3)
    assert report.ok and {a.method for a in report.arguments} == {"complex"}
    assert [a.name for a in report.arguments] == [f"tagger.{name}" for name, _ in tagger.named_parameters()]


def test_gradcheck_of_the_scores():
    ids, _, lengths = sentences()
    rule, arrays, names = model().as_rule(ids, lengths)
    assert check_rule(rule, arrays, names=names, max_entries=3).ok


def test_gradcheck_sees_a_wrong_tagger():
    class Leaky(Tagger):
        def _scores(self, ids, lengths):
            return super()._scores(ids, lengths) * (1 + self.rnn.bias_hh_l1_reverse.detach().sum())

    rule, arrays, names = LossOf(Leaky(V, K, E, H, 2, dtype="float64")).as_rule(*sentences())
    with pytest.raises(AssertionError, match="bias_hh_l1_reverse"):
        check_rule(rule, arrays, names=names, max_entries=3)


# Padding


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", [{}, {"dropout": 0.3}, {"dropout": 0.3, "locked_dropout": True}])
def test_neither_amount_nor_contents_of_padding_matter(backend, cell, options):
    """Bit for bit: in training, also with masks, and whatever ids and tags the padding holds, even impossible ones."""
    tagger = model(cell=cell, **options)
    results = []
    for T, padding in ((5, 0), (5, 2), (5, -100), (9, 0), (12, V + 70)):
        tagger.seek(3)
        results.append(played(tagger, *sentences(T=T, padding=padding)))
    assert all(same_bits(other, results[0]) for other in results[1:])


def test_words_that_are_not_padding_do_matter(backend):
    """As a guard for the test above: one more word, or another last one, and loss and gradients are others."""
    tagger, (ids, tags, lengths) = model(), sentences()
    base = played(tagger, ids, tags, lengths)
    ids[0, 2] = (ids[0, 2] + 1) % V
    assert not any(np.array_equal(base[name], value) for name, value in played(tagger, ids, tags, lengths).items())
    assert played(tagger, *sentences(LENGTHS + np.eye(4, dtype=int)[0]))["loss"] != base["loss"]


@pytest.mark.parametrize("cell", CELLS)
def test_a_sentence_is_tagged_as_by_itself(backend, cell):
    tagger, (ids, _, lengths) = model(cell=cell), sentences(T=7, padding=3)
    scores = tagger(ids, lengths).numpy()
    assert scores.shape == (4, 7, K)
    for b, n in enumerate(lengths):
        assert np.allclose(scores[b, :n], tagger(ids[b : b + 1, :n]).numpy()[0], rtol=1e-12, atol=1e-14)
        assert not scores[b, n:].any()


@pytest.mark.parametrize("pair", [(0, 1), (2, 1)])
def test_the_loss_is_the_mean_over_words(backend, pair):
    """Of two sentences: a word of the longer counts as much as one of the shorter."""
    tagger, (ids, tags, lengths) = model(), sentences()
    rows = list(pair)
    both = played(tagger, ids[rows], tags[rows], lengths[rows])
    alone = [played(tagger, ids[b : b + 1], tags[b : b + 1], lengths[b : b + 1]) for b in pair]
    share = lengths[rows] / lengths[rows].sum()
    assert share[0] != share[1]
    for name, value in both.items():
        mean = share[0] * alone[0][name] + share[1] * alone[1][name]
        assert np.allclose(value, mean, rtol=1e-10, atol=1e-14), name


def test_no_lengths_means_that_all_words_are_real(backend):
    tagger, (ids, tags, _) = model(), sentences([5, 5, 5])
    full, none = (played(tagger, ids, tags, lengths) for lengths in ([5, 5, 5], None))
    for name, value in full.items():
        assert np.allclose(value, none[name], rtol=1e-11, atol=1e-14), name
    assert np.array_equal(tagger(ids, [5, 5, 5]).numpy(), tagger(ids).numpy())


# Tags told


def test_predict_gives_the_tags_of_highest_score(backend):
    tagger, (ids, _, lengths) = model(dropout=0.5), sentences(T=7, padding=-1)
    with no_grad():
        tagger.head.weight *= 20.0  # or one tag, that of the highest bias, would always win
    tags = tagger.predict(ids, lengths)
    assert tagger.training and tagger.rnn.training and (tagger.draws, tagger.rnn.draws) == (0, 0)
    scores = tagger.eval()(ids, lengths).numpy()
    assert isinstance(tags, np.ndarray) and tags.shape == (4, 7) and tags.dtype.kind == "i"
    for b, n in enumerate(lengths):
        assert np.array_equal(tags[b, :n], scores[b, :n].argmax(axis=-1))
        assert (tags[b, n:] == -1).all()
    assert len(np.unique(tags)) > 2


@pytest.mark.parametrize("bidirectional", [True, False])
def test_what_comes_after_is_heard_by_a_bidirectional_tagger_only(backend, bidirectional):
    tagger, (ids, _, _) = model(bidirectional=bidirectional), sentences([5])
    other = ids.copy()
    other[0, -1] = (ids[0, -1] + 1) % V
    changed = (tagger(ids).numpy() != tagger(other).numpy()).any(axis=-1)
    assert changed[0].tolist() == ([True] * 5 if bidirectional else [False] * 4 + [True])


def test_parameters_are_saved_and_loaded(backend):
    saved, other = model(), model(seed=2)
    ids, tags, lengths = sentences()
    state = saved.state_dict()
    assert {"embedding.weight", "rnn.weight_ih_l1_reverse", "head.bias"} < set(state)
    assert not np.array_equal(saved(ids, lengths).numpy(), other(ids, lengths).numpy())
    other.load_state_dict(state)
    assert same_bits(played(other, ids, tags, lengths), played(saved, ids, tags, lengths))


def test_options_reach_the_layers():
    rnn = model(cell="gru", num_layers=3, dropout=0.3, locked_dropout=True).rnn
    assert (type(rnn), rnn.num_layers, rnn.hidden_size, rnn.bidirectional) == (GRU, 3, H, True)
    assert (rnn.dropout, rnn.locked_dropout) == (0.3, True)


@pytest.mark.parametrize("locked", [True, False])
def test_dropout_before_the_scores(backend, locked):
    """The head is made to show outputs: dropped ones are zero, the others rescaled; locked, at every word the same."""
    tagger = model(num_tags=2 * H, num_layers=1, dropout=0.5, locked_dropout=locked)
    with no_grad():
        tagger.head.weight[...] = 0.0
        tagger.head.bias[...] = 0.0
        for k in range(2 * H):
            tagger.head.weight[k, k] = 1.0
    ids = sentences([40] * 6)[0]
    shown, expected = tagger(ids).numpy(), tagger.eval()(ids).numpy()
    kept = shown != 0
    assert np.allclose(shown[kept], 2 * expected[kept], rtol=1e-12)
    assert 0.3 < kept.mean() < 0.7
    assert (kept == kept[:, :1]).all() == locked
    assert not (kept == kept[:1]).all()  # each sentence has a mask of its own


def test_a_few_sentences_are_learnt_by_heart():
    tagger = model(hidden_size=8, dropout=0.1, locked_dropout=True, dtype="float32")
    ids, tags, lengths = sentences([4, 7, 2, 5, 3])
    optimizer = Adam(tagger.parameters(), lr=0.03)
    before = tagger.loss((ids, lengths), tags)[0].item()
    for _ in range(60):
        optimizer.zero_grad()
        loss, _ = tagger.loss((ids, lengths), tags)
        loss.backward()
        clip_grad_norm_(tagger.parameters(), 1.0)
        optimizer.step()
    assert loss.item() < 0.1 * before
    real = np.arange(7) < lengths[:, None]
    assert np.array_equal(tagger.predict(ids, lengths), np.where(real, tags, -1))


# dtype and backend


@pytest.mark.parametrize("cell", CELLS)
def test_every_float32_stays_float32(backend, cell):
    tagger = model(cell=cell, dtype="float32", dropout=0.5, locked_dropout=True)
    with counting() as counts:
        results = played(tagger, *sentences())
        scores = tagger(*sentences()[::2])
    assert {a.dtype.name for a in results.values()} == {scores.dtype.name} == {"float32"}
    assert counts.float64_results == 0


def test_a_training_step_does_not_wait_for_the_device():
    with strict_cupy(), use_backend("cupy"):
        tagger, (ids, tags, lengths) = model(dtype="float32", dropout=0.5, locked_dropout=True), sentences()
        with counting() as counts:
            tagger.loss((ids, lengths), tags)[0].backward()
        assert counts.syncs == 0


def test_results_agree_on_both_backends():
    def run():
        tagger, (ids, tags, lengths) = model(dropout=0.5, locked_dropout=True), sentences()
        return played(tagger, ids, tags, lengths) | {"tags": tagger.predict(ids, lengths)}

    host = run()
    with strict_cupy(), use_backend("cupy"):
        device = run()
    assert all(np.allclose(host[name], device[name], rtol=1e-11, atol=1e-14) for name in host)
