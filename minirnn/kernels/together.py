"""Many arrays of a device as one vector: what is done to all parameters of a model is then one launch, not one each.

Arrays that lie one after the other in one memory are that vector already; `laid_out` brings others there.
"""

from itertools import accumulate, pairwise

from minirnn.arrays import home_of, xp_of


def laid_out(arrays, one_by_one=False):
    """The same numbers, one array after the other in one memory: the arrays themselves if they lie so, else copies.

    Arrays of different dtypes, or that live in different places, stay where they are. Copies are made by one launch,
    which is told where the arrays are by a list that travels to the device; or one by one, as recordings need it.
    """
    if len({(home_of(a), a.dtype) for a in arrays}) > 1 or _one(arrays) is not None:
        return arrays
    if one_by_one:
        pieces = _cut(xp_of(*arrays).empty(sum(a.size for a in arrays), arrays[0].dtype), arrays)
        for piece, a in zip(pieces, arrays, strict=True):
            piece[...] = a
        return pieces
    return _cut(xp_of(*arrays).concatenate([a.reshape(-1) for a in arrays]), arrays)


def vectors(*columns):
    """Rows of vectors, one for each of the columns of arrays: a single row if all of these are laid out."""
    whole = [_one(column) for column in columns]
    if all(vector is not None for vector in whole):
        return [whole]
    return [[a.reshape(-1) for a in row] for row in zip(*columns, strict=True)]


def each(function, arrays):
    """``[function(a), ...]`` for a function of single numbers: one call for all arrays that are laid out."""
    vector = _one(arrays)
    return [function(a) for a in arrays] if vector is None else _cut(function(vector), arrays)


def _one(arrays):
    """The vector that the arrays are, or None."""
    first, *others = [a for a in arrays if a.size] or arrays[:1]  # the empty ones lie nowhere
    alike = all(home_of(a) == "cupy" and a.flags.c_contiguous and a.dtype == first.dtype for a in arrays)
    if not alike or any(a.data.ptr + a.nbytes != b.data.ptr for a, b in pairwise([first, *others])):
        return None
    if not others:
        return first.reshape(-1)
    memory = first.base  # arrays of different memories may happen to be neighbours
    if memory is None or any(a.base is not memory for a in others) or not memory.flags.c_contiguous:
        return None
    start = (first.data.ptr - memory.data.ptr) // first.itemsize
    return memory.reshape(-1)[start : start + sum(a.size for a in arrays)]


def _cut(vector, arrays):
    """The vector in pieces that have the shapes of the arrays."""
    cuts = pairwise(accumulate((a.size for a in arrays), initial=0))
    return [vector[start:end].reshape(a.shape) for a, (start, end) in zip(arrays, cuts, strict=True)]
