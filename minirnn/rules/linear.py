"""Products with weights: matrix products, the affine map, and the look-ups that replace products with one-hots."""

from __future__ import annotations

from minirnn.arrays import joint_dtype, xp_of
from minirnn.kernels import kernels_of
from minirnn.rules.elementwise import sum_rows, sum_to


def matmul(x, y, *, wanted=(True, True)):
    """``x @ y`` for any number of axes: the last two are matrices, those before them broadcast; vectors as in NumPy.

    x[i, k] is read by every z[i, j], with the factor y[k, j], so dx[i, k] = sum over j of dz[i, j] * y[k, j]. That is

        dx = dz @ y.T,    and likewise dy = x.T @ dz
    """
    if x.ndim == 0 or y.ndim == 0:
        raise ValueError(f"matmul needs arrays of at least one axis, got shapes {x.shape} and {y.shape}")
    x_shape, y_shape, multiply = x.shape, y.shape, kernels_of(x).matrix_product
    x_rows = x.reshape(1, -1) if x.ndim == 1 else x  # a vector on the left is a row,
    y_cols = y.reshape(-1, 1) if y.ndim == 1 else y  # on the right a column
    z = multiply(x_rows, y_cols)
    matrix_shape = z.shape
    if x.ndim == 1:
        z = z[..., 0, :]
    if y.ndim == 1:
        z = z[..., 0]
    x_saved, y_saved = (x_rows if wanted[1] else None), (y_cols if wanted[0] else None)
    x_rows_shape, y_cols_shape = x_rows.shape, y_cols.shape

    def matmul_pullback(dz):
        dz = dz.reshape(matrix_shape)
        dx = sum_to(multiply(dz, y_saved.swapaxes(-1, -2)), x_rows_shape).reshape(x_shape) if wanted[0] else None
        dy = sum_to(multiply(x_saved.swapaxes(-1, -2), dz), y_cols_shape).reshape(y_shape) if wanted[1] else None
        return dx, dy

    return z, matmul_pullback


def times(
    W,  # (F, D)
    x,  # (..., D, B)
    b=None,  # (F,)
):
    """``W @ x + b`` for all steps at once; each worker computes some steps, or of a single step some rows."""
    kernels, B = kernels_of(W), x.shape[-1]
    y = kernels.empty((*x.shape[:-2], len(W), B), joint_dtype(W, x, b))

    def some_steps(now):
        if B == 1:  # the steps of one sequence are the rows of one product
            kernels.matrix_product(x[now][..., 0], W.T, out=y[now][..., 0])
        else:
            kernels.product(W, B)(x[now], y[now])
        if b is not None:
            y[now] += xp_of(b).repeat(b[:, None], B, axis=1)  # whole matrices: short rows add up slowly

    def some_rows(part):
        kernels.product(W[part], B)(x, y[part])
        if b is not None:
            y[part] += b[part, None]

    task, count = (some_rows, len(W)) if x.ndim == 2 else (some_steps, len(x))
    kernels.side_by_side(task, count, len(W) * x.size)
    return y


def sum_of_products(
    dy,  # (..., F, B)
    x,  # (..., D, B)
):
    """The sum over all steps of ``dy_t @ x_t.T``, shape ``(F, D)``: the gradient of any weight that acts at every step.

    It is one product over all steps and columns at once, rather than one per step. With workers, each sums some steps.
    """
    kernels = kernels_of(dy)
    if dy.ndim == 2:
        return kernels.matrix_product(dy, x.T)

    def of_some_steps(now):
        room = kernels.empty((dy.shape[-2], x.shape[-2]), joint_dtype(dy, x))
        return kernels.matrix_product(kernels.rows_of(dy[now]), kernels.rows_of(x[now]).T, out=room)

    first, *others = kernels.side_by_side(of_some_steps, len(dy), dy.size * x.shape[-2])
    for part in others:
        first += part
    return first


def sum_of_columns(
    dy,  # (..., F, B)
):
    """The sum over steps and columns, shape ``(F,)``: steps first, so that whole matrices are added up."""
    for _ in range(dy.ndim - 2):
        dy = sum_rows(dy)
    return sum_rows(dy.T)


def affine(
    x,  # (..., D, B)
    W,  # (F, D)
    b=None,  # (F,)
    *,
    wanted=(True, True, True),
):
    """``y = W @ x + b`` for columns ``x``: a whole sequence is T matrices whose columns are the batch.

    dx = W.T @ dy,    dW = sum over t of dy_t @ x_t.T,    db = sum over t and columns of dy
    """
    if x.ndim < 2 or W.ndim != 2 or x.shape[-2] != W.shape[1] or (b is not None and b.shape != W.shape[:1]):
        bias = "" if b is None else f", b {b.shape}"
        raise ValueError(f"affine needs x (..., D, B), W (F, D) and b (F,); got x {x.shape}, W {W.shape}{bias}")
    y = times(W, x, b)
    x_saved, W_saved = (x if wanted[1] else None), (W if wanted[0] else None)
    wanted = (*wanted[:2], b is not None and wanted[2])

    def affine_pullback(dy):
        dx = times(W_saved.T, dy) if wanted[0] else None
        dW = sum_of_products(dy, x_saved) if wanted[1] else None
        db = sum_of_columns(dy) if wanted[2] else None
        return dx, dW, db

    return y, affine_pullback


def embedding(
    weight,  # (V, E)
    ids,  # any shape, integers in [0, V)
):
    """The rows of ``weight`` that ``ids`` name, shape ``(*ids.shape, E)``."""
    if weight.ndim != 2:
        raise ValueError(f"embedding needs weight (V, E), got weight {weight.shape}")
    kernels, (V, E) = kernels_of(weight), weight.shape
    kernels.check_ids(ids, V)

    def embedding_pullback(dy):
        return kernels.add_rows(ids.reshape(-1), dy.reshape(ids.size, E), V), None

    return weight[ids], embedding_pullback


def embedding_columns(
    table,  # (F, V)
    ids,  # (T, B) integers in [0, V)
):
    """The columns of ``table`` that ``ids`` name, as a sequence ``(T, F, B)``.

    It equals the product of the table with one-hot columns, and its gradient is computed as that of this product: for
    the small vocabularies it is meant for, one matrix product is faster than adding up columns one by one.
    """
    if table.ndim != 2 or ids.ndim != 2:
        raise ValueError(
            f"embedding_columns needs table (F, V) and ids (T, B), got table {table.shape} and ids {ids.shape}"
        )
    kernels, V, (T, B) = kernels_of(table), table.shape[1], ids.shape
    kernels.check_ids(ids, V)
    ys = kernels.take_columns(table, ids)

    def embedding_columns_pullback(dys):
        xp = xp_of(dys, ids)
        one_hot = (ids.reshape(T, 1, B) == xp.arange(V).reshape(1, V, 1)).astype(dys.dtype)
        return sum_of_products(dys, one_hot), None

    return ys, embedding_columns_pullback
