"""What `gpu_vs_torch` measures: tasks as both libraries do them on a device, and the rows, the most telling first.

A *task* builds two contestants from the same weights and the same inputs. A contestant is ``Work``: a training step, or
a way there and back, for each of several sets of inputs, and the gradient for the first of these. Or it writes texts:
those that are timed are drawn, and what is compared is the greedy one.

minirnn plays in several ways, each of them a contestant of its own: step by step ("minirnn"), its training steps as a
CUDA graph ("recorded"), and whole sequences in one launch, in the scope that it would choose ("whole"), over the grid
("grid"), or by tensor cores with float32's error ("3xtf32"). A way that fails is left out, and why is noted.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import seq2seq
import sequences
import train_step
from gpu_clocks import HALVES, Place, contest
from harness import DisagreementError
from measuring import relative_error

ROTATION = 3  # sets of inputs, in turn: no step finds in a cache what the one before left there
SHOWN = 4  # steps of the sequence whose dx is compared
CLOSE = 1e-9  # relative difference between two float64 gradients, which sum up in different orders
FEW = 2**24  # numbers in a sequence, up to which minirnn's float64 gradient is compared too
CLASSES = "ieee", "tf32"
WHOLE: dict[str, dict[str, Any]] = {"whole": {}, "grid": {"scopes": ["grid"]}, "3xtf32": {"precision": "3xtf32"}}
OURS = "minirnn", "recorded", *WHOLE
WAYS = {  # of minirnn, by task; 3xtf32 has the error of IEEE, and plays in that class
    "layer": ("minirnn", "whole", "grid", "3xtf32"),
    "char": ("minirnn", "recorded", "whole"),
    "seq2seq": ("minirnn", "whole"),
    "write": ("minirnn",),  # which is one launch by itself
}
CENTRE = {"H": 256, "B": 64, "T": 128}
GRID = {"H": (128, 256, 512, 1024), "B": (16, 64, 256), "T": (32, 128, 512)}

Case = dict[str, Any]


@dataclass
class Work:
    """What a contestant does: ``steps``, one for each set of inputs, and ``gradient()`` of one, as NumPy arrays."""

    steps: list[Callable[[int], Any]]
    gradient: Callable[[], dict[str, np.ndarray]]

    def step(self, k: int) -> Any:
        """One step, and what a training loop reads of it: the loss, if there is one."""
        return read(self.steps[k % len(self.steps)](k))


def read(loss: Any) -> Any:
    return None if loss is None else loss.item()


# --- a layer, there and back -----------------------------------------------------------------------------------------


def draw(case: Case) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Inputs by name, x first, and the cotangent of the outputs."""
    random, (layers, T, B, D, H) = np.random.default_rng(1), (case[key] for key in ("layers", "T", "B", "D", "H"))
    shapes = {"x": (T, B, D), "h_0": (layers, B, H)} | ({"c_0": (layers, B, H)} if case["cell"] == "LSTM" else {})
    arrays = {name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    return arrays, random.standard_normal((T, B, H), dtype=np.float32)


def layer_work(case: Case, layer: Any, tensor: Callable, cotangent: Callable, fetch: Callable) -> Work:
    """The way there and back through a layer of either library, which is told by the last three how to hold arrays."""
    arrays, dout = draw(case)
    sets = [
        ({name: tensor(np.roll(a, k, axis=1)) for name, a in arrays.items()}, cotangent(np.roll(dout, k, axis=1)))
        for k in range(ROTATION)
    ]
    steps = [sequences.stepper(layer, inputs, dout) for inputs, dout in sets]

    def gradient() -> dict[str, np.ndarray]:
        steps[0](0)
        found = dict(layer.named_parameters()) | sets[0][0]
        return {name: fetch(t.grad[:SHOWN] if name == "x" else t.grad) for name, t in found.items()}

    return Work(steps, gradient)


def layer_in_minirnn(case: Case, dtype: str, place: Place) -> Work:
    import minirnn as mr

    layer = getattr(mr.nn, case["cell"])(case["D"], case["H"], case["layers"], dtype=dtype)
    layer.load_state_dict(weights("layer", case))
    return layer_work(
        case,
        layer,
        lambda a: mr.Tensor(a, requires_grad=True, dtype=dtype),
        lambda a: mr.Tensor(a, dtype=dtype).array,
        mr.to_numpy,
    )


def layer_in_torch(case: Case, dtype: str, place: Place) -> Work:
    import torch

    kind, device = getattr(torch, dtype), place.torch_device
    layer = getattr(torch.nn, case["cell"])(case["D"], case["H"], case["layers"])
    layer.load_state_dict({name: torch.from_numpy(a) for name, a in weights("layer", case).items()})
    layer.to(device, kind)
    return layer_work(
        case,
        layer,
        lambda a: torch.from_numpy(np.ascontiguousarray(a)).to(device, kind).requires_grad_(),
        lambda a: torch.from_numpy(np.ascontiguousarray(a)).to(device, kind),
        fetched,
    )


# --- whole training steps --------------------------------------------------------------------------------------------


def model_work(
    model: Any, batches: list, stepper: Callable, adam: Any, clip: Callable, fetch: Callable[[Any], np.ndarray]
) -> Work:
    """Training steps of a model of either library."""
    shared = stepper(model, batches[1:], adam, clip)
    steps = [lambda _, k=k: shared(k) for k in range(len(batches) - 1)]

    def gradient() -> dict[str, np.ndarray]:
        adam.zero_grad()
        model.loss(*batches[0])[0].backward()
        return {name: fetch(p.grad) for name, p in model.named_parameters()}

    return Work(steps, gradient)


def minirnn_model(task: str, case: Case, dtype: str) -> Any:
    import minirnn as mr

    V, H = case["V"], case["H"]
    if task in ("char", "write"):
        return mr.CharLM(V, H, H, case["layers"], seed=1, dtype=dtype)
    return mr.Seq2Seq(V, V, H, H, attention=case["attention"], feed=case["feed"], seed=1, dtype=dtype)


def model_in_minirnn(task: str, case: Case, dtype: str, place: Place, recorded: bool = False) -> Work:
    import minirnn as mr

    model = minirnn_model(task, case, dtype)
    model.load_state_dict(weights(task, case))
    adam, data = mr.Adam(model.parameters(), lr=1e-3), list(batches(task, case))
    if recorded:
        return recorded_work(model, data, adam)
    stepper = (train_step if task == "char" else seq2seq).stepper
    return model_work(model, data, stepper, adam, mr.clip_grad_norm_, mr.to_numpy)


def recorded_work(model: Any, batches: list, adam: Any) -> Work:
    """Training steps of a model of minirnn, each of them one launch, that of a graph."""
    from minirnn import to_numpy
    from minirnn.training.recorded import Recorded

    recorded, state = Recorded(model, adam), None

    def step(k: int) -> Any:
        nonlocal state
        outcome, state = recorded.step(*batches[1 + k], state, 5.0)
        return outcome[0]

    def gradient() -> dict[str, np.ndarray]:
        recorded.there_and_back(*batches[0], None)
        return {name: to_numpy(p.grad) for name, p in model.named_parameters()}

    return Work([lambda _, k=k: step(k) for k in range(len(batches) - 1)], gradient)


def model_in_torch(task: str, case: Case, dtype: str, place: Place) -> Work:
    import torch

    kind, device = getattr(torch, dtype), place.torch_device
    if task == "char":
        model, stepper = train_step.torch_model(case["V"], case["H"], case["layers"]), train_step.stepper
    else:
        cell = "ahead" if case["feed"] == "output" else "fused"
        model = seq2seq.torch_model(case["V"], case["H"], case["attention"], case["feed"], cell)
        stepper = seq2seq.stepper
    model.load_state_dict({name: torch.from_numpy(a) for name, a in weights(task, case).items()})
    model.to(device, kind)
    turned = [
        [torch.from_numpy(np.ascontiguousarray(ids.T if task == "char" or k == 0 else ids)).to(device)
         for k, ids in enumerate(batch)]
        for batch in batches(task, case)
    ]  # fmt: skip
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True, capturable=not place.rehearsing)
    return model_work(model, turned, stepper, adam, torch.nn.utils.clip_grad_norm_, fetched)


