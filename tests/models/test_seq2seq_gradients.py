"""The gradients of a translator: against complex steps, and against the same model written once more in PyTorch."""

import numpy as np
import pytest
from translators import SOURCES, TARGETS, few, gradients, model

from minirnn.checking import check_rule
from minirnn.models import Seq2Seq
from minirnn.nn import Module
from minirnn.text import BOS, PAD


class LossOf(Module):
    """A translator as a function whose output is its loss, so that the gradient of the loss can be checked."""

    def __init__(self, translator):
        self.translator = translator

    def forward(self, sources, targets):
        return self.translator.loss(sources, targets)[0]


def wrong_along(translator):
    """Parameters along which the gradient of the loss is not what a complex step in a random direction says."""
    rule, arrays, names = LossOf(translator).as_rule(SOURCES, TARGETS)
    assert names == [f"translator.{name}" for name, _ in translator.named_parameters()]
    (loss,), pullback = rule(*arrays)
    random, tiny, wrong = np.random.default_rng(0), 1e-30, []
    for k, gradient in enumerate(pullback(np.ones_like(loss))):
        direction = random.standard_normal(arrays[k].shape)
        (moved,), _ = rule(*(x + 1j * tiny * direction if j == k else x + 0j for j, x in enumerate(arrays)))
        expected = moved.imag / tiny
        assert expected != 0, names[k]
        if not abs((gradient * direction).sum() - expected) < 1e-11 * max(abs(expected), 0.01):
            wrong.append(names[k].removeprefix("translator."))
    return wrong


@few
@pytest.mark.parametrize("teacher_forcing", [1.0, 0.5])
def test_the_gradient_of_the_loss_along_each_parameter(options, teacher_forcing):
    """In training, with all that it adds."""
    tied = {"tie_embeddings": True, "embedding_size": 5} if options["cell"] == "lstm" else {}
    translator = model(**options, **tied, dropout=0.3, label_smoothing=0.1)
    translator.teacher_forcing = teacher_forcing
    assert wrong_along(translator) == []


def test_a_wrong_translator_is_seen():
    class Leaky(Seq2Seq):
        def _bridged(self, parts):
            return [part.detach() for part in super()._bridged(parts)]

    leaky = wrong_along(Leaky(9, 8, 4, 5, cell="rnn", dtype="float64"))
    assert {"bridge.0.weight", "bridge.0.bias"} < set(leaky) and "head.weight" not in leaky


def test_gradcheck_of_the_scores():
    rule, arrays, names = model(cell="rnn", bidirectional=False).as_rule(SOURCES, TARGETS)
    assert check_rule(rule, arrays, names=names, max_entries=2).ok


