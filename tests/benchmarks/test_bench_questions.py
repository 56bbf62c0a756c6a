"""Every question runs in its smallest size, from the first draw to the last column of its table."""

import re

import pytest

ALONE = ("train_step", "sequences", "seq2seq", "translating", "generation", "memory", "overhead", "unrolled", "growth",
         "long_sequences", "gradient_check", "import_time", "roof")  # fmt: skip
BESIDE_TORCH = "train_step", "sequences", "seq2seq", "translating", "generation", "memory", "gradient_check"


def rows(benchmark, name, torch=False):
    question, trial = benchmark(name), benchmark("harness").Trial(pairs=1, torch=torch)
    return question, [{**case, **question.measure(case, trial)} for case in question.SIZES["tiny"]]


def test_the_suite_asks_all_of_them(benchmark):
    assert sorted(benchmark("suite").QUESTIONS.values()) == sorted((*ALONE, "scaling"))


def test_processes_that_share_a_batch(benchmark):
    pytest.importorskip("mpi4py", reason="the extra mpi is not installed")
    question, found = rows(benchmark, "scaling")
    table = benchmark("reporting").shown(question.TABLE, found)
    assert list(table[0]) == list(question.TABLE)
    assert found[0]["figures"]["two"]["ms"] > 0 and found[0]["bandwidth"] > 0


def test_what_cannot_be_measured_is_not_asked(benchmark, monkeypatch):
    suite = benchmark("suite")
    monkeypatch.setattr(suite, "find_spec", lambda package: None)
    assert sorted({*suite.QUESTIONS} - {*suite.measurable()}) == ["scaling"]


@pytest.mark.parametrize("name", ALONE)
def test_alone(benchmark, at_once, name):
    question, found = rows(benchmark, name)
    table = benchmark("reporting").shown(question.TABLE, found)
    assert len(table) == len(question.SIZES["tiny"]) and len(table[0]) >= 2
    assert not [heading for heading in table[0] if "torch" in heading]
    assert not re.search(r"nan|inf|\{|-$", " ".join(value for row in table for value in row.values()))


@pytest.mark.parametrize("name", BESIDE_TORCH)
def test_beside_pytorch_no_field_is_empty(benchmark, at_once, torch, name):
    question, found = rows(benchmark, name, torch=True)
    for row in benchmark("reporting").shown(question.TABLE, found):
        assert list(row) == list(question.TABLE)
        assert benchmark("reporting").NOTHING not in row.values()


@pytest.mark.parametrize("name", ["train_step", "sequences", "seq2seq"])
def test_all_ways_of_pytorch_have_the_gradients_of_minirnn(benchmark, at_once, torch, tmp_path, monkeypatch, name):
    question, seen = benchmark(name), []
    monkeypatch.setattr(benchmark("tempfile"), "TemporaryDirectory", lambda: Folder(tmp_path))
    for case in question.SIZES["tiny"]:
        question.measure(case, benchmark("harness").Trial(pairs=1))
        for way, player in question.ways_of_torch({**case, "folder": str(tmp_path)}).items():
            player.play()
            assert benchmark("measuring").agreement(tmp_path, "minirnn", "torch") < 1e-14
            seen.append(way)
    assert len(set(seen)) == (6 if name == "seq2seq" else 4)


class Folder:
    """A temporary directory that outlives its ``with`` block."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        return str(self.path)

    def __exit__(self, *exc):
        return None


def test_a_model_that_writes_another_text_is_refused(benchmark, at_once, torch, monkeypatch):
    generation = benchmark("generation")

    def garbled(**given):
        return {"ms": 1.0, "min_ms": 1.0, "us": 1.0, "min_us": 1.0, "greedy": [0] * generation.GREEDY}

    monkeypatch.setattr(generation, "play_torch", garbled)
    with pytest.raises(benchmark("harness").DisagreementError, match="do not write the same greedy text"):
        rows(benchmark, "generation", torch=True)


def test_both_ways_of_pytorch_find_the_translations_of_minirnn(benchmark, at_once, torch, tmp_path):
    translating = benchmark("translating")
    given = {"V": 300, "H": 16, "sentences": 40, "B": 30, "beam": 4, "folder": str(tmp_path)}
    translating.write_weights(given["folder"], given)
    ours = translating.play_minirnn(**given)["exact"]
    assert len({len(ids) for ids, _ in ours}) > 3  # some end early, some late
    for player in translating.ways_of_torch(given).values():
        assert translating.agreement([ours, player.play()["exact"]]) < 1e-12


@pytest.mark.parametrize(
    ("other", "message"), [([[4, 5], -1.0], "of sentence 1 the searches find"), ([[4, 6], -1.001], "differ by 1.0e-03")]
)
def test_another_translation_or_another_score_is_refused(benchmark, other, message):
    ours = [[[7], -2.0], [[4, 6], -1.0]]
    with pytest.raises(benchmark("harness").DisagreementError, match=message):
        benchmark("translating").agreement([ours, [ours[0], other]])


def test_a_gradient_by_hand_that_differs_is_refused(benchmark, at_once, monkeypatch):
    overhead = benchmark("overhead")
    right = overhead.gradient_by_hand

    def wrong(*arguments):
        loss, found, states = right(*arguments)
        return loss, {**found, "head.bias": found["head.bias"] * 1.001}, states

    monkeypatch.setattr(overhead, "gradient_by_hand", wrong)
    with pytest.raises(benchmark("harness").DisagreementError, match="by hand the gradients are others"):
        rows(benchmark, "overhead")


def test_the_operations_of_a_step_are_those_of_its_products(benchmark):
    train_step, sequences = benchmark("train_step"), benchmark("sequences")
    ones = {"V": 1, "H": 1, "layers": 1, "B": 1, "T": 1, "steps": 1}  # 4 rows of W_ih, 4 of W_hh, one score
    assert train_step.operations(ones) == pytest.approx(3 * 2 * (4 + 4 + 1) / 1e9)
    article = {"V": 65, "H": 128, "layers": 2, "B": 16, "T": 50, "steps": 1}
    assert train_step.operations(article) == pytest.approx(1.01, rel=0.01)
    lstm = {"cell": "LSTM", "T": 1, "B": 1, "D": 10, "H": 10, "steps": 1}
    assert sequences.operations(lstm) == pytest.approx(3 * (2 * 40 * 10 + 2 * 40 * 10) / 1e9)


def test_one_node_is_one_node(benchmark, at_once):
    _, (row,) = rows(benchmark, "unrolled")
    T = row["T"]
    nodes = [row[way]["nodes"] for way in benchmark("unrolled").WAYS]
    assert nodes == [1, T + 1, 12 * T + 1]


def test_growth_is_told_by_its_exponent(benchmark):
    slope = benchmark("growth").slope
    assert slope([1, 10, 100], [5, 50, 500]) == pytest.approx(1)
    assert slope([1, 10, 100], [5, 5, 5]) == pytest.approx(0)
