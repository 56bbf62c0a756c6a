"""``minirnn train``: what it writes, what it says, and that stopping it changes nothing."""

import errno
import json
import math
import subprocess
import sys
import tomllib

import pytest
from tiny_commands import SMALL, TEXT

from minirnn.cli.tables import CHARACTERS
from minirnn.cli.tasks import Characters
from minirnn.lens import learning_curve
from minirnn.testing import strict_cupy
from minirnn.text import TextStream
from minirnn.training import AdamW, Checkpoint, Trainer, evaluate, load
from minirnn.training import checkpoint as checkpoint_module

FILES = {"config.toml", "last.npz", "last.previous.npz", "best.npz", "log.jsonl", "samples.txt"}


def merged(given):
    return CHARACTERS.merged(CHARACTERS.defaults(), given)


def bits(model):
    return {name: array.tobytes() for name, array in model.state_dict().items()}


def contents(run):
    return {path.name: path.read_bytes() for path in run.iterdir()}


def test_a_run_and_its_files(cli, text, tmp_path):
    run = tmp_path / "run"
    result = cli("train", text, "-o", run, *SMALL, "--epochs", 2, "--keep", 2)
    assert result.code == 0
    assert set(contents(run)) > FILES
    assert len(list(run.glob("step-*.npz"))) == 2
    summary = dict(line.split(maxsplit=1) for line in result.out.splitlines())
    assert summary["trained"].startswith("38 steps, 2.0 epochs")
    assert "bits per character" in summary["loss"] and "entropy of single characters" in summary["baseline"]
    assert summary["next"] == f"minirnn generate {run} --prompt the"
    assert "step 5/38" in result.err and "epoch 2: training" in result.err
    assert "pip install matplotlib" in result.err
    assert tomllib.loads((run / "config.toml").read_text())["text"] == str(text)
    assert (run / "samples.txt").read_text().count("=== step ") == 2
    assert load(run).vocabulary is not None


@pytest.mark.parametrize("cell", ["rnn", "gru"])
def test_every_cell_trains_resumes_and_writes(cli, text, tmp_path, cell):
    run = tmp_path / "run"
    assert cli("train", text, "-o", run, *SMALL, "--cell", cell, "--steps", 9).code == 0
    result = cli("train", text, "-o", run, *SMALL, "--cell", cell, "--steps", 12, "--resume")
    assert result.code == 0 and load(run).config["cell"] == cell
    assert cli("generate", run, "--prompt", "the", "--length", 5, "--seed", 1).code == 0


def test_json_lines(cli, text, tmp_path):
    result = cli("train", text, "-o", tmp_path / "run", *SMALL, "--steps", 22, "--json")
    records = [json.loads(line) for line in result.out.splitlines()]
    assert [r["event"] for r in records] == ["step", "step", "step", "epoch", "step", "summary"]
    assert records[-1]["steps"] == 22 and records[-1]["val_bits"] > 0
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in r.items() if k != "event"} for r in records[:-1]] == log


def test_stopped_and_resumed_is_never_stopped(cli, text, tmp_path, monkeypatch):
    options = [*SMALL, "--epochs", 2, "--dropout", 0.2, "--sample-every", 12, "--save-every", 10]
    options += ["--schedule", "plateau", "--schedule-steps", 1]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert cli("train", text, "-o", whole, *options).code == 0

    class Killed(BaseException):
        """As ``kill -9``: nobody saves anything."""

    def dying(step):
        def train_step(self):
            original(self)
            if self.step == step:
                raise Killed

        return train_step

    original = Trainer.train_step
    for step in (4, 15, 31):
        monkeypatch.setattr(Trainer, "train_step", dying(step))
        with pytest.raises(Killed):
            cli("train", text, "-o", parts, *options, "--resume")
    monkeypatch.setattr(Trainer, "train_step", original)
    assert cli("train", "-o", parts, "--resume").code == 0  # the rest stands in its config.toml
    assert contents(parts) == contents(whole)


