"""NaN and infinity: in gradients, losses, scores, states that are loaded, numbers that are set."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from badness import Bad, Call, f32

from minirnn import (
    SGD,
    Adam,
    AdamW,
    CharLM,
    DivergenceError,
    NonFiniteGradientError,
    PairStream,
    RMSprop,
    Seq2Seq,
    TextStream,
    TokenVocabulary,
    Trainer,
    Vocabulary,
    beam_search,
    clip_grad_norm_,
    clip_grad_value_,
    generate,
    gradcheck,
    hvp,
    lens,
    nn,
    ops,
    sampler,
)
from minirnn.decoding import probabilities
from minirnn.training import Plateau, linear

WRONG = {"NaN": math.nan, "infinite": math.inf, "minus infinity": -math.inf}


def planted(x: Any, error: type[Exception] = ValueError, **form: Any) -> list[Bad]:
    """``x`` with one entry that is not finite."""
    cases = []
    for why, value in WRONG.items():
        spoiled = np.array(x)
        spoiled.flat[-1] = value
        cases.append(Bad(why, spoiled, error, **({"shown": str(value)} | form)))
    return cases


def numbers(error: type[Exception] = ValueError, **form: Any) -> list[Bad]:
    return [Bad(why, value, error, **form) for why, value in WRONG.items()]


def calls() -> Iterator[Call]:
    yield from gradients()
    yield from scores()
    yield from checks()
    yield from settings()
    yield from models()


def gradients() -> Iterator[Call]:
    for take, option in ((clip_grad_norm_, {"max_norm": 1.0}), (clip_grad_value_, {"clip_value": 1.0})):
        bad = planted(f32(2, 3), NonFiniteGradientError, shown="1 of 6", named="gradient of w")
        everywhere = Bad(
            "all of it", np.full((2, 3), np.nan), NonFiniteGradientError, shown="6 of 6", named="gradient of w"
        )
        yield Call(
            take.__name__, partial(_clipped, take, option), {"grad": f32(2, 3)}, {"grad": [*bad, everywhere]}, _two
        )
    gradient = [
        case._replace(value=[{"w": case.value}], named="gradient of step 0", shown="finite") for case in planted(f32(3))
    ]
    yield Call(
        "lens.clipping",
        lambda gradients: lens.clipping(gradients, max_norm=1.0),
        {"gradients": [{"w": f32(3)}]},
        {"gradients": gradient},
    )


def _two() -> tuple[nn.Parameter, nn.Parameter]:
    """Two parameters: the gradient of the first is good, and must not be clipped if that of the second is not."""
    v, w = nn.Parameter(f32(2), name="v"), nn.Parameter(f32(2, 3), name="w")
    v.grad = f32(2) * 100
    return v, w


def _clipped(take: Any, option: dict[str, float], both: tuple[nn.Parameter, nn.Parameter], grad: Any) -> None:
    both[1].grad = grad
    try:
        take(both, **option)
    finally:
        both[1].grad = None


def scores() -> Iterator[Call]:
    for settings in ({}, {"temperature": 0.0}, {"top_k": 2}, {"top_p": 0.5}):
        said = ", ".join(f"{name}={value}" for name, value in settings.items())
        yield Call(
            f"sampler({said})",
            lambda logits, settings=settings: sampler(**settings)(logits),
            {"logits": f32(5)},
            {"logits": planted(f32(5))},
        )
    yield Call(
        "sampler(seed=[1, 2])",
        lambda logits: sampler(seed=[1, 2])(logits),
        {"logits": f32(2, 5)},
        {"logits": planted(f32(2, 5))},
    )
    yield Call("probabilities", probabilities, {"logits": f32(5)}, {"logits": planted(f32(5))})
    lm = partial(CharLM, Vocabulary("abc"), 2, 3)
    for name in lm().state_dict():
        good = lm().state_dict()[name]
        yield Call(
            f"generate, {name}",
            partial(_generated, name),
            {name: good},
            {
                name: [
                    case._replace(named="logits", shown="finite") for case in [Bad("NaN", np.full_like(good, np.nan))]
                ]
            },
            lm,
        )
    model = partial(Seq2Seq, 6, 6, 2, 3)
    for name in model().state_dict():
        good = model().state_dict()[name]
        if "source_embedding" not in name and "target_embedding" not in name:
            bad = Bad("NaN", np.full_like(good, np.nan), shown="NaN", named="logits")
            yield Call(f"beam_search, {name}", partial(_searched, name), {name: good}, {name: [bad]}, model)


def _generated(name: str, lm: CharLM, **weight: Any) -> None:
    with _holding(lm, weight):
        generate(lm, "ab", 3)


def _searched(name: str, model: Seq2Seq, **weight: Any) -> None:
    with _holding(model, weight):
        beam_search(model, [[4, 5]], max_length=3)


@contextmanager
def _holding(model: nn.Module, weights: dict[str, Any]) -> Iterator[None]:
    """A model with other weights, and at the end with its own again."""
    parameters = {name: p for name, p in model.named_parameters() if name in weights}
    before = {name: p.array for name, p in parameters.items()}
    try:
        for name, p in parameters.items():
            p.array = weights[name]
        yield
    finally:
        for name, p in parameters.items():
            p.array = before[name]


def checks() -> Iterator[Call]:
    x = np.arange(1.0, 4.0)
    for method in ("auto", "complex", "central", "forward", "richardson"):
        bad = [case._replace(value=[case.value], named="input", shown="finite") for case in planted(x)]
        yield Call(
            f"gradcheck(method={method!r})",
            lambda inputs, method=method: gradcheck(ops.tanh, inputs, method=method),
            {"inputs": [x]},
            {"inputs": bad[: 3 if method == "auto" else 1]},
        )
    square = lambda x: (x * x).sum()
    bad = [case._replace(value=[case.value], shown="finite") for case in planted(x)]
    yield Call(
        "hvp",
        lambda inputs: hvp(square, inputs, [x]),
        {"inputs": [x]},
        {"inputs": [case._replace(named="input") for case in bad]},
    )
    yield Call(
        "hvp",
        lambda vectors: hvp(square, [x], vectors),
        {"vectors": [x]},
        {"vectors": [case._replace(named="vector") for case in bad]},
    )
    bad = [Bad("log of 0", [np.array([0.0, 1.0])], shown="finite", named="output 0")]
    yield Call("gradcheck", lambda inputs: gradcheck(_quiet_log, inputs), {"inputs": [x]}, {"inputs": bad})
    layer = nn.Linear(2, 3)
    for name, good in layer.state_dict().items():
        huge = Bad("beyond float32", good.astype("float64") + 1e300, shown="1e+300")
        yield Call(
            "Module.load_state_dict",
            lambda layer, **state: layer.load_state_dict({**layer.state_dict(), **state}),
            {name: good},
            {name: [huge]},
            partial(nn.Linear, 2, 3),
        )


def _quiet_log(x: np.ndarray) -> Any:
    with np.errstate(divide="ignore"):
        return np.log(x), lambda dy: (dy / x,)


def settings() -> Iterator[Call]:
    w = nn.Parameter(f32(3))
    for kind in (SGD, RMSprop, Adam, AdamW):
        own = {"lr": numbers(), "weight_decay": numbers()}
        yield Call(kind.__name__, lambda kind=kind, **options: kind([w], **options), {"lr": 0.1}, own)
    for kind, name in ((SGD, "momentum"), (RMSprop, "alpha"), (RMSprop, "eps"), (Adam, "eps")):
        yield Call(kind.__name__, lambda kind=kind, **options: kind([w], 0.1, **options), {}, {name: numbers()})
    stream = TextStream("to be or not to be", 3, 2)
    own = {name: numbers() for name in ("lr", "clip_norm", "val_split")}
    yield Call(
        "Trainer",
        lambda lm, **options: Trainer(lm, stream, **options),
        {},
        own,
        partial(CharLM, stream.vocabulary, 2, 3),
    )
    yield Call("nn.Dropout", nn.Dropout, {}, {"p": numbers()})
    yield Call(
        "nn.LSTM", partial(nn.LSTM, 2, 3), {}, {"dropout": numbers(), "zoneout": numbers(), "forget_bias": numbers()}
    )
    yield Call("linear", linear, {"end": 0.5, "steps": 9}, {"end": numbers(), "start": numbers()})
    yield Call("Plateau", Plateau, {}, {"gamma": numbers()})
    yield Call("lens.specimen", partial(lens.specimen, hidden=2, seq_len=3), {}, {"radius": numbers()})
    yield Call("sampler", sampler, {}, {"temperature": numbers(), "top_p": numbers()})


def models() -> Iterator[Call]:
    """A run whose schedule makes a rate that none can be: no step is taken, and all is as before it."""
    stream = TextStream("to be or not to be " * 3, 3, 2)

    def stepped(trainer: Trainer, **functions: Any) -> None:
        own = {name: getattr(trainer, name) for name in functions}
        vars(trainer).update(functions)
        try:
            trainer.train_step()
        finally:
            vars(trainer).update(own)

    rates = {**WRONG, "negative": -1.0}
    bad = [
        Bad(why, lambda step, rate=rate: rate, DivergenceError, shown=str(0.5 * rate)) for why, rate in rates.items()
    ]
    run = lambda: Trainer(CharLM(stream.vocabulary, 2, 3), stream, lr=0.5)
    yield Call("Trainer.train_step", stepped, {"schedule": lambda step: 1.0}, {"schedule": bad}, run)
    bad = [Bad(why, lambda step, share=share: share, shown=str(share)) for why, share in {**WRONG, "two": 2.0}.items()]
    model = partial(Seq2Seq, *[TokenVocabulary.learn(["a b c"], "words")] * 2, 2, 3)
    pairs = lambda: PairStream([("a b", "c")] * 3, model().source_vocabulary, model().target_vocabulary)
    run = lambda: Trainer(model(), pairs())
    yield Call("Trainer.train_step", stepped, {"teacher_forcing": lambda step: 0.5}, {"teacher_forcing": bad}, run)
