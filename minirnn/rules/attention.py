"""Attention: a look-up in a memory that is soft, so that where to look can be learned.

The problem. An encoder that hands the decoder its last state hands over one vector, however long the sentence was. And
the gradient of what it made of the first word comes back through every step of both (``rnn.py`` says what is left of it
then).

The answer (Bahdanau et al. 2014). Keep what the encoder said at every word, the *memory*, and let each step of the
decoder look up what it needs. A dictionary compares a query with its keys and returns the value whose key is equal.
Such a choice has no derivative. So return a mean of all values instead, in which a value has the more weight the better
its key fits. For one column of the batch, with queries q_t, keys k_s and values m_s, s = 1 .. S:

    e_ts = scale * q_t . k_s                     the score: dot                                   (1)
    e_ts = v . z_ts,  z_ts = tanh(q_t + k_s)     or additive                                      (1')
    w_ts = exp(e_ts) / sum over r of exp(e_tr)   the weights: positive, their sum over s is one   (2)
    c_t  = sum over s of w_ts m_s                the context: what was found                      (3)

In (2), s and r run over the real words of the column only: padding has the weight 0, exactly.

Backward. Each value and each key is read by all queries, so their cotangents are sums over t. Every line undoes the
line whose number it bears:

    dw_ts = m_s . dc_t,                          dm_s = sum over t of w_ts dc_t                   (3)
    de_ts = w_ts (dw_ts - sum over r of w_tr dw_tr)                                               (2)
    dq_t = scale * sum over s of de_ts k_s,      dk_s = scale * sum over t of de_ts q_t           (1)
    dq_t = v * sum over s of u_ts,               dk_s = v * sum over t of u_ts                    (1')
    u_ts = de_ts (1 - z_ts**2),                  dv = sum over t, s and columns of de_ts z_ts     (1')

What it says. dw_ts is by how much the loss would grow if word s had a unit more of weight. The sum over r in (2) is the
mean of this, under the weights as they are. So what is asked of a score is how far its word lies above this mean, times
its weight. A word with the weight 0 is asked for nothing: where a softmax has given up a word, no gradient brings it
back. And all de_ts of one query add up to zero, as a constant that is added to all scores changes nothing.

Why it helps. From the loss to the value of word s there is now a path that goes through (3) alone, however long the
sentences are. There is no product over time in it that could vanish.

Which keys? The kinds of attention differ in (1), and in what q and k are made of:

    dot             q = h, k = m                            no weights, sizes must agree          (Luong et al. 2015)
    scaled dot      q = h, k = m, scale = 1 / sqrt(A)       else dots grow like sqrt(A)           (Vaswani et al. 2017)
    general         q = h, k = W_key m                      q . W_key m is bilinear in h and m    (Luong et al. 2015)
    additive        q = W_query h, k = W_key m, with (1')   a layer with hidden units z           (Bahdanau et al. 2014)

W_key belongs to the memory and not to the query: so the keys are computed once, however many steps look.

In code. Each numbered line is a rule, and other scores can be combined with the other two. A column has matrices of its
own, queries (T, A), keys (S, A), values (S, F), and (1) and (3) are products of them. If columns come first, B small
products are one ``matmul``. `by_column` brings them there, outputs go back as views, and the output of one rule is the
input of the next without a copy. The same lines one step at a time, in a decoder that looks again after every word, are
in ``combinators/attending.py``.
"""

from __future__ import annotations

import math

from minirnn.arguments import booleans_in
from minirnn.arrays import joint_dtype, xp_of
from minirnn.kernels import kernels_of

OPERATIONS = 10  # that additive scores take for each hidden unit, about; most of them are in its tanh


