"""A cell written with one recorded operation after the other, and unrolled on the tape, gives the same gradients.

Two ways that share no derivative but those of sums, products, tanh and sigmoid must agree to rounding.
"""

import numpy as np
from hypothesis import given

from minirnn.arrays import asarray, to_numpy
from minirnn.tape import Tensor
from minirnn.testing import on_backend
from minirnn.testing import strategies as some
from minirnn.testing.unrolled import unrolled


@given(cell=some.cells(T=(3, 5), H=(1, 4)), backend=some.backend_names(), random=some.generators())
def test_explicit_is_unrolled(cell, backend, random):
    with on_backend(backend):
        arrays = [None if x is None else asarray(x) for x in cell.inputs]
        leaves = [None if x is None else Tensor(x, requires_grad=True) for x in arrays]
        outputs, pullback = cell.rule(*arrays, **cell.static)
        recorded = unrolled(cell.rule, *leaves, **cell.static)
        cotangents = [asarray(random.normal(size=y.shape)) for y in outputs]
        sum(((y * d).sum() for y, d in zip(recorded, cotangents, strict=True)), start=Tensor(0.0)).backward()
        for found, expected in zip(outputs, recorded, strict=True):
            np.testing.assert_allclose(to_numpy(found), expected.numpy(), rtol=1e-12, atol=1e-13)
        gradients = pullback(*cotangents)
        assert all(extra is None for extra in gradients[len(leaves) :])
        for found, leaf in zip(gradients[: len(leaves)], leaves, strict=True):
            if leaf is not None:
                np.testing.assert_allclose(to_numpy(found), to_numpy(leaf.grad), rtol=1e-12, atol=1e-12)
