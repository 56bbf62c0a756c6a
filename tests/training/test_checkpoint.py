"""Models on disk, and the directory of a run: what is written, kept, refused, and survives a full disk."""

import errno
import json
import os

import numpy as np
import pytest
from tiny_runs import TEXT, bits, tiny_model, tiny_stream

from minirnn import (
    SGD,
    Adam,
    CharLM,
    Checkpoint,
    CheckpointError,
    EarlyStopping,
    Trainer,
    Vocabulary,
    fit,
    generate,
    load,
    save,
)
from minirnn.nn import Linear, Parameter, init
from minirnn.rules.combinators import truncate
from minirnn.training import Callback, DivergenceError, RunDirectoryError
from minirnn.training.kinds import KINDS
from minirnn.training.sealed import read_sealed, write_sealed


def train(folder, steps, stream=None, model=None, optimizer=None, callbacks=(), **settings):
    """A run of some steps, kept in ``folder``; gives its trainer."""
    stream = stream or tiny_stream()
    lr = None if optimizer else 0.01
    trainer = Trainer(model or tiny_model(stream), stream, optimizer=optimizer, lr=lr, log_every=2)
    trainer.run(steps=steps, callbacks=[*callbacks, Checkpoint(folder, **settings)])
    return trainer


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- models ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [{}, {"dtype": "float64", "dropout": 0.2}, {"tie_weights": True, "hidden_size": 3}]
)
def test_what_is_loaded_is_what_was_saved_bit_for_bit(backend, tmp_path, settings):
    stream = tiny_stream()
    lm = tiny_model(stream, **settings)
    fit(lm, stream, steps=3)
    save(lm, tmp_path / "lm.npz")
    back = load(tmp_path / "lm.npz")
    assert (back.config, back.vocabulary, bits(back)) == (lm.config, lm.vocabulary, bits(lm))
    assert not back.training
    ids = stream.batch(0, 0)[0]
    assert back(ids)[0].numpy().tobytes() == lm.eval()(ids)[0].numpy().tobytes()
    assert generate(back, "the", 9) == generate(lm, "the", 9)
    assert (back.head.weight is back.embedding.weight) == settings.get("tie_weights", False)


def test_a_model_without_vocabulary_is_saved_too(tmp_path):
    save(CharLM(7, 3, 4), tmp_path / "lm.npz")
    assert load(tmp_path / "lm.npz").vocabulary is None