def test_asked_to_stop_and_resumed_is_never_stopped(cli, text, tmp_path, monkeypatch):
    options = [*SMALL, "--epochs", 2]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    cli("train", text, "-o", whole, *options)
    cli("train", text, "-o", parts, *options, "--resume", "--max-minutes", 1e-9)
    assert "step" in cli("inspect", parts).out
    assert cli("train", text, "-o", parts, *options, "--resume").code == 0
    assert {n: b for n, b in contents(parts).items() if "previous" not in n} == {
        n: b for n, b in contents(whole).items() if "previous" not in n
    }


def test_the_config_of_a_run_reproduces_it(cli, text, tmp_path):
    options = [*SMALL, "--steps", 20, "--optimizer", "rmsprop", "--schedule", "cosine", "--clip-value", 0.5]
    cli("train", text, "-o", tmp_path / "a", *options, "--random-windows", "--tie-weights", "--embed", 8)
    assert cli("train", "--config", tmp_path / "a" / "config.toml", "-o", tmp_path / "b").code == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_flags_win_over_the_config_file(cli, text, tmp_path):
    config = tmp_path / "run.toml"
    config.write_text("hidden = 5\nepochs = 100\nlr = 0.5\n")
    cli("train", text, "-o", tmp_path / "run", *SMALL, "--config", config, "--steps", 3)
    written = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert (written["hidden"], written["lr"], written["steps"]) == (8, 0.5, 3)
    assert "epochs" not in written


def test_a_resumed_run_can_be_made_longer(cli, text, tmp_path):
    run = tmp_path / "run"
    cli("train", text, "-o", run, *SMALL, "--steps", 3)
    assert cli("train", "-o", run, "--resume").out.startswith("trained     3 steps")
    result = cli("train", "-o", run, "--resume", "--steps", 5)
    assert result.out.startswith("trained     5 steps")
    assert f"going on with the run in {run}, after step 3" in result.err
    assert tomllib.loads((run / "config.toml").read_text())["steps"] == 5


def test_resuming_a_finished_run_says_that_it_was_finished(cli, text, tmp_path):
    run = tmp_path / "run"
    cli("train", text, "-o", run, *SMALL, "--steps", 9)
    before = (run / "last.npz").read_bytes()
    result = cli("train", "-o", run, "--resume")
    assert f"the run in {run} was finished: all its 9 steps are taken; more --epochs or --steps" in result.err
    assert "going on" not in result.err and result.code == 0 and (run / "last.npz").read_bytes() == before
    assert f"going on with the run in {run}, after step 9" in cli("train", "-o", run, "--resume", "--steps", 10).err


