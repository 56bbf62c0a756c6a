"""What do tape, modules and tensors cost? The article's training step, beside its rules called by hand.

By hand, every rule is called with arrays, and the pullbacks in reverse order, as somebody would write it who needs no
library; clipping and Adam are the same. Both run in one process, a step of each in turn, and must find the same
gradients: what differs is a few per cent of one step, less than between two processes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import train_step
from harness import DisagreementError, Player, Trial, figures
from measuring import WARMUP, relative_error

SIZES = {size: train_step.SIZES[size][:1] for size in ("tiny", "small")}
TABLE = {
    "V, H, layers, B, T": "{V}, {H}, {layers}, {B}, {T}",
    "minirnn ms (min)": "{minirnn[ms]:.2f} ({minirnn[min_ms]:.2f})",
    "by hand ms (min)": "{minirnn[hand_ms]:.2f} ({minirnn[min_hand_ms]:.2f})",
    "overhead (by minima)": "{overhead:.1%} ({overhead by minima:.1%})",
}


def gradient_by_hand(p: dict[str, np.ndarray], ids: np.ndarray, targets: np.ndarray, states: list) -> tuple:
    """Loss, gradients by name, and the new states, from nothing but rules; ``ids`` and ``targets`` are ``(T, B)``."""
    from minirnn import rules
    from minirnn.rules.combinators import projected

    layers, kinds = len(states), ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = [[p[f"rnn.{kind}_l{k}"] for kind in kinds] for k in range(layers)]
    weights_only = (True, False, False, True)  # nobody asks for the gradients of the states
    W_ih, W_hh, b_ih, b_hh = weights[0]
    table, table_pullback = rules.affine(p["embedding.weight"].T, W_ih, b_ih + b_hh)
    a_xs, lookup_pullback = rules.embedding_columns(table, ids)
    (hs, *ends), first_pullback = rules.lstm(a_xs, *states[0], W_hh, wanted=weights_only)
    new_states, pullbacks = [ends], []
    for (W_ih, W_hh, b_ih, b_hh), state in zip(weights[1:], states[1:], strict=True):
        wanted = (*weights_only[:3], True, True, True)
        (hs, *ends), pullback = projected(rules.lstm)(hs, *state, W_ih, b_ih + b_hh, W_hh, wanted=wanted)
        new_states.append(ends)
        pullbacks.append(pullback)
    scores, head_pullback = rules.affine(hs, p["head.weight"], p["head.bias"])
    loss, loss_pullback = rules.cross_entropy(scores, targets, axis=1)

    dscores = loss_pullback(np.ones((), scores.dtype))[0]
    dhs, dW_head, db_head = head_pullback(dscores)
    found = {"head.weight": dW_head, "head.bias": db_head}
    for k in reversed(range(layers)):
        zeros = [np.zeros_like(h) for h in new_states[k]]
        if k:
            dhs, _, _, dW_ih, db, dW_hh, *_ = pullbacks[k - 1](dhs, *zeros)
        else:
            da_xs, _, _, dW_hh, *_ = first_pullback(dhs, *zeros)
            dembedding, dW_ih, db = table_pullback(lookup_pullback(da_xs)[0])
        found |= {f"rnn.weight_ih_l{k}": dW_ih, f"rnn.weight_hh_l{k}": dW_hh}
        found |= {f"rnn.bias_ih_l{k}": db, f"rnn.bias_hh_l{k}": db}
    return loss, found | {"embedding.weight": dembedding.T}, new_states


def play(V: int, H: int, layers: int, B: int, T: int, steps: int) -> dict[str, float]:
    import minirnn as mr
    from minirnn.workers import one_blas_thread

    check, *data = train_step.batches(V, B, T)

    def library() -> tuple[Callable, Callable]:
        lm = mr.CharLM(V, H, H, layers, seed=1)
        adam, state = mr.Adam(lm.parameters(), lr=2e-3), None

        def gradient(batch: np.ndarray) -> dict[str, np.ndarray]:
            nonlocal state
            loss, state = lm.loss(*batch, state)
            adam.zero_grad()
            loss.backward()
            loss.item()
            return {name: p.grad for name, p in lm.named_parameters()}

        def step(batch: np.ndarray) -> None:
            gradient(batch)
            mr.clip_grad_norm_(lm.parameters(), 5.0)
            adam.step()

        return gradient, step

    def hand() -> tuple[Callable, Callable]:
        lm = mr.CharLM(V, H, H, layers, seed=1)
        adam, states = mr.Adam(lm.parameters(), lr=2e-3), [[np.zeros((H, B), "float32")] * 2] * layers

        def gradient(batch: np.ndarray) -> dict[str, np.ndarray]:
            nonlocal states
            arrays = {name: p.array for name, p in lm.named_parameters()}
            with one_blas_thread():  # the tape sees to it in the library
                loss, found, states = gradient_by_hand(arrays, *batch.swapaxes(1, 2), states)
            loss.item()
            return found

        def step(batch: np.ndarray) -> None:
            found = gradient(batch)
            for name, p in lm.named_parameters():
                p.grad = found[name]
            mr.clip_grad_norm_(lm.parameters(), 5.0)
            adam.step()

        return gradient, step

    (gradient, step), (gradient_too, step_too) = library(), hand()
    error = relative_error(gradient_too(check), gradient(check))
    if not error < 1e-6:
        raise DisagreementError(f"by hand the gradients are others than by the library: they differ by {error:.1e}")
    times: list[list[float]] = [[], []]
    for k in range(WARMUP + steps):
        batch = data[k % len(data)]
        for which, run in enumerate((step, step_too)):
            start = time.perf_counter()
            run(batch)
            times[which].append(1e3 * (time.perf_counter() - start))
    ours, by_hand = (kind[WARMUP:] for kind in times)
    return {
        "ms": statistics.median(ours),
        "min_ms": min(ours),
        "hand_ms": statistics.median(by_hand),
        "min_hand_ms": min(by_hand),
        "overhead": statistics.median(a / b for a, b in zip(ours, by_hand, strict=True)) - 1,
    }


def measure(case: dict[str, int], trial: Trial) -> dict[str, Any]:
    reports = trial.contest({"minirnn": Player(play, case)})
    found = figures(reports)["minirnn"]
    by_minima = found["min_ms"] / found["min_hand_ms"] - 1
    return {"minirnn": found, "overhead": found["overhead"], "overhead by minima": by_minima, "runs": reports}
