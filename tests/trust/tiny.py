"""What the campaigns train: tiny runs of both kinds of model, with a choice for every option."""

from contextlib import contextmanager

from minirnn import (
    SGD,
    Adam,
    AdamW,
    CharLM,
    EarlyStopping,
    PairStream,
    RMSprop,
    Seq2Seq,
    TextStream,
    TokenVocabulary,
    Trainer,
    evaluate,
    generate,
    translate,
)
from minirnn.testing import in_pieces
from minirnn.training import Plateau, cosine, inverse_sigmoid, linear, warmup
from minirnn.workers import use_workers

STEPS = 14  # of a run: more than three epochs of a text, more than four of pairs
TEXT = "the cat sat on the mat; a dog ate the rat. " * 2
PAIRS = [
    ("a", "un"), ("the cat", "le chat"), ("the red cat sat", "le chat rouge est la"), ("a dog", "un chien"),
    ("the dog and the cat", "le chien et le chat"), ("red", "rouge"), ("a red dog", "un chien rouge"),
    ("cat and dog", "chat et chien"), ("the dog sat", "le chien est la"), ("sat", "est la"), ("the cat sat", "le chat"),
]  # fmt: skip
HELD_OUT = [("the red dog", "le chien rouge"), ("a cat", "un chat")]
VOCABULARIES = tuple(TokenVocabulary.learn(side, "words") for side in zip(*PAIRS, strict=True))

OPTIMIZERS = {
    "SGD": lambda parameters: SGD(parameters, lr=2.0, momentum=0.9),
    "RMSprop": lambda parameters: RMSprop(parameters, lr=0.05),
    "Adam": lambda parameters: Adam(parameters, lr=0.1),
    "AdamW": lambda parameters: AdamW(parameters, lr=0.1),
}
SCHEDULES = {
    "none": lambda: None,
    "cosine": lambda: warmup(3, then=cosine(STEPS)),
    "plateau": lambda: Plateau(patience=1, gamma=0.5),
}
FORCING = {
    "truth": lambda: None,
    "linear": lambda: linear(0.2, STEPS),
    "sigmoid": lambda: inverse_sigmoid(3.0),
}
CLIPPING = {"norm": {"clip_norm": 0.5}, "value": {"clip_value": 0.05, "clip_norm": None}, "none": {"clip_norm": None}}

OF_BOTH = {
    "cell": ["lstm", "gru", "rnn"],
    "dropout": [0.0, 0.4],
    "dtype": ["float32", "float64"],
    "optimizer": list(OPTIMIZERS),
    "schedule": list(SCHEDULES),
    "clipping": list(CLIPPING),
    "validated": [True, False],
    "patience": [0, 1, 3],
    "workers": [1, 2],
}
OPTIONS = {
    "characters": {**OF_BOTH, "lanes": [True, False], "tie_weights": [True, False]},
    "pairs": {
        **OF_BOTH,
        "looking": [("scaled_dot", "output"), ("additive", "context"), ("general", "nothing"), ("none", "nothing")],
        "bidirectional": [True, False],
        "forcing": list(FORCING),
        "label_smoothing": [0.0, 0.1],
    },
}


def trainer_of(kind, options, seed=1):
    """A trainer at step 0."""
    common = {"cell": options["cell"], "dropout": options["dropout"], "dtype": options["dtype"], "seed": seed}
    validation = {}
    if kind == "characters":
        stream = TextStream(TEXT, seq_len=5, batch_size=3, lanes=options["lanes"], seed=seed)
        model = CharLM(stream.vocabulary, 4, 4, 2, tie_weights=options["tie_weights"], **common)
        validation = {"val_split": 0.25} if options["validated"] else {}
    else:
        stream = PairStream(PAIRS, *VOCABULARIES, batch_size=4, seed=seed)
        attention, feed = options["looking"]
        of_pairs = {name: options[name] for name in ("bidirectional", "label_smoothing")}
        model = Seq2Seq(*VOCABULARIES, 4, 4, 2, attention=attention, feed=feed, **of_pairs, **common)
        validation = {"validation": PairStream(HELD_OUT, *VOCABULARIES)} if options["validated"] else {}
        validation["teacher_forcing"] = FORCING[options["forcing"]]()
    return Trainer(
        model,
        stream,
        optimizer=OPTIMIZERS[options["optimizer"]](model.parameters()),
        schedule=SCHEDULES[options["schedule"]](),
        log_every=3,
        **CLIPPING[options["clipping"]],
        **validation,
    )


def lookers_of(options):
    """What looks on while it trains, besides a checkpoint."""
    return [EarlyStopping(options["patience"])] if options["patience"] else []


@contextmanager
def working_as(options):
    """Within this block one worker does all, or two share every batch, however small."""
    with use_workers(1) if options["workers"] == 1 else in_pieces(options["workers"]):
        yield


def look_around(trainer):
    """Everything that one may ask of a model while it is trained; what it answers."""
    model, seed = trainer.model, trainer.step
    loss = evaluate(model, trainer.validation or trainer.training)
    if isinstance(model, CharLM):
        return loss, generate(model, "the", 3, seed=seed), generate(model, ["a", "cat"], 2, temperature=0)
    return loss, [each.text for each in translate(model, ["the cat", "a red dog"], beam=2, max_length=4)]
