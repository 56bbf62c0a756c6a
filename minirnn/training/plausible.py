"""Whether what stands in a checkpoint and its log can be a run's: a seal says it is whole, not that it makes sense.

Everything is looked at before anything is changed, so that a run is resumed as a whole or not at all.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minirnn.training.kinds import MODULE, kind_of
from minirnn.training.loop import Trainer
from minirnn.training.sealed import CheckpointError

Check = Callable[[Any], bool]


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < 2**53)


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_flag(value: Any) -> bool:
    return type(value) is bool


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _list_of(*checks: Check) -> Check:
    return lambda value: (
        type(value) is list
        and len(value) == len(checks)
        and all(is_so(v) for is_so, v in zip(checks, value, strict=True))
    )


def _dict_of(check: Check) -> Check:
    return lambda value: type(value) is dict and all(map(check, value.values()))


_META: dict[str, Check] = {
    "model": _dict_of(lambda value: True),
    "vocabulary": lambda value: value is None or type(value) in (str, dict),
    "versions": _dict_of(_is_text),
    "training": _or_none(_dict_of(lambda value: True)),
}
_STREAM: dict[str, dict[str, Check]] = {
    "char_lm": {
        "text": _is_text, "seq_len": _is_count, "batch_size": _is_count, "lanes": _is_flag,
        "seed": lambda value: type(value) is int and value >= 0,
    },
    "seq2seq": {
        "text": _is_text, "batch_size": _is_count, "max_length": _or_none(_is_count),
        "seed": lambda value: type(value) is int and value >= 0,
    },
    "module": {},
}  # fmt: skip
_TRAINING: dict[str, Check] = {
    "step": _is_count, "epoch": _is_count, "refused": _is_count, "log_bytes": _is_count, "improved": _is_flag,
    "best": _or_none(_is_number), "finished": _or_none(_is_text), "optimizer": _is_text,
    "epoch_sum": _list_of(_is_number, _is_count),
    "since_record": _list_of(_is_number, _is_number, _is_count, _is_count),
    "callbacks": _dict_of(_dict_of(lambda value: True)),
    "stream": _dict_of(lambda value: True),
    "plateau": _or_none(_dict_of(_or_none(_is_number))),
}  # fmt: skip
_PLATEAU: dict[str, Check] = {"best": _or_none(_is_number), "waited": _is_count, "factor": _is_number}


def check_meta(arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Raises ``ValueError`` unless everything in the meta that is ever read is there and of its type."""
    training = meta.get("training")
    _check_keys("", meta, _META)
    if training is not None:
        _check_keys("training.", training, _TRAINING)
        _check_keys("training.stream.", training["stream"], _STREAM[meta["kind"]])
        if training["plateau"] is not None:
            _check_keys("training.plateau.", training["plateau"], _PLATEAU)
        steps = arrays.get("optimizer/steps")
        if steps is None or steps.shape != () or steps.dtype.kind not in "iu" or not _is_count(int(steps)):
            raise ValueError(f"optimizer/steps is {reprlib.repr(steps)}")


def _check_keys(where: str, values: dict[str, Any], checks: dict[str, Check]) -> None:
    for key, is_so in checks.items():
        if key not in values:
            raise ValueError(f"{where}{key} is missing")
        if not is_so(values[key]):
            raise ValueError(f"{where}{key} is {reprlib.repr(values[key])}")


def check_state(trainer: Trainer, arrays: dict[str, np.ndarray], books: dict[str, Any]) -> None:
    """Raises ``ValueError`` unless the carried state and those of the callbacks look as this run's would."""
    if kind_of(trainer.model) != MODULE:
        _check_carried(trainer.model, arrays, books["stream"]["batch_size"])
    for name, callback in trainer.remembering().items():
        own = callback.state_dict()
        theirs = books["callbacks"].get(name, own)
        for key, value in own.items():
            is_so = _is_count if _is_count(value) else _or_none(_is_number) if value is None else lambda value: True
            if key not in theirs or not is_so(theirs[key]):
                raise ValueError(f"{key} of {name} is {reprlib.repr(theirs.get(key))}")


def _check_carried(model: Any, arrays: dict[str, np.ndarray], batch_size: int) -> None:
    sizes = model.rnn._sizes.values() if hasattr(model, "rnn") else ()
    shapes, dtype = [(model.config["num_layers"], batch_size, size) for size in sizes], model.config["dtype"]
    state = [arrays[name] for name in ("state/0", "state/1") if name in arrays]
    fits = not state or [a.shape for a in state] == shapes
    if not fits or any(a.dtype != dtype for a in state):
        raise ValueError(f"its state must be arrays of shapes {shapes} and dtype {dtype}")


def log_line(record: dict[str, Any]) -> str:
    """A record as a line of ``log.jsonl``: JSON knows no NaN, and says null."""
    return json.dumps({name: None if value != value else value for name, value in record.items()}) + "\n"


def read_log(path: Path, lines: bytes) -> list[dict[str, Any]]:
    """The records of ``log.jsonl``, each with what a record must have to be shown and drawn."""
    history = []
    for number, line in enumerate(lines.splitlines(), 1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or "step" not in record or ("loss" in record and "clipped" not in record):
                raise ValueError("not a record of a run")
            record |= {name: math.nan for name in ("train_loss", "val_loss") if record.get(name, 0) is None}
            for name in ("step", "epoch", "loss", "norm", "clipped", "train_loss", "val_loss"):
                if not _is_number(record.get(name, 0)):
                    raise ValueError(f"{name} is {reprlib.repr(record[name])}")
        except (ValueError, RecursionError) as error:
            reason = f"line {number} cannot be read ({error})"
            raise CheckpointError(path, reason, "mend it, or move the file away to go on without it") from error
        history.append(record)
    return history
