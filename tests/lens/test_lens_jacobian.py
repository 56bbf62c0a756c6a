"""Jacobians: those of a complex step, closed forms, and bounds that hold."""

import numpy as np
import pytest
from recorded import CELLS, Scalar, T, dead, layer_of, numbers, recorded, said

from minirnn import lens


def by_complex_step(walk, column, k, t):
    """ds_t/ds_k, by a complex step through the sequence rule: one call, no step by step, no pullback."""
    before = [state[:, column : column + 1].astype(complex) for state in walk.states[k]]
    sizes = [len(state) for state in before]
    columns = []
    for index in range(sum(sizes)):
        nudged = np.concatenate(before)
        nudged[index] += 1e-30j
        xs = [x[k:t, :, column : column + 1] for x in walk.xs]
        static = {key: value for key, value in walk.static.items() if key not in ("lengths", "probe")}
        (_, *ends), _ = walk.rule(*xs, *np.split(nudged, np.cumsum(sizes)[:-1]), *walk.given, **static)
        columns.append(np.concatenate(ends)[:, 0].imag / 1e-30)
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "rnn relu"])
@pytest.mark.parametrize("lengths", [None, [6, 2, 4]])
def test_they_are_those_of_a_complex_step(cell, lengths):
    recording = recorded(layer_of(cell, layers=2, bidirectional=True), lengths)
    for column in range(3):
        seen = lens.jacobian(recording, column=column)
        for name, at in seen.places.items():
            own = T if lengths is None else lengths[column]
            assert len(at.steps) == own
            for k, t in [(0, own), (1, own), (0, 1), (own - 1, own)]:
                expected = by_complex_step(recording.places[name].walk, column, k, t)
                assert np.allclose(at.between(k, t), expected, rtol=1e-11, atol=1e-14)
            assert np.array_equal(at.between(1, 1), np.eye(at.steps.shape[-1]))


def test_singular_values_are_those_of_the_products(backend):
    at = lens.jacobian(recorded(layer_of("lstm"))).places["l0"]
    for k in range(T):
        expected = np.linalg.svd(at.between(k, T), compute_uv=False)
        seen = ~np.isnan(at.log10_singular[k])
        assert np.allclose(10 ** at.log10_singular[k][seen], expected[seen], rtol=1e-6)
        assert seen[0] and (expected[~seen] <= 8 * 2.3e-16 * expected[0]).all()
    assert np.allclose(at.log10_bound[0], sum(np.log10(np.linalg.norm(step, 2)) for step in at.steps))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("seed", range(3))
def test_the_bounds_hold(cell, seed):
    for at in lens.jacobian(recorded(layer_of(cell, layers=2, seed=seed))).places.values():
        assert (at.log10_singular[:, 0] <= at.log10_bound + 1e-9).all()
        assert (at.log10_weight_bound is None) == (not cell.startswith("rnn"))
        if at.log10_weight_bound is not None:
            assert (at.log10_bound <= at.log10_weight_bound + 1e-9).all()


@pytest.mark.parametrize("w", [0.5, 1.0, 10.0])
def test_of_a_scalar_linear_network_they_are_powers(w):
    at = lens.jacobian(Scalar(w, 20, at_end=True).recording).places["l0"]
    powers = np.log10(w) * np.arange(20, 0, -1)
    for seen in (at.log10_singular[:, 0], at.log10_bound, at.log10_weight_bound):
        assert np.allclose(seen, powers, atol=1e-12)
    assert at.between(3, 8)[0, 0] == pytest.approx(w**5)
    assert at.lyapunov[0] == pytest.approx(np.log(w), abs=1e-12)


def test_products_that_no_number_could_hold():
    at = lens.jacobian(lens.specimen("rnn", hidden=3, seq_len=400, radius=1e-3)).places["l0"]
    assert at.log10_singular[0, 0] < -1000
    assert at.lyapunov[0] == pytest.approx(at.log10_singular[0, 0] * np.log(10) / 400, rel=0.01)


def test_lyapunov_exponents_of_a_linear_network_are_logarithms_of_eigenvalues():
    """Of silent inputs a tanh network stays at zero, where it is linear."""
    layer = layer_of("rnn", bias=False)
    W = np.triu(numbers(4, 4), 1) * 0.2 + np.diag([0.9, 0.7, 0.5, 0.3])
    layer.load_state_dict({"weight_ih_l0": np.zeros((4, 3)), "weight_hh_l0": W})
    recording = lens.record(layer, numbers(300, 1, 3), loss=lambda out: out.sum())
    at = lens.jacobian(recording).places["l0"]
    assert np.allclose(at.lyapunov, np.log([0.9, 0.7, 0.5, 0.3]), atol=0.01)


def test_dead_units_are_zeros_and_no_errors():
    at = lens.jacobian(dead()).places["l0"]
    assert not at.steps.any() and (at.log10_singular == -np.inf).all() and (at.lyapunov == -np.inf).all()
    assert "lost altogether" in said(lens.jacobian(dead()))


def test_it_says_what_happened():
    assert "multiplied by 10**-6.0" in said(lens.jacobian(Scalar(0.5, 20).recording))
    assert "changes die out" in said(lens.jacobian(Scalar(0.5, 20).recording))
    assert "some changes grow" in said(lens.jacobian(Scalar(2.0, 20).recording))


@pytest.mark.parametrize("column", [3, -1, 1.0, True])
def test_columns_that_are_not_there_are_refused(column):
    with pytest.raises(ValueError, match=f"column must be an integer from 0 to 2, got {column}"):
        lens.jacobian(recorded(layer_of("gru")), column=column)
