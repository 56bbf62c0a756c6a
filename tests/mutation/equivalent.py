"""Mutants that live because they are right: other programs for the same gradients, each with the reason.

A mutant is named by its place, the line of source that it begins in, its operator and the change, however the lines
move; where the piece occurs several times in the line, the number of the occurrence stands behind it. The list is
exact: the command fails for a mutant that lives and is not here, and for one that is here and is killed; so do the
tests for one that is here and is no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import dedent

Key = tuple[str, str, str, str]  # place, line, operator, change

REASONS = {
    "how many steps are prepared at once is a matter of speed: any number gives the same slopes": """
        kernels.numpy.add_rows
            total, n = empty((size, E), rows.dtype), run(E)
                calls: run(E) -> E
        kernels.numpy.run
            return max(1, RUN // max(1, numbers))
                calls: max(1, RUN // max(1, numbers)) -> 1
                constants: 1 -> 2
                calls: max(1, numbers) -> 1
                constants: 1 -> 2 (2)
        rules.gru.gru
            run = kernels.run(gates[:1].size)
                bounds: :1 -> 1:
                constants: 1 -> 2
                constants: 1 -> 0
        rules.lstm.lstm
            run = kernels.run(5 * H * B)
                calls: kernels.run(5 * H * B) -> (5 * H * B)
                factors: 5 * H * B -> (5 * H)
                factors: 5 * H * B -> B
                factors: 5 * H -> 5
                factors: 5 * H -> H
                constants: 5 -> 6
        rules.rnn.rnn
            for t, da_t in steps_back(0 if done else T, kernels.run(H * B), slopes):
                factors: H * B -> H
                factors: H * B -> B
                calls: kernels.run(H * B) -> (H * B)
    """,
    "on the host all steps are never one launch: what its kernels are given is tried on the fake device": """
        rules.combinators.attending.attentive
            states, pullbacks = (steps.ends(), steps) if steps else (states, pullbacks)
                conditions: (steps.ends(), steps …  (states, pullbacks) -> (states, pullbacks)
                calls: steps.ends() -> steps
            for t in range(0 if steps else T):
                conditions: 0 if steps else T -> T
                constants: 0 -> 1
            done = back_at_once(steps, looks_back, drs, d …  dhs, dws, dfed, dstates, feds, W_fed, W_out)
                calls: back_at_once(steps,  …  feds, W_fed, W_out) -> steps
            dstates = gathered.put(0, (None, *gradients))
                calls: gathered.put(0, (None, *gradients)) -> gathered
                order: gathered.put(0, (None, *gradients)) -> gathered.put((None, *gradients), 0)
                constants: 0 -> 1
            for t in reversed(range(0 if done else T)):
                conditions: 0 if done else T -> T
                constants: 0 -> 1
        rules.gru.gru
            done = plain and kernels.in_one_launch("gru", … , dhs, dh, back=True, gates=gates, states=hs)
                constants: True -> False
            for t, gates_t, dgates_t in steps_back(0 if done else T, run, slopes):
                conditions: 0 if done else T -> T
                constants: 0 -> 1
        rules.lstm.lstm
            done = plain and kernels.in_one_launch("lstm" … dh, back=True, gates=gates, states=cs, dc=dc)
                constants: True -> False
                names: dh -> dc
                names: dc -> dh (2)
                times: dc -> dc_prev (2)
            for t, da_t, dc_slope, carry in steps_back(0 if done else T, run, slopes):
                conditions: 0 if done else T -> T
                constants: 0 -> 1
        rules.rnn.rnn
            done = plain and kernels.in_one_launch("rnn", da, W_hh, dhs, dh, back=True, states=hs)
                constants: True -> False
            for t, da_t in steps_back(0 if done else T, kernels.run(H * B), slopes):
                conditions: 0 if done else T -> T
                constants: 0 -> 1
    """,
    "on the host a loop reads any layout: only what device kernels read has to be brought into order": """
        rules.gru.gru
            dhs, back = kernels.in_order(dhs, dtype), backward(W_hh, B, dtype)
                calls: kernels.in_order(dhs, dtype) -> dhs
        rules.lstm.lstm
            dhs, recur_back = kernels.in_order(dhs, dtype), kernels.product(W_hh.T, B)
                calls: kernels.in_order(dhs, dtype) -> dhs
        rules.rnn.rnn
            dhs, recur_back = kernels.in_order(dhs, dtype), kernels.product(W_hh.T, B)
                calls: kernels.in_order(dhs, dtype) -> dhs
    """,
    "what is worth a thread or a block of rows is a matter of speed: any pieces give the same numbers": """
        rules.losses.affine_cross_entropy
            loss, n = 0, kernels.run(V)
                calls: kernels.run(V) -> V
            n = max(1, PIECE // V)
                calls: max(1, PIECE // V) -> 1
                constants: 1 -> 2
            loss, dW, db = _sums(kernels.side_by_side(of_some, N, N * V * (OPERATIONS + D)))
                factors: N * V * (OPERATIONS + D) -> (N * V)
                factors: N * V * (OPERATIONS + D) -> (OPERATIONS + D)
                factors: N * V -> N
                factors: N * V -> V
                signs: OPERATIONS + D -> (OPERATIONS - D)
                terms: OPERATIONS + D -> OPERATIONS
                terms: OPERATIONS + D -> D
        rules.attention.additive_scores
            dv, *others = kernels.side_by_side(look_back, B, OPERATIONS * de.size * A)
                factors: OPERATIONS * de.size * A -> (OPERATIONS * de.size)
                factors: OPERATIONS * de.size * A -> A
                factors: OPERATIONS * de.size -> OPERATIONS
                factors: OPERATIONS * de.size -> de.size
        kernels.numpy.rows_of
            if B == 1 or not x.flags.c_contiguous or x.size == 0:
                conditions: B == 1 -> (B != 1)
                constants: 1 -> 2
                constants: 1 -> 0
        kernels.numpy.product
            fit = SMALL // max(1, D * columns) if blocks_are_quicker() else F
                conditions: SMALL // max(1, D *  … are_quicker() else F -> (SMALL // max(1, D * columns))
                conditions: SMALL // max(1, D *  … are_quicker() else F -> F
                calls: max(1, D * columns) -> 1
                constants: 1 -> 2
                factors: D * columns -> D
                factors: D * columns -> columns
            if fit >= F or fit < FEWEST:
                conditions: fit >= F -> (fit > F)
                conditions: fit < FEWEST -> (fit <= FEWEST)
            rows = 1 << fit.bit_length() - 1
                constants: 1 -> 2
                signs: fit.bit_length() - 1 -> (fit.bit_length() + 1)
                terms: fit.bit_length() - 1 -> fit.bit_length()
                terms: fit.bit_length() - 1 -> 1
                calls: fit.bit_length() -> fit
                constants: 1 -> 0 (2)
            cut = F // rows * rows
                factors: F // rows * rows -> rows
            if x.strides[-1] != x.itemsize:
                conditions: x.strides[-1] != x.itemsize -> (x.strides[-1] == x.itemsize)
                signs: -1 -> 1
                constants: 1 -> 2
                constants: 1 -> 0
        kernels.numpy.shares
            n = min(n, columns * multiplications // ENOUGH)
                calls: min(n, columns * mul … lications // ENOUGH) -> n
                conditions: min(n, columns * mul … lications // ENOUGH) -> max(n, columns * mul … lications // ENOUGH)
                factors: columns * multiplications -> columns
                factors: columns * multiplications -> multiplications
        kernels.numpy.side_by_side
            n = min(workers.workers(), count)
                calls: min(workers.workers(), count) -> workers.workers()
                conditions: min(workers.workers(), count) -> max(workers.workers(), count)
            if workers.is_automatic():
                calls: workers.is_automatic() -> workers
            n = min(n, operations // MANY)
                calls: min(n, operations // MANY) -> n
                conditions: min(n, operations // MANY) -> max(n, operations // MANY)
            return workers.spread(task, _parts(count, n)) if n > 1 else [task(slice(0, count))]
                conditions: workers.spread(task, … sk(slice(0, count))] -> [task(slice(0, count))]
                conditions: n > 1 -> (n >= 1)
                constants: 1 -> 2
                constants: 1 -> 0
        rules.combinators.sharing.shard
            B, multiplications = states[0].shape[-1], sum …  in weights if W is not None and W.ndim == 2)
                conditions: W.ndim == 2 -> (W.ndim != 2)
                constants: 2 -> 3
            if len(shares) == 1 or static.get("probe") is not None:
                constants: 1 -> 0
        rules.linear.sum_of_products
            first, *others = kernels.side_by_side(of_some_steps, len(dy), dy.size * x.shape[-2])
                factors: dy.size * x.shape[-2] -> dy.size
                factors: dy.size * x.shape[-2] -> x.shape[-2]
                signs: -2 -> 2
                constants: 2 -> 3
        rules.linear.times
            kernels.side_by_side(task, count, len(W) * x.size)
                factors: len(W) * x.size -> len(W)
                factors: len(W) * x.size -> x.size
                names: x -> y
    """,
    "a state has the shape of the one before it, and only the shape is asked": """
        kernels.lstm.lstm_slopes
            xp, H = xp_of(gates), c.shape[-2]
                times: c -> c_prev
        rules.lstm.lstm
            dm, dh_totals = (dh, None) if W_hr is None el … xp.empty_like(dc), xp.empty_like(dhs, dtype))
                times: dc -> dc_prev
        rules.lstm.lstm_step_back
            da, dc_t, dc_prev = xp.empty_like(gates, dtype), dc.astype(dtype), xp.empty_like(c, dtype)
                times: c -> c_prev
            dc_slope = xp.empty_like(c, dtype)
                times: c -> c_prev
        rules.lstm.peephole_gradient
            H = c.shape[-2]
                times: c -> c_prev
        rules.rnn.rnn_step_back
            da = xp.empty(h.shape, joint_dtype(h, dh))
                times: h -> h_prev
    """,
    "NumPy takes every negative number for the one that fits": """
        kernels.numpy.product
            blocks, rest = W[:cut].reshape(-1, rows, D), W[cut:]
                constants: 1 -> 2
        kernels.numpy.rows_of
            rows.view(one)[..., 0] = x.reshape(-1, F, B).view(one)[..., 0].T
                constants: 1 -> 2
        rules.elementwise.sum_rows
            return x[:whole].reshape(-1, run, *x.shape[1: … m(axis=1).sum(axis=0) + x[whole:].sum(axis=0)
                constants: 1 -> 2
        rules.combinators.windows.clip_through_time
            rows = xp.concatenate([d.reshape(-1, d.shape[-1]) for d in dstates])
                constants: 1 -> 2
        rules.linear.embedding
            return kernels.add_rows(ids.reshape(-1), dy.reshape(ids.size, E), V), None
                constants: 1 -> 2
        rules.losses.cross_entropy
            dweights = kernels.add_rows(targets.reshape(-1), excess.reshape(-1, 1), V).reshape(V)
                constants: 1 -> 2
                constants: 1 -> 2 (2)
    """,
    "a product has as many axes and steps as what is multiplied": """
        rules.linear.times
            task, count = (some_rows, len(W)) if x.ndim == 2 else (some_steps, len(x))
                names: x -> y
                names: x -> y (2)
    """,
    "the same rows are added up in another order": """
        rules.elementwise.sum_rows
            if len(x) <= ROWS or x.strides[0] == x.itemsize:
                conditions: len(x) <= ROWS -> (len(x) < ROWS)
                conditions: x.strides[0] == x.itemsize -> (x.strides[0] != x.itemsize)
                constants: 0 -> 1
            whole = len(x) // run * run
                factors: len(x) // run * run -> run
            return x[:whole].reshape(-1, run, *x.shape[1: … m(axis=1).sum(axis=0) + x[whole:].sum(axis=0)
                axes: axis=1 -> axis=0
                constants: 1 -> 0 (3)
    """,
    "where z = x**p is zero so is the gradient, whatever its logarithm": """
        rules.elementwise.power
            dp = sum_to(dz * z_saved * xp.log(xp.where(x_ … 0, xp.ones_like(x_saved), x_saved)), p_shape)
                names: x_saved -> z_saved
                names: x_saved -> z_saved (2)
    """,
    "the product turns booleans into numbers by itself": """
        rules.linear.embedding_columns
            one_hot = (ids.reshape(T, 1, B) == xp.arange(V).reshape(1, V, 1)).astype(dys.dtype)
                calls: (ids.reshape(T, 1, B … )).astype(dys.dtype) -> (ids.reshape(T, 1, B … V).reshape(1, V, 1))
    """,
    "an extremum has the dtype of what it was taken from": """
        rules.reductions._to_equals
            xp, winners = xp_of(x), x == y.reshape(kept)
                names: x -> y
            return xp.where(winners, dy.reshape(kept) / w … (axis=axis, keepdims=True, dtype=x.dtype), 0)
                names: x -> y
    """,
    "ids that are few enough for one run may have any shape": """
        rules.losses.cross_entropy
            dweights = kernels.add_rows(targets.reshape(-1), excess.reshape(-1, 1), V).reshape(V)
                calls: targets.reshape(-1) -> targets
        rules.shaping.take
            from_0 = xp.arange(n)[ids.ravel()]
                calls: ids.ravel() -> ids
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
    "what is only unpacked, or gone through once in any order, may be any sequence": """
        rules.combinators.form.Form
            return tuple(arguments[: self.sequences]), tu … elf.sequences : end]), tuple(arguments[end:])
                calls: tuple(arguments[: self.sequences]) -> arguments[:self.sequences]
                calls: tuple(arguments[self.sequences : end]) -> arguments[self.sequences:end]
                calls: tuple(arguments[end:]) -> arguments[end:]
        rules.combinators.form.parameters_of
            return list(signature(rule).parameters.values())
                calls: list(signature(rule) … parameters.values()) -> signature(rule).parameters.values()
        rules.combinators.form.named
            names = list(parameters)
                calls: list(parameters) -> parameters
        rules.combinators.form.checked_lengths
            found = list(lengths) if hasattr(lengths, "__iter__") else []
                calls: list(lengths) -> lengths
        rules.rtrl.influences
            by[t] = tuple(xp_of(s).zeros((len(a), *s.shape), s.dtype) for s in states)
                calls: tuple(xp_of(s).zeros … pe) for s in states) -> (xp_of(s).zeros((len … pe) for s in states)
    """,
    "what is right passes unseen through a watch": """
        rules.combinators.asking.selective
            if combinators_of(rule) or (listens and rule.__module__.startswith("minirnn.")):
                conditions: combinators_of(rule) … rtswith("minirnn.")) -> (combinators_of(rule … tswith('minirnn.')))
    """,
    "a flag too many is never read": """
        rules.rtrl.rtrl
            wanted = wanted or (True,) * (1 + len(others))
                constants: 1 -> 2
    """,
    "what is missing in front, or has length one, is stretched where arrays meet": """
        rules.rtrl.at_the_start
            shape = given[name].shape[:-1] if name in names else given[name].shape
                signs: -1 -> 1
                constants: 1 -> 2
                constants: 1 -> 0
    """,
    "all columns to the end are one run of all columns": """
        rules.combinators.ordering.ragged
            if lengths is None or min(lengths, default=T) == T:
                calls: min(lengths, default=T) -> lengths
    """,
    "the arguments of a call are a dict of its own": """
        rules.combinators.form.checked_lengths
            return dict(static), None
                calls: dict(static) -> static
        rules.combinators.sharing.shard
            there = dict(static) if lengths is None else {**static, "lengths": lengths[columns]}
                calls: dict(static) -> static
    """,
    "Python compares integers of every kind": """
        rules.combinators.form.checked_lengths
            if len(found) != B or not all(isinstance(n, I … ot True and 0 <= int(n) <= T for n in found):
                calls: int(n) -> n
    """,
    "what gets through is refused by the next who looks, only less clearly": """
        rules.combinators.form.parameters_of
            if not callable(rule) or not (hasattr(rule, "__name__") or hasattr(rule, "func")):
                calls: callable(rule) -> rule
        rules.rtrl.influences
            if a.ndim != 2 or len(a) != W_ih.shape[1]:
                conditions: a.ndim != 2 or len(a) != W_ih.shape[1] -> (a.ndim != 2 and len … a) != W_ih.shape[1])
        rules.rtrl.check_given
            if missing or len(others) >= len(names):
                conditions: len(others) >= len(names) -> (len(others) > len(names))
        rules.combinators.form.checked_lengths
            if any(x.shape[-1] != B for x in (*xs, *states)):
                conditions: any(x.shape[-1] != B … x in (*xs, *states)) -> all((x.shape[-1] !=  …  in (*xs, *states)))
    """,
    "columns picked by their numbers are those of a slice, only copied; the numbers may come from the host": """
        rules.combinators.ordering._runs
            in_front = columns == list(range(len(columns)))
                calls: list(range(len(columns))) -> range(len(columns))
            yield slice(start, stop), slice(len(columns)) if in_front else xp.asarray(columns)
                conditions: slice(len(columns))  …  xp.asarray(columns) -> xp.asarray(columns)
                calls: xp.asarray(columns) -> columns
    """,
    "no draw is equal to a number that was not made for it": """
        rules.combinators.windows.truncate_randomly
            factor = 0.0 if drawn.random() < probability else grown
                conditions: drawn.random() < probability -> (drawn.random() <= probability)
    """,
    "sums and products are the same either way round": """
        rules.losses._added
            return [None if new is None else iadd(so_far, …  so_far, new in zip(total, row, strict=True)]
                order: iadd(so_far, new) -> iadd(new, so_far)
                order: zip(total, row, strict=True) -> zip(row, total, strict=True)
        rules.combinators.windows._sum
            return [g if g is None else g + other for g, other in zip(gradients, others, strict=True)]
                order: zip(gradients, others, strict=True) -> zip(others, gradients, strict=True)
        rules.rtrl.add_up
            for dot, d in zip(influence, cotangents, strict=False):
                order: zip(influence, cotangents, strict=False) -> zip(cotangents, influence, strict=False)
    """,
    "one window over all steps is the rule, and no slice reaches further than the steps": """
        rules.combinators.windows._in_windows
            if steps >= T:
                conditions: steps >= T -> (steps > T)
            now = slice(start, min(start + steps, T))
                calls: min(start + steps, T) -> (start + steps)
    """,
    "a message names things in another order, or not": """
        rules.combinators.form.checked_lengths
            columns = ", ".join(str(x.shape[-1]) for x in (*xs, *states))
                calls: ", ".join(str(x.shap … x in (*xs, *states)) -> ', '
                signs: -1 -> 1
                constants: 1 -> 2
                constants: 1 -> 0
        rules.rtrl.tangent_of
            names = ", ".join(known.__name__ for known in TANGENTS)
                calls: ", ".join(known.__na … r known in TANGENTS) -> ', '
    """,
    "an array that nobody else will write into need not be copied": """
        rules.rtrl.rtrl
            found[sequence] = xp.stack([found[t] for t in … _xs))]) if len(a_xs) else xp.zeros_like(a_xs)
                calls: xp.zeros_like(a_xs) -> a_xs
            return (ys, *(end.copy() for end in ends)), rtrl_pullback
                calls: end.copy() -> end
        rules.tangents.fed
            dot = dot.astype(joint_dtype(dot, x), copy=False)
                constants: False -> True
        rules.combinators.attending.attentive
            dh = (dstates[0] + dhs[t]).astype(dtype, copy=False)
                constants: False -> True
        rules.combinators.asking.Gradients
            self.found[k] = held.astype(joint_dtype(held, new), copy=False)
                constants: False -> True
        rules.combinators.sharing.Joined
            self.arrays[k] = self.arrays[k].astype(joint_dtype(self.arrays[k], part), copy=False)
                constants: False -> True
    """,
    "of the rows of an argument a gate counts off its H, and leaves alone what comes after them": """
        rules.tangents.per_gate
            rows = {gate: slice(k * H, (k + 1) * H) for k, gate in enumerate(gates)}
                constants: 1 -> 2
    """,
    "where the mask leaves out, the count is zero: any number may stand there, and any but zero below all zeros": """
        rules.losses.affine_cross_entropy
            rows = xp.where(mask[..., None], rows, 0)
                constants: 0 -> 1
            counts = counts / xp.where(total == 0, 1, total)
                constants: 1 -> 2
    """,
    "rows that do not lie side by side are multiplied as well, only slower": """
        rules.losses.affine_cross_entropy
            x, y, shape = xp.ascontiguousarray(rows.reshape(N, D)), targets.reshape(N), rows.shape
                calls: xp.ascontiguousarray(rows.reshape(N, D)) -> rows.reshape(N, D)
    """,
    "gradients that nobody wants are made in vain": """
        rules.losses.affine_cross_entropy
            loss = loss + _softmax_loss(some, b, y[at], counts[at], smoothing, any(wanted))
                calls: any(wanted) -> wanted
    """,
    "without smoothing the mean has no share in the loss": """
        rules.losses._softmax_loss
            hit, mean = scores[at_target], scores.mean(axis=1) if smoothing else 0
                conditions: scores.mean(axis=1) if smoothing else 0 -> scores.mean(axis=1)
                constants: 0 -> 1
    """,
    "the pre-activations' gradients are gathered apart from the others, which are asked for them in vain": """
        rules.combinators.attending.attentive
            asked = outline((a_xs, *xs, *states, *weights … (False, *of_xs[1:], *of_states, *of_weights))
                constants: False -> True
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