def dot_scores(
    queries,  # (T, A, B)
    keys,  # (S, A, B)
    *,
    scale=1.0,
    wanted=(True, True),
):
    """``scale * q_t . k_s`` for every query and key of a column, ``(T, S, B)``: line (1).

    Raises
    ------
    ValueError
        If the shapes do not fit each other.
    """
    check_queries("dot_scores", queries, keys)
    q, k, scale = by_column(queries), by_column(keys), float(scale)  # one of NumPy would widen single precision
    scores = q @ k.swapaxes(1, 2)  # (B, T, S)
    scores *= scale  # (1)
    q_saved, k_saved = (q if wanted[1] else None), (k if wanted[0] else None)

    def dot_scores_pullback(dscores):
        de = by_column(dscores) * scale
        dqueries = as_columns(de @ k_saved) if wanted[0] else None
        dkeys = as_columns(de.swapaxes(1, 2) @ q_saved) if wanted[1] else None  # (1)
        return dqueries, dkeys

    return as_columns(scores), dot_scores_pullback


def additive_scores(
    queries,  # (T, A, B)
    keys,  # (S, A, B)
    v,  # (A,)
    *,
    wanted=(True, True, True),
):
    """``v . tanh(q_t + k_s)`` for every query and key of a column, ``(T, S, B)``: line (1').

    There are T * S * A tanhs for every column, far more numbers than anything else here. So they are not saved, but
    computed again on the way back, and never more than those of one query are in memory.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.
    """
    check_queries("additive_scores", queries, keys)
    if v.shape != keys.shape[1:2]:
        raise ValueError(f"additive_scores needs v ({keys.shape[1]},) for keys {keys.shape}, got v {v.shape}")
    xp, kernels, dtype = xp_of(queries, keys, v), kernels_of(queries), joint_dtype(queries, keys, v)
    (T, A, B), S = queries.shape, len(keys)
    q, k = by_column(queries), by_column(keys)
    scores, z = xp.empty((B, T, S), dtype), kernels.empty((B, S, A), dtype)

    def look(some):
        for t in range(T):
            scores[some, t] = additive_look(q[some, t], k[some], v, z[some])  # (1')

    kernels.side_by_side(look, B, OPERATIONS * scores.size * A)
    saved = (q, k, v if wanted[0] or wanted[1] else None) if any(wanted) else None

    def additive_scores_pullback(dscores):
        if saved is None:
            return None, None, None
        (q, k, v), de = saved, by_column(dscores)
        dtype = joint_dtype(q, k, v, de)
        dq, dk, u = xp.empty(q.shape, dtype), xp.zeros(k.shape, dtype), kernels.empty(k.shape, dtype)

        def look_back(some):
            dv = xp.zeros(A, dtype)
            for t in range(T):
                dv += additive_look_back(de[some, t], q[some, t], k[some], u[some])
                dk[some] += u[some]
                dq[some, t] = u[some].sum(axis=1)
            return dv

        dv, *others = kernels.side_by_side(look_back, B, OPERATIONS * de.size * A)
        for part in others:
            dv += part
        dqueries, dkeys = as_columns(dq * v) if wanted[0] else None, as_columns(dk * v) if wanted[1] else None  # (1')
        return dqueries, dkeys, dv if wanted[2] else None

    return as_columns(scores), additive_scores_pullback


def attention_weights(
    scores,  # (..., S, B)
    mask=None,  # (S, B), or one for every query, (..., S, B): booleans; True = real token
):
    """The softmax of the scores over S, in which padding has no part: line (2).

    Its weight is 0, exactly, and so is the gradient of its score, whatever the score is. In a column without any real
    token all weights are 0. A mask of the shape of the scores says it of each query alone: with ``tri(T)`` in every
    column, none of T words looks ahead.

    Raises
    ------
    TypeError
        If the mask is not boolean. (A mask that is added to scores, as elsewhere, would have 0 where this has True.)
    ValueError
        If there is nothing to look at, or the mask does not fit the scores.
    """
    fits = mask is None or mask.shape in (scores.shape, scores.shape[-2:])
    if scores.ndim < 2 or scores.shape[-2] == 0 or not fits:
        given = "" if mask is None else f", mask {mask.shape}"
        raise ValueError(
            "attention_weights needs scores (..., S, B), S > 0, and mask (S, B) or like them; "
            f"got {scores.shape}{given}"
        )
    booleans_in(mask=mask)
    w = softmax_of_real(scores.swapaxes(-1, -2), None if mask is None else mask.swapaxes(-1, -2))

    def attention_weights_pullback(dweights):
        return softmax_back(w, dweights.swapaxes(-1, -2)).swapaxes(-1, -2), None

    return w.swapaxes(-1, -2), attention_weights_pullback