def batches(task: str, case: Case) -> Iterator[np.ndarray]:
    """One to check the gradient with, and those to train on."""
    if task == "char":
        return train_step.batches(case["V"], case["B"], case["T"], 1 + ROTATION)
    return seq2seq.batches(case["V"], case["B"], case["T"], 1 + ROTATION)


def fetched(gradient: Any) -> np.ndarray:
    return gradient.double().cpu().numpy()


def weights(task: str, case: Case) -> dict[str, np.ndarray]:
    """What all begin with, whatever their dtype, by name."""
    import minirnn as mr

    with mr.use_backend("numpy"):
        if task == "layer":
            return getattr(mr.nn, case["cell"])(case["D"], case["H"], case["layers"], seed=1).state_dict()
        start = minirnn_model(task, case, "float32").state_dict()
        # larger than at first for those who write, or a text says little about the state
        return {name: 2 * a for name, a in start.items()} if task == "write" else start


# --- texts -----------------------------------------------------------------------------------------------------------


def text_in_minirnn(case: Case, dtype: str, place: Place) -> Work:
    """B texts from the first character to the T-th, in one launch where the kernel takes the dtype."""
    import minirnn as mr

    V, H = case["V"], case["H"]
    lm = mr.CharLM(mr.Vocabulary("".join(map(chr, range(48, 48 + V)))), H, H, case["layers"], dtype=dtype)
    lm.load_state_dict(weights("write", case))

    def write(**settings: Any) -> list[str]:
        with mr.use_whole_sequences():
            return mr.generate(lm, ["0"] * case["B"], case["T"], **settings)

    def greedy() -> dict[str, np.ndarray]:
        return {"text": np.array([lm.vocabulary.encode(text)[1:] for text in write(temperature=0.0)])}

    def step(k: int) -> None:
        write(seed=k)

    return Work([step] * ROTATION, greedy)


