"""Every fast path turned off, or on where the sizes of a test are too small for it: the same training steps."""

import numpy as np
import pytest

from minirnn import Adam, CharLM, clip_grad_norm_, memory
from minirnn.arrays import to_numpy
from minirnn.kernels import numpy as host
from minirnn.models import Seq2Seq, Tagger
from minirnn.nn import pad_sequences
from minirnn.rules import losses
from minirnn.rules.combinators import windows
from minirnn.text import TokenVocabulary
from minirnn.training import optimizers
from minirnn.workers import use_workers

HUGE = 10**12
PATHS = {  # what is set, and to what; a pair is a module and a name in it
    "two workers": {},
    "four workers": {},
    "every product whole": {(host, "SMALL"): HUGE},
    "products by blocks of rows": {(host, "SMALL"): 60},
    "slopes step by step": {(host, "RUN"): 1},
    "slopes of all steps at once": {(host, "RUN"): HUGE},
    "a sequence run by run": {(windows, "COLUMNS"): 8},
    "a sequence in one run": {(windows, "COLUMNS"): HUGE},
    "memory never used again": {(memory, "LARGE"): HUGE},
    "all memory used again": {(memory, "LARGE"): 1},
    "scores row by row": {(host, "RUN"): 1, (losses, "PIECE"): 1},
    "updates by pieces": {(optimizers, "PIECE"): 5},
}
WORKERS = {"two workers": 2, "four workers": 4}


def char_lm(dtype):
    model = CharLM(7, 4, 6, 2, cell="lstm", dropout=0.2, dtype=dtype, seed=1)
    return model, np.random.default_rng(0).integers(0, 7, (2, 9, 5))


def tagger(dtype):
    model = Tagger(9, 5, 4, 6, 2, cell="gru", dtype=dtype, seed=1)
    ids, tags = np.random.default_rng(0).integers(0, 5, (2, 9, 4))
    return model, ((ids, np.array([4, 4, 3, 1, 2, 4, 1, 4, 2])), tags)


def translator(dtype):
    words = TokenVocabulary.learn(["a b c d e f g"], "words")
    model = Seq2Seq(words, words, 4, 6, feed="output", dtype=dtype, seed=1)
    random = np.random.default_rng(0)
    sentences = [random.integers(4, 11, n) for n in (6, 2, 4, 6, 1, 7, 3, 7, 1, 5)]
    sources, targets = (pad_sequences(part, batch_first=True)[0].numpy() for part in (sentences[:5], sentences[5:]))
    return model, (sources, targets)


def trained(model, batch):
    """Gradients of the first step, and weights after two."""
    optimizer, found = Adam(model.parameters(), lr=0.01), {}
    for _ in range(2):
        loss, _ = model.loss(*batch)
        optimizer.zero_grad()
        loss.backward()
        for name, p in model.named_parameters():
            found.setdefault(f"gradient of {name}", to_numpy(p.grad).copy())
        clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
    return found | {name: p.numpy().copy() for name, p in model.named_parameters()}


@pytest.mark.parametrize("make", [char_lm, tagger, translator])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_fast_path_changes_no_number_and_repeats_its_bits(make, dtype, monkeypatch):
    monkeypatch.setattr(host, "blocks_are_quicker", lambda: True)  # else no product would be cut into blocks
    with use_workers(1):
        plain = trained(*make(dtype))
    for path, values in PATHS.items():
        with monkeypatch.context() as patch, use_workers(WORKERS.get(path, 1)):
            for (module, name), value in values.items():
                patch.setattr(module, name, value)
            found, again = trained(*make(dtype)), trained(*make(dtype))
        for name, expected in plain.items():
            np.testing.assert_array_equal(found[name], again[name], err_msg=f"{path}: {name}, a second time")
            scale = np.abs(expected).max()
            tolerance = {"float32": 2e-5, "float64": 2e-12}[dtype] * scale
            np.testing.assert_allclose(found[name], expected, rtol=0, atol=tolerance, err_msg=f"{path}: {name}")
