"""Settings out of range or of another kind: sizes, probabilities, rates, names of choices, flags, seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from badness import Bad, Call, f32

from minirnn import (
    SGD,
    Adam,
    AdamW,
    ArrayStream,
    CharLM,
    Checkpoint,
    EarlyStopping,
    PairStream,
    RMSprop,
    Seq2Seq,
    Tagger,
    Tensor,
    TextStream,
    TokenVocabulary,
    Trainer,
    Vocabulary,
    beam_search,
    clip_grad_norm_,
    clip_grad_value_,
    fit,
    generate,
    gradcheck,
    lens,
    nn,
    ops,
    sampler,
    translate,
    use_backend,
    use_workers,
)
from minirnn.training import Plateau, cosine, exponential, inverse_sigmoid, linear, step_decay, warmup

SIZE = {"zero": 0, "negative": -1, "half": 1.5, "a flag": True, "text": "3"}
SHARE = {"negative": -0.1, "one": 1, "NaN": math.nan, "text": "0.1"}
RATE = {"negative": -1e-3, "NaN": math.nan, "infinite": math.inf, "None": None}
POSITIVE = {"zero": 0, "negative": -2.0, "NaN": math.nan, "infinite": math.inf, "text": "1"}
FLAG = {"a number": 1, "text": "yes"}
CHOICE = {"unknown": "nothing like it", "a number": 3}
SEED = {"negative": -1, "half": 0.5, "text": "one", "None": None}
OWN_SEED = {why: value for why, value in SEED.items() if value is not None}  # of a layer: without it the next
DTYPE = {"half": "float16", "integers": "int32", "complex": "complex64", "None": None, "no dtype": "floaty"}
COUNT = {"negative": -1, "half": 1.5, "text": "2"}


def bad(values: dict[str, Any], error: type[Exception] = ValueError, **form: Any) -> list[Bad]:
    return [Bad(why, value, error, **form) for why, value in values.items()]


def calls() -> Iterator[Call]:
    yield from layers()
    yield from models()
    yield from streams()
    yield from optimizers()
    yield from training()
    yield from writing()
    yield from switches()


def layers() -> Iterator[Call]:
    recurrent = {
        "input_size": bad(SIZE),
        "hidden_size": bad(SIZE),
        "num_layers": bad(SIZE),
        "dropout": bad(SHARE),
        "weight_drop": bad(SHARE),
        "zoneout": bad(SHARE),
        "bias": bad(FLAG, TypeError),
        "batch_first": bad(FLAG, TypeError),
        "bidirectional": bad(FLAG, TypeError),
        "layer_norm": bad(FLAG, TypeError),
        "init": bad(CHOICE),
        "dtype": bad(DTYPE),
        "seed": bad(OWN_SEED),
    }
    sizes = {"input_size": 2, "hidden_size": 3}
    yield Call("nn.RNN", nn.RNN, sizes, recurrent | {"nonlinearity": bad(CHOICE)})
    own = {
        "proj_size": bad({**COUNT, "not smaller": 3}),
        "peepholes": bad(FLAG, TypeError),
        "forget_bias": bad(SHARE | {"one": math.inf}),
    }
    yield Call("nn.LSTM", nn.LSTM, sizes, own | {"through_time": bad({"no function": 3})})
    yield Call("nn.GRU", nn.GRU, sizes, {"reset_after": bad(FLAG, TypeError), "residual": bad(FLAG, TypeError)})
    yield Call(
        "nn.GRU",
        nn.GRU,
        sizes,
        {"learned_state": bad(FLAG, TypeError), "locked_dropout": bad(FLAG, TypeError)},
    )
    cell = {
        "input_size": bad(SIZE),
        "hidden_size": bad(SIZE),
        "bias": bad(FLAG, TypeError),
        "dtype": bad(DTYPE),
        "seed": bad(OWN_SEED),
    }
    yield Call("nn.LSTMCell", nn.LSTMCell, sizes, cell)
    yield Call("nn.RNNCell", nn.RNNCell, sizes, {"nonlinearity": bad(CHOICE)})
    yield Call("nn.GRUCell", nn.GRUCell, sizes, {"reset_after": bad(FLAG, TypeError)})
    linear_ = {"in_features": bad(SIZE), "out_features": bad(SIZE), "bias": bad(FLAG, TypeError), "dtype": bad(DTYPE)}
    yield Call("nn.Linear", nn.Linear, {"in_features": 2, "out_features": 3}, linear_ | {"seed": bad(OWN_SEED)})
    table = {"num_embeddings": bad(SIZE), "embedding_dim": bad(SIZE), "dtype": bad(DTYPE)}
    yield Call("nn.Embedding", nn.Embedding, {"num_embeddings": 2, "embedding_dim": 3}, table)
    yield Call("nn.Dropout", nn.Dropout, {}, {"p": bad(SHARE), "seed": bad(OWN_SEED)})
    attention = {"query_size": bad(SIZE), "memory_size": bad(SIZE), "attention_size": bad(SIZE), "dtype": bad(DTYPE)}
    good = {"query_size": 2, "memory_size": 3, "kind": "additive"}
    yield Call("nn.Attention", nn.Attention, good, attention | {"kind": bad(CHOICE)})
    heads = {"embed_dim": bad(SIZE), "num_heads": bad({**SIZE, "no divisor": 4}), "dropout": bad(SHARE)}
    heads |= {name: bad(FLAG, TypeError) for name in ("bias", "batch_first")}
    yield Call("nn.MultiheadAttention", nn.MultiheadAttention, {"embed_dim": 6, "num_heads": 2}, heads)
    decoder = {"cell": bad(CHOICE), "attention": bad(CHOICE), "feed": bad(CHOICE), "memory_size": bad(SIZE)}
    yield Call("nn.AttentiveDecoder", nn.AttentiveDecoder, {**sizes, "memory_size": 2}, decoder)
    yield Call("nn.HierarchicalPooling", nn.HierarchicalPooling, sizes, {"input_size": bad(SIZE)})
    yield Call(
        "Module.train",
        lambda layer, mode: layer.train(mode),
        {"mode": True},
        {"mode": bad(FLAG, TypeError, named="training")},
        lambda: nn.Linear(2, 3),
    )
    yield Call(
        "Module.to",
        lambda layer, dtype: layer.to(dtype=dtype),
        {"dtype": "float32"},
        {"dtype": bad({k: v for k, v in DTYPE.items() if v})},
        lambda: nn.Linear(2, 3),
    )
    yield Call(
        "Module.seek", lambda layer, step: layer.seek(step), {"step": 0}, {"step": bad(SEED)}, lambda: nn.Dropout()
    )
    x = f32(2, 3)
    drop = {
        "p": bad({"negative": -0.1, "above one": 1.5, "NaN": math.nan}) + bad({"text": "0.1"}, TypeError),
        "seed": bad(OWN_SEED),
        "first": bad(SEED),
        "step": bad(SEED),
    }
    yield Call("ops.dropout", lambda **options: ops.dropout(x, **options), {"p": 0.5, "seed": 0}, drop)
    yield Call(
        "ops.layer_norm",
        lambda eps: ops.layer_norm(x, f32(3), f32(3), eps=eps),
        {"eps": 1e-5},
        {"eps": bad({"negative": -1.0, "NaN": math.nan, "text": "small"})},
    )
    smooth = {"smoothing": bad(SHARE)}
    yield Call(
        "ops.affine_cross_entropy",
        lambda smoothing: ops.affine_cross_entropy(f32(3, 2), f32(4, 3), None, np.array([0, 1]), smoothing=smoothing),
        {"smoothing": 0.1},
        smooth,
    )
    yield Call(
        "ops.rnn_step",
        lambda nonlinearity: ops.rnn_step(f32(3, 2), f32(3, 2), f32(3, 3), nonlinearity=nonlinearity),
        {"nonlinearity": "tanh"},
        {"nonlinearity": bad(CHOICE)},
    )
    yield Call(
        "ops.var",
        lambda ddof: ops.var(x, ddof=ddof),
        {"ddof": 1},
        {"ddof": bad({"as many as there are": 6, "text": "1", "below 0": -1})},
    )


def models() -> Iterator[Call]:
    lm = {name: bad(SIZE) for name in ("vocab_size", "embedding_size", "hidden_size", "num_layers")}
    lm |= {
        "cell": bad(CHOICE),
        "dropout": bad(SHARE),
        "tie_weights": bad(FLAG, TypeError),
        "seed": bad(SEED),
        "dtype": bad(DTYPE),
    }
    yield Call("CharLM", CharLM, {"vocab_size": 5, "embedding_size": 2, "hidden_size": 3}, lm)
    tied = [Bad("other sizes", 4, shown="2 and 4", named="embedding_size")]
    yield Call(
        "CharLM(tie_weights=True)", partial(CharLM, 5, 2, tie_weights=True), {"hidden_size": 2}, {"hidden_size": tied}
    )
    tagger = {"num_tags": bad(SIZE), "bidirectional": bad(FLAG, TypeError), "cell": bad(CHOICE), "seed": bad(SEED)}
    yield Call("Tagger", Tagger, {"vocab_size": 5, "num_tags": 3, "embedding_size": 2, "hidden_size": 3}, tagger)
    model = {name: bad(SIZE) for name in ("embedding_size", "hidden_size", "num_layers")}
    model |= {name: bad(SIZE | {"no room for PAD": 3}) for name in ("source_vocabulary", "target_vocabulary")}
    model |= {name: bad(CHOICE) for name in ("cell", "attention", "feed", "context")}
    model |= {"dropout": bad(SHARE), "label_smoothing": bad(SHARE), "bidirectional": bad(FLAG, TypeError)}
    model |= {"tie_embeddings": bad(FLAG, TypeError), "seed": bad(SEED), "dtype": bad(DTYPE)}
    good = {"source_vocabulary": 6, "target_vocabulary": 6, "embedding_size": 2, "hidden_size": 3}
    yield Call("Seq2Seq", Seq2Seq, good, model)
    forced = bad({"negative": -0.1, "above one": 1.5, "NaN": math.nan, "text": "0.5", "None": None})
    yield Call(
        "Seq2Seq.teacher_forcing",
        _force,
        {"teacher_forcing": 0.5},
        {"teacher_forcing": forced},
        lambda: Seq2Seq(**good),
    )


def _force(model: Seq2Seq, teacher_forcing: Any) -> None:
    before, model.teacher_forcing = model.teacher_forcing, teacher_forcing
    model.teacher_forcing = before


def streams() -> Iterator[Call]:
    text = {
        "seq_len": bad(SIZE),
        "batch_size": bad(SIZE),
        "seed": bad(SEED),
        "unknown": bad(CHOICE),
        "lanes": bad(FLAG, TypeError),
    }
    yield Call("TextStream", partial(TextStream, "to be or not to be"), {"seq_len": 3, "batch_size": 2}, text)
    one = TextStream("to be or not to be", 3, 2)
    batch = {"epoch": bad(SEED), "k": bad(SEED | {"past the end": 99})}
    yield Call("TextStream.batch", lambda **place: one.batch(**place), {"epoch": 0, "k": 0}, batch)
    yield Call(
        "TextStream.split", lambda val_split: one.split(val_split), {"val_split": 0.3}, {"val_split": bad(SHARE)}
    )
    words = TokenVocabulary.learn(["a b c d"], "words")
    pairs = [("a b", "c"), ("d", "a"), ("c", "b")]
    own = {"batch_size": bad(SIZE), "seed": bad(SEED), "max_length": bad(SIZE)}
    yield Call("PairStream", partial(PairStream, pairs, words, words), {"batch_size": 2}, own)
    yield Call(
        "PairStream.batch", lambda **place: PairStream(pairs, words, words).batch(**place), {"epoch": 0, "k": 0}, batch
    )
    rows = partial(ArrayStream, np.zeros((3, 2)), np.zeros(3))
    yield Call("ArrayStream", rows, {"batch_size": 2}, {"batch_size": bad(SIZE), "seed": bad(SEED)})
    yield Call("ArrayStream.batch", lambda **place: rows().batch(**place), {"epoch": 0, "k": 0}, batch)
    yield Call(
        "ArrayStream.split", lambda val_split: rows().split(val_split), {"val_split": 0.3}, {"val_split": bad(SHARE)}
    )
    learn = {"units": bad(CHOICE), "size": bad({"too small": 4, "half": 9.5, "text": "9"})}
    yield Call("TokenVocabulary.learn", partial(TokenVocabulary.learn, ["a b"]), {"units": "words", "size": 9}, learn)
    yield Call(
        "Vocabulary.encode", partial(Vocabulary("ab").encode, "a"), {"unknown": "skip"}, {"unknown": bad(CHOICE)}
    )


def optimizers() -> Iterator[Call]:
    for kind, own in (
        (SGD, {"momentum": bad(SHARE)}),
        (RMSprop, {"alpha": bad(SHARE), "eps": bad(RATE)}),
        (
            Adam,
            {
                "betas": [
                    Bad("first is one", (1.0, 0.9), named="beta1", shown="1.0"),
                    Bad("second is negative", (0.9, -1.0), named="beta2", shown="-1.0"),
                    Bad("three", (0.9, 0.9, 0.9)),
                    Bad("a number", 0.9),
                ],
                "eps": bad(RATE),
            },
        ),
        (AdamW, {}),
    ):
        own = own | {"lr": bad(RATE | {"text": "fast"}), "weight_decay": bad(RATE)}
        yield Call(
            kind.__name__,
            lambda w, kind=kind, **options: kind([w], **options),
            {"lr": 0.1},
            own,
            lambda: nn.Parameter(f32(3)),
        )
    for take, name in ((clip_grad_norm_, "max_norm"), (clip_grad_value_, "clip_value")):
        yield Call(
            take.__name__,
            lambda w, take=take, **limit: take([w], **limit),
            {name: 1.0},
            {name: bad({what: x for what, x in POSITIVE.items() if x != math.inf or name == "clip_value"})},
            lambda: nn.Parameter(f32(3)),
        )
    for make, good, own in (
        (step_decay, {"every": 3}, {"every": bad(SIZE), "gamma": bad(RATE)}),
        (exponential, {"gamma": 0.9}, {"gamma": bad(RATE)}),
        (cosine, {"total": 9}, {"total": bad(SIZE), "floor": bad(RATE)}),
        (warmup, {"steps": 9}, {"steps": bad(SIZE), "then": bad({"no function": 0.5}, TypeError)}),
        (linear, {"end": 0.5, "steps": 9}, {"steps": bad(SIZE), "end": bad(RATE), "start": bad(RATE)}),
        (inverse_sigmoid, {"k": 9}, {"k": bad(POSITIVE)}),
        (Plateau, {}, {"patience": bad(SIZE), "gamma": bad(RATE)}),
        (EarlyStopping, {}, {"patience": bad(SIZE)}),
    ):
        yield Call(make.__name__, make, good, own)


def training() -> Iterator[Call]:
    stream = TextStream("to be or not to be " * 3, 3, 2)
    trainer = {
        "lr": bad({what: x for what, x in RATE.items() if x is not None}),
        "clip_norm": bad(POSITIVE),
        "clip_value": bad(POSITIVE),
        "val_split": bad(SHARE),
        "log_every": bad(SIZE),
        "schedule": bad({"no function": 0.5}, TypeError),
        "teacher_forcing": bad({"no function": 0.5}, TypeError),
        "graph": [*bad(FLAG, TypeError), Bad("on the CPU", True)],
    }
    model = partial(CharLM, stream.vocabulary, 2, 3)
    yield Call("Trainer", lambda lm, **options: Trainer(lm, stream, **options), {}, trainer, model)
    long = {"epochs": bad(POSITIVE), "steps": bad(SIZE), "max_minutes": bad(POSITIVE)}
    yield Call(
        "fit",
        lambda lm, **options: fit(lm, stream, **options),
        {"steps": 1},
        {**long, "steps": [*long["steps"], Bad("none at all", None, shown="")]},
        model,
    )
    own = {"every": bad(SIZE), "keep": bad(COUNT), "resume": bad(FLAG, TypeError), "overwrite": bad(FLAG, TypeError)}
    yield Call("Checkpoint", partial(Checkpoint, "nowhere"), {}, own)


def writing() -> Iterator[Call]:
    temperature = bad({"negative": -0.5, "NaN": math.nan, "infinite": math.inf, "text": "hot"})
    draw = {
        "temperature": temperature,
        "top_k": bad(COUNT),
        "top_p": bad({"zero": 0, "above one": 1.5, "NaN": math.nan}),
        "seed": bad(SEED),
    }
    yield Call("sampler", sampler, {}, draw)
    lm = partial(CharLM, Vocabulary("ab"), 2, 3)
    yield Call(
        "generate",
        lambda lm, **options: generate(lm, "a", **options),
        {"length": 2},
        draw | {"length": bad(COUNT), "unknown": bad(CHOICE)},
        lm,
    )
    yield Call(
        "generate, two texts",
        lambda lm, seed: generate(lm, ["a", "b"], 2, seed=seed),
        {"seed": 0},
        {"seed": bad(SEED)},
        lm,
    )
    search = {name: bad(SIZE) for name in ("beam", "max_length")}
    search |= {"n_best": bad(SIZE | {"more than the beam": 6}), "block_ngrams": bad(COUNT)}
    search |= {
        name: bad({"negative": -1, "NaN": math.nan, "huge": 11, "text": "1"})
        for name in ("length_penalty", "coverage_penalty")
    }
    ids = np.array([[4, 5]])
    yield Call(
        "beam_search",
        lambda model, **options: beam_search(model, ids, **options),
        {"max_length": 2},
        search,
        partial(Seq2Seq, 6, 6, 2, 3),
    )
    words = TokenVocabulary.learn(["a b"], "words")
    own = {"batch_size": bad(SIZE), "replace_unknown": bad(FLAG, TypeError)}
    yield Call(
        "translate",
        lambda model, **options: translate(model, ["a"], **options),
        {"max_length": 2},
        own,
        partial(Seq2Seq, words, words, 2, 3),
    )


def switches() -> Iterator[Call]:
    yield Call("use_backend", _in_backend, {"backend": "numpy"}, {"backend": bad(CHOICE | {"None": None})})
    yield Call(
        "use_workers",
        _with_workers,
        {"number": 1},
        {"number": bad({"zero": 0, "negative": -1, "half": 1.5, "text": "many", "a flag": True}, named="workers")},
    )
    check = {
        "method": bad(CHOICE),
        "tolerance": bad({"zero": 0, "negative": -1, "NaN": math.nan, "above one": 2}),
        "max_entries": bad(SIZE),
        "seed": bad(SEED),
    }
    check |= {"names": [Bad("too many", ["x", "y"])]}
    yield Call("gradcheck", lambda **options: gradcheck(ops.tanh, [np.arange(3.0)], **options), {}, check)
    own = {
        "cell": bad(CHOICE),
        "hidden": bad(SIZE),
        "seq_len": bad(SIZE),
        "radius": bad(POSITIVE),
        "every_step": bad(FLAG, TypeError),
    }
    yield Call("lens.specimen", lens.specimen, {"hidden": 3, "seq_len": 4}, own)
    recording = lens.specimen("lstm", hidden=3, seq_len=4)
    yield Call(
        "lens.jacobian",
        lambda column: lens.jacobian(recording, column=column),
        {"column": 0},
        {"column": bad({"outside": 1, "negative": -1, "half": 0.5})},
    )
    yield Call(
        "lens.step",
        lambda place: lens.step(recording, place),
        {"place": "l0"},
        {"place": bad({"unknown": "l7", "a number": 7})},
    )
    yield Call(
        "lens.truncation",
        lambda windows: lens.truncation(recording, windows),
        {"windows": [2]},
        {
            "windows": [
                Bad("zero", [0], shown="0"),
                Bad("half", [1.5], shown="1.5"),
                Bad("none", [], shown=""),
                Bad("a number", 3, TypeError),
            ]
        },
    )
    limits = {"max_norm": bad(POSITIVE), "clip_value": bad(POSITIVE)}
    yield Call("lens.clipping", lambda **options: lens.clipping([{"w": f32(3)}], **options), {"max_norm": 1.0}, limits)
    yield Call(
        "Tensor",
        partial(Tensor, [1.0]),
        {},
        {"requires_grad": bad(FLAG, TypeError), "dtype": bad({"no dtype": "floaty"}, TypeError)},
    )


def _in_backend(backend: Any) -> None:
    with use_backend(backend):
        pass


def _with_workers(number: Any) -> None:
    with use_workers(number):
        pass
