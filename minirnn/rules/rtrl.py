"""Real-time recurrent learning (Williams & Zipser 1989): the gradients of BPTT, forward in time.

BPTT waits for the end of the sequence and asks backward: what does the loss ask of this state? RTRL asks forward: what
have the weights done to this state so far? Both multiply the same chain of Jacobians. BPTT begins at the loss, so all
it carries is a vector for every column; RTRL begins at the weights, and carries the derivative of the whole state with
respect to each of them. The answer, the *influence* of an argument, has the axes of the argument and then those of the
state. For an RNN with a_t = W_ih x_t + b + W_hh h_prev and h_t = tanh(a_t),

    h_by_W[i, j, k, b] = d h_t[k, b] / d W_hh[i, j]

and one step of it is the derivative of one step, term by term:

    a_by_W[i, j, k, b] = sum over l of W_hh[k, l] h_by_W_prev[i, j, l, b]        by way of the old state
                         + (k == i) h_prev[j, b]                                 directly: entry i, j feeds row i
    h_by_W = (1 - h_t**2) * a_by_W

At the start the influence of h_0 on the state, which is h_0 itself, is the identity, and that of weights is zero.
Columns never mix: column b of h_0 influences column b alone, so the axis b is kept once. For an RNN the shapes are

    argument                shape      influence on h_t (H, B)
    W_hh                    (H, H)     (H, H, H, B)
    b                       (H,)       (H, H, B)
    h_0, a_xs[t]            (H, B)     (H, H, B)       entry i, k, b: what row i of column b did to row k of column b

The steps of all cells in this mode are in ``tangents.py``; here they are taken one after the other.

As soon as the loss of step t gives dh_t = d loss_t / d h_t, the gradient is there, and nothing of the past is needed:

    dW_hh += sum over k and b of h_by_W[..., k, b] * dh_t[k, b]

What it costs, for an LSTM: the 4 H**2 weights in W_hh influence 2 H numbers of every column, which makes 8 B H**3
numbers, and three times as many while a step computes the new ones from the old. A step takes 16 B H**4 multiplications
to move them on, where BPTT takes 12 B H**2 and keeps 6 B H numbers. So RTRL is for learners that must learn while they
act, for streams that have no end (its memory does not grow with T, though it is the smaller one only from T = 4 H**2
on), and for checking BPTT: it is exact, and shares no line with any pullback.
"""

from __future__ import annotations

from inspect import signature

from minirnn.arrays import xp_of
from minirnn.rules.combinators.form import form_of, positional
from minirnn.rules.gru import gru
from minirnn.rules.lstm import lstm
from minirnn.rules.rnn import rnn
from minirnn.rules.tangents import gru_tangent, lstm_tangent, rnn_tangent

TANGENTS = {rnn: rnn_tangent, lstm: lstm_tangent, gru: gru_tangent}