def text_in_torch(case: Case, dtype: str, place: Place) -> Work:
    """The same, character by character, without ever waiting for the device."""
    import torch

    kind, device, (B, T) = getattr(torch, dtype), place.torch_device, (case["B"], case["T"])
    lm = train_step.torch_model(case["V"], case["H"], case["layers"]).eval()
    lm.load_state_dict({name: torch.from_numpy(a) for name, a in weights("write", case).items()})
    lm.to(device, kind)

    @torch.no_grad()
    def write(greedy: bool) -> Any:
        ids, state, written = torch.zeros(1, B, dtype=torch.long, device=device), None, []
        for _ in range(T):
            out, state = lm.rnn(lm.embedding(ids), state)
            scores = lm.head(out)
            if not greedy:  # by a race of exponential clocks: multinomial would wait for the device
                odds = torch.softmax(scores, -1)
                scores = odds / torch.empty_like(odds).exponential_()
            ids = scores.argmax(-1)
            written.append(ids)
        return torch.cat(written)

    return Work([lambda k: write(False)[-1, 0]] * ROTATION, lambda: {"text": write(True).T.cpu().numpy()})


# --- one row ---------------------------------------------------------------------------------------------------------


def ways(row: Case) -> list[str]:
    """How minirnn plays a row; of a row that is ``plain``, in the first way alone."""
    if row["precision"] in HALVES:
        return []
    found = WAYS[row["task"]][: 1 if row.get("plain") else None]
    return [way for way in found if way != "3xtf32" or row["precision"] == "ieee"]


