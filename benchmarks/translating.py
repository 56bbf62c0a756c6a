"""How long does a translator take to write? A thousand sentences, beam search, the batch as large as is usual.

An LSTM reads both ways, another one writes, and its attention is general, with nothing fed back. Both libraries search
in the same way (`minirnn.decoding.beam` tells it), on the same weights and the same batches of sentences of about one
length, up to as many words as the longest of a batch has. PyTorch reads packed sentences, keeps the memory of a
sentence once for all its hypotheses, and tries two ways to find the best continuations: all of a sentence at once, or
the best of each hypothesis first. minirnn also keeps where each hypothesis looked, PyTorch does not. In float64 both
must find the same sentences, by the same scores.

Weights are random, but larger than at first, and the end is made likelier: so some continuations are much better than
others, as in a trained model, and sentences leave the batch at different times.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
from harness import DisagreementError, Player, Trial, figures, speeds
from measuring import peak_memory, timed

SHORTEST, LONGEST = 5, 25  # words of a source
CLOSE = 1e-9  # relative difference that rounding may leave between two float64 scores


def case(V: int, H: int, sentences: int, B: int, beam: int) -> dict[str, int]:
    return {"V": V, "H": H, "sentences": sentences, "B": B, "beam": beam}


SIZES = {"tiny": [case(20, 8, 6, 4, 3)], "medium": [case(8000, 256, 1000, 64, 5)]}
PLAYERS = "minirnn", "torch", "torch tuned"
TABLE = {
    "V, H": "{V}, {H}",
    "sentences, at once": "{sentences}, {B}",
    "beam": "{beam}",
    **{f"{name}, s (min)": f"{{{name}[s]:.2f}} ({{{name}[min_s]:.2f}})" for name in PLAYERS},
    "torch's way": "{way}",
    **{
        f"speed / {name} (by minima)": f"{{speed[{name}][pairs]:.2f}} ({{speed[{name}][minima]:.2f}})"
        for name in PLAYERS[1:]
    },
    **{f"peak MiB, {name}": f"{{{name}[peak_mib]:.0f}}" for name in PLAYERS},
    "words written": "{words}",
    "float64 score difference": "{difference:.0e}",
}


def batches(V: int, sentences: int, B: int) -> list[np.ndarray]:
    """Sources ``(B, S)`` from the shortest to the longest, padded with 0 at their ends."""
    random = np.random.default_rng(1)
    lengths = np.sort(random.integers(SHORTEST, LONGEST + 1, sentences))
    padded = [random.integers(4, V, LONGEST) * (np.arange(LONGEST) < n) for n in lengths]
    return [np.array(padded[k : k + B])[:, : lengths[k : k + B].max()] for k in range(0, sentences, B)]


def report(search: Callable[[np.ndarray], list], exact: Callable[[np.ndarray], list], given: list) -> dict[str, Any]:
    """Times of all batches; of the first, which is translated before to warm up, what was found exactly."""
    search(given[0])
    found: list = []
    times = timed(lambda k: found.extend(best for sources in given for best in search(sources)), 1, warmup=0)
    peak = peak_memory()
    return {
        **times,
        "s": times["ms"] / 1e3,
        "min_s": times["min_ms"] / 1e3,
        "peak_mib": peak,
        "words": sum(len(ids) for ids, _ in found),
        "exact": exact(given[0]),
    }


def play_minirnn(V: int, H: int, sentences: int, B: int, beam: int, folder: str) -> dict[str, Any]:
    import minirnn as mr

    def searcher(dtype: str) -> Callable[[np.ndarray], list]:
        model = mr.Seq2Seq(V, V, H, H, attention="general", dtype=dtype)
        with np.load(f"{folder}/weights.npz") as weights:
            model.load_state_dict(weights)

        def search(sources: np.ndarray) -> list:
            found = mr.beam_search(model, sources, beam, max_length=sources.shape[1])
            return [(best.ids, best.score) for [best] in found]

        return search

    return report(searcher("float32"), lambda sources: searcher("float64")(sources), batches(V, sentences, B))


def play_torch(V: int, H: int, sentences: int, B: int, beam: int, folder: str, at_once: bool) -> dict[str, Any]:
    import torch
    from torch import nn
    from torch.nn import functional as F  # noqa: N812

    BOS, EOS = 1, 2

    class Seq2Seq(nn.Module):
        def __init__(self):
            super().__init__()
            self.source_embedding, self.target_embedding = nn.Embedding(V, H), nn.Embedding(V, H)
            self.encoder = nn.LSTM(H, H, bidirectional=True)
            self.bridge = nn.ModuleList([nn.Linear(2 * H, H), nn.Linear(2 * H, H)])
            self.decoder = nn.Module()
            self.decoder.rnn, self.decoder.attention = nn.LSTM(H, H), nn.Module()
            self.decoder.attention.weight_key = nn.Parameter(torch.empty(H, 2 * H))
            self.decoder.weight_out = nn.Parameter(torch.empty(H, 3 * H))
            self.head = nn.Linear(H, V)

        def read(self, sources, lengths):  # (B, S), (B,)
            xs = self.source_embedding(sources)
            packed = nn.utils.rnn.pack_padded_sequence(xs, lengths, batch_first=True, enforce_sorted=False)
            out, (h, c) = self.encoder(packed)
            memory = nn.utils.rnn.pad_packed_sequence(out, batch_first=True)[0].contiguous()
            h = torch.tanh(self.bridge[0](torch.cat([h[0], h[1]], 1)))
            return h, self.bridge[1](torch.cat([c[0], c[1]], 1)), memory

        def step(self, ids, h, c, keys, memory, padding):  # (N,), (N, H), (N, H), (B, H, S), (B, S, 2H), (B, 1, S)
            rnn = self.decoder.rnn
            weights = rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0, rnn.bias_hh_l0
            h, c = torch._VF.lstm_cell(self.target_embedding(ids), (h, c), *weights)
            scores = (h.view(len(memory), -1, H) @ keys).masked_fill_(padding, -torch.inf)
            context = (scores.softmax(-1) @ memory).view(len(h), -1)
            return self.head(torch.tanh(F.linear(torch.cat([context, h], 1), self.decoder.weight_out))), h, c

    def candidates(logits, totals):  # (N, V), (B, K): the 2 * beam best of each sentence
        B, K = totals.shape
        if at_once:
            scores = F.log_softmax(logits, 1).view(B, K, V).add_(totals[:, :, None])
            scores[:, :, :EOS] = -torch.inf  # PAD and BOS
            best, places = scores.view(B, -1).topk(2 * beam)
            return best, places // V, places % V
        before = totals.view(-1) - logits.logsumexp(1)
        logits[:, :EOS] = -torch.inf
        highest, ids = logits.topk(2 * beam)
        best, places = (before[:, None] + highest).view(B, -1).topk(2 * beam)
        return best, places // (2 * beam), ids.view(B, -1).gather(1, places)

    @torch.inference_mode()
    def search(model: Seq2Seq, sources: np.ndarray) -> list:
        limit, sources = sources.shape[1], torch.from_numpy(sources)
        padding = sources == 0
        h, c, memory = model.read(sources, (~padding).sum(1))
        keys, padding = F.linear(memory, model.decoder.attention.weight_key).transpose(1, 2), padding[:, None]
        found: list[list] = [[] for _ in sources]
        living = list(range(len(sources)))  # the sentences that go on
        totals, newest = h.new_zeros(len(sources), 1), torch.full((len(sources),), BOS)
        written = torch.empty(len(sources), 1, 0, dtype=torch.long)

        def score(total: float, length: int) -> float:
            return total / ((5 + length) / 6)

        for length in range(limit):
            logits, h, c = model.step(newest, h, c, keys, memory, padding)
            K = totals.shape[1]
            best, columns, ids = candidates(logits, totals)
            ends = ids == EOS
            for b, rank in ends[:, :beam].nonzero().tolist():
                ended = written[b, columns[b, rank]].tolist(), score(best[b, rank].item(), length)
                found[living[b]].append(ended)

            first = ends.byte().argsort(dim=1, stable=True)[:, :beam]
            totals, columns, newest = (x.gather(1, first) for x in (best, columns, ids))
            written = written.gather(1, columns[:, :, None].expand(-1, -1, length))
            written = torch.cat([written, newest[:, :, None]], 2)
            full = [len(found[k]) >= beam for k in living]
            if length + 1 == limit:
                for b, k in enumerate(living):
                    if not full[b]:
                        found[k] += zip(written[b].tolist(), (score(x, limit) for x in totals[b].tolist()), strict=True)
                break
            goes_on = [
                b
                for b, (k, likeliest) in enumerate(zip(living, totals[:, 0].tolist(), strict=True))
                if not full[b] and all(score(likeliest, limit) > so_far for _, so_far in found[k])
            ]
            if not goes_on:
                break
            rows = torch.arange(len(living))[:, None] * K + columns
            if len(goes_on) < len(living):
                living = [living[b] for b in goes_on]
                rows, totals, newest, written, keys, memory, padding = (
                    x[goes_on] for x in (rows, totals, newest, written, keys, memory, padding)
                )
            h, c, newest = h[rows.view(-1)], c[rows.view(-1)], newest.reshape(-1)
        return [max(each, key=lambda hypothesis: hypothesis[1]) for each in found]

    def searcher(dtype: torch.dtype) -> Callable[[np.ndarray], list]:
        model = Seq2Seq().to(dtype).eval()
        with np.load(f"{folder}/weights.npz") as weights:
            model.load_state_dict({name: torch.from_numpy(a).to(dtype) for name, a in weights.items()})
        return lambda sources: search(model, sources)

    return report(searcher(torch.float32), lambda sources: searcher(torch.float64)(sources), batches(V, sentences, B))


def ways_of_torch(given: dict[str, Any]) -> dict[str, Player]:
    ways = {"all of a sentence at once": True, "the best of each hypothesis first": False}
    return {name: Player(play_torch, {**given, "at_once": at_once}) for name, at_once in ways.items()}


def write_weights(folder: str, case: dict[str, Any]) -> None:
    import minirnn as mr

    V, H = case["V"], case["H"]
    weights = {name: 2 * a for name, a in mr.Seq2Seq(V, V, H, H, attention="general", seed=1).state_dict().items()}
    weights["head.weight"] *= 10
    weights["head.bias"][2] += 5
    np.savez(f"{folder}/weights.npz", **weights)


def agreement(found: list[list]) -> float:
    """The largest relative difference of two scores of one sentence; ``found`` is what each player found.

    Raises
    ------
    DisagreementError
        If the players do not find the same sentences, or score them otherwise than rounding explains.
    """
    difference = 0.0
    for k, (one, *others) in enumerate(zip(*found, strict=True)):
        for other in others:
            if list(one[0]) != list(other[0]):
                raise DisagreementError(f"of sentence {k} the searches find {one} and {other}")
            difference = max(difference, abs(other[1] / one[1] - 1))
    if not difference <= CLOSE:
        raise DisagreementError(f"float64 scores of the same sentences differ by {difference:.1e}")
    return difference


def measure(case: dict[str, int], trial: Trial) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        write_weights(folder, case)
        given = {**case, "folder": folder}
        opponents, way = trial.opponents(ways_of_torch(given))
        reports = trial.contest({"minirnn": Player(play_minirnn, given), **opponents})
    difference = agreement([run.pop("exact") for runs in reports.values() for run in runs])
    found = {**figures(reports), "words": reports["minirnn"][0]["words"], "runs": reports}
    if opponents:
        found |= {"way": way, "speed": speeds(reports), "difference": difference}
    return found