def influences(rule, xs, *others, of=None, W_ih=None, b=None, **static):
    """Runs a recurrent rule, and yields after every step the influence of each argument on the states so far.

    Parameters
    ----------
    rule : {rules.rnn, rules.lstm, rules.gru}
    xs : iterable of arrays
        The pre-activations of each step as the rule takes them; with ``W_ih`` the inputs ``(D, B)``. They are taken one
        by one, so an input may depend on the states before it.
    *others : arrays
        The states and weights of the rule, in its order.
    of : collection of str, optional
        Whose influences to carry; without it those of all states and weights. ``"a_xs"`` is meant for checks: it gives
        the influence of the pre-activations of every past step t, under the key t, and alone takes memory that grows
        with T.
    W_ih, b : array, optional
        Input projection ``(G, D)`` and bias ``(G,)``, to be learned like the weights of the rule.
    **static
        Keyword arguments of the rule.

    Yields
    ------
    states : tuple of arrays
        ``h_t (H, B)``, and ``c_t`` if the rule has one.
    by : dict
        Name of an argument -> its influence on each state, a tuple: of a weight ``(*its shape, H, B)``; of an initial
        state ``(H, H, B)``, as its columns influence their own column only.

    Raises
    ------
    TypeError
        If the rule is none of the three, states or weights are missing, or ``of`` is a string.
    ValueError
        If the shapes do not fit, or ``of`` names what is not there.

    Examples
    --------
    A learner that changes its weights at every step of a stream without end. (Its influences are then a little out of
    date, for they were gathered with earlier weights. If the changes are small this does no harm.)

    >>> import numpy as np
    >>> random = np.random.default_rng(0)
    >>> W_ih, b, h_0, W_hh = (random.normal(size=shape) / 2 for shape in ((4, 1), (4,), (4, 1), (4, 4)))
    >>> stream, losses = (np.sin([[t / 2]]) for t in range(1000)), []
    >>> for t, ((h,), by) in enumerate(influences(rnn, stream, h_0, W_hh, W_ih=W_ih, b=b)):
    ...     dh = np.zeros_like(h)
    ...     dh[0] = h[0] - np.sin(t / 2 + 1) / 2  # the first unit is to say half of what comes in two steps
    ...     losses.append(abs(dh[0, 0]))
    ...     for name, weight in (("W_ih", W_ih), ("b", b), ("W_hh", W_hh)):
    ...         weight -= 0.1 * np.tensordot(by[name][0], dh, 2)  # learned at once, nothing to remember
    >>> bool(max(losses[-50:]) < 0.1 * max(losses[:50]))
    True
    """
    tangent, (sequence, *names), n = tangent_of(rule), positional(rule), form_of(rule).states
    check_given(rule, others, W_ih, b)
    given = {**dict(zip(names, others, strict=False)), "W_ih": W_ih, "b": b}
    given = {name: x for name, x in given.items() if x is not None}
    if isinstance(of, str):
        raise TypeError(f"of must be a collection of names, such as [{of!r}], got the string {of!r}")
    of = set(given if of is None else of)
    if unknown := sorted(map(str, of - {sequence, *given})):
        raise ValueError(f"of must name arguments that are there ({', '.join([sequence, *given])}), got {unknown}")
    states, weights, by = others[:n], others[n:], at_the_start(of, given, names[:n])
    for t, a in enumerate(xs):
        direct = {}
        if W_ih is not None:
            if a.ndim != 2 or len(a) != W_ih.shape[1]:
                raise ValueError(f"with W_ih {W_ih.shape}, xs[{t}] must have shape ({W_ih.shape[1]}, B), got {a.shape}")
            a, direct["W_ih"] = W_ih @ a, a
        if b is not None:
            a = a + b[:, None]
            direct["b"] = xp_of(a).ones_like(a[:1])
        if sequence in of:
            direct[t] = xp_of(a).ones_like(a[:1])
            by[t] = tuple(xp_of(s).zeros((len(a), *s.shape), s.dtype) for s in states)
        states, by = tangent(a, *states, *weights, by=by, direct=direct, **static)
        yield states, by


def check_given(rule, others, W_ih, b):
    """Refuses states and weights that are missing or too many, and a projection that does not fit to them."""
    names, form = positional(rule), form_of(rule)
    needed = [name for name in names[1:] if signature(rule).parameters[name].default is not None]
    given = {name: x for name, x in zip(names[1:], others, strict=False) if x is not None}
    missing = [name for name in needed if name not in given]
    if missing or len(others) >= len(names):
        raise TypeError(
            f"{rule.__name__} takes the arrays {', '.join(names)}; "
            + (f"{', '.join(missing)} must be given" if missing else f"got {1 + len(others)} of them")
        )
    for name in needed:
        if given[name].ndim != 2:
            raise ValueError(f"{name} must have two axes, got shape {given[name].shape}")
    G = len(others[form.states])
    if W_ih is not None and (W_ih.ndim != 2 or len(W_ih) != G):
        raise ValueError(f"W_ih must have shape (G, D) with G = {G}, the rows of W_hh, got {W_ih.shape}")
    if b is not None and b.shape != (G,):
        raise ValueError(f"b must have shape (G,) with G = {G}, the rows of W_hh, got {b.shape}")