def test_load_takes_a_file_or_the_directory_of_a_run(tmp_path):
    trainer = train(tmp_path / "a", steps=7)
    best = bits(load(tmp_path / "a" / "best.npz"))  # that of the first epoch
    assert bits(load(tmp_path / "a")) == bits(load(str(tmp_path / "a"))) == best != bits(trainer.model)
    assert bits(load(tmp_path / "a" / "last.npz")) == bits(trainer.model)
    (tmp_path / "a" / "best.npz").unlink()  # as before the end of the first epoch
    assert bits(load(tmp_path / "a")) == bits(trainer.model)
    with pytest.raises(CheckpointError, match=r"last\.npz: cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_model_comes_back_in_the_dtype_that_it_has_now(tmp_path, dtype):
    stream = tiny_stream()
    lm = tiny_model(stream, dtype="float32" if dtype == "float64" else "float64").to(dtype=dtype)
    lm.head.bias.data = lm.head.bias.data + 1e-7
    save(lm, tmp_path / "lm.npz")
    assert bits(load(tmp_path / "lm.npz")) == bits(lm) and lm.config["dtype"] == dtype
    for folder, stops in {"whole": [7], "parts": [3, 7]}.items():
        for steps in stops:
            model = tiny_model(stream).to(dtype=dtype)
            train(tmp_path / folder, steps, model=model, resume=True)
    assert contents(tmp_path / "parts")["last.npz"] == contents(tmp_path / "whole")["last.npz"]
    assert load(tmp_path / "parts").config["dtype"] == dtype


def untied(lm):
    lm.head.weight = Parameter(lm.head.weight.numpy())


UNLOADABLE = {
    "a layer more": (
        lambda lm: setattr(lm, "extra", Linear(2, 2)),
        r"its extra.weight is float32 \(2, 2\), .* missing",
    ),
    "a layer of another size": (
        lambda lm: setattr(lm, "head", Linear(8, 2)),
        r"its head.bias is float32 \(2,\), .*15",
    ),
    "no bias": (lambda lm: setattr(lm.head, "bias", None), "its head.bias is missing, that of a CharLM .* float32"),
    "two dtypes": (lambda lm: lm.rnn.to(dtype="float64"), "its rnn.weight_ih_l0 is float64 .* with its config float32"),
    "no longer tied": (untied, "its head.weight is float32 .* with its config missing"),
    "another vocabulary": (
        lambda lm: setattr(lm, "vocabulary", Vocabulary("ab")),
        "a vocabulary of 15 cannot be one of 2",
    ),
}


@pytest.mark.parametrize("name", UNLOADABLE)
def test_what_load_would_refuse_is_not_saved(tmp_path, name):
    change, told = UNLOADABLE[name]
    lm = tiny_model(tiny_stream(), embedding_size=8, hidden_size=8, tie_weights=True)
    save(lm, tmp_path / "lm.npz")
    before = contents(tmp_path)
    change(lm)
    with pytest.raises(ValueError, match=f"^model cannot be saved, for load would .*{told}"):
        save(lm, tmp_path / "lm.npz")
    assert contents(tmp_path) == before
    with pytest.raises(ValueError, match=r"^(model cannot be saved|model has another vocabulary)"):
        train(tmp_path / "run", 1, model=lm)
    assert contents(tmp_path) == before


class Deeper(CharLM):
    KIND = "module"

    def __init__(self, *sizes, **settings):
        super().__init__(*sizes, **settings)
        self.extra = Linear(2, 2, seed=3)


def test_a_class_of_ones_own_can_be_saved_by_its_parameters(tmp_path):
    lm = Deeper(15, 3, 4)
    save(lm, tmp_path / "lm.npz")
    assert bits(load(tmp_path / "lm.npz", into=Deeper(15, 3, 4, seed=9))) == bits(lm)


class Stranger(Linear):
    KIND = "char_lm"


def test_a_module_that_only_calls_itself_a_character_model_is_saved_by_its_parameters(tmp_path):
    save(Stranger(2, 3), tmp_path / "m.npz")
    into = Stranger(2, 3, seed=9)
    with pytest.raises(CheckpointError, match="of kind 'module', where 'char_lm' is wanted"):
        load(tmp_path / "m.npz", kind="char_lm")
    load(tmp_path / "m.npz", into=into)


@pytest.mark.parametrize("weights", ["uniform", "orthogonal"])
def test_nothing_is_drawn_to_save_or_to_load(tmp_path, monkeypatch, weights):
    lm = tiny_model(tiny_stream(), init=weights)
    monkeypatch.setattr(init, "random_generator", None)
    save(lm, tmp_path / "lm.npz")
    assert bits(load(tmp_path / "lm.npz")) == bits(lm)


LIES = {
    "hidden_size": lambda arrays, meta: meta["model"].update(hidden_size=2**40),
    "embedding_size": lambda arrays, meta: meta["model"].update(embedding_size=2**40),
    "vocab_size": lambda arrays, meta: meta["model"].update(vocab_size=2**40),
    "num_layers": lambda arrays, meta: meta["model"].update(num_layers=2**40),
    "weight_hh_l0": lambda arrays, meta: (
        meta["model"].update(hidden_size=2**40),
        arrays.update({"model/rnn.weight_hh_l0": np.zeros((0, 2**40), "float32")}),
    ),
    "fewer rows than columns": lambda arrays, meta: (
        meta["model"].update(hidden_size=5000),
        arrays.update({f"model/rnn.weight_hh_l{k}": np.zeros((1, 5000), "float32") for k in range(2)}),
        arrays.update({"model/rnn.weight_ih_l0": np.zeros((1, 3)), "model/head.weight": np.zeros((15, 5000))}),
    ),
    "weight_hh_l1": lambda arrays, meta: (
        meta["model"].update(num_layers=100),
        arrays.update({f"model/rnn.weight_hh_l{k}": np.zeros((0, 4), "float32") for k in range(1, 100)}),
    ),
}


def projected(H, P):
    """The lie that the layers have H units, projected to P, in arrays that take no memory if one of them is 0."""

    def lie(arrays, meta):
        meta["model"].update(hidden_size=H, proj_size=P, num_layers=1)
        arrays.pop("model/rnn.weight_hh_l1")
        arrays.update({"model/rnn.weight_hh_l0": np.zeros((16, P), "float32")})
        arrays.update({"model/rnn.weight_hr_l0": np.zeros((P, H), "float32")})

    return lie


LIES["proj_size"] = projected(4, 0)
LIES["weight_hr_l0"] = lambda arrays, meta: arrays.update({"model/rnn.weight_hr_l0": np.zeros((), "float32")})
LIES["a projection of nothing"] = projected(2**40, 0)
LIES["a projection of too many"] = projected(2**14, 3)


@pytest.mark.parametrize("name", LIES)
def test_sizes_that_lie_about_the_arrays_are_refused_before_memory_is_taken(tmp_path, name, monkeypatch):
    save(tiny_model(tiny_stream()), tmp_path / "lm.npz")
    arrays, meta = read_sealed(tmp_path / "lm.npz")
    LIES[name](arrays, meta)
    write_sealed(tmp_path / "lm.npz", arrays, meta)
    monkeypatch.setitem(KINDS, "char_lm", lambda **config: pytest.fail("it was built"))
    with pytest.raises(CheckpointError, match="its model cannot be built"):
        load(tmp_path / "lm.npz")


CHANGES = [
    lambda arrays, meta: arrays.pop("model/head.bias"),
    lambda arrays, meta: arrays.update({"model/head.bias": np.zeros(3, "float32")}),
    lambda arrays, meta: arrays.update({"model/extra": np.zeros(3)}),
    lambda arrays, meta: arrays.update({"model/embedding.weight": np.zeros(3)}),
    lambda arrays, meta: meta.pop("model"),
    lambda arrays, meta: meta.update(model=None),
    lambda arrays, meta: meta.update(model=[1, 2]),
    lambda arrays, meta: meta["model"].update(cell="os.system"),
    lambda arrays, meta: meta["model"].update(cell=["lstm"]),
    lambda arrays, meta: meta["model"].update(dtype="object"),
    lambda arrays, meta: meta["model"].update(dropout=7),
    lambda arrays, meta: meta["model"].update(seed=-1),
    lambda arrays, meta: meta["model"].update(surprise=1),
    lambda arrays, meta: meta.pop("vocabulary"),
    lambda arrays, meta: meta.update(vocabulary="ab"),
    lambda arrays, meta: meta.update(vocabulary="a" * 15),
    lambda arrays, meta: meta.update(vocabulary=15),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_sealed_file_that_is_no_model_is_a_checkpoint_error(tmp_path, change):
    save(tiny_model(tiny_stream()), tmp_path / "lm.npz")
    arrays, meta = read_sealed(tmp_path / "lm.npz")
    change(arrays, meta)
    write_sealed(tmp_path / "lm.npz", arrays, meta)
    with pytest.raises(
        CheckpointError, match=r"(its model cannot be built|not as minirnn writes it) .*; load only what minirnn wrote"
    ):
        load(tmp_path / "lm.npz")


# --- run directories -------------------------------------------------------------------------------------------------


def test_a_run_leaves_its_files(tmp_path):
    trainer = train(tmp_path / "runs" / "a", steps=7, config="seed = 1\n")
    files = contents(tmp_path / "runs" / "a")
    assert set(files) == {"last.npz", "last.previous.npz", "best.npz", "log.jsonl", "config.toml"}
    assert [json.loads(line) for line in files["log.jsonl"].splitlines()] == trainer.history
    assert files["config.toml"] == b"seed = 1\n"
    _, meta = read_sealed(tmp_path / "runs" / "a" / "last.previous.npz")
    assert meta["training"]["step"] == 5  # the end of the epoch


def test_a_run_shorter_than_an_epoch_has_a_best_too(tmp_path):
    trainer = train(tmp_path, steps=2)
    assert bits(load(tmp_path / "best.npz")) == bits(trainer.model)


def test_gone_on_with_within_its_first_epoch_a_run_has_the_best_of_one_never_stopped(tmp_path):
    train(tmp_path, steps=2)
    trainer = train(tmp_path, steps=3, resume=True)
    assert bits(load(tmp_path / "best.npz")) == bits(trainer.model)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_files_of_a_run_are_for_those_for_whom_a_new_file_is(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        train(tmp_path / "run", steps=7, config="seed = 1\n", keep=2)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "run").iterdir()}
    assert len(modes) == 7 and {*modes.values()} == {mode}, modes


def test_snapshots_are_kept_and_pruned(tmp_path):
    class Copy(Callback):
        def on_step(self, trainer):
            weights[trainer.step] = bits(trainer.model)

    weights: dict = {}
    train(tmp_path, steps=9, every=2, keep=3, callbacks=[Copy()])
    snapshots = sorted(path.name for path in tmp_path.glob("step-*"))
    assert snapshots == ["step-00000006.npz", "step-00000008.npz", "step-00000009.npz"]
    for name in snapshots:
        assert bits(load(tmp_path / name)) == weights[int(name[5:13])]


def test_another_runs_directory_is_refused_untouched(tmp_path):
    train(tmp_path, steps=2)
    before = contents(tmp_path)
    with pytest.raises(RunDirectoryError, match=r"holds another run \(last\.npz.*--resume .*--overwrite"):
        train(tmp_path, steps=3)
    assert contents(tmp_path) == before


def test_overwrite_replaces_the_run_and_nothing_else(tmp_path):
    train(tmp_path, steps=9, every=2, keep=9)
    (tmp_path / "notes.txt").write_text("mine")
    train(tmp_path, steps=1, overwrite=True)
    names = set(contents(tmp_path))
    assert "notes.txt" in names and not any(name.startswith("step-") for name in names)
    assert read_sealed(tmp_path / "last.npz")[1]["training"]["step"] == 1
    assert "log.jsonl" not in names


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "a").write_text("not a directory")
    for settings in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(RunDirectoryError, match="a is a file; a run needs a directory"):
            train(tmp_path / "a", steps=1, **settings)


