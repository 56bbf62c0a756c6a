"""Sequence to sequence: one network reads a sentence, another writes its translation and looks back meanwhile."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import replace
from inspect import signature
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from minirnn import ops
from minirnn.arguments import booleans, chosen, not_negative, positive, share
from minirnn.arrays import Array, asarray, random_generator, to_numpy, xp_of
from minirnn.kernels import kernels_of
from minirnn.models.char_lm import CELLS, check_cell
from minirnn.models.tagger import rows_of
from minirnn.models.writing import Writing, joined
from minirnn.nn import AttentiveDecoder, Embedding, Linear, Module
from minirnn.nn.attention import KINDS
from minirnn.nn.attentive import FEEDS, of_a_step
from minirnn.nn.inputs import ids_on
from minirnn.nn.weights import refuse_unknown
from minirnn.seeds import seed_of
from minirnn.tape import Tensor, no_grad
from minirnn.text.tokens import BOS, PAD, UNK, TokenVocabulary

ATTENTION = (*KINDS, "none")
CONTEXTS = ("last", "mean", "max")


class Seq2Seq(Module):
    """An encoder that reads a sentence, a decoder that writes another, and attention between them.

    The encoder's outputs are the memory: one vector for each source token. Every layer of the decoder begins where the
    encoder's layer ended, and its last layer looks into the memory (`minirnn.nn.AttentiveDecoder`). Without attention
    one context, made of the whole memory, is fed to every step of the decoder beside the token (Cho et al. 2014).

    Sentences stand in the rows of an array of ids, at whose ends are 0s, which is PAD. A target ends with EOS.

    Parameters
    ----------
    source_vocabulary, target_vocabulary : int or TokenVocabulary
        How many tokens there are on each side; with vocabularies the model also knows which, and can be given text.
    embedding_size, hidden_size, num_layers : int
        Sizes ``E`` and ``H``, and how many recurrent layers encoder and decoder each have.
    cell : {"lstm", "gru", "rnn"}
        Which recurrence.
    bidirectional : bool
        Whether the encoder also reads from the end: its memory is then ``2H`` long, and a dense bridge makes states of
        length ``H`` for the decoder; else they are copied.
    attention : {"scaled_dot", "dot", "general", "additive", "none"}
        How the decoder's state is compared with the memory. For the dots a memory of another length is projected to
        ``H`` first. Unscaled scores are sums of so many products that a few steps of Adam can make them huge: then one
        word has all of the attention, no gradient is left to move it, and the decoder may never learn where to look.
        Take small learning rates for ``"dot"`` and ``"general"``.
    feed : {"nothing", "output", "context"}
        What a step is told of the looks before: see `minirnn.nn.AttentiveDecoder`.
    context : {"last", "mean", "max"}
        Without attention: what is made of the memory. ``"last"`` is the encoder's last state.
    dropout : float
        Of embeddings, between layers, and before the scores, while training.
    label_smoothing : float
        While training: the share of a target's certainty that is spread over all tokens (Szegedy et al. 2016).
    tie_embeddings : bool
        Uses one matrix for the target embeddings and the scores (Press & Wolf 2017); needs equal sizes E and H.
    seed : int
        Draws initial weights, dropout masks, and which tokens are the model's own: models of the same options and seed
        are the same.
    dtype : dtype
        float32 or float64.
    **options
        Those of encoder and decoder that say what one step computes and from which weights it begins: ``bias``,
        ``layer_norm``, ``init``; of an RNN ``nonlinearity``, of an LSTM ``peepholes`` and ``forget_bias``, of a GRU
        ``reset_after``. `minirnn.nn.LSTM`, `minirnn.nn.GRU` and `minirnn.nn.RNN` explain them.

    Attributes
    ----------
    source_vocabulary, target_vocabulary : TokenVocabulary or None
    dropout, label_smoothing : float
        May be set again at any time.
    teacher_forcing : float
        While training, with which probability each token that the decoder reads is the true one, and not the one that
        the model itself would have written (scheduled sampling, Bengio et al. 2015). 1 at first; a schedule may lower
        it as training goes on.

    Examples
    --------
    >>> model = Seq2Seq(source_vocabulary=9, target_vocabulary=8, embedding_size=4, hidden_size=5)
    >>> sources, targets = np.array([[5, 4, 7], [6, 4, 0]]), np.array([[4, 7, 2], [5, 2, 0]])
    >>> model(sources, targets).shape
    (2, 3, 8)
    >>> loss, _ = model.loss(sources, targets)
    >>> loss.backward()
    """

    KIND = "seq2seq"  # what its checkpoints are of
    FIXED = (
        *("embedding_size", "hidden_size", "num_layers", "cell", "bidirectional"),
        *("attention", "feed", "context", "tie_embeddings", "seed"),
    )
    CHECKED: ClassVar = {"label_smoothing": share}
    _teacher_forcing: float

    def __init__(
        self,
        source_vocabulary: int | TokenVocabulary,
        target_vocabulary: int | TokenVocabulary,
        embedding_size: int = 256,
        hidden_size: int = 256,
        num_layers: int = 1,
        cell: str = "lstm",
        bidirectional: bool = True,
        attention: str = "scaled_dot",
        feed: str = "nothing",
        context: str = "last",
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
        tie_embeddings: bool = False,
        seed: int = 0,
        dtype: Any = "float32",
        **options: Any,
    ):
        vocabularies = source_vocabulary, target_vocabulary
        known = [v if isinstance(v, TokenVocabulary) else None for v in vocabularies]
        self.source_vocabulary, self.target_vocabulary = known
        source_size, target_size = (len(v) if isinstance(v, TokenVocabulary) else v for v in vocabularies)
        for name, size in (("source_vocabulary", source_size), ("target_vocabulary", target_size)):
            positive(**{name: size})
            if size <= UNK:
                raise ValueError(f"{name} must be at least {UNK + 1}, PAD, BOS, EOS and UNK, got {size}")
        positive(embedding_size=embedding_size, hidden_size=hidden_size, num_layers=num_layers)
        booleans(bidirectional=bidirectional, tie_embeddings=tie_embeddings)
        share(dropout=dropout)
        not_negative(seed=seed)
        check_cell(cell)
        refuse_unknown(Seq2Seq, options, of_a_step(CELLS[cell]))
        for name, value, choices in (
            ("attention", attention, ATTENTION),
            ("feed", feed, FEEDS),
            ("context", context, CONTEXTS),
        ):
            if not isinstance(value, str) or value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
        if attention == "none" and feed != "nothing":
            raise ValueError(f"feed must be 'nothing' without attention, got {feed!r}")
        if attention != "none" and context != "last":
            raise ValueError(f"context must be 'last' with attention, which reads all of the memory, got {context!r}")
        if tie_embeddings and embedding_size != hidden_size:
            sizes = f"{embedding_size} and {hidden_size}"
            raise ValueError(f"tie_embeddings needs embedding_size == hidden_size, got {sizes}")
        E, H, L, self.seed = int(embedding_size), int(hidden_size), int(num_layers), int(seed)
        self.embedding_size, self.hidden_size, self.num_layers, self.cell = E, H, L, str(cell)
        self.attention, self.feed, self.context = str(attention), str(feed), str(context)
        self.bidirectional, self.tie_embeddings = bool(bidirectional), bool(tie_embeddings)
        self.label_smoothing, self.teacher_forcing = label_smoothing, 1.0
        build, F = CELLS[cell], 2 * H if bidirectional else H

        def own(part: str) -> dict[str, Any]:
            return {"dtype": dtype, "seed": seed_of(part, self.seed)}

        self.source_embedding = Embedding(source_size, E, **own("source_embedding"))
        self.encoder = build(E, H, L, dropout=dropout, bidirectional=bidirectional, **own("encoder"), **options)
        places = range(len(self.encoder.STATES) * L) if bidirectional else ()
        self.bridge = [Linear(F, H, **own(f"bridge.{k}")) for k in places]
        self.memory_projection = None
        if attention in ("dot", "scaled_dot") and F != H:
            self.memory_projection = Linear(F, H, bias=False, **own("memory_projection"))
            F = H
        self.target_embedding = Embedding(target_size, E, **own("target_embedding"))
        self.lower = build(E, H, L - 1, dropout=dropout, **own("lower"), **options) if L > 1 else None
        read = E if L == 1 else H
        self.decoder: Any
        if attention == "none":
            self.decoder = build(read + F, H, **own("decoder"), **options)
        else:
            self.decoder = AttentiveDecoder(read, H, F, cell, attention, feed, **own("decoder"), **options)
        self.head = Linear(H, target_size, **own("head"))
        if tie_embeddings:
            self.target_embedding.weight = self.head.weight
        for name, parameter in self.named_parameters():
            parameter.name = name  # what errors call it

    @property
    def teacher_forcing(self) -> float:
        """With which probability a token that the decoder reads while training is the true one."""
        return self._teacher_forcing

    @teacher_forcing.setter
    def teacher_forcing(self, share: float) -> None:
        if not isinstance(share, Real) or not 0 <= share <= 1:
            raise ValueError(f"teacher_forcing must be a number from 0 to 1, got {share!r}")
        self._teacher_forcing = share

    @property
    def source_size(self) -> int:
        return self.source_embedding.weight.shape[0]

    @property
    def target_size(self) -> int:
        return self.target_embedding.weight.shape[0]

    @property
    def dropout(self) -> float:
        """With which probability embeddings, outputs of layers and what is scored are dropped, while training."""
        return self.encoder.dropout

    @dropout.setter
    def dropout(self, p: float) -> None:
        for layers in (self.encoder, self.lower):
            if layers is not None:
                layers.dropout = p

    @property
    def config(self) -> dict[str, Any]:
        """What builds such a model again as it is now, in plain values, without what its layers have by default."""
        own = {name: getattr(self, name) for name in signature(Seq2Seq).parameters if name not in ("options", "dtype")}
        own |= {"source_vocabulary": self.source_size, "target_vocabulary": self.target_size}
        options = {name: value for name, value in chosen(self.encoder).items() if name in of_a_step(CELLS[self.cell])}
        return own | options | {"dtype": str(self.head.weight.dtype)}

    def vocabulary_to_plain(self) -> dict[str, Any] | None:
        """Both vocabularies as JSON can say them; None unless both are known."""
        if self.source_vocabulary is None or self.target_vocabulary is None:
            return None
        return {"source": self.source_vocabulary.to_plain(), "target": self.target_vocabulary.to_plain()}

    def vocabulary_from_plain(self, plain: dict[str, Any] | None) -> None:
        """Takes over what ``vocabulary_to_plain`` returned.

        Raises
        ------
        ValueError
            If they are no vocabularies, or of other sizes.
        """
        sides = ("source", "target")
        if plain is not None and (not isinstance(plain, dict) or set(plain) != set(sides)):
            raise ValueError(f"vocabularies must be a dict of {' and '.join(sides)}, got {reprlib.repr(plain)}")
        found = [None if plain is None else TokenVocabulary.from_plain(plain[side]) for side in sides]
        for own, known in zip((self.source_size, self.target_size), found, strict=True):
            if known is not None and len(known) != own:
                raise ValueError(f"a vocabulary of {own} cannot be one of {len(known)} tokens")
        self.source_vocabulary, self.target_vocabulary = found

    # --- training ----------------------------------------------------------------------------------------------------

    def loss(self, sources: Any, targets: Any, state: None = None) -> tuple[Tensor, None]:
        """Mean cross-entropy in nats per target token that is real, of whatever sentence it is.

        Parameters
        ----------
        sources, targets : array of int
            ``(B, S)`` and ``(B, T)``.
        state : None
            For the training loop: sentences carry no state.

        Returns
        -------
        loss : Tensor
            One number.
        state : None

        Raises
        ------
        IndexError
            If an id lies outside of its vocabulary.
        TypeError, ValueError
            If ids are not integers in as many rows, a row is empty, or PAD stands before a token.
        """
        outs, targets = self._outs(sources, targets)
        backend, weight = self.head.weight.backend, self.head.weight
        smoothing = self.label_smoothing if self.training else 0.0
        wanted, real = (asarray(x, backend=backend) for x in (targets.T, (targets != PAD).T))
        return ops.affine_cross_entropy(outs, weight, self.head.bias, wanted, real, smoothing=smoothing), None

    def forward(self, sources: Any, targets: Any) -> Tensor:
        """Scores ``(B, T, V)`` of every token of the targets, given those before it; arguments as of ``loss``."""
        outs, _ = self._outs(sources, targets)
        return self.head(outs.transpose(2, 0, 1))

    def _outs(self, sources: Any, targets: Any) -> tuple[Tensor, np.ndarray]:
        """What scores are made of, in columns ``(T, H, B)``, and the checked targets, cut to the longest."""
        sources = checked_ids(sources, "sources", self.source_size)
        targets = checked_ids(targets, "targets", self.target_size)
        if len(sources) != len(targets):
            raise ValueError(f"sources and targets must have as many rows, got {len(sources)} and {len(targets)}")
        inputs = np.concatenate([np.full_like(targets[:, :1], BOS), targets[:, :-1]], axis=1)
        if self.training:
            self.draws += 1
            if self.teacher_forcing < 1:
                inputs = self._partly_own(sources, inputs)
        writing = self._read(sources)
        embedded = ops.embedding(self.target_embedding.weight, asarray(inputs.T, backend=self.head.weight.backend))
        xs = self._dropped(embedded.swapaxes(1, 2), "dropout_targets")
        if self.lower is not None:
            out, _ = self.lower(xs.swapaxes(1, 2), _unwrapped(writing.lower))
            xs = self._dropped(out.swapaxes(1, 2), "dropout_lower")
        if self.attention == "none":
            T, _, B = xs.shape
            contexts = ops.broadcast_to(writing.memory, shape=(T, *writing.memory.shape[1:]))
            first = _unwrapped([part.T.reshape(1, B, -1) for part in writing.top])
            outs = self.decoder(ops.concat(xs, contexts, axis=1).swapaxes(1, 2), first)[0].swapaxes(1, 2)
        else:
            outs, _, _ = self.decoder.run(xs, writing.top, writing.memory, writing.mask, writing.keys)
        return self._dropped(outs, "dropout_head"), targets

    def _read(self, sources: np.ndarray) -> Writing:
        """The encoder's work: the memory of checked ``sources (B, S)``, and where the decoder begins."""
        ids = asarray(sources.T, backend=self.head.weight.backend)
        real = sources.T != PAD
        lengths = None if real.all() else real.sum(axis=0)
        xs = self._dropped(ops.embedding(self.source_embedding.weight, ids), "dropout_sources")
        out, state = self.encoder(xs, lengths=lengths)
        memory = out.swapaxes(1, 2)
        parts = state if isinstance(state, tuple) else (state,)
        bridged = self._bridged(parts)
        lower = tuple(part[:-1] for part in bridged) if self.lower is not None else ()
        top = tuple(part[-1].T for part in bridged)
        mask = None if lengths is None else asarray(real, backend=self.head.weight.backend)
        if self.attention == "none":
            return Writing(self._one_context(memory, parts[0], mask, lengths), None, None, lower, top)
        if self.memory_projection is not None:
            memory = ops.affine(memory, self.memory_projection.weight)
        keys = self.decoder.attention.keys(memory)
        return Writing(memory, keys, mask, lower, self.decoder.first_state(top, memory, mask, keys))

    def _bridged(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """From the encoder's last states to the first ones of the decoder, each ``(num_layers, B, H)``."""
        if not self.bridge:
            return list(parts)
        bridged, L = [], len(self.bridge) // len(parts)
        for k, part in enumerate(parts):
            layers = []
            for layer in range(L):
                both = ops.concat(part[2 * layer], part[2 * layer + 1], axis=1)
                dense = self.bridge[k * L + layer](both)
                layers.append(dense.tanh() if k == 0 else dense)  # h lies between -1 and 1, c where it likes
            bridged.append(ops.stack(*layers))
        return bridged

    def _one_context(self, memory: Tensor, last: Tensor, mask: Array | None, lengths: Any) -> Tensor:
        """``(1, F, B)``: the last state, the mean or the maximum of the memory ``(S, F, B)``, padding left out."""
        if self.context == "last":
            directions = memory.shape[1] // last.shape[2]
            return ops.concat(*(last[k - directions].T for k in range(directions)), axis=0).reshape(
                1, *memory.shape[1:]
            )
        if self.context == "mean":  # past the end of a sentence the memory is zero
            count = memory.shape[0] if lengths is None else asarray(lengths, memory.dtype, memory.backend)
            return memory.sum(axis=0, keepdims=True) / count
        if mask is not None:
            memory = ops.where(mask[:, None], memory, -np.inf)
        return memory.max(axis=0, keepdims=True)

    def _dropped(self, x: Tensor, stream: str) -> Tensor:
        if not (self.training and self.dropout):
            return x
        return ops.dropout(x, p=self.dropout, seed=self.seed, stream=stream, step=self.draws)

    def _partly_own(self, sources: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """The decoder's inputs, some of them replaced by what the model would have written in their place.

        A choice has no derivative. So tokens are chosen first, one after the other, and the pass that is trained on
        them is that of any other inputs. Choosing, the model drops nothing out.
        """
        drawn = random_generator(self.seed, "teacher_forcing", self.draws).random(inputs.shape)
        own, inputs = drawn >= self.teacher_forcing, inputs.copy()
        with self.evaluating(), no_grad():
            state = self._read(sources)
            for t in range(inputs.shape[1] - 1):
                logits, _, state = self.step(state, inputs[:, t])
                written = to_numpy(logits.argmax(axis=1))
                inputs[:, t + 1] = np.where(own[:, t + 1], written, inputs[:, t + 1])
        return inputs

    # --- writing, one token at a time --------------------------------------------------------------------------------

    def start(self, sources: Any) -> Writing:
        """What ``step`` begins with: sentences read, nothing written.

        Call it, and ``step``, within ``evaluating()`` and ``no_grad()``.

        Parameters
        ----------
        sources : array of int
            ``(B, S)``.

        Raises
        ------
        IndexError, TypeError, ValueError
            As from ``loss``.
        """
        return self._read(checked_ids(sources, "sources", self.source_size)).laid_out()

    def step(self, state: Writing, ids: Any) -> tuple[Array, Array | None, Writing]:
        """One token further.

        Parameters
        ----------
        state : Writing
            From ``start``, ``step``, or ``take`` of either, with N columns.
        ids : array of int
            ``(N,)``, the tokens before: BOS at first.

        Returns
        -------
        logits : array
            ``(N, V)``, of the tokens to come.
        weights : array or None
            ``(N, S)``: where the decoder looked; None without attention.
        state : Writing

        Raises
        ------
        IndexError
            If an id lies outside of its vocabulary.
        TypeError, ValueError
            If ids are not integers, one for each column.
        """
        ids = ids_on(self.head.weight.backend, ids, self.target_size, "ids", ndim=1)
        if len(ids) != len(state):
            raise ValueError(f"ids must be one for each of {len(state)} columns, got {len(ids)}")
        kernels, each = kernels_of(self.head.weight.array), len(ids) // state.memory.shape[-1]

        def write(sentences: slice) -> tuple[Tensor, Array | None, Writing]:
            columns = slice(sentences.start * each, sentences.stop * each)
            return self._written(state.of(sentences, columns), ids[columns])

        # sentences know nothing of each other, so workers share them out; but of the scores each takes some words
        size = sum(p.size for p in self.decoder.parameters())
        outs, looks, states = zip(*kernels.side_by_side(write, len(ids) // each, len(ids) * size), strict=True)
        weights = None if looks[0] is None else joined(looks, axis=0)
        out = Tensor.around(joined([out.array for out in outs], axis=1))
        return ops.affine(out, self.head.weight, self.head.bias).array.T, weights, state.with_states(states)

    def _written(self, state: Writing, ids: Array) -> tuple[Tensor, Array | None, Writing]:
        """What the scores of a step are made of, ``(H, N)``; beside it what ``step`` returns."""
        x, lower = ops.embedding(self.target_embedding.weight, ids), state.lower
        if self.lower is not None:
            out, left = self.lower(x.reshape(1, *x.shape), _unwrapped(lower))
            x, lower = out[0], left if isinstance(left, tuple) else (left,)
        weights = None
        if self.attention == "none":
            memory = state.memory.array[0]  # (F, N): each sentence as often as it is written
            often = xp_of(memory).broadcast_to(memory[..., None], (*memory.shape, len(state) // memory.shape[-1]))
            context = often.reshape(len(memory), len(state))  # repeat would take a launch for each sentence
            read = ops.concat(x, Tensor.around(context.T), axis=1)
            first = _unwrapped([part.T.reshape(1, *part.T.shape) for part in state.top])
            out, left = self.decoder(read.reshape(1, *read.shape), first)
            out = out[0].T
            top = tuple(part[0].T for part in (left if isinstance(left, tuple) else (left,)))
        else:
            out, looked, top = self.decoder.step(x.T, state.top, state.memory, state.mask, state.keys)
            weights = looked.array.T
        return out, weights, replace(state, lower=tuple(lower), top=tuple(top))


def checked_ids(ids: Any, name: str, size: int) -> np.ndarray:
    """``ids (B, T)`` on the host, cut to the longest row.

    Raises
    ------
    IndexError
        If an id lies outside ``[0, size)``.
    TypeError, ValueError
        If they are no integers ``(B, T)``, a row holds nothing but PAD, or PAD stands before a token.
    """
    found = rows_of(ids, name)
    real = found != PAD
    lengths = real.sum(axis=1)
    if not lengths.all():
        raise ValueError(f"{name} must have a token in every row, row {int(lengths.argmin())} has none")
    if not np.array_equal(real, np.arange(found.shape[1]) < lengths[:, None]):
        b, t = (int(k) for k in np.argwhere(real != (np.arange(found.shape[1]) < lengths[:, None]))[0])
        raise ValueError(f"{name} must have PAD (0) at the end of a row only, row {b} has one at {t}, before a token")
    bad = (found < 0) | (found >= size)
    if bad.any():
        b, t = (int(k) for k in np.argwhere(bad)[0])
        raise IndexError(f"{name} must lie in 0..{size - 1}, got {int(found[b, t])} in row {b} at {t}")
    return found[:, : lengths.max()].astype(np.int64, copy=False)


def _unwrapped(parts: Sequence[Tensor]) -> Any:
    """States as recurrent layers take them: one by itself, several as a tuple."""
    return parts[0] if len(parts) == 1 else tuple(parts)
