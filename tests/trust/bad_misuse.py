"""Good values at the wrong time or in the wrong company: a graph that is gone, a write into what is needed, options
that exclude each other, models and data that do not belong together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from badness import Bad, Call, f32

from minirnn import (
    SGD,
    Adam,
    CharLM,
    Checkpoint,
    DataError,
    Seq2Seq,
    Tensor,
    TextStream,
    TokenVocabulary,
    Trainer,
    Vocabulary,
    beam_search,
    differentiable,
    fit,
    generate,
    generated,
    gradcheck,
    hvp,
    lens,
    nn,
    no_grad,
    rules,
    translate,
)
from minirnn.checking import GradcheckError


def calls() -> Iterator[Call]:
    yield from tape()
    yield from rules_of_ones_own()
    yield from options()
    yield from company()
    yield from instruments()


def done(action: Callable[..., Any]) -> Callable[..., Any]:
    """Calls what is given under any name, with the subject if there is one."""
    return lambda *subject, **way: next(iter(way.values()))(*subject)


def way(
    name: str,
    argument: str,
    good: Callable[..., Any],
    bad: dict[str, tuple[Any, ...]],
    subject: Callable[[], Any] | None = None,
) -> Call:
    """A call whose argument is what is done: ``{why: (action, error, what the message shows)}``."""
    cases = [Bad(why, action, error, shown=shown) for why, (action, error, shown) in bad.items()]
    return Call(name, done(good), {argument: good}, {argument: cases}, subject)


def tape() -> Iterator[Call]:
    w = partial(Tensor, [1.0, 2.0], requires_grad=True, name="w")
    plain = partial(Tensor, [1.0, 2.0])

    def twice(w: Tensor) -> None:
        loss = (w * w).sum()
        loss.backward()
        w.grad = None
        loss.backward()

    def written(write: Callable[[Tensor], Any]) -> Callable[[Tensor], None]:
        def run(w: Tensor) -> None:
            own = Tensor(w.data, requires_grad=True, name="w")
            loss = (own * own).sum()
            with no_grad():
                write(own)
            loss.backward()

        return run

    saved = {
        "an entry": lambda t: t.__setitem__(0, 5.0),
        "all of it": lambda t: t.__setitem__(..., 5.0),
        "+=": lambda t: t.__iadd__(1.0),
        "-=": lambda t: t.__isub__(1.0),
        "*=": lambda t: t.__imul__(2.0),
        "/=": lambda t: t.__itruediv__(2.0),
        "through detach": lambda t: t.detach().__iadd__(1.0),
        "through a row": lambda t: t[:1].__iadd__(1.0),
        "through a shape": lambda t: t.reshape(2, 1).__iadd__(1.0),
        "through a mask": lambda t: t.__setitem__(np.array([True, False]), 5.0),
        "through a step": lambda t: SGD([_with_grad(t)], 0.1).step(),
    }
    cases = {why: (written(write), RuntimeError, "was written into") for why, write in saved.items()}
    yield way("Tensor.backward after a write", "w", lambda w: None, cases, w)
    backward = {
        "twice": (twice, RuntimeError, "retain_graph=True"),
        "of what requires none": (lambda w: Tensor([1.0]).backward(), RuntimeError, "requires_grad=True"),
        "under no_grad": (_under_no_grad, RuntimeError, "requires_grad=True"),
        "of a detached loss": (lambda w: (w * w).sum().detach().backward(), RuntimeError, "requires_grad=True"),
        "of many numbers": (lambda w: (w * w).backward(), ValueError, "(2,)"),
    }
    yield way("Tensor.backward", "backward", lambda w: None, backward, w)
    recorded = {
        "an entry": (lambda w: w.__setitem__(0, 5.0), RuntimeError, "no_grad()"),
        "in place": (lambda w: w.__iadd__(1.0), RuntimeError, "no_grad()"),
        "a view in place": (lambda w: w[:1].__imul__(2.0), RuntimeError, "no_grad()"),
    }
    yield way("Tensor, written while recording", "requires", lambda w: None, recorded, w)
    into = {"a history": (lambda x: x.__setitem__(0, Tensor(3.0, requires_grad=True)), RuntimeError, "no_grad()")}
    yield way("Tensor, a write of what requires a gradient", "requires", lambda x: None, into, plain)
    arrays = {
        "np.asarray": (np.asarray, TypeError, ".data or .numpy()"),
        "np.sum": (lambda w: np.sum(np.asarray(w)), TypeError, ".data or .numpy()"),
    }
    yield way("Tensor as an array", "gradient", lambda w: None, arrays, w)
    yield way(
        "Tensor.__dlpack__",
        "gradient",
        lambda w: None,
        {"with a history": (lambda w: w.__dlpack__(), BufferError, ".detach()")},
        w,
    )
    items = {
        "item of two": (lambda w: w.item(), ValueError, "(2,)"),
        "float of two": (float, ValueError, "(2,)"),
        "bool of two": (bool, ValueError, "(2,)"),
        "len of a number": (lambda w: len(Tensor(1.0)), TypeError, "()"),
        "iterating a number": (lambda w: list(Tensor(1.0)), TypeError, "()"),
    }
    yield way("Tensor as a number", "shape", lambda w: None, items, w)
    indices = {
        "outside": (lambda x: x[5], IndexError, "5"),
        "too many": (lambda x: x[0, 0], IndexError, "(0, 0)"),
        "a float": (lambda x: x[0.5], IndexError, "0.5"),
        "a word": (lambda x: x["a"], IndexError, "'a'"),
        "a mask too long": (lambda x: x[np.array([True] * 3)], IndexError, "(2,)"),
        "floats": (lambda x: x[np.array([0.5])], IndexError, "float64"),
    }
    yield way("Tensor[...]", "index", lambda x: x[0], indices, plain)
    yield way(
        "Tensor[...] =",
        "tensor",
        lambda x: None,
        {
            "outside": (lambda x: x.__setitem__(5, 1.0), IndexError, "[5]"),
            "a float": (lambda x: x.__setitem__(0.5, 1.0), IndexError, "[0.5]"),
        },
        plain,
    )


def _with_grad(t: Tensor) -> Tensor:
    t.grad = np.ones(t.shape)
    return t


def _under_no_grad(w: Tensor) -> None:
    with no_grad():
        loss = (w * w).sum()
    loss.backward()


def rules_of_ones_own() -> Iterator[Call]:
    x = np.arange(1.0, 4.0)
    shapes = {
        "returns no pullback": (lambda x: x * 2, TypeError, "(output, pullback)"),
        "returns a list": (lambda x: ([x], lambda dy: (dy,)), TypeError, "list"),
        "returns nothing": (lambda x: None, TypeError, "got None"),
    }
    for why, (rule, error, shown) in shapes.items():
        yield Call(
            "differentiable",
            lambda rule: differentiable(rule)(x),
            {"rule": rules.tanh},
            {"rule": [Bad(why, rule, error, shown=shown, named="output")]},
        )
    pullbacks = {
        "returns an array": (lambda dy: dy, TypeError, "tuple"),
        "returns too few": (lambda dy: (), TypeError, "0 cotangents"),
        "returns too many": (lambda dy: (dy, dy), TypeError, "2 cotangents"),
        "returns None": (lambda dy: (None,), TypeError, "None"),
        "returns another shape": (lambda dy: (dy[:1],), TypeError, "(1,)"),
    }
    for why, (pullback, error, shown) in pullbacks.items():
        pull = lambda pullback: (
            differentiable(lambda x: (x * 1, pullback))(Tensor(x, requires_grad=True)).sum().backward()
        )
        yield Call(
            "backward through a rule",
            pull,
            {"pullback": lambda dy: (dy,)},
            {"pullback": [Bad(why, pullback, error, shown=shown)]},
        )
        check = lambda pullback: gradcheck(lambda x: (x * 1, pullback), [x])
        shown = {"tuple": "", "0 cotangents": "", "2 cotangents": "", "None": "None", "(1,)": "(1,)"}[shown]
        yield Call(
            "gradcheck",
            check,
            {"pullback": lambda dy: (dy,)},
            {"pullback": [Bad(why, pullback, GradcheckError, shown=shown, named="gradient" if shown else "pullback")]},
        )
    wrong = {
        "twice as large": lambda x: (x * x, lambda dy: (4 * x * dy,)),
        "writes into its input": lambda x: (np.multiply(x, x, out=x), lambda dy: (2 * x * dy,)),
    }
    bad = [Bad("a wrong gradient", wrong["twice as large"], GradcheckError, shown="wrong", named="x")]
    yield Call("gradcheck", lambda rule: gradcheck(rule, [x]), {"rule": rules.tanh}, {"rule": bad})
    functions = [
        Bad("NumPy's function", lambda t: np.tanh(t), TypeError, shown="np.tanh", named="NumPy"),
        Bad("returns a number", lambda t: 3.0, TypeError, shown="float", named="tensor"),
    ]
    yield Call(
        "gradcheck",
        lambda function: gradcheck(function, [Tensor(x)]),
        {"function": lambda t: t.tanh()},
        {"function": functions},
    )
    outputs = [
        Bad("two outputs", lambda t: (t.sum(), t.sum()), shown="one output", named="Hessian"),
        Bad("many numbers", lambda t: t * t, shown="(3,)", named="Hessian"),
    ]
    yield Call(
        "hvp", lambda function: hvp(function, [x], [x]), {"function": lambda t: (t * t).sum()}, {"function": outputs}
    )
    yield Call(
        "ops.stack",
        lambda data: Tensor(data),
        {"data": [1.0]},
        {"data": [Bad("a list of tensors", [Tensor(1.0), Tensor(2.0)], TypeError, shown="ops.stack")]},
    )


def options() -> Iterator[Call]:
    exclude = [
        ("nn.LSTM", partial(nn.LSTM, 2, 3, peepholes=True), "layer_norm", True, ValueError, "peepholes=True"),
        ("nn.LSTM", partial(nn.LSTM, 2, 3, bias=False), "forget_bias", 1.0, ValueError, "bias=True"),
        ("nn.GRU", partial(nn.GRU, 2, 3, reset_after=False), "layer_norm", True, ValueError, "reset_after=True"),
        ("nn.RNN", partial(nn.RNN, 2, 3), "droput", 0.1, TypeError, "'dropout'"),
        ("nn.RNN", partial(nn.RNN, 2, 3), "device", "cuda", TypeError, "use_backend"),
        ("nn.RNN", partial(nn.RNN, 2, 3), "through_time", lambda rule: rules.tanh, TypeError, "tanh"),
        ("nn.Attention", partial(nn.Attention, 2, 2, "dot"), "attention_size", 3, ValueError, "'additive'"),
        ("nn.Attention", partial(nn.Attention, 2, 3), "kind", "dot", ValueError, "2 and 3"),
        ("Seq2Seq", partial(Seq2Seq, 6, 6, 2, 3, attention="none"), "feed", "output", ValueError, "without attention"),
        ("Seq2Seq", partial(Seq2Seq, 6, 6, 2, 3), "context", "mean", ValueError, "with attention"),
        ("Seq2Seq", partial(Seq2Seq, 6, 6, 2, 3), "tie_embeddings", True, ValueError, "2 and 3"),
        ("CharLM", partial(CharLM, 6, 2, 3), "tie_weights", True, ValueError, "2 and 3"),
        ("Checkpoint", partial(Checkpoint, "nowhere", resume=True), "overwrite", True, ValueError, "not both"),
    ]
    for name, make, option, value, error, shown in exclude:
        yield Call(name, make, {}, {option: [Bad(f"with {shown}", value, error, shown=shown)]})
    learned = partial(nn.GRU, 2, 3)
    for home in ("torch", "keras", "onnx"):
        convert = getattr(nn.convert, f"to_{home}")
        bad = [
            Bad("zoneout", nn.GRU(2, 3, zoneout=0.1), shown="zoneout=0.1", named="counterpart"),
            Bad("layer norm", nn.GRU(2, 3, layer_norm=True), shown="layer_norm=True", named="counterpart"),
            Bad("a learned state", nn.GRU(2, 3, learned_state=True), shown="learned_state=True", named="counterpart"),
            Bad("no recurrent layer", nn.Linear(2, 3), TypeError, shown="Linear"),
        ]
        yield Call(f"nn.convert.to_{home}", convert, {"layer": learned()}, {"layer": bad})


def company() -> Iterator[Call]:
    text = "to be or not to be "
    stream = TextStream(text, 3, 2)
    lm = partial(CharLM, stream.vocabulary, 2, 3)
    bad = [
        Bad("of another alphabet", TextStream("ab" * 9, 3, 2), named="vocabulary", shown="2"),
        Bad(
            "in another order",
            TextStream(text, 3, 2, vocabulary=Vocabulary(stream.vocabulary.characters[::-1])),
            named="vocabulary",
            shown="another",
        ),
    ]
    yield Call("Trainer", lambda lm, stream: Trainer(lm, stream), {"stream": stream}, {"stream": bad}, lm)
    yield Call("fit", lambda lm, stream: fit(lm, stream, steps=1), {"stream": stream}, {"stream": bad}, lm)
    yield Call(
        "Trainer",
        lambda lm, validation: Trainer(lm, stream, validation=validation),
        {"validation": stream},
        {"validation": bad},
        lm,
    )
    yield Call(
        "Trainer",
        lambda lm, optimizer: Trainer(lm, stream, optimizer=optimizer),
        {"optimizer": None},
        {"optimizer": [Bad("of another model", Adam(lm().parameters()), shown="")]},
        lm,
    )
    yield Call(
        "Trainer",
        lambda lm, val_split: Trainer(lm, stream, validation=stream, val_split=val_split),
        {"val_split": 0.0},
        {"val_split": [Bad("besides validation", 0.5, shown="0.5")]},
        lm,
    )
    yield Call(
        "generate",
        lambda lm: generate(lm, "to", 2),
        {"lm": lm()},
        {
            "lm": [
                Bad("without a vocabulary", CharLM(7, 2, 3), shown="vocabulary"),
                Bad("no model", None, TypeError),
                Bad("a layer", nn.Linear(2, 3), shown="vocabulary"),
            ]
        },
    )
    yield Call(
        "generate",
        lambda prompt: generate(lm(), prompt, 2),
        {"prompt": "to"},
        {
            "prompt": [
                Bad("unseen", "xyz", DataError, named="text", shown="'x'"),
                Bad("bytes", b"to", TypeError, named="text", shown="bytes"),
                Bad("a number", 3, TypeError, named="text", shown="int"),
                Bad("unseen in one", ["to", "x"], DataError, named="prompt 1", shown="'x'"),
                Bad("a number in one", ["to", 3], TypeError, named="text", shown="int"),
            ]
        },
    )
    words = TokenVocabulary.learn(["a b"], "words")
    model = partial(Seq2Seq, words, words, 2, 3)
    yield Call(
        "translate",
        lambda model: translate(model, ["a"], max_length=2),
        {"model": model()},
        {
            "model": [
                Bad("without vocabularies", Seq2Seq(6, 6, 2, 3), shown="source_vocabulary"),
                Bad("a language model", lm(), shown="source_vocabulary"),
                Bad("None", None, shown="source_vocabulary"),
            ]
        },
    )
    yield Call(
        "translate",
        lambda texts: translate(model(), texts, max_length=2),
        {"texts": ["a"]},
        {
            "texts": [
                Bad("one text", "a", TypeError, shown="str"),
                Bad("a number", 3, TypeError, shown="int"),
                Bad("bytes", [b"a"], TypeError, shown="bytes", named="texts[0]"),
            ]
        },
    )
    deaf = Seq2Seq(words, words, 2, 3, attention="none")
    yield Call(
        "translate",
        lambda replace_unknown: translate(deaf, ["a"], max_length=2, replace_unknown=replace_unknown),
        {"replace_unknown": False},
        {"replace_unknown": [Bad("without attention", True, shown="attend")]},
    )
    yield Call(
        "beam_search",
        lambda coverage_penalty: beam_search(deaf, [[4]], max_length=2, coverage_penalty=coverage_penalty),
        {"coverage_penalty": 0.0},
        {"coverage_penalty": [Bad("without attention", 0.5)]},
    )
    yield Call(
        "TokenVocabulary.learn",
        lambda texts: TokenVocabulary.learn(texts, "words"),
        {"texts": ["a"]},
        {
            "texts": [
                Bad("one text", "a b", TypeError, shown="str"),
                Bad("numbers", [3], TypeError, shown="int", named="texts[0]"),
            ]
        },
    )
    yield Call("generated", generated, {"name": "dates"}, {"name": [Bad("unknown", "fairy tales"), Bad("a number", 3)]})
    plain = [
        Bad("no dict", [], DataError, shown="[]"),
        Bad("no units", {}, DataError, shown="{}"),
        Bad("unknown units", {"units": "bits"}, DataError, shown="bits"),
        Bad("numbers", {"units": "words", "tokens": [1]}, DataError, shown="[1]", named="tokens"),
        Bad("twice", {"units": "words", "tokens": ["a", "a"]}, DataError, shown="'a'", named="tokens"),
        Bad("merges of nothing", {"units": "bpe", "merges": [["ab", "c"]]}, DataError, shown="'ab'", named="merges[0]"),
        Bad("more keys", {"units": "words", "tokens": ["a"], "x": 1}, DataError, shown="tokens"),
    ]
    yield Call(
        "TokenVocabulary.from_plain",
        TokenVocabulary.from_plain,
        {"plain": words.to_plain()},
        {"plain": [case if case.named else case._replace(named="vocabulary") for case in plain]},
    )


def instruments() -> Iterator[Call]:
    xs = f32(4, 1, 2)
    total = lambda out: out.sum()
    for why, model in (("without recurrence", nn.Linear(2, 3)), ("zoneout", nn.GRU(2, 3, zoneout=0.1))):
        yield Call(
            "lens.record",
            lambda function: lens.record(function, xs, loss=total),
            {"function": nn.RNN(2, 3)},
            {"function": [Bad(why, model, shown="", named="recording" if why[0] == "w" else "zoneout")]},
        )
    losses = [
        Bad("none", None, shown="loss="),
        Bad("of many numbers", lambda out: out, shown="one number"),
        Bad("of nothing", lambda out: Tensor(1.0), shown="no parameter"),
        Bad("a number", lambda out: 3.0, shown="one number"),
    ]
    yield Call("lens.record", lambda loss: lens.record(nn.RNN(2, 3), xs, loss=loss), {"loss": total}, {"loss": losses})
    pairs = lens.record(nn.LSTM(2, 3), f32(4, 2, 2), loss=total)
    yield Call(
        "lens.step",
        lambda recording: lens.step(recording),
        {"recording": lens.specimen("lstm", hidden=2, seq_len=3)},
        {
            "recording": [
                Bad("of two sequences", pairs, shown="2"),
                Bad("with peepholes", lens.record(nn.LSTM(2, 3, peepholes=True), xs, loss=total), shown="peepholes"),
            ]
        },
    )
    yield Call(
        "lens.plot",
        lambda result: None if result is None else lens.plot(result),
        {"result": None},
        {
            "result": [
                Bad("no result", 3, TypeError, shown="3"),
                Bad("a list of words", ["flow"], TypeError, shown="flow"),
            ]
        },
    )