def test_resume_in_an_empty_or_missing_directory_starts_afresh(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        assert train(folder, steps=2, resume=True).step == 2
        assert read_sealed(folder / "last.npz")[1]["training"]["step"] == 2


def test_resume_never_deletes_a_run_whose_last_file_is_gone(tmp_path):
    """Somebody has removed a damaged last.npz; what stands beside it is all that is left of the run."""
    train(tmp_path, steps=7)
    (tmp_path / "last.npz").unlink()
    before = contents(tmp_path)
    with pytest.raises(RunDirectoryError, match=r"no last\.npz.*last\.previous\.npz"):
        train(tmp_path, steps=8, resume=True)
    assert contents(tmp_path) == before


def test_resume_of_a_damaged_file_names_the_one_before(tmp_path):
    train(tmp_path, steps=7)
    blob = bytearray((tmp_path / "last.npz").read_bytes())
    blob[len(blob) // 2] ^= 1
    (tmp_path / "last.npz").write_bytes(blob)
    before = contents(tmp_path)
    with pytest.raises(CheckpointError, match=r"damaged.*the one before it is .*last\.previous\.npz"):
        train(tmp_path, steps=8, resume=True)
    assert contents(tmp_path) == before


OTHERS = {
    "text": {"stream": tiny_stream(TEXT.replace("cat", "tac"))},
    "order of characters": {"stream": tiny_stream(vocabulary=Vocabulary("".join(sorted(set(TEXT), reverse=True))))},
    "batch_size": {"stream": tiny_stream(batch_size=2)},
    "seq_len": {"stream": tiny_stream(seq_len=4)},
    "lanes": {"stream": tiny_stream(lanes=False)},
    "hidden_size": {"model": tiny_model(tiny_stream(), hidden_size=5)},
    "dropout": {"model": tiny_model(tiny_stream(), dropout=0.5)},
    "zoneout": {"model": tiny_model(tiny_stream(), zoneout=0.5)},
    "optimizer": {"model": (lm := tiny_model(tiny_stream())), "optimizer": SGD(lm.parameters(), 0.1)},
}


@pytest.mark.parametrize("what", OTHERS)
def test_resume_of_another_run_is_refused_and_changes_nothing(tmp_path, what):
    train(tmp_path, steps=7)
    stream = OTHERS[what].get("stream") or tiny_stream()
    model = OTHERS[what].get("model") or tiny_model(stream)
    optimizer = OTHERS[what].get("optimizer") or Adam(model.parameters(), 0.01)
    before = contents(tmp_path), bits(model), bits(optimizer)
    with pytest.raises(CheckpointError, match=what.split()[-1] if what != "order of characters" else "text"):
        train(tmp_path, steps=8, stream=stream, model=model, optimizer=optimizer, resume=True)
    assert (contents(tmp_path), bits(model), bits(optimizer)) == before


def test_an_option_of_layers_that_only_the_run_had_is_missed(tmp_path):
    train(tmp_path, steps=7, model=tiny_model(tiny_stream(), zoneout=0.5))
    with pytest.raises(CheckpointError, match=r"of a run with zoneout 0\.5, not None; resume with the settings"):
        train(tmp_path, steps=8, resume=True)


def test_a_default_that_is_spelled_out_is_no_other_setting(tmp_path):
    train(tmp_path, steps=7)
    train(tmp_path, steps=8, resume=True, model=tiny_model(tiny_stream(), zoneout=0.0, layer_norm=False, proj_size=0))
    assert b'"step": 8' in contents(tmp_path)["log.jsonl"]


@pytest.mark.parametrize("options", [{"proj_size": 2, "zoneout": 0.3}, {"cell": "gru", "layer_norm": True}])
def test_a_run_with_options_of_layers_goes_on_where_it_stopped(tmp_path, options):
    def model():
        return tiny_model(tiny_stream(), **options)

    train(tmp_path / "whole", steps=11, model=model())
    train(tmp_path / "parts", steps=7, model=model())
    train(tmp_path / "parts", steps=11, model=model(), resume=True)
    whole, parts = contents(tmp_path / "whole"), contents(tmp_path / "parts")
    assert whole["last.npz"] == parts["last.npz"] and whole["log.jsonl"] == parts["log.jsonl"]


def test_a_saved_model_is_no_run_to_resume(tmp_path):
    save(tiny_model(tiny_stream()), tmp_path / "last.npz")
    with pytest.raises(CheckpointError, match="of a model without a run"):
        train(tmp_path, steps=1, resume=True)


def test_one_checkpoint_object_can_keep_two_runs(tmp_path):
    checkpoint = Checkpoint(tmp_path, overwrite=True)
    Trainer(tiny_model(tiny_stream()), tiny_stream(), log_every=1).run(steps=5, callbacks=[checkpoint])
    again = Trainer(tiny_model(tiny_stream()), tiny_stream(), log_every=1)
    again.run(steps=5, callbacks=[checkpoint])
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == again.history
    assert read_sealed(tmp_path / "last.npz")[1]["training"]["step"] == 5


def test_a_directory_in_the_way_is_refused_before_anything_is_deleted(tmp_path):
    train(tmp_path, steps=2)
    (tmp_path / "samples.txt").mkdir()
    before = contents_of_files(tmp_path)
    with pytest.raises(RunDirectoryError, match=r"samples\.txt is not an ordinary file"):
        train(tmp_path, steps=1, overwrite=True)
    assert contents_of_files(tmp_path) == before


def test_a_config_that_cannot_be_written_is_named_and_costs_nothing(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    train(tmp_path, steps=2, config="a = 1")
    before = contents(tmp_path)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"No space left.*config\.toml'"):
        train(tmp_path, steps=1, overwrite=True, config="a = 2")
    assert contents(tmp_path) == before


def contents_of_files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


TRAINING_NONSENSE = {
    "step": -1, "epoch": "x", "best": "low", "improved": 1, "refused": None, "finished": 3, "epoch_sum": [1.0],
    "since_record": {}, "log_bytes": -5, "stream": None, "optimizer": 7, "callbacks": [], "plateau": {"best": 1},
}  # fmt: skip
NONSENSE = {
    **{
        f"training.{key}": lambda arrays, meta, k=key, v=value: meta["training"].update({k: v})
        for key, value in TRAINING_NONSENSE.items()
    },
    "training.step missing": lambda arrays, meta: meta["training"].pop("step"),
    "training": lambda arrays, meta: meta.update(training=[1]),
    "training missing": lambda arrays, meta: meta.pop("training"),
    "model": lambda arrays, meta: meta.update(model=[1]),
    "versions": lambda arrays, meta: meta.update(versions=None),
    "versions missing": lambda arrays, meta: meta.pop("versions"),
    "training.stream.seq_len": lambda arrays, meta: meta["training"]["stream"].update(seq_len="5"),
    "optimizer/steps": lambda arrays, meta: arrays.update({"optimizer/steps": np.array(-1)}),
    "arrays gone": lambda arrays, meta: arrays.pop("model/head.bias"),
    "arrays more": lambda arrays, meta: arrays.update({"model/extra": np.zeros(2)}),
    "arrays of other shapes": lambda arrays, meta: arrays.update({"model/head.bias": np.zeros(2)}),
}
RESUME_NONSENSE = {
    "epoch": lambda arrays, meta: meta["training"].update(epoch=2),  # of five steps each, at step 7
    "state": lambda arrays, meta: arrays.update({"state/0": np.zeros((1, 1, 1), "float32")}),
    "one state": lambda arrays, meta: arrays.pop("state/1"),
    "waited": lambda arrays, meta: meta["training"]["callbacks"]["EarlyStopping"].update(waited="a"),
    "no waited": lambda arrays, meta: meta["training"]["callbacks"]["EarlyStopping"].pop("waited"),
}


@pytest.mark.parametrize("what", [*NONSENSE, *RESUME_NONSENSE])
def test_a_sealed_run_of_nonsense_is_a_checkpoint_error_and_changes_nothing(tmp_path, what):
    def trainer():
        return Trainer(tiny_model(tiny_stream()), tiny_stream(), lr=0.01)

    trainer().run(steps=7, callbacks=[EarlyStopping(9), Checkpoint(tmp_path)])
    arrays, meta = read_sealed(tmp_path / "last.npz")
    (NONSENSE | RESUME_NONSENSE)[what](arrays, meta)
    write_sealed(tmp_path / "last.npz", arrays, meta)
    before, resumed, stopping = contents(tmp_path), trainer(), EarlyStopping(9)
    resumed.callbacks = [stopping]
    weights, moments, books = bits(resumed.model), bits(resumed.optimizer), resumed.books()
    with pytest.raises(CheckpointError):
        resumed.run(steps=9, callbacks=[stopping, Checkpoint(tmp_path, resume=True)])
    assert (contents(tmp_path), bits(resumed.model), bits(resumed.optimizer)) == (before, weights, moments)
    assert resumed.books() == books and resumed.state is None
    if what in NONSENSE:
        with pytest.raises(CheckpointError):
            load(tmp_path / "last.npz")


@pytest.mark.parametrize("line", ["nonsense", "[1]", "{}", '{"step": "x"}', '{"step": 2, "loss": 1.0}'])
def test_a_bad_line_of_the_log_is_named(tmp_path, line):
    train(tmp_path, steps=7)
    log = tmp_path / "log.jsonl"
    first, rest = log.read_bytes().split(b"\n", 1)
    log.write_bytes(line.encode().ljust(len(first)) + b"\n" + rest)
    before = contents(tmp_path)
    with pytest.raises(CheckpointError, match=r"log\.jsonl: line 1 cannot be read"):
        train(tmp_path, steps=9, resume=True)
    assert contents(tmp_path) == before


def test_a_run_that_leaves_the_numbers_range_ends_and_what_is_saved_stays_finite(tmp_path):
    stream = tiny_stream()
    model = tiny_model(stream)
    gone = pytest.raises(DivergenceError, match=r"no longer finite after step 1 .*last\.npz holds step 0")
    with gone, np.errstate(all="ignore"):
        fit(model, stream, steps=5, lr=1e38, callbacks=[Checkpoint(tmp_path / "run", every=1)])
    assert all(np.isfinite(p.numpy()).all() for p in load(tmp_path / "run").parameters())


def in_pairs(rule):
    return truncate(rule, 2)


@pytest.mark.parametrize(("option", "value"), [("seed", 3), ("through_time", in_pairs)])
def test_an_option_that_was_changed_since_is_not_lost_in_silence(tmp_path, option, value):
    model = CharLM(9, 8, 8, 2, cell="gru")
    setattr(model.rnn, option, value)
    with pytest.raises(
        ValueError,
        match=rf"load would build another: its rnn\.{option} is {getattr(value, '__name__', value)}, that of a CharLM",
    ):
        save(model, tmp_path / "a.npz")
    assert list(tmp_path.iterdir()) == []
