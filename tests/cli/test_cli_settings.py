"""Settings: flags, config files, and the file that is written beside a run."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn.cli import settings as module
from minirnn.cli.settings import UsageError
from minirnn.cli.tables import CHARACTERS, PAIRS
from minirnn.text.grammars import MAKERS

VALUES = {
    module.switch: st.booleans(),
    module.some_text: st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(lambda name: f"/{name}"),
}


def value_of(setting):
    """Any value that a setting takes."""
    if setting.name == "teacher_forcing":
        return st.sampled_from(["1", "0.5", "1:0.25", "sigmoid:100"])
    if setting.name == "layer_options":
        return st.sampled_from(["", "zoneout=0.1", "init=orthogonal,layer_norm=true"])
    if setting.name == "generated":
        return st.sampled_from(list(MAKERS))
    if setting.parse in VALUES:
        return VALUES[setting.parse]
    if setting.metavar.startswith("{"):
        return st.sampled_from(setting.metavar.strip("{}").split(","))
    if isinstance(setting.default, int) or setting.metavar == "N":
        return st.integers(5, 1_000)
    return st.floats(1e-300, 0.999)


@pytest.mark.parametrize("table", [CHARACTERS, PAIRS], ids=lambda table: table.command)
@given(data=st.data())
def test_what_is_written_is_read_back(tmp_path_factory, table, data):
    optional = {name: value_of(setting) for name, setting in table.settings.items() if setting.is_kept}
    settings = table.merged(data.draw(st.fixed_dictionaries({}, optional=optional)))
    path = tmp_path_factory.mktemp("config") / "config.toml"
    for name, setting in table.settings.items():
        if setting.is_file and settings[name] is not None:
            settings[name] = module.os.path.abspath(settings[name])
    path.write_text(table.to_toml(settings), encoding="utf-8", newline="")
    read = table.read_config(path)
    assert {name: read.get(name) for name in table.settings} == settings


def test_what_is_written_holds_plain_values_only():
    values = tomllib.loads(CHARACTERS.to_toml(CHARACTERS.merged(CHARACTERS.defaults(), {"text": "-"})))
    assert values["text"] == "-" and values["hidden"] == 128 and values["tie_weights"] is False
    assert "steps" not in values  # there is no "none" in TOML


def test_later_layers_win_and_alternatives_exclude_each_other():
    merged = CHARACTERS.merged
    settings = merged(CHARACTERS.defaults(), {"steps": 7, "lr": 0.1}, {"clip_value": 1.0, "lr": 0.2})
    assert (settings["steps"], settings["epochs"], settings["lr"]) == (7, None, 0.2)
    assert (settings["clip_norm"], settings["clip_value"]) == (None, 1.0)
    assert merged({"epochs": 3, "steps": 7})["epochs"] == 3  # given together, both hold


def test_pairs_of_a_file_and_generated_ones_exclude_each_other():
    given_ones = PAIRS.defaults(), {"pairs": "a.tsv", "valid": "b.tsv"}, {"generated": "dates"}
    settings = PAIRS.merged(*given_ones)
    assert (settings["pairs"], settings["generated"]) == (None, "dates")
    assert (settings["valid"], settings["val_split"]) == ("b.tsv", None)


@pytest.mark.parametrize(
    "content, message",
    [
        ("hiden = 3", "unknown key 'hiden'; did you mean hidden?"),
        ("seq-len = 3", "unknown key 'seq-len'; did you mean seq_len?"),
        ("[model]\nhidden = 3", "unknown key 'model'"),
        ("hidden = 0", "hidden must be an integer of at least 1, got 0"),
        ("hidden = true", "hidden must be an integer of at least 1, got True"),
        ("hidden = 1.5", "hidden must be an integer of at least 1, got 1.5"),
        ("hidden = [1]", "hidden must be an integer of at least 1, got [1]"),
        ("lr = inf", "lr must be a number above 0, got inf"),
        ("lr = nan", "lr must be a number above 0, got nan"),
        ("dropout = 1.0", "dropout must be a number of at least 0 and below 1, got 1.0"),
        ("tie_weights = 1", "tie_weights must be true or false, got 1"),
        ("cell = 'gru?'", "cell must be one of rnn, lstm, gru"),
        ("cell = ['lstm']", "cell must be one of rnn, lstm, gru"),
        ("text = 3", "text must be a string, got 3"),
        ("hidden = = 3", "is not TOML"),
        ("hidden = 3\nhidden = 4", "is not TOML"),
        (b"\xff", "is not TOML"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_bad_config_files_are_explained(tmp_path, content, message):
    path = tmp_path / "run.toml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError) as caught:
        CHARACTERS.read_config(path)
    assert message in str(caught.value) and str(path) in str(caught.value)


def test_a_path_that_is_not_unicode_cannot_be_written_down():
    with pytest.raises(UsageError, match="is not Unicode"):
        CHARACTERS.to_toml(CHARACTERS.merged({"text": "/a\udcff"}))
