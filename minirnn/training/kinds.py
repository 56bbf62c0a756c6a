"""Kinds of models on disk: two that a checkpoint can build again, and of all others the parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from minirnn.arrays import use_backend
from minirnn.explaining import described
from minirnn.models import CharLM, Seq2Seq
from minirnn.nn import Module
from minirnn.nn.init import undrawn

KINDS: dict[str, Any] = {kind.KIND: kind for kind in (CharLM, Seq2Seq)}
PLAIN = (bool, int, float, str, type(None))
MODULE = "module"  # the kind of all others, of which a file holds the parameters alone


def kind_of(model: Module) -> str:
    """What a checkpoint of it is of: ``"char_lm"``, ``"seq2seq"`` or ``"module"``."""
    kind = getattr(model, "KIND", MODULE)
    return kind if isinstance(model, KINDS.get(kind, ())) else MODULE


def config_of(model: Any) -> dict[str, Any]:
    """What builds such a model, or where nothing does, of which class it is, and the options of its layers."""
    if kind_of(model) != MODULE:
        return model.config
    layers = [(f"{place}.", m) for place, m in model.named_modules() if type(m).__module__.startswith("minirnn.")]
    options = {place + name: value for place, layer in layers for name, value in options_of(layer).items()}
    return {"class": type(model).__name__, **options}


def options_of(module: Module) -> dict[str, Any]:
    """What a module was made with, or what was made of it since: seed, sizes, choices, functions by name."""
    return {
        name: value if isinstance(value, PLAIN) else described(value)
        for name, value in vars(module).items()
        if isinstance(value, PLAIN) or (callable(value) and not isinstance(value, Module))
        if not name.startswith("_") and name != "draws"
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
    _refuse_other(kind.__name__, theirs, own, theirs | own)
    modules = dict(model.named_modules())
    for place, module in built.named_modules():
        options = options_of(module)  # a class that derives from it may have more
        _refuse_other(
            kind.__name__, options, options_of(modules.get(place, module)), options, f"{place}." if place else ""
        )


def _refuse_other(kind: str, theirs: Mapping, own: Mapping, names: Iterable[str], place: str = "") -> None:
    for name in names:
        if theirs.get(name) != own.get(name):
            found, built = (of.get(name, "missing") for of in (own, theirs))
            raise ValueError(
                f"model cannot be saved, for load would build another: its {place}{name} is {found}, that of a {kind} "
                f"with its config {built}; a class of its own with KIND = {MODULE!r} is saved by its parameters alone"
            )