def test_a_run_that_ends_within_its_first_epoch_says_so_and_is_drawn(cli, text, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("minirnn.cli.running.learning_curve", lambda history, path, **settings: drawn.append(history))
    run = tmp_path / "run"
    result = cli("train", text, "-o", run, *SMALL, "--steps", 4)
    assert [(record["step"], record["clipped"]) for record in drawn[0]] == [(4, pytest.approx(0, abs=1))]
    assert f"loss        {drawn[0][0]['loss'] / math.log(2):.3f} in training" in result.out
    assert "best        not known: no epoch is complete" in cli("inspect", run).out
    assert bits(load(run)) == bits(load(run / "last.npz"))
    assert (run / "log.jsonl").exists() is False  # a run gone on with writes the lines of one that never stopped


def test_a_run_that_ends_better_within_an_epoch_than_after_any_keeps_that_model(cli, text, tmp_path):
    run, epoch = tmp_path / "run", 19
    record = json.loads(cli("train", text, "-o", run, *SMALL, "--steps", epoch + 9, "--json").out.splitlines()[-1])
    trained = load(run / "last.npz")
    assert bits(load(run)) == bits(load(run / "best.npz")) == bits(trained)
    validated = evaluate(trained, TextStream(TEXT, 10, 4).split(0.1)[1]) / math.log(2)
    assert record["best_bits"] == record["val_bits"] == pytest.approx(validated)
    assert json.loads(cli("inspect", run, "--json").out)["training"]["best"] > validated * math.log(2)


def test_the_last_files_are_written_while_no_other_run_can_begin_there(cli, text, tmp_path, monkeypatch):
    """The best within an epoch, and the curve."""
    refused, run = [], tmp_path / "run"

    def watched(call):
        def with_a_rival(*args, **options):
            told = subprocess.run([sys.executable, "-c", CLAIM, run], capture_output=True, text=True)
            refused.append("BlockingIOError" in told.stderr)
            return call(*args, **options)

        return with_a_rival

    monkeypatch.setattr(Checkpoint, "keep_as_best", watched(Checkpoint.keep_as_best))
    monkeypatch.setattr("minirnn.cli.running.learning_curve", watched(learning_curve))
    assert cli("train", text, "-o", run, *SMALL, "--steps", 19 + 9).code == 0
    assert refused == [True, True]


CLAIM = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)"


def test_the_best_within_an_epoch_is_forgotten_by_a_run_that_goes_on(cli, text, tmp_path):
    epoch, options = 19, [*SMALL, "--optimizer", "sgd", "--clip-norm", 0]
    schedule = ["--schedule=step", f"--schedule-steps={epoch + 9}", "--schedule-factor=900"]  # good, then far too fast
    best = {}
    for run, stops in {"whole": [2 * epoch], "parts": [7, 11, epoch + 9, epoch + 10, 2 * epoch]}.items():
        for steps in stops:
            words = ["train", text, "-o", tmp_path / run, *options, *schedule, "--lr", 0.1, "--steps", steps]
            assert cli(*words, "--resume").code == 0
            best[run, steps] = bits(load(tmp_path / run))
            assert bits(load(tmp_path / run / "last.npz")) == best[run, steps] or steps > epoch + 9
    assert best["parts", 2 * epoch] == best["whole", 2 * epoch] != best["parts", epoch + 9]
    assert contents(tmp_path / "parts").keys() == contents(tmp_path / "whole").keys()


def test_a_run_that_ends_worse_keeps_the_best_and_tells_both(cli, text, tmp_path):
    run, epoch = tmp_path / "run", 19
    words = ["train", text, "-o", run, *SMALL, "--optimizer", "sgd", "--lr", 1e-3]
    cli(*words, "--steps", epoch)
    best = (run / "best.npz").read_bytes()
    result = cli(*words, "--steps", epoch + 3, "--resume", "--lr", 30, "--clip-norm", 0)
    assert (run / "best.npz").read_bytes() == best and bits(load(run)) != bits(load(run / "last.npz"))
    (line,) = [line for line in result.out.splitlines() if line.startswith("best ")]
    assert line.endswith("in validation, the model in best.npz")
    assert float(line.split()[1]) < float(result.out.split(" in validation")[0].split()[-1])


def test_a_dry_run_may_be_of_a_directory_that_holds_a_run(cli, text, finished_run):
    before = contents(finished_run)
    assert cli("train", text, "-o", finished_run, "--dry-run", *SMALL).code == 0
    assert contents(finished_run) == before


def test_overwrite_starts_anew(cli, text, tmp_path):
    run = tmp_path / "run"
    cli("train", text, "-o", run, *SMALL, "--steps", 8, "--keep", 1)
    assert cli("train", text, "-o", run, *SMALL, "--steps", 3, "--overwrite").code == 0
    assert not list(run.glob("step-*"))
    assert (run / "samples.txt").read_text().startswith("=== step 3 ===")


