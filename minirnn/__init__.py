"""minirnn: recurrent networks whose backward pass through time is written out, checked against numbers, and fast."""

from minirnn import nn, ops, rules
from minirnn.arrays import BackendError, to_numpy, use_backend, xp_of
from minirnn.checking import GradcheckError
from minirnn.decoding import (
    Hypothesis,
    Translation,
    beam_search,
    generate,
    greedy,
    sampler,
    stream_characters,
    translate,
)
from minirnn.functional import gradcheck, hvp
from minirnn.models import CharLM, Seq2Seq, Tagger
from minirnn.tape import Tensor, differentiable, no_grad
from minirnn.text import (
    DataError,
    PairStream,
    TextStream,
    TokenVocabulary,
    Vocabulary,
    generated,
    read_pairs,
    read_text,
)
from minirnn.training import (
    SGD,
    Adam,
    AdamW,
    Callback,
    Checkpoint,
    CheckpointError,
    DataParallel,
    DivergenceError,
    EarlyStopping,
    NonFiniteGradientError,
    PrintProgress,
    RMSprop,
    RunDirectoryError,
    Trainer,
    clip_grad_norm_,
    clip_grad_value_,
    evaluate,
    fit,
    load,
    save,
)
from minirnn.version import __version__
from minirnn.workers import use_workers

__all__ = [
    "__version__",
    # arrays and the tape
    "use_backend",
    "use_workers",
    "to_numpy",
    "xp_of",
    "BackendError",
    "Tensor",
    "no_grad",
    "differentiable",
    "rules",
    "ops",
    # checking gradients
    "gradcheck",
    "GradcheckError",
    "hvp",
    # layers and models
    "nn",
    "CharLM",
    "Seq2Seq",
    "Tagger",
    # text
    "Vocabulary",
    "TextStream",
    "read_text",
    "TokenVocabulary",
    "PairStream",
    "read_pairs",
    "generated",
    "DataError",
    # training
    "fit",
    "Trainer",
    "evaluate",
    "Callback",
    "EarlyStopping",
    "PrintProgress",
    "Checkpoint",
    "DataParallel",
    "SGD",
    "RMSprop",
    "Adam",
    "AdamW",
    "clip_grad_norm_",
    "clip_grad_value_",
    "NonFiniteGradientError",
    "DivergenceError",
    # on disk
    "save",
    "load",
    "CheckpointError",
    "RunDirectoryError",
    # writing text
    "generate",
    "stream_characters",
    "sampler",
    # translating
    "translate",
    "Translation",
    "beam_search",
    "greedy",
    "Hypothesis",
]
