"""What holds for every recurrence of one state, ``(a_xs, h_0, *weights) -> (hs, h_T)``, as functions to call on it."""

import numpy as np

from minirnn.arrays import asarray, to_numpy
from minirnn.checking.differences import COMPLEX_STEP, central


def draw(*shapes, seed=0):
    random = np.random.default_rng(seed)
    return [asarray(random.normal(size=shape)) for shape in shapes]


def cotangents(outputs, seed=1):
    return draw(*(y.shape for y in outputs), seed=seed)


def assert_close(found, expected, tolerance=1e-12):
    for x, y in zip(found, expected, strict=True):
        if y is None:
            assert x is None
        else:
            np.testing.assert_allclose(to_numpy(x), to_numpy(y), rtol=tolerance, atol=tolerance / 10)


def assert_equal(found, expected):
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_array_equal(to_numpy(x), to_numpy(y))


def notes():
    """A dict of copies of all that a probe is shown, by name and step in the order of the calls, and that probe."""
    seen = {}

    def probe(name, t, array):
        assert (name, t) not in seen
        seen[name, t] = to_numpy(array).copy()

    return seen, probe


def assert_probe_tells_the_derivation(rule, step, inputs, forward, backward, **static):
    """Recording changes no bit; every name is shown once per step, in order, and is what it says. Returns all seen."""
    a_xs, h_0, *_ = inputs
    outputs, pullback = rule(*inputs, **static)
    given = cotangents(outputs)
    gradients = pullback(*given)
    seen, probe = notes()
    probed, probed_pullback = rule(*inputs, **static, probe=probe)
    assert_equal(probed, outputs)
    assert list(seen) == [(name, t) for t in range(len(a_xs)) for name in forward]
    there = len(seen)
    probed_gradients = probed_pullback(*given)
    assert_equal(*([g for g in found if g is not None] for found in (probed_gradients, gradients)))
    assert list(seen)[there:] == [(name, t) for t in reversed(range(len(a_xs))) for name in backward]

    assert_equal([seen["h", t] for t in range(len(a_xs))], outputs[0])
    for t in range(len(a_xs)):
        parts = [seen[name, t] for name in backward if name != "dh"]
        np.testing.assert_array_equal(np.concatenate(parts), to_numpy(gradients[0][t]))
        # dh is the derivative of the loss by something added to h_t, before the loss and the next step read it
        nudge = draw(h_0.shape, seed=t)[0]
        numeric = _loss(step, inputs, given, t, COMPLEX_STEP * 1j * nudge, **static).imag / COMPLEX_STEP
        np.testing.assert_allclose((seen["dh", t] * to_numpy(nudge)).sum(), to_numpy(numeric), rtol=1e-11)
    return seen


def _loss(step, inputs, given, nudged, nudge, **static):
    a_xs, h, *weights = [x.astype(complex) for x in inputs]
    loss, (dhs, dh_T) = 0, given
    for t, a_t in enumerate(a_xs):
        h, _ = step(a_t, h, *weights, **static)
        h = h + nudge if t == nudged else h
        loss = loss + (dhs[t] * h).sum()
    return loss + (dh_T * h).sum()


def assert_second_derivatives(rule, inputs, **static):
    """A complex step through the pullback gives what differences of gradients give: all of it takes complex numbers."""
    outputs, _ = rule(*inputs, **static)
    given, directions = cotangents(outputs), draw(*(x.shape for x in inputs), seed=2)

    def gradient(k):
        def along(t):
            _, pullback = rule(*(x + t * d for x, d in zip(inputs, directions, strict=True)), **static)
            return pullback(*given)[k]

        return along

    for k in range(len(inputs)):
        exact = gradient(k)(1j * COMPLEX_STEP).imag / COMPLEX_STEP
        np.testing.assert_allclose(exact, central(gradient(k), 2.0**-12), rtol=1e-8, atol=1e-8)
