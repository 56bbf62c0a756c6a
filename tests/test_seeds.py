"""Seeds that nobody has given: layers never start equal by accident, and a program starts the same each time."""

import asyncio
import subprocess
import sys
import threading
from itertools import combinations

import numpy as np
import pytest

import minirnn as mr
from minirnn import nn
from minirnn.seeds import own_seed, seed_of

MAKERS = {
    "Linear": lambda **own: nn.Linear(3, 3, **own),
    "Embedding": lambda **own: nn.Embedding(3, 3, **own),
    "RNN": lambda **own: nn.RNN(3, 3, **own),
    "LSTM": lambda **own: nn.LSTM(3, 3, **own),
    "GRU": lambda **own: nn.GRU(3, 3, **own),
    "RNNCell": lambda **own: nn.RNNCell(3, 3, **own),
    "LSTMCell": lambda **own: nn.LSTMCell(3, 3, **own),
    "GRUCell": lambda **own: nn.GRUCell(3, 3, **own),
    "Attention": lambda **own: nn.Attention(3, 3, **own),
    "AttentiveDecoder": lambda **own: nn.AttentiveDecoder(3, 3, 3, feed="output", **own),
    "MultiheadAttention": lambda **own: nn.MultiheadAttention(4, 2, **own),
    "HierarchicalPooling": lambda **own: nn.HierarchicalPooling(3, 3, **own),
}
MODELS = {
    "CharLM": lambda **own: mr.CharLM(5, 3, 3, num_layers=2, **own),
    "Tagger": lambda **own: mr.Tagger(5, 3, 3, 3, num_layers=2, **own),
    "Seq2Seq": lambda **own: mr.Seq2Seq(5, 5, 3, 3, num_layers=2, feed="output", **own),
    "Seq2Seq without attention": lambda **own: mr.Seq2Seq(5, 5, 3, 3, num_layers=3, attention="none", **own),
}


def drawn(*modules):
    """What was drawn at random in modules, as flat arrays by name."""
    states = {f"{k}: {name}": a.ravel() for k, m in enumerate(modules) for name, a in m.state_dict().items()}
    return {name: a for name, a in states.items() if np.any(a)}


def proportional(a, b):
    """Whether the numbers that two arrays begin with are the same draws, though they may be scaled."""
    n = min(len(a), len(b))
    return n > 1 and np.allclose(a[:n] * b[0], b[:n] * a[0], rtol=1e-4)


def alike(*modules):
    """The names of parameters that share their draws."""
    return [(a, b) for (a, x), (b, y) in combinations(drawn(*modules).items(), 2) if proportional(x, y)]


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_no_two_that_are_given_no_seed_share_a_draw(make):
    one, other = make(), make()
    assert one.seed != other.seed and not alike(one, other)
    assert alike(one, make(seed=one.seed))


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_no_two_parts_of_a_model_share_a_draw_nor_do_models_of_other_seeds(make):
    assert not alike(*(make(seed=seed) for seed in (0, 1, 2)))
    one, other = make().state_dict(), make(seed=np.int64(0)).state_dict()
    assert all(np.array_equal(array, other[name]) for name, array in one.items())


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_its_seed_makes_a_layer_once_more(make):
    one = make()
    for other in (make(seed=one.seed), make(seed=np.int64(one.seed))):
        assert type(other.seed) is int and other.seed == one.seed < 2**53
        again = other.state_dict()
        assert all(np.array_equal(array, again[name]) for name, array in one.state_dict().items())


def test_masks_that_are_given_no_seed_differ_and_come_back():
    x = np.ones((4, 50), "float32")
    one, other = nn.Dropout(), nn.Dropout()
    first = one(x).numpy()
    assert not np.array_equal(first, other(x).numpy())
    assert np.array_equal(first, nn.Dropout(seed=one.seed)(x).numpy())


def test_use_seed_begins_anew_and_a_block_ends():
    outer = own_seed(None)
    with mr.use_seed(7):
        inside = [own_seed(None), own_seed(None)]
        with mr.use_seed(7):
            assert own_seed(None) == inside[0]
        assert own_seed(None) not in inside
    following = own_seed(None)
    with mr.use_seed(0):  # as every test, and every program, begins
        assert [own_seed(None), own_seed(None)] == [outer, following]
        mr.use_seed(7)
        assert [own_seed(None), own_seed(None)] == inside


def test_a_seed_that_is_given_counts_for_nothing():
    with mr.use_seed(0):
        expected = [own_seed(None), own_seed(None)]
    assert [own_seed(None), own_seed(3), own_seed(None)] == [expected[0], 3, expected[1]]


def test_a_layer_that_is_refused_counts_for_nothing():
    with mr.use_seed(0):
        expected = own_seed(None)
    for refused in (lambda: nn.Linear(0, 3), lambda: nn.LSTM(3, 3, dtype="int8"), lambda: nn.Embedding(3, 3, dtype=3)):
        with pytest.raises(ValueError):
            refused()
    assert own_seed(None) == expected


def test_no_two_threads_take_the_same_seed_and_none_disturbs_another():
    found = []
    threads = [threading.Thread(target=lambda: found.append([own_seed(None), own_seed(None)])) for _ in range(4)]
    with mr.use_seed(7):
        first = own_seed(None)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        second = own_seed(None)
    assert len({seed for seeds in found for seed in seeds}) == 8
    with mr.use_seed(7):
        assert [own_seed(None), own_seed(None)] == [first, second]


def test_tasks_share_the_count_of_whoever_starts_them():
    async def one():
        return own_seed(None)

    async def both():
        return await asyncio.gather(one(), one())

    assert len({*asyncio.run(both()), *asyncio.run(both())}) == 4


def test_a_program_has_the_same_weights_each_time():
    program = "from minirnn import nn; a, b = nn.Linear(2, 2), nn.Linear(2, 2); print(a.seed, b.seed)"
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert told.split() == [str(nn.Linear(2, 2).seed), str(nn.Linear(2, 2).seed)]


def test_the_seed_of_a_part_depends_on_its_name_and_the_seed_of_the_whole():
    seeds = {seed_of(part, seed) for part in ("a", "b", "bridge.0", "bridge.1") for seed in (0, 1, 2**63)}
    assert len(seeds) == 12 and seed_of("a", 1) == seed_of("a", 1)


@pytest.mark.parametrize("seed", [-1, 1.5, "1", None])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(ValueError, match="seed must be an integer that is not negative, got"):
        mr.use_seed(seed)