def test_early_stopping_and_how_to_go_on(cli, text, tmp_path):
    run = tmp_path / "run"
    options = [*SMALL, "--lr", 3, "--patience", 1, "--epochs", 20]
    result = cli("train", text, "-o", run, *options)
    assert "stopped     no improvement for 1 epochs" in result.out
    steps = json.loads(cli("inspect", run, "--json").out)["training"]["step"]
    assert steps < 20 * 19
    assert f"trained     {steps} steps" in cli("train", "-o", run, "--resume").out
    assert (
        f"trained     {steps + 5} steps"
        in cli("train", "-o", run, "--resume", "--patience", 0, "--steps", steps + 5).out
    )


def test_divergence_is_exit_code_1_and_leaves_a_sound_checkpoint(cli, text, tmp_path):
    result = cli("train", text, "-o", tmp_path / "run", *SMALL, "--steps", 50, "--lr", 1e38, "--clip-norm", 0)
    assert result.code == 1
    lines = result.err.splitlines()
    assert "minirnn: warning: step" in result.err and "steps in a row were refused" in lines[-1]
    assert cli("inspect", tmp_path / "run").code == 0
    assert "NOT FINITE" not in cli("inspect", tmp_path / "run").out


def test_a_full_disk_warns_in_one_line_and_training_goes_on(cli, text, tmp_path, monkeypatch):
    original = checkpoint_module.write_sealed

    def failing(path, arrays, meta, **options):
        if meta["training"] and meta["training"]["step"] == 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(path, arrays, meta, **options)

    monkeypatch.setattr(checkpoint_module, "write_sealed", failing)
    result = cli("train", text, "-o", tmp_path / "run", *SMALL, "--steps", 15, "--save-every", 5)
    warned = [line for line in result.err.splitlines() if line.startswith("minirnn: ")]
    assert result.code == 0 and len(warned) == 1
    assert warned[0].startswith("minirnn: warning: could not write to") and "No space left on device" in warned[0]
    assert json.loads(cli("inspect", tmp_path / "run", "--json").out)["training"]["step"] == 15


def test_a_dry_run_writes_nothing(cli, text, tmp_path):
    result = cli("train", text, "-o", tmp_path / "run", "--dry-run", *SMALL)
    assert result.code == 0 and "agree with numbers" in result.out and "ms per step" in result.out
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]
    record = json.loads(cli("train", text, "--dry-run", *SMALL, "--json").out)
    assert record["max_gradient_error"] < 1e-10 and record["seconds"] > 0


def test_a_dry_run_of_resuming_reads_the_checkpoint(cli, finished_run):
    before = contents(finished_run)
    assert cli("train", "-o", finished_run, "--resume", "--dry-run", "--steps", 40).code == 0
    assert cli("train", "-o", finished_run, "--resume", "--dry-run", "--hidden", 9).code == 4
    assert contents(finished_run) == before


def test_overfit_learns_one_batch_and_says_so(cli, text, tmp_path):
    result = cli("train", text, "--overfit", *SMALL, "--hidden", 32, "--lr", 0.02, "--dropout", 0.5, "--json")
    record = json.loads(result.out)
    assert result.code == 0 and record["learned"] and record["last_bits"] < 0.2 * record["first_bits"]
    assert 0 < record["least_bits"] < record["last_bits"]
    without = cli("train", text, "--overfit", *SMALL, "--hidden", 32, "--lr", 0.02, "--json")
    assert json.loads(without.out) == record  # dropout would only get in the way


def test_overfit_that_fails_is_exit_code_1(cli, text):
    result = cli("train", text, "--overfit", *SMALL, "--lr", 1e-9, "--steps", 20)
    assert result.code == 1 and result.out.startswith("NOT learned")


