"""Models on disk: saved, and loaded."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np

from minirnn.arguments import paths
from minirnn.nn import Module
from minirnn.nn.init import undrawn
from minirnn.training.kinds import KINDS, MODULE, check_loadable, config_of, kind_of
from minirnn.training.plausible import check_meta
from minirnn.training.sealed import CheckpointError, PathLike, read_sealed, write_sealed
from minirnn.version import __version__

SIZES = {  # for each kind: which sizes of its configuration stand in which axis of which array; then whose layers count
    "char_lm": ({"vocab_size": ("embedding", 0), "embedding_size": ("embedding", 1)}, "rnn", "vocab_size"),
    "seq2seq": (
        {
            "source_vocabulary": ("source_embedding", 0),
            "target_vocabulary": ("target_embedding", 0),
            "embedding_size": ("source_embedding", 1),
        },
        "encoder",
        "target_vocabulary",
    ),
}


def save(model: Module, path: PathLike) -> None:
    """Writes a model to a file of its own: a `CharLM` or a `Seq2Seq` whole, of any other module the parameters.

    The file appears whole or not at all, and under a seal that every later change of it breaks. Where ``path`` is a
    symbolic link, it is the file that the link names. The whole is parameters, configuration and vocabulary; a class
    derived from one of the two comes back as that one. Which parameters are frozen is not kept.

    Of other modules nothing is kept but the parameters. What else has to come back, such as the mean and the scale of
    the data, is made one that no training changes: see the example.

    Raises
    ------
    TypeError
        If it is no module, or ``path`` no path.
    ValueError
        If ``load`` would not give the model back, since layers were put into it, taken out, or made others.
    OSError
        If it cannot be written, or ``path`` is a device, a pipe or a socket. Whatever is raised, a former file of that
        name is unchanged.

    Examples
    --------
    >>> import tempfile
    >>> from minirnn.nn import Linear, Parameter
    >>> class Scaled(Module):
    ...     def __init__(self, mean):
    ...         self.mean = Parameter(np.float32(mean))
    ...         self.mean.requires_grad = False
    ...         self.head = Linear(2, 1, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Scaled(mean=[3, 4]), f"{folder}/scaled.npz")
    ...     load(f"{folder}/scaled.npz", into=Scaled(mean=[0, 0])).mean.numpy()
    array([3., 4.], dtype=float32)
    """
    check_loadable(model)
    paths(path=path)
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(Path(path).parent))
    write_sealed(path, model_arrays(model), model_meta(model))


def load(path: PathLike, kind: str | None = None, into: Module | None = None) -> Any:
    """Reads a model back, in evaluation mode and on the current backend.

    Parameters
    ----------
    path : path
        A file that ``save`` or a run has written, or the directory of a run, which stands for its best model:
        ``best.npz``, and ``last.npz`` as long as there is none.
    kind : {"char_lm", "seq2seq", "module"}, optional
        What it has to be: a `CharLM`, a `Seq2Seq`, or another module. Without it, any.
    into : Module, optional
        Takes over the parameters of another module, which only your own code can build; it stays where it is.

    Returns
    -------
    CharLM, Seq2Seq or ``into``

    Raises
    ------
    CheckpointError
        If there is no such file, or it is damaged, foreign or of another kind; if it does not fit ``into``, which has
        not changed then; if ``into`` is missing, or not needed.
    TypeError
        If ``path`` is no path, ``into`` no module, or a module is given as ``kind``.
    """
    paths(path=path)
    if isinstance(kind, Module):
        raise TypeError(f"kind must be a name such as 'module', got {type(kind).__name__}; give into=model")
    if into is not None and not isinstance(into, Module):
        raise TypeError(f"into must be a Module, got {type(into).__name__}")
    arrays, meta = read_run(path, kind)
    path = checkpoint_file(path)
    if meta["kind"] == MODULE:
        name = meta["model"].get("class")
        if into is None:
            reason = f"holds the parameters of a {name}, and not how it is built"
            raise CheckpointError(path, reason, f"give into={name}(...)")
        try:
            into.load_state_dict(of_model(arrays))
        except (KeyError, TypeError, ValueError) as error:
            hint = f"build it as the {name} was that was saved"
            raise CheckpointError(path, f"does not fit into this {type(into).__name__} ({error})", hint) from error
        return into.eval()
    if into is not None:
        raise CheckpointError(path, f"holds a whole {KINDS[meta['kind']].__name__}", "leave into away: load builds it")
    try:
        _check_sizes(arrays, meta)
        with undrawn():
            model = KINDS[meta["kind"]](**meta["model"])
        model.vocabulary_from_plain(meta["vocabulary"])
        model.load_state_dict(of_model(arrays))
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(path, f"its model cannot be built ({error})", "load only what minirnn wrote") from error
    return model.eval()


def checkpoint_file(path: PathLike) -> Path:
    """The file itself, or the best model in a run's directory: ``best.npz``, without one ``last.npz``."""
    path = Path(path)
    best, last = path / "best.npz", path / "last.npz"
    if not path.is_dir() or path.name in (best.name, last.name):
        return path
    return best if os.path.exists(best) else last  # not Path.exists: it raises where it may not look


