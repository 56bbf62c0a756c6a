"""Every rule of minirnn with a strategy for ``(inputs, static)``: what the laws are tested on."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minirnn.testing import strategies as some

sides = st.integers(1, 3)


def of_values(values):
    """One array of any shape, and no static arguments."""
    return some.shapes().flatmap(values).map(lambda x: ((x,), {}))


@st.composite
def two_arrays(draw, left=some.arrays, right=some.arrays):
    x_shape, y_shape = draw(some.broadcastable_shapes())
    return (draw(left(x_shape)), draw(right(y_shape))), {}


@st.composite
def two_distinct(draw):
    """Broadcastable, and no two numbers that meet are equal."""
    x_shape, y_shape = draw(some.broadcastable_shapes())
    n = math.prod(x_shape)
    numbers = draw(some.distinct_arrays((n + math.prod(y_shape),)))
    return (numbers[:n].reshape(x_shape), numbers[n:].reshape(y_shape)), {}


@st.composite
def three_for_where(draw):
    c_shape, x_shape, y_shape = draw(some.broadcastable_shapes(3))
    return (draw(some.masks(c_shape)), draw(some.arrays(x_shape)), draw(some.arrays(y_shape))), {}


@st.composite
def reduction(draw, values=some.arrays, min_side=0, several=True, keepdims=True, **more):
    x = draw(some.shapes(min_dims=0 if several else 1, min_side=min_side).flatmap(values))
    static = {"axis": draw(some.axes(x.ndim, several))} | {name: draw(value) for name, value in more.items()}
    return (x,), static | ({"keepdims": draw(st.booleans())} if keepdims else {})


@st.composite
def var(draw, values=some.arrays):
    x = draw(some.shapes(min_dims=1, min_side=2).flatmap(values))
    axis = draw(some.axes(x.ndim).filter(lambda axis: axis != ()))
    return (x,), {"axis": axis, "keepdims": draw(st.booleans()), "ddof": draw(st.integers(0, 1))}


@st.composite
def layer_norm(draw):
    shape = draw(some.shapes(min_dims=1))
    axis = draw(st.sampled_from([k for k, size in enumerate(shape) if size] or [None]))
    if axis is None:  # every axis is empty; give it one that is not
        shape, axis = (*shape, 3), -1
    F = shape[axis]
    return (draw(some.distinct_arrays(shape)), draw(some.arrays((F,))), draw(some.arrays((F,)))), {"axis": axis}


@st.composite
def reshape(draw):
    x = draw(some.shapes().flatmap(some.arrays))
    shape = draw(st.permutations(x.shape)) + draw(st.sampled_from([[], [1]]))
    return (x,), {"shape": draw(st.sampled_from([tuple(shape), -1] if x.size else [tuple(shape)]))}


@st.composite
def transpose(draw):
    x = draw(some.shapes().flatmap(some.arrays))
    order = draw(st.permutations(range(x.ndim)))
    return (x,), {"axes": draw(st.sampled_from([None, tuple(order), tuple(k - x.ndim for k in order)]))}


@st.composite
def swapaxes(draw):
    x = draw(some.shapes(min_dims=1).flatmap(some.arrays))
    axis1, axis2 = draw(some.axes(x.ndim, several=False)), draw(some.axes(x.ndim, several=False))
    return (x,), {"axis1": axis1, "axis2": axis2}


@st.composite
def expand_dims(draw):
    x = draw(some.shapes().flatmap(some.arrays))
    axis = draw(some.axes(x.ndim + 1, several=False))
    return (x,), {"axis": draw(st.sampled_from([axis, (0, -1)]))}


@st.composite
def squeeze(draw):
    (x,), static = draw(expand_dims())
    return (np.expand_dims(x, **static),), draw(st.sampled_from([static, {}]))


@st.composite
def broadcast_to(draw):
    x_shape, y_shape = draw(some.broadcastable_shapes())
    return (draw(some.arrays(x_shape)),), {"shape": np.broadcast_shapes(x_shape, y_shape)}


@st.composite
def concat(draw):
    shape = draw(some.shapes(min_dims=1))
    axis = draw(some.axes(len(shape), several=False))
    sizes = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    parts = [(*shape[:axis], size, *shape[axis:][1:]) for size in sizes]
    return tuple(draw(some.arrays(part)) for part in parts), {"axis": axis}


@st.composite
def stack(draw):
    shape = draw(some.shapes(max_dims=2))
    xs = tuple(draw(some.arrays(shape)) for _ in range(draw(sides)))
    return xs, {"axis": draw(some.axes(len(shape) + 1, several=False))}


@st.composite
def split(draw):
    shape = list(draw(some.shapes(min_dims=1)))
    axis = draw(some.axes(len(shape), several=False))
    sections = draw(sides)
    shape[axis] *= sections
    cuts = sorted(draw(st.lists(st.integers(0, shape[axis]), min_size=1, max_size=2)))
    return (draw(some.arrays(tuple(shape))),), {"sections": draw(st.sampled_from([sections, cuts])), "axis": axis}


@st.composite
def unstack(draw):
    x = draw(some.shapes(min_dims=1, min_side=1).flatmap(some.arrays))
    return (x,), {"axis": draw(some.axes(x.ndim, several=False))}


@st.composite
def getitem(draw):
    """Slices with steps, new axes and ellipses; a mask; positions, none more than twice: a device adds in any order."""
    x = draw(some.shapes(min_dims=1, min_side=1).flatmap(some.arrays))
    positions = some.ids((draw(st.integers(1, 2)),), len(x), most=2)
    index = draw(
        st.one_of(
            hnp.basic_indices(x.shape, allow_newaxis=True),
            some.masks(x.shape),
            some.masks(x.shape[:1]),
            positions,
            positions.map(lambda p: (..., p) if x.ndim == 1 else (p, slice(None, None, -1))),
            positions.map(lambda p: (p, 0) if x.ndim > 1 else p),
            positions.map(lambda p: p.tolist()),
        )
    )
    return (x,), {"index": index}


@st.composite
def take(draw):
    x = draw(some.shapes(min_dims=1, min_side=2).flatmap(some.arrays))
    axis = draw(some.axes(x.ndim, several=False))
    shape = draw(st.sampled_from([(), (1,), (2,), (2, 2), (0,)]))
    return (x, draw(some.ids(shape, x.shape[axis], most=2))), {"axis": axis}


@st.composite
def pad(draw):
    x = draw(some.shapes(min_dims=1).flatmap(some.arrays))
    widths = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in x.shape)
    return (x,), {"widths": widths, "value": draw(st.sampled_from([0, 1.5]))}


@st.composite
def matmul(draw):
    left, right = draw(some.broadcastable_shapes())
    n, m, k = draw(st.tuples(*[st.integers(0, 3)] * 3))
    x = draw(st.sampled_from([(m,), (*left[:2], n, m)]))
    y = draw(st.sampled_from([(m,), (*right[:2], m, k)])) if left[:2] == left and right[:2] == right else (m, k)
    return (draw(some.arrays(x)), draw(some.arrays(y))), {}


@st.composite
def affine(draw):
    lead, (D, F, B) = draw(some.shapes(max_dims=2)), draw(st.tuples(*[st.integers(0, 3)] * 3))
    b = draw(st.one_of(st.none(), some.arrays((F,))))
    return (draw(some.arrays((*lead, D, B))), draw(some.arrays((F, D))), b), {}


@st.composite
def looks(draw, with_v):
    """Queries ``(T, A, B)``, keys ``(S, A, B)``, and ``v (A,)`` if it is asked for."""
    T, S, A, B = draw(st.tuples(*[st.integers(0, 3)] * 4))
    shapes = ((T, A, B), (S, A, B), (A,))[: 3 if with_v else 2]
    return tuple(draw(some.arrays(shape)) for shape in shapes), {} if with_v else {
        "scale": draw(st.sampled_from([1.0, 0.5]))
    }


@st.composite
def attention_weights(draw):
    lead, (S, B) = draw(some.shapes(max_dims=1)), draw(st.tuples(sides, st.integers(0, 3)))
    return (draw(some.arrays((*lead, S, B))), draw(st.one_of(st.none(), some.masks((S, B))))), {}


@st.composite
def attention_contexts(draw):
    T, S, F, B = draw(st.tuples(*[st.integers(0, 3)] * 4))
    return (draw(some.arrays((T, S, B))), draw(some.arrays((S, F, B)))), {}


@st.composite
def embedding(draw):
    V, E, shape = draw(st.integers(4, 6)), draw(st.integers(0, 3)), draw(some.shapes(max_dims=2, max_side=2))
    return (draw(some.arrays((V, E))), draw(some.ids(shape, V, most=2))), {}


@st.composite
def embedding_columns(draw):
    V, F, shape = draw(sides), draw(st.integers(0, 3)), draw(some.shapes(min_dims=2, max_dims=2))
    return (draw(some.arrays((F, V))), draw(some.ids(shape, V))), {}


@st.composite
def cross_entropy(draw):
    shape, V = draw(some.shapes(max_dims=2, min_side=1, max_side=2)), draw(st.integers(2, 4))
    axis = draw(some.axes(len(shape) + 1, several=False))
    place = axis % (len(shape) + 1)
    logits = draw(some.arrays((*shape[:place], V, *shape[place:])))
    weights = draw(st.one_of(st.none(), some.positive_arrays((V,))))
    mask = draw(st.one_of(st.none(), some.masks(shape)))
    return (logits, draw(some.ids(shape, V, most=2)), weights, mask), {"axis": axis}


@st.composite
def affine_cross_entropy(draw):
    shape, V, D = (
        draw(some.shapes(min_dims=1, max_dims=2, min_side=1, max_side=2)),
        draw(st.integers(2, 4)),
        draw(sides),
    )
    xs = draw(some.arrays((*shape[:-1], D, shape[-1])))
    b = draw(st.one_of(st.none(), some.arrays((V,))))
    mask = draw(st.one_of(st.none(), some.masks(shape)))
    smoothing = draw(st.sampled_from([0.0, 0.1]))
    return (xs, draw(some.arrays((V, D))), b, draw(some.ids(shape, V)), mask), {"smoothing": smoothing}


@st.composite
def same_shape(draw):
    shape = draw(some.shapes(min_side=1))
    return (draw(some.arrays(shape)), draw(some.arrays(shape))), {}


@st.composite
def lstm_step(draw):
    a_xs, *rest = draw(some.lstm_arguments(variants=True))
    return (a_xs[0], *rest), {}


@st.composite
def rnn(draw):
    nonlinearity = draw(st.sampled_from(["tanh", "relu"]))
    return draw(some.rnn_arguments(nonlinearity=nonlinearity)), {"nonlinearity": nonlinearity}


@st.composite
def gru(draw):
    reset_after = draw(st.booleans())
    bias = reset_after and draw(st.booleans())
    return draw(some.gru_arguments(bias=bias)), {"reset_after": reset_after}


def first_step(drawn):
    """The arguments of a sequence rule, made into those of its step rule."""
    (a_xs, *rest), static = drawn
    return (a_xs[0], *rest), static


limits = st.sampled_from([{"min": -1.0, "max": 1.0}, {"min": -1.0}, {"max": 1.0}])
dropouts = st.fixed_dictionaries({"p": st.sampled_from([0.0, 0.3, 1.0]), "seed": sides, "step": sides})


RULES = {
    "abs": of_values(some.arrays_away_from),
    "add": two_arrays(),
    "additive_scores": looks(with_v=True),
    "affine_cross_entropy": affine_cross_entropy(),
    "affine": affine(),
    "astype": st.tuples(of_values(some.arrays), st.sampled_from(["float32", "float64"])).map(
        lambda drawn: (drawn[0][0], {"dtype": drawn[1]})
    ),
    "attention_contexts": attention_contexts(),
    "attention_weights": attention_weights(),
    "broadcast_to": broadcast_to(),
    "clip": st.tuples(of_values(lambda shape: some.arrays_away_from(shape, (-1.0, 1.0))), limits).map(
        lambda drawn: (drawn[0][0], drawn[1])
    ),
    "concat": concat(),
    "cross_entropy": cross_entropy(),
    "divide": two_arrays(right=some.arrays_away_from),
    "dot_scores": looks(with_v=False),
    "dropout": st.tuples(of_values(some.arrays), dropouts).map(lambda drawn: (drawn[0][0], drawn[1])),
    "embedding": embedding(),
    "embedding_columns": embedding_columns(),
    "exp": of_values(some.arrays),
    "expand_dims": expand_dims(),
    "flip": reduction(keepdims=False),
    "getitem": getitem(),
    "gru": gru(),
    "gru_step": gru().map(first_step),
    "layer_norm": layer_norm(),
    "log": of_values(some.positive_arrays),
    "log_softmax": reduction(min_side=1, several=False, keepdims=False),
    "logsumexp": reduction(min_side=1),
    "lstm": some.lstm_arguments(variants=True).map(lambda inputs: (inputs, {})),
    "lstm_step": lstm_step(),
    "matmul": matmul(),
    "max": reduction(some.distinct_arrays, min_side=1),
    "maximum": two_distinct(),
    "mean": reduction(min_side=1),
    "mean_squared_error": same_shape(),
    "min": reduction(some.distinct_arrays, min_side=1),
    "minimum": two_distinct(),
    "move": of_values(some.arrays).map(lambda drawn: (drawn[0], {"backend": "numpy"})),
    "multiply": two_arrays(),
    "negative": of_values(some.arrays),
    "pad": pad(),
    "power": two_arrays(left=some.positive_arrays),
    "relu": of_values(some.arrays_away_from),
    "reshape": reshape(),
    "rnn": rnn(),
    "rnn_step": rnn().map(first_step),
    "sigmoid": of_values(some.arrays),
    "softmax": reduction(min_side=1, several=False, keepdims=False),
    "split": split(),
    "sqrt": of_values(some.positive_arrays),
    "squeeze": squeeze(),
    "stack": stack(),
    "std": var(some.distinct_arrays),
    "subtract": two_arrays(),
    "sum": reduction(),
    "swapaxes": swapaxes(),
    "take": take(),
    "tanh": of_values(some.arrays),
    "transpose": transpose(),
    "unstack": unstack(),
    "var": var(),
    "where": three_for_where(),
}
NOT_MEANT = {"astype": ("float32_stays_float32",)}  # laws that a rule breaks by its nature