class Twin:
    """The same model in PyTorch's words: one sentence after the other, and step by step. Parameters by their names."""

    def __init__(self, torch, translator):
        self.torch, self.options = torch, translator.config
        parameters = translator.named_parameters()
        self.p = {name: torch.tensor(p.numpy(), requires_grad=True) for name, p in parameters}
        if self.options["tie_embeddings"]:
            self.p["head.weight"] = self.p["target_embedding.weight"]

    def read(self, source):
        """The memory ``(S, F)``, and of each layer its last states ``(H,)``, both directions of h first."""
        torch, options, p = self.torch, self.options, self.p
        cls = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[options["cell"]]
        L, H, both = options["num_layers"], options["hidden_size"], options["bidirectional"]
        encoder = cls(options["embedding_size"], H, L, bidirectional=both, dtype=torch.float64)
        own = {name: p[f"encoder.{name}"] for name, _ in encoder.named_parameters()}
        memory, ends = torch.func.functional_call(encoder, own, (p["source_embedding.weight"][source],))
        ends = [part.reshape(L, -1) for part in (ends if options["cell"] == "lstm" else (ends,))]
        states = ends
        if both:
            places = [[f"bridge.{k * L + layer}" for layer in range(L)] for k in range(len(ends))]
            states = [
                torch.stack([p[f"{at}.weight"] @ x + p[f"{at}.bias"] for at, x in zip(names, part, strict=True)])
                for names, part in zip(places, ends, strict=True)
            ]
            states[0] = states[0].tanh()
        return memory, [[part[layer] for part in states] for layer in range(L)], ends[0][-1]

    def cell(self, place, layer, x, states, fed=None):
        """One step of a recurrent layer; what is fed stands behind the input, and its weights behind those."""
        torch, kind = self.torch, self.options["cell"]
        call = {"rnn": torch.rnn_tanh_cell, "lstm": torch.lstm_cell, "gru": torch.gru_cell}[kind]
        W, *rest = (self.p[f"{place}.{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        if fed is not None:
            x, W = torch.cat([x, fed]), torch.cat([W, self.p["decoder.weight_fed"]], 1)
        states = [part[None] for part in states]
        new = call(x[None], states if kind == "lstm" else states[0], W, *rest)
        return [part[0] for part in (new if kind == "lstm" else (new,))]

    def look(self, h, memory):
        p, kind = self.p, self.options["attention"]
        if "memory_projection.weight" in p:
            memory = memory @ p["memory_projection.weight"].T
        if kind == "additive":
            hidden = memory @ p["decoder.attention.weight_key"].T + p["decoder.attention.weight_query"] @ h
            scores = hidden.tanh() @ p["decoder.attention.v"]
        else:
            keys = memory @ p["decoder.attention.weight_key"].T if kind == "general" else memory
            scores = keys @ h / (len(h) ** 0.5 if kind == "scaled_dot" else 1)
        return scores.softmax(0) @ memory

    def scores(self, source, target):
        """``(T, V)``."""
        torch, options, p = self.torch, self.options, self.p
        memory, states, last = self.read(source)
        if options["attention"] == "none":
            context = {"last": last, "mean": memory.mean(0), "max": memory.amax(0)}[options["context"]]
        feed, fed, found = options["feed"], None, []
        if feed != "nothing":
            fed = self.look(states[-1][0], memory) if feed == "context" else torch.zeros_like(states[-1][0])
        for before in [BOS, *target[:-1]]:
            x = p["target_embedding.weight"][before]
            for layer in range(len(states) - 1):
                states[layer] = self.cell("lower", layer, x, states[layer])
                x = states[layer][0]
            if options["attention"] == "none":
                states[-1] = self.cell("decoder", 0, torch.cat([x, context]), states[-1])
                out = states[-1][0]
            else:
                states[-1] = self.cell("decoder.rnn", 0, x, states[-1], fed)
                h = states[-1][0]
                looked = self.look(h, memory)
                read = fed if feed == "context" else looked
                out = (p["decoder.weight_out"] @ torch.cat([read, h])).tanh()
                fed = {"nothing": None, "output": out, "context": looked}[feed]
            found.append(p["head.weight"] @ out + p["head.bias"])
        return torch.stack(found)


@few
@pytest.mark.parametrize("tie_embeddings", [True, False])
def test_equals_torch(backend, options, tie_embeddings):
    """Scores of every sentence, the loss with label smoothing as PyTorch defines it, and all gradients."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # its threads and those of NumPy's BLAS would only wait for each other
    translator = model(
        **options, label_smoothing=0.2, tie_embeddings=tie_embeddings, embedding_size=5 if tie_embeddings else 4
    )
    twin, lengths = Twin(torch, translator), (TARGETS != PAD).sum(axis=1)
    sentences = [
        (source[source != PAD], target[target != PAD]) for source, target in zip(SOURCES, TARGETS, strict=True)
    ]
    scores = [twin.scores(source, target) for source, target in sentences]
    targets = torch.tensor(TARGETS[TARGETS != PAD])
    expected = torch.nn.functional.cross_entropy(torch.cat(scores), targets, label_smoothing=0.2)
    expected.backward()

    loss, _ = translator.loss(SOURCES, TARGETS)
    loss.backward()
    assert abs(loss.item() - expected.item()) < 1e-11
    mine = translator(SOURCES, TARGETS).numpy()
    for b, n in enumerate(lengths):
        assert np.abs(mine[b, :n] - scores[b].detach().numpy()).max() < 1e-11
    for name, gradient in gradients(translator).items():
        other = twin.p[name.removeprefix("d ")].grad.numpy()
        assert np.abs(gradient - other).max() < 1e-10 * np.abs(other).max(), name