def read_run(path: PathLike, kind: str | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and meta of what a path stands for: the seal holds, and the meta says what it should."""
    path = checkpoint_file(path)
    arrays, meta = read_sealed(path, kind=(*KINDS, MODULE) if kind is None else kind)
    try:
        check_meta(arrays, meta)
    except ValueError as error:
        raise CheckpointError(path, f"not as minirnn writes it ({error})", "load only what minirnn wrote") from error
    return arrays, meta


def model_arrays(model: Module) -> dict[str, np.ndarray]:
    """The parameters as the arrays of a checkpoint."""
    return {f"model/{name}": array for name, array in model.state_dict().items()}


def of_model(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parameters among the arrays of a checkpoint, by name."""
    return {name.removeprefix("model/"): a for name, a in arrays.items() if name.startswith("model/")}


def model_meta(model: Any) -> dict[str, Any]:
    """What else a checkpoint says of a model: all but ``training`` of a run is there."""
    kind = kind_of(model)
    return {
        "kind": kind,
        "model": config_of(model),
        "vocabulary": None if kind == MODULE else model.vocabulary_to_plain(),
        "versions": {"minirnn": __version__, "numpy": np.__version__},
        "training": None,
    }


def _check_sizes(arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Compares the sizes of the configuration with the arrays really there, before memory is taken for them."""
    config, (sizes, rnn, scored) = meta["model"], SIZES[meta["kind"]]
    if any(arrays[f"model/{layer}.weight"].ndim != 2 for layer, _ in sizes.values()):
        raise ValueError("an embedding is no matrix")
    found = {name: arrays[f"model/{layer}.weight"].shape[axis] for name, (layer, axis) in sizes.items()}
    rows, read = arrays[f"model/{rnn}.weight_hh_l0"].shape
    forward = [name for name in arrays if name.startswith(f"model/{rnn}.weight_hh_l") and "reverse" not in name]
    found |= {"hidden_size": read, "num_layers": len(forward)}
    if f"model/{rnn}.weight_hr_l0" in arrays:
        found["proj_size"], found["hidden_size"] = arrays[f"model/{rnn}.weight_hr_l0"].shape
    for name, size in found.items():
        if config[name] != size:
            raise ValueError(f"{name} is {config[name]!r} in its configuration and {size} in its arrays")
    # an array may say (0, 10**12) for nothing
    shapes = {f"{rnn}.weight_hh_l{k}": (max(rows, found["hidden_size"]), read) for k in range(len(forward))}
    shapes |= {f"{rnn}.weight_ih_l0": (rows, found["embedding_size"]), "head.weight": (found[scored], read)}
    for name, shape in shapes.items():
        if arrays[f"model/{name}"].shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got {arrays[f'model/{name}'].shape}")
