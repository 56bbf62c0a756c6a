"""How long is one training step of a translator? Encoder both ways, attention, decoder, loss over a large vocabulary.

An LSTM reads, another one writes, and its attention is by dot products or additive, with the output fed back or not:
forward, loss, backward, clip, Adam. Both models start from the same weights and see the same sentences, all of one
length, so that neither pays for padding; their float64 gradients must agree array by array. With feeding PyTorch has no
fused sequence: it tries its own cell, step by step, and the same arithmetic with the input projected ahead.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import duel
import numpy as np
from harness import Player, Trial
from measuring import peak_memory, training


def case(V: int, H: int, B: int, S: int, attention: str, feed: str, steps: int) -> dict[str, Any]:
    return {"V": V, "H": H, "B": B, "S": S, "attention": attention, "feed": feed, "steps": steps}


KINDS = [(attention, feed) for attention in ("dot", "additive") for feed in ("nothing", "output")]
SIZES = {  # as many steps written as are read, and embeddings as wide as the hidden state
    "tiny": [case(11, 8, 2, 4, *kind, steps=2) for kind in KINDS],
    "medium": [case(8000, 256, 64, 15, *kind, steps=10) for kind in KINDS],
}
TABLE = {
    "V, H, B, S = T": "{V}, {H}, {B}, {S}",
    "attention": "{attention}",
    "fed back": "{feed}",
    **duel.TABLE,
}


def operations(case: dict[str, Any]) -> float:
    """Floating-point operations of the matrix products in a step, in units of 1e9; three times those of forward."""
    V, H, B, S, attention, feed, _ = case.values()
    tokens, memory = B * S, H if attention == "dot" else 2 * H
    layers = 2 * (4 * H * H + 4 * H * H) + (3 if feed == "output" else 2) * 4 * H * H  # encoder both ways; decoder
    looks = 2 * H * H + S * (H + memory) + (H * H if attention == "additive" else 0)  # keys or memory; scores, contexts
    return 3 * 2 * tokens * (layers + looks + H * (memory + H) + V * H) / 1e9


def batches(V: int, B: int, S: int, count: int = 9) -> Iterator[np.ndarray]:
    """Sources and targets ``(2, B, S)``: one batch to check the gradients with, and eight to train on in turn."""
    random = np.random.default_rng(1)
    return (random.integers(4, V, (2, B, S)) for _ in range(count))


def stepper(model: Any, data: list, adam: Any, clip: Callable[[Any, float], Any]) -> Callable[[int], Any]:
    """A training step, once for every call; both libraries are told so in the same words."""

    def step(k: int) -> Any:
        loss, _ = model.loss(*data[k % len(data)])
        adam.zero_grad()
        loss.backward()
        clip(model.parameters(), 5.0)
        adam.step()
        return loss

    return step


def torch_model(V: int, H: int, attention: str, feed: str, cell: str) -> Any:
    """The translator in PyTorch, its parameters under the same names; ``loss`` takes sources ``(S, B)``."""
    import torch
    from torch import nn
    from torch.nn import functional as F  # noqa: N812

    class Attention(nn.Module):
        def __init__(self, H):
            super().__init__()
            if attention == "additive":
                self.weight_key = nn.Parameter(torch.empty(H, 2 * H))
                self.weight_query = nn.Parameter(torch.empty(H, H))
                self.v = nn.Parameter(torch.empty(H))

        def keys(self, memory):  # (B, S, F)
            return F.linear(memory, self.weight_key) if attention == "additive" else memory

        def forward(self, queries, keys, memory):  # (B, T, H)
            if attention == "additive":
                asked = F.linear(queries, self.weight_query)[:, :, None]
                scores = torch.tanh(asked + keys[:, None]) @ self.v
            else:
                scores = queries @ keys.transpose(1, 2)
            return scores.softmax(-1) @ memory

    class Decoder(nn.Module):
        def __init__(self, H, memory):
            super().__init__()
            self.attention, self.rnn = Attention(H), nn.LSTM(H, H)
            self.weight_out = nn.Parameter(torch.empty(H, memory + H))
            if feed == "output":
                self.weight_fed = nn.Parameter(torch.empty(4 * H, H))

        def forward(self, xs, h, c, memory):  # (T, B, H), (B, H), (B, H), (B, S, F)
            keys, rnn = self.attention.keys(memory), self.rnn
            if feed == "nothing":
                hs = rnn(xs, (h[None], c[None]))[0].transpose(0, 1)
                return torch.tanh(F.linear(torch.cat([self.attention(hs, keys, memory), hs], -1), self.weight_out))
            fed, outs = torch.zeros_like(h), []
            if cell == "cell":
                W = torch.cat([rnn.weight_ih_l0, self.weight_fed], 1)
                weights = W, rnn.weight_hh_l0, rnn.bias_ih_l0, rnn.bias_hh_l0
            else:
                a = F.linear(xs, rnn.weight_ih_l0, rnn.bias_ih_l0 + rnn.bias_hh_l0)
                W = torch.cat([self.weight_fed, rnn.weight_hh_l0], 1)
            for t in range(len(xs)):
                if cell == "cell":
                    h, c = torch._VF.lstm_cell(torch.cat([xs[t], fed], 1), (h, c), *weights)
                else:
                    i, f, g, o = (a[t] + F.linear(torch.cat([fed, h], 1), W)).chunk(4, 1)
                    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                    h = torch.sigmoid(o) * torch.tanh(c)
                context = self.attention(h[:, None], keys, memory)[:, 0]
                fed = torch.tanh(F.linear(torch.cat([context, h], 1), self.weight_out))
                outs.append(fed)
            return torch.stack(outs, 1)

    class Seq2Seq(nn.Module):
        def __init__(self, V, H):
            super().__init__()
            memory = H if attention == "dot" else 2 * H
            self.source_embedding, self.target_embedding = nn.Embedding(V, H), nn.Embedding(V, H)
            self.encoder = nn.LSTM(H, H, bidirectional=True)
            self.bridge = nn.ModuleList([nn.Linear(2 * H, H), nn.Linear(2 * H, H)])
            self.memory_projection = nn.Linear(2 * H, H, bias=False) if attention == "dot" else None
            self.decoder, self.head = Decoder(H, memory), nn.Linear(H, V)

        def loss(self, sources, targets):  # (S, B), (B, T)
            out, (h, c) = self.encoder(self.source_embedding(sources))
            h = torch.tanh(self.bridge[0](torch.cat([h[0], h[1]], 1)))
            c = self.bridge[1](torch.cat([c[0], c[1]], 1))
            memory = out.transpose(0, 1)
            memory = (memory if self.memory_projection is None else self.memory_projection(memory)).contiguous()
            inputs = torch.cat([torch.ones_like(targets[:, :1]), targets[:, :-1]], 1).T
            outs = self.decoder(self.target_embedding(inputs), h, c, memory)
            return F.cross_entropy(self.head(outs).flatten(0, 1), targets.flatten()), None

    return Seq2Seq(V, H)


def play_minirnn(
    V: int, H: int, B: int, S: int, attention: str, feed: str, steps: int, folder: str
) -> dict[str, float]:
    import minirnn as mr

    imported = peak_memory()

    def trained(model: mr.Seq2Seq, data: list) -> Callable[[int], float]:
        step = stepper(model, data, mr.Adam(model.parameters(), lr=1e-3), mr.clip_grad_norm_)
        return lambda k: step(k).item()

    def build(dtype: str) -> mr.Seq2Seq:
        model = mr.Seq2Seq(V, V, H, H, attention=attention, feed=feed, dtype=dtype)
        with np.load(f"{folder}/weights.npz") as weights:
            model.load_state_dict(weights)
        return model

    def gradient(dtype: str) -> dict[str, Any]:
        model = build(dtype)
        model.loss(*check)[0].backward()
        return {name: p.grad for name, p in model.named_parameters()}

    small = mr.Seq2Seq(5, 5, 2, 2, attention=attention, feed=feed)
    trained(small, [np.full((2, 1, 2), 4)])(0)
    before = {"import": imported, "code": peak_memory()}
    check, *data = batches(V, B, S)
    return training(trained(build("float32"), data), steps, before, gradient, f"{folder}/minirnn.npz")


def play_torch(
    V: int, H: int, B: int, S: int, attention: str, feed: str, steps: int, folder: str, cell: str, fused: bool
) -> dict[str, float]:
    import torch

    imported = peak_memory()

    def trained(model: Any, data: list) -> Callable[[int], float]:
        adam = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
        step = stepper(model, data, adam, torch.nn.utils.clip_grad_norm_)
        return lambda k: step(k).item()

    def build(dtype: torch.dtype) -> Any:
        model = torch_model(V, H, attention, feed, cell).to(dtype)
        with np.load(f"{folder}/weights.npz") as weights:
            model.load_state_dict({name: torch.from_numpy(a).to(dtype) for name, a in weights.items()})
        return model

    def gradient(dtype: str) -> dict[str, Any]:
        model = build(getattr(torch, dtype))
        model.loss(*check)[0].backward()
        return {name: p.grad.numpy() for name, p in model.named_parameters()}

    small = torch_model(5, 2, attention, feed, cell)
    for p in small.parameters():
        torch.nn.init.zeros_(p)
    trained(small, [torch.full((2, 2, 2), 4)])(0)
    before = {"import": imported, "code": peak_memory()}
    check, *data = (
        (torch.from_numpy(np.ascontiguousarray(sources.T)), torch.from_numpy(targets))
        for sources, targets in batches(V, B, S)
    )
    return training(trained(build(torch.float32), data), steps, before, gradient, f"{folder}/torch.npz")


def ways_of_torch(given: dict[str, Any]) -> dict[str, Player]:
    cells = {"its own cell": "cell", "projected ahead": "ahead"} if given["feed"] == "output" else {"fused": "fused"}
    return {
        f"{name}, {adam} Adam": Player(play_torch, {**given, "cell": cell, "fused": fused})
        for name, cell in cells.items()
        for adam, fused in (("plain", False), ("fused", True))
    }


def write_weights(folder: str, case: dict[str, Any]) -> None:
    import minirnn as mr

    V, H, kind = case["V"], case["H"], {name: case[name] for name in ("attention", "feed")}
    np.savez(f"{folder}/weights.npz", **mr.Seq2Seq(V, V, H, H, **kind, seed=1).state_dict())


def measure(case: dict[str, Any], trial: Trial) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        write_weights(folder, case)
        given = {**case, "folder": folder}
        return duel.duel(trial, Player(play_minirnn, given), ways_of_torch(given), operations(case))