def in_one_launch(work: Work, settings: dict[str, Any]) -> Work:
    """The same work, where whole sequences are asked for; what does not fit in one launch is an error.

    It is done in a context of its own, for at the end of a ``with`` block the host would wait for the device.
    """
    from minirnn import use_whole_sequences
    from minirnn.kernels.sequences import check_stalled

    context = copy_context()
    context.run(lambda: use_whole_sequences(**settings))

    def gradient() -> dict[str, np.ndarray]:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "no .* (on|of) this device")
            found = context.run(work.gradient)
        check_stalled()
        return found

    return Work([lambda k, step=step: context.run(step, k) for step in work.steps], gradient)


def build(row: Case, library: str, dtype: str, place: Place) -> Work:
    if library in WHOLE:
        own = {"precision": "tf32" if row["precision"] == "tf32" else "float32"}
        return in_one_launch(build(row, "minirnn", dtype, place), own | WHOLE[library])
    if row["task"] == "layer":
        return (layer_in_minirnn if library == "minirnn" else layer_in_torch)(row, dtype, place)
    if row["task"] == "write":
        return (text_in_minirnn if library == "minirnn" else text_in_torch)(row, dtype, place)
    if library == "torch":
        return model_in_torch(row["task"], row, dtype, place)
    return model_in_minirnn(row["task"], row, dtype, place, recorded=library == "recorded")


def measure(row: Case, place: Place) -> dict[str, Any]:
    """The figures of one row; minirnn plays where PyTorch's precision class is one that it has too."""
    from minirnn.kernels.sequences import check_stalled

    precision = row["precision"]
    found: dict[str, Any] = {"switches": place.set_precision(precision), "error": {}, "absent": {}}
    exact = build(row, "torch", "float64", place).gradient()
    works: dict[str, Work] = {}
    for name in (*ways(row), "torch"):
        with absent(found, name, needed=name in ("minirnn", "torch")):
            work = build(row, name, HALVES.get(precision, "float32"), place)
            found["error"][name] = relative_error(work.gradient(), exact)
            works[name] = work
    if "minirnn" in works and row["T"] * row["B"] * row["H"] <= FEW:
        found["difference"] = relative_error(build(row, "minirnn", "float64", place).gradient(), exact)
        if not found["difference"] <= CLOSE:
            raise DisagreementError(f"the float64 gradients of minirnn and PyTorch differ by {found['difference']:.1e}")
    ours = [name for name in works if name in OURS]
    library = {name: "torch" if name == "torch" else "minirnn" for name in works}
    both = [name for name in ("minirnn", "torch") if name in works]  # a recording has a pool of its own
    peaks = {name: place.peak_mib(name, works[name].step) for name in both}
    found["peak_mib"] = {name: mib for name, mib in peaks.items() if mib is not None}
    found["kernels"] = []
    with absent(found, "kernels"):
        found["kernels"] = place.kernels(works["torch"].steps[0])

    contestants = {name: (work.step, place.clock(library[name])) for name, work in works.items()}
    with absent(found, "graph"):
        replay = place.graphed(works["torch"].steps)
        if replay is not None:
            contestants["graph"] = (lambda k: read(replay(k))), place.clock("torch")
    times = contest(contestants)
    if works.keys() & WHOLE.keys():
        check_stalled()
    tokens = row["T"] * row["B"]
    for name, figures in times.items():
        per_step = {"us_per_step": 1e3 * figures["ms"] / row["T"], "tokens_per_s": 1e3 * tokens / figures["wall_ms"]}
        found[name] = {**figures, **per_step}
    if "minirnn" in times and precision in CLASSES:  # what PyTorch does by itself may be another class than CuPy's
        theirs = [name for name in times if name not in OURS]
        best, own = (min(names, key=lambda name: times[name]["ms"]) for names in (theirs, ours))
        found["best of torch"], found["best of minirnn"] = best, own
        found["speed"] = times[best]["ms"] / times[own]["ms"]
        walls = [min(times[name]["wall_ms"] for name in names) for names in (theirs, ours)]
        found["wall speed"] = walls[0] / walls[1]
    return found