def at_the_start(of, given, names):
    """The influences of the arguments ``of`` before the first step, on the states ``names``.

    They are zero, but for that of a state on itself: the identity, the same in every column, so one column serves all.
    """
    states, by = [(name, given[name]) for name in names], {}
    for name in of & given.keys():
        shape = given[name].shape[:-1] if name in names else given[name].shape
        by[name] = tuple(
            xp_of(s).eye(len(s), dtype=s.dtype)[:, :, None]
            if name == own
            else xp_of(s).zeros((*shape, *s.shape), s.dtype)
            for own, s in states
        )
    return by


def rtrl(rule):
    """The rule with its gradients made by RTRL: the same outputs, the same gradients, by another road.

    A pullback is called when the sequence is over, so it runs the sequence once more, as an online learner would: what
    the loss asks of a state is multiplied by the influences on that state, and they go on to the next step.

    Parameters
    ----------
    rule : {rules.rnn, rules.lstm, rules.gru}

    Returns
    -------
    sequence rule
        Of the same signature, but without ``probe``: nothing flows backward that could be looked at.

    Raises
    ------
    TypeError
        If the rule is none of the three.

    Examples
    --------
    >>> import numpy as np
    >>> random = np.random.default_rng(0)
    >>> arguments = [random.normal(size=shape) for shape in ((5, 6, 2), (2, 2), (6, 2))]
    >>> (hs, h_T), bptt = gru(*arguments)
    >>> _, forward_mode = rtrl(gru)(*arguments)
    >>> all(np.allclose(dx, dy, rtol=1e-13) for dx, dy in zip(forward_mode(hs, h_T)[:3], bptt(hs, h_T)[:3]))
    True
    """
    tangent_of(rule)
    (sequence, *names), n = positional(rule), form_of(rule).states

    def forward_mode(a_xs, *others, wanted=None, **static):
        wanted = wanted or (True,) * (1 + len(others))
        arguments = zip((sequence, *names), (a_xs, *others), wanted, strict=False)
        of = {name for name, x, asked in arguments if asked and x is not None}
        ends, hs = others[:n], []
        for ends, _ in influences(rule, a_xs, *others, of=(), **static):
            hs.append(ends[0])
        xp, h_0, saved = xp_of(a_xs), others[0], (a_xs, others) if of else None

        def rtrl_pullback(*cotangents):
            if len(cotangents) != 1 + n:
                raise TypeError(
                    f"the pullback of rtrl({rule.__name__}) takes one cotangent for each of its {1 + n} outputs, "
                    f"got {len(cotangents)}"
                )
            if saved is None:
                return (None,) * (1 + len(names))
            dhs, *dends = cotangents
            a_xs, others = saved
            found, by = {}, at_the_start(of, dict(zip(names, others, strict=False)), names[:n])
            for t, (_, by) in enumerate(influences(rule, a_xs, *others, of=of, **static)):
                add_up(found, by, [dhs[t]], weights=names[n:])
            add_up(found, by, dends, weights=names[n:])
            if sequence in of:
                found[sequence] = xp.stack([found[t] for t in range(len(a_xs))]) if len(a_xs) else xp.zeros_like(a_xs)
            return tuple(found.get(name) for name in (sequence, *names))

        ys = xp.stack(hs) if hs else xp.zeros((0, *h_0.shape), h_0.dtype)
        return (ys, *(end.copy() for end in ends)), rtrl_pullback

    parameters = [p for p in signature(rule).parameters.values() if p.name != "probe"]
    forward_mode.__signature__ = signature(rule).replace(parameters=parameters)
    forward_mode.__name__ = f"rtrl({rule.__name__})"
    return forward_mode


def add_up(found, by, cotangents, weights):
    """Adds what these cotangents of the states ask of each argument to its gradient, of a weight over all columns."""
    for name, influence in by.items():
        for dot, d in zip(influence, cotangents, strict=False):
            asked = (dot * d).sum(axis=-2)
            found[name] = found.get(name, 0) + (asked.sum(axis=-1) if name in weights else asked)


def tangent_of(rule):
    """The function that takes one step of the rule, and moves the influences on by it."""
    for known, tangent in TANGENTS.items():
        if rule is known:  # TANGENTS[rule] would fail for what is not hashable
            return tangent
    names = ", ".join(known.__name__ for known in TANGENTS)
    raise TypeError(f"RTRL is written out for the rules {names}; got {getattr(rule, '__name__', rule)!r}")
