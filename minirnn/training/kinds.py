"""Kinds of models on disk: two that a checkpoint can build again, and of all others the parameters."""

from __future__ import annotations

from typing import Any

from minirnn.arrays import use_backend
from minirnn.models import CharLM, Seq2Seq
from minirnn.nn import Module
from minirnn.nn.init import undrawn

KINDS: dict[str, Any] = {kind.KIND: kind for kind in (CharLM, Seq2Seq)}
PLAIN = (bool, int, float, str)
MODULE = "module"  # the kind of all others, of which a file holds the parameters alone


def kind_of(model: Module) -> str:
    """What a checkpoint of it is of: ``"char_lm"``, ``"seq2seq"`` or ``"module"``."""
    kind = getattr(model, "KIND", MODULE)
    return kind if isinstance(model, KINDS.get(kind, ())) else MODULE


def config_of(model: Any) -> dict[str, Any]:
    """What builds such a model, or where nothing does, of which class it is, and with which layers."""
    return {"class": type(model).__name__, **options_of(model)} if kind_of(model) == MODULE else model.config


def options_of(model: Module) -> dict[str, Any]:
    """What the layers of this library were made with, or what was made of it since, by name: seeds, sizes, choices."""
    return {
        f"{place}.{name}" if place else name: value if isinstance(value, PLAIN) else getattr(value, "__name__", "...")
        for place, module in model.named_modules()
        for name, value in vars(module).items()
        if type(module).__module__.startswith("minirnn.") and not name.startswith("_") and name != "draws"
        if isinstance(value, PLAIN) or (callable(value) and not isinstance(value, Module))
    }


def check_loadable(model: Any) -> None:
    """Refuses a model that ``load`` would not give back, by building what it would build.

    Raises
    ------
    TypeError
        If it is no module.
    ValueError
        If its parameters or the options of its layers are not those of a model of its configuration, or its vocabulary
        is of another size.
    """
    if kind_of(model) == MODULE:
        if not isinstance(model, Module):
            raise TypeError(f"model must be a Module, such as a CharLM or a Seq2Seq, got {type(model).__name__}")
        return
    kind = KINDS[kind_of(model)]
    try:
        with use_backend("numpy"), undrawn():
            built = kind(**config_of(model))
        built.vocabulary_from_plain(model.vocabulary_to_plain())
    except (TypeError, ValueError) as error:
        raise ValueError(f"model cannot be saved, for load would refuse it: {error}") from error
    theirs, own = ({name: f"{p.dtype} {p.shape}" for name, p in m.named_parameters()} for m in (built, model))
    theirs, own = theirs | options_of(built), own | options_of(model)
    for name in theirs | own:
        if theirs.get(name) != own.get(name):
            raise ValueError(
                f"model cannot be saved, for load would build another: its {name} is {own.get(name, 'missing')}, that "
                f"of a {kind.__name__} with its config {theirs.get(name, 'missing')}; a class of its own with "
                f"KIND = {MODULE!r} is saved by its parameters alone"
            )