@contextmanager
def absent(found: dict[str, Any], name: str, needed: bool = False) -> Iterator[None]:
    """Notes why something is missing in a row, unless there is no row without it."""
    try:
        yield
    except Exception as error:
        if needed:
            raise
        found["absent"][name] = said(error)


def said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


# --- all rows --------------------------------------------------------------------------------------------------------


def layer(cell: str, H: int, B: int, T: int, layers: int = 1, D: int | None = None) -> Case:
    return {"task": "layer", "cell": cell, "layers": layers, "T": T, "B": B, "D": D or H, "H": H}


def char(V: int, H: int, layers: int, B: int, T: int) -> Case:
    return {"task": "char", "cell": "LSTM", "layers": layers, "T": T, "B": B, "V": V, "H": H}


def texts(V: int, H: int, layers: int, B: int, T: int) -> Case:
    return {**char(V, H, layers, B, T), "task": "write"}


def translator(V: int, H: int, B: int, T: int, attention: str, feed: str) -> Case:
    size = {"T": T, "B": B, "V": V, "H": H, "attention": attention, "feed": feed}
    return {"task": "seq2seq", "cell": "LSTM", "layers": 1, **size}


def rows(quick: bool = False) -> list[Case]:
    """Every row once, the most telling first: whoever has a minute shall learn most from it.

    The training step of the article, layers of middling size, and a text; other models; then the grid, away from its
    centre; odd sizes and two layers; what PyTorch does unasked, and its half precisions, which minirnn does not have.
    """
    cells = "LSTM", "GRU", "RNN"
    first = [char(65, 128, 2, 16, 50), *(layer(cell, **CENTRE) for cell in cells)]
    models = [
        texts(65, 128, 2, 1, 400),
        texts(65, 512, 2, 1, 400),
        texts(65, 512, 2, 16, 400),
        translator(8000, 256, 64, 15, "additive", "output"),
        translator(8000, 256, 64, 15, "dot", "nothing"),
        char(65, 512, 2, 64, 100),
        char(65, 256, 2, 32, 100),
    ]
    odd = [layer(cell, 300, 50, 100, D=77) for cell in cells] + [layer(cell, **CENTRE, layers=2) for cell in cells]
    grid = [layer(cell, **dict(zip(GRID, sizes, strict=True))) for sizes in product(*GRID.values()) for cell in cells]
    grid = sorted((case for case in grid if case not in first), key=distance)
    told = [{**case, "precision": kind} for kind in CLASSES for case in (*first, models[1])]
    told += [{**case, "precision": "default"} for case in first]
    if quick:
        return told
    rest = (case for case in (*models, *odd, *grid) if case is not models[1])
    told += [{**case, "precision": kind} for case in rest for kind in CLASSES]
    return told + [{**case, "precision": kind} for case in first for kind in HALVES]


def distance(case: Case) -> float:
    """How far a case is from the centre of the grid, in doublings."""
    return sum(abs(math.log2(case[key] / CENTRE[key])) for key in CENTRE)


def rehearsal() -> list[Case]:
    """Every task, cell and precision class, tiny."""
    cases = [
        char(7, 8, 2, 2, 5),
        texts(7, 8, 2, 2, 5),
        translator(11, 8, 2, 4, "additive", "output"),
        translator(11, 8, 2, 4, "dot", "nothing"),
    ]
    cases += [layer(cell, 5, 2, 4, layers, D=3) for cell in ("LSTM", "GRU", "RNN") for layers in (1, 2)]
    kinds = (*CLASSES, "default", "bf16")
    return [{**case, "precision": kinds[k % len(kinds)]} for k, case in enumerate(cases)]
