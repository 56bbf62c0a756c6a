"""Mutants that live because they are right: other programs for the same gradients, each with the reason.

A mutant is named by its place, the line of source that it begins in, its operator and the change, however the lines
move; where the piece occurs several times in the line, the number of the occurrence stands behind it. The list is
exact: the tests fail for a mutant that lives and is not here, and for one that is here and is killed, or is no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import dedent

Key = tuple[str, str, str, str]  # place, line, operator, change

REASONS = {
    "how many steps are prepared at once is a matter of speed: any number gives the same slopes": """
        rules.gru.gru
            for t in steps_back(T, gates[:1].size, slopes):
                bounds: :1 -> 1:
                constants: 1 -> 2
                constants: 1 -> 0
        rules.lstm.steps_back
            xp, (T, _, B), H, kernels = xp_of(gates), gates.shape, cs.shape[1], kernels_of(gates)
                constants: 1 -> 2
                constants: 1 -> 0
            run = max(1, SLOPES // (5 * H * B + 1))
                calls: max(1, SLOPES // (5 * H * B + 1)) -> 1
                conditions: max(1, SLOPES // (5 * H * B + 1)) -> min(1, SLOPES // (5 * H * B + 1))
                constants: 1 -> 2
                constants: 1 -> 0
                signs: 5 * H * B + 1 -> (5 * H * B - 1)
                terms: 5 * H * B + 1 -> (5 * H * B)
                terms: 5 * H * B + 1 -> 1
                factors: 5 * H * B -> (5 * H)
                factors: 5 * H * B -> B
                factors: 5 * H -> 5
                factors: 5 * H -> H
                constants: 5 -> 6
                constants: 1 -> 2 (2)
                constants: 1 -> 0 (2)
        rules.recurrence.steps_back
            run = max(1, RUN // max(1, numbers))
                calls: max(1, RUN // max(1, numbers)) -> 1
                constants: 1 -> 2
                calls: max(1, numbers) -> 1
                constants: 1 -> 2 (2)
        rules.rnn.rnn
            for t in steps_back(T, H * B, lambda run: ker … _slopes(hs[1:][run], da[run], nonlinearity)):
                factors: H * B -> H
                factors: H * B -> B
    """,
    "the memory of a matrix is in another order, its numbers are the same": """
        rules.gru.transposed
            return xp.ascontiguousarray(xp.roll(W_hh, H, axis=0).T)
                calls: xp.ascontiguousarray … (W_hh, H, axis=0).T) -> xp.roll(W_hh, H, axis=0).T
            return xp.ascontiguousarray(W_hh[: 2 * H].T), xp.ascontiguousarray(W_hh[2 * H :].T)
                calls: xp.ascontiguousarray(W_hh[: 2 * H].T) -> W_hh[:2 * H].T
                calls: xp.ascontiguousarray(W_hh[2 * H :].T) -> W_hh[2 * H:].T
        rules.lstm.lstm
            W_back = xp.ascontiguousarray(W_hh.T)
                calls: xp.ascontiguousarray(W_hh.T) -> W_hh.T
        rules.rnn.rnn
            W_back = xp.ascontiguousarray(W_hh.T)
                calls: xp.ascontiguousarray(W_hh.T) -> W_hh.T
    """,
    "a state has the shape of the one before it, and only the shape is asked": """
        kernels.lstm.lstm_slopes
            xp, H = xp_of(gates), c.shape[-2]
                times: c -> c_prev
        rules.lstm.lstm_step
            da, dc_t, dc_prev = xp.empty_like(gates, dtype), dc.astype(dtype), xp.empty_like(c, dtype)
                times: c -> c_prev
        rules.lstm.lstm
            dm, dh_totals = (dh, None) if W_hr is None el … xp.empty_like(dc), xp.empty_like(dhs, dtype))
                times: dc -> dc_prev
        rules.lstm.peephole_gradient
            H = c.shape[-2]
                times: c -> c_prev
        rules.rnn.rnn_step
            da = xp.empty(h.shape, joint_dtype(h, dh))
                times: h -> h_prev
    """,
    "NumPy takes every negative number for the one that fits": """
        rules.linear.embedding
            return kernels.add_rows(ids.reshape(-1), dy.reshape(ids.size, E), V), None
                constants: 1 -> 2
        rules.losses.cross_entropy
            dweights = kernels.add_rows(targets.reshape(-1), excess.reshape(-1, 1), V).reshape(V)
                constants: 1 -> 2
                constants: 1 -> 2 (2)
    """,
    "an axis of length one is summed up in vain": """
        rules.elementwise.sum_to
            stretched = tuple(new + k for k, size in enum … ape) if size == 1 and dy.shape[new + k] != 1)
                constants: 1 -> 0 (2)
    """,
    "its elements are only ever gone through, once": """
        rules.elementwise.sum_to
            stretched = tuple(new + k for k, size in enum … ape) if size == 1 and dy.shape[new + k] != 1)
                calls: tuple(new + k for k, … shape[new + k] != 1) -> (new + k for k, size … shape[new + k] != 1)
    """,
    "where z = x**p is zero so is the gradient, whatever its logarithm": """
        rules.elementwise.power
            dp = sum_to(dz * z_saved * xp.log(xp.where(x_ … 0, xp.ones_like(x_saved), x_saved)), p_shape)
                names: x_saved -> z_saved
                names: x_saved -> z_saved (2)
    """,
    "a sum over no axes is the array itself, and takes a copy more": """
        rules.linear.sum_of_columns
            return (dy if dy.ndim == 2 else dy.sum(axis=tuple(range(dy.ndim - 2)))).sum(axis=-1)
                conditions: dy if dy.ndim == 2 e … range(dy.ndim - 2))) -> dy.sum(axis=tuple(range(dy.ndim - 2)))
    """,
    "after the sum over the steps two axes are left, and the last is the second": """
        rules.linear.sum_of_columns
            return (dy if dy.ndim == 2 else dy.sum(axis=tuple(range(dy.ndim - 2)))).sum(axis=-1)
                signs: -1 -> 1
    """,
    "the product turns booleans into numbers by itself": """
        rules.linear.embedding_columns
            one_hot = (ids.reshape(T, 1, B) == xp.arange(V).reshape(1, V, 1)).astype(dys.dtype)
                calls: (ids.reshape(T, 1, B … )).astype(dys.dtype) -> (ids.reshape(T, 1, B … V).reshape(1, V, 1))
    """,
    "an extremum has the dtype of what it was taken from": """
        rules.reductions._to_equals
            winners = (x == y.reshape(kept)).astype(x.dtype)
                names: x -> y (2)
    """,
    "the name of a dtype does where the dtype is asked for": """
        rules.elementwise._of_its_kind
            return xp.result_type(xp.dtype(dtype), 1j) if x.dtype.kind == "c" else dtype
                calls: xp.dtype(dtype) -> dtype
    """,
    "what is made for an array has its dtype": """
        rules.shaping.getitem
            if may_repeat and dy.dtype.kind == "c":
                names: dy -> dx
    """,
    "adding up at positions serves those that do not repeat as well, only slower": """
        rules.shaping._names_nothing_twice
            basic = part is None or part is Ellipsis or isinstance(part, slice | Integral)
                conditions: part is None or part … t, slice | Integral) -> (part is None and pa … , slice | Integral))
            return basic or (hasattr(part, "dtype") and part.dtype.kind == "b")
                conditions: basic or (hasattr(pa … t.dtype.kind == "b") -> (basic and (hasattr( … .dtype.kind == 'b'))
    """,
}


def _keys(listed: str) -> Iterator[Key]:
    """Reads a list, indented by place, line, and operator with change."""
    place = line = ""
    for entry in dedent(listed).strip().splitlines():
        depth, text = (len(entry) - len(entry.lstrip())) // 4, entry.strip()
        if depth == 0:
            place = text
        elif depth == 1:
            line = text
        else:
            operator, _, change = text.partition(": ")
            yield place, line, operator, change


EQUIVALENT: dict[Key, str] = {key: reason for reason, listed in REASONS.items() for key in _keys(listed)}