@pytest.mark.parametrize("schedule", ["step", "exponential", "cosine", "plateau", "warmup"])
def test_schedules(cli, text, tmp_path, schedule):
    """Each changes the learning rate in the way that the help says."""
    options = ["--schedule", schedule, "--schedule-steps", 10, "--steps", 21, "--log-every", 1, "--lr", 1]
    cli("train", text, "-o", tmp_path / "run", *SMALL, *options, "--clip-norm", 1e-6, "--optimizer", "sgd")
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    rates = [record["lr"] for record in log if "lr" in record]
    expected = {
        "step": (1, 1, 0.5, 0.25),
        "exponential": (1, 0.5**0.5, 0.5, 0.25),
        "cosine": (1, 0.5, 0, 0),
        "plateau": (1, 1, 1, 1),
        "warmup": (0.1, 0.6, 1, 1),
    }[schedule]
    assert [rates[k] for k in (0, 5, 10, 20)] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("length", [("--epochs", 1), ("--steps", 20)])
def test_minutes_are_of_one_call_and_leave_the_length_of_the_run(cli, text, tmp_path, length):
    """A schedule that depends on the length goes on, too, and a bare --resume has no limit."""
    options, whole, parts = [*SMALL, *length, "--schedule", "cosine"], tmp_path / "whole", tmp_path / "parts"
    minutes = ["--max-minutes", 1e-9]
    assert cli("train", text, "-o", whole, *options).code == 0
    for given in ([text, *options, *minutes], ["--resume", *minutes], ["--resume"]):
        assert cli("train", "-o", parts, *given).code == 0
    for name in ("config.toml", "last.npz", "best.npz", "log.jsonl"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes(), name


def test_nobody_reads_the_output_any_more(cli, text, tmp_path, monkeypatch):
    """The run is saved, and ends without a word."""

    def closed(*values, **options):
        raise BrokenPipeError

    monkeypatch.setattr("minirnn.cli.watching.Progress._show", closed)
    assert cli("train", text, "-o", tmp_path / "run", *SMALL, "--steps", 9).code == 0
    assert json.loads(cli("inspect", tmp_path / "run", "--json").out)["training"]["step"] == 1


def test_matplotlib_draws_the_learning_curve(cli, text, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("minirnn.cli.running.learning_curve", learning_curve)
    result = cli("train", text, "-o", tmp_path / "run", *SMALL, "--steps", 20)
    assert (tmp_path / "run" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert "loss.png" in result.out and "pip install" not in result.err


def test_settings_reach_the_trainer():
    given = {
        "cell": "lstm", "hidden": 8, "layers": 3, "embed": 8, "dropout": 0.25, "tie_weights": True, "dtype": "float64",
        "seq_len": 9, "batch_size": 2, "random_windows": True, "val_split": 0.2, "optimizer": "adamw", "lr": 0.125,
        "clip_value": 0.5, "seed": 7, "log_every": 3,
    }  # fmt: skip
    trainer = Characters().trainer(merged(given), TEXT)
    model = {"cell": "lstm", "hidden_size": 8, "num_layers": 3, "embedding_size": 8, "dropout": 0.25, "seed": 7}
    assert model.items() < trainer.model.config.items()
    assert trainer.model.config["tie_weights"] and trainer.model.config["dtype"] == "float64"
    stream = trainer.training
    assert (stream.seq_len, stream.batch_size, stream.lanes, stream.seed) == (9, 2, False, 7)
    assert len(trainer.validation.ids) == round(0.2 * len(TEXT))
    assert type(trainer.optimizer) is AdamW and trainer.optimizer.lr == 0.125
    assert (trainer.clip_norm, trainer.clip_value, trainer.log_every) == (None, 0.5, 3)
    assert Characters().trainer(merged({"seq_len": 9}), TEXT).clip_norm == 5
    assert Characters().trainer(merged({"seq_len": 9, "clip_norm": 0.0}), TEXT).clip_norm is None


def test_the_config_of_a_run_finds_the_text_from_anywhere(cli, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cli("train", text.name, "-o", "run", *SMALL, "--steps", 3)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert cli("train", "-o", tmp_path / "run", "--resume").code == 0
    assert cli("generate", tmp_path / "run", "--length", 3, "--memorised").code == 0


def test_a_run_on_the_gpu_is_a_run(cli, text, tmp_path):
    """On the strict fake: trained, sampled, saved, resumed and evaluated there."""
    run = tmp_path / "run"
    with strict_cupy():
        assert cli("train", text, "-o", run, *SMALL, "--steps", 4, "--backend", "cupy").code == 0
        result = cli("train", "-o", run, "--resume", "--steps", 8)
        assert result.code == 0, result.err
        assert cli("generate", run, "--backend", "cupy", "--length", 5).code == 0
        assert cli("evaluate", run, text, "--backend", "cupy").code == 0
    assert cli("inspect", run).code == 0


def test_a_disk_full_to_the_end_is_exit_code_1_and_recommends_nothing(cli, text, tmp_path, monkeypatch):
    original = checkpoint_module.write_sealed

    def failing(path, arrays, meta, **options):
        if meta["training"] is None or meta["training"]["step"]:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(path, arrays, meta, **options)

    monkeypatch.setattr(checkpoint_module, "write_sealed", failing)
    result = cli("train", text, "-o", tmp_path / "run", *SMALL, "--steps", 15)
    assert result.code == 1 and "minirnn generate" not in result.out
    assert "could not be saved; last.npz is of step 0, not of step 15" in result.err.splitlines()[-1]


@pytest.mark.parametrize("config", [None, "", "lr = 0.002\n"])
def test_without_its_config_a_run_goes_on_as_the_model_it_is(cli, text, tmp_path, config):
    run = tmp_path / "run"
    cli("train", text, "-o", run, *SMALL, "--steps", 3, "--optimizer", "sgd", "--seed", 4)
    if config is None:
        (run / "config.toml").unlink()
    else:
        (run / "config.toml").write_text(config)
    before = load(run).config
    result = cli("train", text, "-o", run, "--resume", "--steps", 5, "--val-split", 0.1)
    assert result.code == 0 and load(run).config == before
    assert "warning" in result.err and "schedule" in result.err and ("lr," in result.err) == (not config)
    (run / "config.toml").write_text("hidden = 9\n")
    result = cli("train", text, "-o", run, "--resume", "--steps", 7, "--val-split", 0.1)
    assert result.code == 4 and "hidden_size 8, not 9" in result.err


def test_output_that_cannot_be_written_ends_the_run_saved(cli, text, tmp_path, monkeypatch):
    def full(*values, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("minirnn.cli.watching.Progress._show", full)
    result = cli("train", text, "-o", tmp_path / "run", *SMALL, "--steps", 9)
    assert "the output cannot be written (No space left on device)" in result.out
    assert json.loads(cli("inspect", tmp_path / "run", "--json").out)["training"]["step"] == 1


def test_a_model_that_can_write_no_sample_has_diverged(cli, text, tmp_path, monkeypatch):
    def diverged(*arguments, **settings):
        raise ValueError("logits must be finite, got nan at 0; the model has diverged")

    monkeypatch.setattr("minirnn.cli.tasks.generate", diverged)
    result = cli("train", text, "-o", tmp_path / "run", *SMALL, "--steps", 9, "--sample-every", 2)
    assert result.code == 1 and "step 2: logits must be finite" in result.err.splitlines()[-1]


def test_a_picture_that_cannot_be_written_leaves_the_one_before(cli, text, tmp_path, monkeypatch):
    def half(history, path, **settings):
        path.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    run = tmp_path / "run"
    cli("train", text, "-o", run, *SMALL, "--steps", 3)
    (run / "loss.png").write_bytes(b"whole")
    monkeypatch.setattr("minirnn.cli.running.learning_curve", half)
    result = cli("train", "-o", run, "--resume")
    assert "could not write" in result.err and (run / "loss.png").read_bytes() == b"whole"
