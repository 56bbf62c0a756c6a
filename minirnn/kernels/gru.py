"""Gate arithmetic of the GRU in array operations. ``cuda/gru.cu`` is the same for a device, under the same names.

The gates of a step are blocks of ``H`` rows, the columns are the batch. With ``reset_after`` they are r z s n, where s
is s_n, so that one product W_hh h_prev fills the first three; without it they are r z n. Their cotangents stand as
s r z n, so that the first three are what goes back through W_hh, and as r z n: in both the last three are those of a.
"""

from minirnn.arrays import xp_of


def gru_gates(
    a,  # (3H, B) the input's part of the pre-activations
    b,  # (H, B) b_hn in every column; or None
    h_prev,  # (H, B)
    gates,  # (4H, B) r z s n: holds W_hh h_prev in the first three, and all gates afterwards
    h,  # (H, B) receives h_t
):
    """Gates and new state of the form with ``reset_after``: equations (1), but for its product, to (4)."""
    xp, H = xp_of(gates), len(h)
    if b is not None:
        gates[2 * H : 3 * H] += b  # (1)
    _activate(a, gates[: 2 * H])  # (2)
    xp.multiply(gates[:H], gates[2 * H : 3 * H], out=gates[3 * H :])  # r * s_n  (3)
    gru_candidate(a, h_prev, gates, h)  # (3, 4)


def gru_reset(
    a,  # (3H, B)
    h_prev,  # (H, B)
    gates,  # (3H, B) r z n: holds s_r, s_z, and r, z afterwards
    k,  # (H, B) receives what is kept of the state
):
    """Reset and update gate of the form without ``reset_after``, and ``k = r * h_prev``: equations (2) and (3a)."""
    H = len(k)
    _activate(a, gates[: 2 * H])  # (2)
    xp_of(gates).multiply(gates[:H], h_prev, out=k)  # (3a)


def gru_candidate(
    a,  # (3H, B)
    h_prev,  # (H, B)
    gates,  # (4H, B) or (3H, B): the last rows hold r * s_n or s_n, and n afterwards
    h,  # (H, B) receives h_t
):
    """The candidate in place and the new state: equations (3) or (3c), and (4)."""
    xp, H = xp_of(gates), len(h)
    z, n = gates[H : 2 * H], gates[-H:]
    n += a[2 * H :]
    xp.tanh(n, out=n)  # (3)
    xp.subtract(h_prev, n, out=h)  # (1 - z) * n + z * h_prev = n + z * (h_prev - n): no memory for a second product
    h *= z
    h += n  # (4)


def _activate(a, gates):
    """``sigmoid(a + s)`` in the rows r and z, in place."""
    # sigmoid(x) = tanh(x / 2) / 2 + 1 / 2: nothing overflows, and tanh is vectorised
    xp, half = xp_of(gates), xp_of(gates).asarray(0.5, gates.dtype)  # an array: quicker than converting a number
    gates += a[: len(gates)]
    gates *= half
    xp.tanh(gates, out=gates)
    gates *= half
    gates += half


def gru_slopes(
    gates,  # (..., 4H or 3H, B): one step, or a run of them
    h_prev,  # (..., H, B)
    slopes,  # (..., 4H or 3H, B) receives what the cotangents will be multiplied with
    reset_after,
):
    """The derivatives inside steps, for many steps at once: they depend on what forward saved and on no cotangent.

    In the rows n and z, and with ``reset_after`` in s and r, they are those of h_t. Without it r acts on h_t through a
    matrix, and its rows hold the slope of k.
    """
    xp, H = xp_of(gates), h_prev.shape[-2]
    r, z, n = gates[..., :H, :], gates[..., H : 2 * H, :], gates[..., -H:, :]
    of_a = slopes[..., -3 * H :, :]  # with reset_after the rows of s stand above them
    of_r, of_z, of_n = (of_a[..., k * H : (k + 1) * H, :] for k in range(3))
    xp.multiply(n, n, out=of_n)
    xp.subtract(1, of_n, out=of_n)  # 1 - n**2  (3)
    xp.subtract(1, z, out=of_z)
    of_n *= of_z  # (4)
    of_z *= z  # z (1 - z)  (2)
    xp.subtract(h_prev, n, out=of_r)  # lent
    of_z *= of_r  # (4)
    xp.subtract(1, r, out=of_r)
    if reset_after:
        s, of_s = gates[..., 2 * H : 3 * H, :], slopes[..., :H, :]
        xp.multiply(of_n, r, out=of_s)  # (3)
        of_r *= s
        of_r *= of_s  # r (1 - r) s_n times the slope of n  (2, 3)
    else:
        of_r *= r
        of_r *= h_prev  # (2, 3a)


def gru_gates_back(
    dh_t,  # (H, B) what is asked of h_t by all but the next step; None if that is nothing
    dh,  # (H, B) what the next step asks of it; becomes what h_prev gets through z
    gates,  # (4H, B) r z s n
    dgates,  # (4H, B) s r z n: holds the slopes, and the cotangents ds_n, da_r, da_z, da_n afterwards
):
    """One step with ``reset_after`` back through equations (4) to (2), given its slopes."""
    H, B = dh.shape
    if dh_t is not None:
        dh += dh_t  # h_t is read twice
    blocks = dgates.reshape(4, H, B)
    blocks *= dh  # (4, 3, 2)
    dh *= gates[H : 2 * H]  # (4)


def gru_candidate_back(
    dh_t,  # (H, B) what is asked of h_t by all but the next step; None if that is nothing
    dh,  # (H, B) what the next step asks of it; becomes what h_prev gets through z
    gates,  # (3H, B) r z n
    dgates,  # (3H, B) r z n: holds the slopes, and in the rows z and n the cotangents da_z, da_n afterwards
):
    """One step without ``reset_after`` back through equations (4) and (3c), and for z through (2)."""
    H, B = dh.shape
    if dh_t is not None:
        dh += dh_t  # h_t is read twice
    blocks = dgates[H:].reshape(2, H, B)
    blocks *= dh  # (4, 3c, 2)
    dh *= gates[H : 2 * H]  # (4)


def gru_reset_back(
    dk,  # (H, B) cotangent of k; overwritten
    dh,  # (H, B) grows by what h_prev gets through k
    gates,  # (3H, B) r z n
    dgates,  # (3H, B) r z n: the rows r hold the slope of k, and da_r afterwards
):
    """The same step back through equations (3a) and, for r, (2)."""
    H = len(dk)
    da_r = dgates[:H]
    da_r *= dk  # (3a, 2)
    dk *= gates[:H]
    dh += dk  # (3a)