def attention_contexts(
    weights,  # (T, S, B)
    values,  # (S, F, B)
    *,
    wanted=(True, True),
):
    """``sum over s of w_ts m_s`` for every query of a column, ``(T, F, B)``: line (3).

    Raises
    ------
    ValueError
        If the shapes do not fit each other.
    """
    if weights.ndim != 3 or values.ndim != 3 or (len(values), values.shape[2]) != weights.shape[1:]:
        raise ValueError(
            f"attention_contexts needs weights (T, S, B) and values (S, F, B), got {weights.shape} and {values.shape}"
        )
    w, m = by_column(weights), by_column(values)
    w_saved, m_saved = (w if wanted[1] else None), (m if wanted[0] else None)

    def attention_contexts_pullback(dcontexts):
        dc = by_column(dcontexts)
        dweights = as_columns(dc @ m_saved.swapaxes(1, 2)) if wanted[0] else None
        dvalues = as_columns(w_saved.swapaxes(1, 2) @ dc) if wanted[1] else None  # (3)
        return dweights, dvalues

    return as_columns(w @ m), attention_contexts_pullback  # (3)


# --- the parts, with columns first ------------------------------------------------------------------------------------


def by_column(xs):
    """``(N, F, B)`` as ``(B, N, F)``, each column a contiguous matrix: a copy unless it is one already."""
    return xp_of(xs).ascontiguousarray(xs.transpose(2, 0, 1))


def as_columns(xs):
    """``(B, N, F)`` as ``(N, F, B)``: a view."""
    return xs.transpose(1, 2, 0)


def additive_look(
    q,  # (B, A)
    keys,  # (B, S, A)
    v,  # (A,)
    z,  # (B, S, A) receives the hidden units
):
    """The scores ``(B, S)`` of one query in each column: line (1')."""
    xp, (B, S, A) = xp_of(keys), keys.shape
    xp.add(keys, q[:, None], out=z)
    xp.tanh(z, out=z)
    return (z.reshape(B * S, A) @ v).reshape(B, S)


def additive_look_back(
    de,  # (B, S)
    q,  # (B, A)
    keys,  # (B, S, A)
    u,  # (B, S, A) receives u_s, which is dk_s before it is multiplied by v
):
    """The part ``(A,)`` that one query in each column has in ``dv``: line (1') is computed again, and undone."""
    xp, (B, S, A) = xp_of(keys), keys.shape
    xp.add(keys, q[:, None], out=u)
    xp.tanh(u, out=u)
    dv = de.reshape(B * S) @ u.reshape(B * S, A)
    u *= u
    xp.subtract(1, u, out=u)
    u *= de[:, :, None]
    return dv


def softmax_of_real(
    scores,  # (..., B, S)
    real=None,  # (B, S), or of the shape of scores
):
    """``exp(e_s)`` divided by their sum, the largest e_s taken out first; 0 where it is not real: line (2)."""
    xp = xp_of(scores, real)
    if real is not None:
        scores = xp.where(real, scores, -math.inf)
    largest = scores.max(axis=-1, keepdims=True)
    w = xp.exp(scores - xp.where(xp.isinf(largest), 0, largest))  # inf - inf would be nan
    total = w.sum(axis=-1, keepdims=True)
    w /= xp.where(total == 0, 1, total)
    return w


def softmax_back(w, dw):
    """The cotangent of scores whose softmax is ``w``: line (2)."""
    return w * (dw - (w * dw).sum(axis=-1, keepdims=True))


def check_queries(rule, queries, keys):
    """Refuses queries and keys that are not ``(T, A, B)`` and ``(S, A, B)`` for one ``A`` and one ``B``."""
    if queries.ndim != 3 or keys.ndim != 3 or queries.shape[1:] != keys.shape[1:]:
        raise ValueError(f"{rule} needs queries (T, A, B) and keys (S, A, B), got {queries.shape} and {keys.shape}")
