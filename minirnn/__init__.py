"""minirnn: recurrent networks whose backward pass through time is written out, checked against numbers, and fast."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import minirnn.starting  # before all that takes time
from minirnn import nn, ops, rules
from minirnn.arrays import BackendError, DeviceMemoryError, to_numpy, use_backend, xp_of
from minirnn.kernels.capturing import CaptureError
from minirnn.kernels.sequences import StalledError, use_whole_sequences
from minirnn.models import CharLM, Seq2Seq, Tagger
from minirnn.seeds import use_seed
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
from minirnn.version import __version__
from minirnn.workers import use_workers

if TYPE_CHECKING:  # for type checkers; at run time `__getattr__` below loads these
    from minirnn import checking, decoding, functional, lens, testing, training
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
    from minirnn.training import (
        SGD,
        Adam,
        AdamW,
        ArrayStream,
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

# What a model is made of is loaded at once; these names at their first use, each from its package (PEP 562): who trains
# does not wait for the gradient check, and who runs a model waits for neither.
AT_FIRST_USE = {
    # checking gradients
    "gradcheck": "functional",
    "GradcheckError": "checking",
    "hvp": "functional",
    # training
    "fit": "training",
    "Trainer": "training",
    "evaluate": "training",
    "ArrayStream": "training",
    "Callback": "training",
    "EarlyStopping": "training",
    "PrintProgress": "training",
    "Checkpoint": "training",
    "DataParallel": "training",
    "SGD": "training",
    "RMSprop": "training",
    "Adam": "training",
    "AdamW": "training",
    "clip_grad_norm_": "training",
    "clip_grad_value_": "training",
    "NonFiniteGradientError": "training",
    "DivergenceError": "training",
    # on disk
    "save": "training",
    "load": "training",
    "CheckpointError": "training",
    "RunDirectoryError": "training",
    # writing text
    "generate": "decoding",
    "stream_characters": "decoding",
    "sampler": "decoding",
    # translating
    "translate": "decoding",
    "Translation": "decoding",
    "beam_search": "decoding",
    "greedy": "decoding",
    "Hypothesis": "decoding",
}
PACKAGES = {*AT_FIRST_USE.values(), "lens", "testing"}  # those that are loaded at their first use

__all__ = [
    "__version__",
    # arrays and the tape
    "use_backend",
    "use_workers",
    "use_whole_sequences",
    "use_seed",
    "StalledError",
    "CaptureError",
    "to_numpy",
    "xp_of",
    "BackendError",
    "DeviceMemoryError",
    "Tensor",
    "no_grad",
    "differentiable",
    "rules",
    "ops",
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
    *AT_FIRST_USE,
]


if not TYPE_CHECKING:  # who checks types is to see what is misspelt

    def __getattr__(name: str) -> Any:
        """A name that is loaded at its first use, or the package of such names."""
        home = AT_FIRST_USE.get(name, name)
        if home not in PACKAGES:
            raise AttributeError(f"module 'minirnn' has no attribute {name!r}", name=name, obj=sys.modules["minirnn"])
        package = import_module(f"minirnn.{home}")
        return globals().setdefault(name, package if home == name else getattr(package, name))


def __dir__() -> list[str]:
    own = {"Any", "TYPE_CHECKING", "sys", "minirnn", "import_module", "AT_FIRST_USE", "PACKAGES"}
    return sorted({*globals(), *AT_FIRST_USE, *PACKAGES} - own)
