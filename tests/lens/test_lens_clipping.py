"""The ledger of clipping: what the functions of training do, entry by entry, and angles known by heart."""

import numpy as np
import pytest
from recorded import char_lm, said, text

from minirnn import SGD, clip_grad_norm_, clip_grad_value_, lens


def together(parameters):
    return np.concatenate([p.grad.ravel() for p in parameters])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_it_is_what_clipping_does(dtype):
    recordings, lm = [], char_lm(dtype=dtype)
    for seed in range(4):
        recordings.append(lens.record(lm.loss, *text(seed)))
    seen = lens.clipping(recordings, max_norm=0.4, clip_value=0.02)
    for k in range(4):
        for clip, limit, after in ((clip_grad_norm_, 0.4, seen.by_norm), (clip_grad_value_, 0.02, seen.by_value)):
            lm.zero_grad()
            lm.loss(*text(k))[0].backward()
            before = together(lm.parameters()).astype(float)
            assert clip(lm.parameters(), limit) == pytest.approx(seen.before[k], rel=1e-6)
            clipped = together(lm.parameters()).astype(float)
            assert np.linalg.norm(clipped) == pytest.approx(after[k], rel=1e-6)
        cosine = before @ clipped / np.linalg.norm(before) / np.linalg.norm(clipped)
        assert np.cos(np.radians(seen.degrees[k])) == pytest.approx(cosine, abs=1e-6)
        assert seen.entries[k] == np.mean(np.abs(before) > 0.02)
    assert (seen.by_norm <= 0.4).all() and 0 < seen.degrees.min() < 90


def test_angles_known_by_heart():
    gradients = [{"w": np.array(w)} for w in ([3.0, 4.0], [0.0, 2.0], [1e-9, 5.0], [1.0, 1.0], [0.0, 0.0])]
    seen = lens.clipping(gradients, clip_value=1.0)
    to_diagonal = np.degrees(np.pi / 4 - np.arctan2(3, 4))
    assert np.allclose(seen.degrees, [to_diagonal, 0, np.degrees(0.8e-9), 0, 0], rtol=1e-6, atol=0)
    assert np.allclose(seen.entries, [1, 0.5, 0.5, 0, 0])
    assert seen.by_norm is None and np.allclose(seen.before, [5, 2, 5, np.sqrt(2), 0])


def test_it_says_how_much_is_left():
    seen = lens.clipping([{"w": np.array([x])} for x in (0.1, 4.0, 2.0)], max_norm=1.0)
    assert "shortens 67% of them, the longest to 0.25 of its length" in said(seen)


def test_a_generator_that_trains():
    lm = char_lm()
    optimizer, norms = SGD(lm.parameters(), lr=0.1), []

    def steps():
        for seed in range(3):
            lm.zero_grad()
            lm.loss(*text(seed))[0].backward()
            yield lm.parameters()
            norms.append(clip_grad_norm_(lm.parameters(), 0.1))
            optimizer.step()

    seen = lens.clipping(steps(), max_norm=0.1)
    assert seen.before == pytest.approx(norms) and seen.degrees is None
    assert "3 gradients: median norm" in said(seen) and "max_norm=0.1 shortens 100%" in said(seen)
    assert "clip_value" not in said(seen)


@pytest.mark.parametrize(
    ("gradients", "limits", "message"),
    [
        ([{"w": np.ones(2)}], {}, "clipping needs a limit: max_norm, clip_value, or both"),
        ([{"w": np.ones(2)}], {"max_norm": 0}, "max_norm must be a positive number, got 0"),
        ([{"w": np.ones(2)}], {"clip_value": "1"}, "clip_value must be a positive number, got '1'"),
        ([], {"max_norm": 1}, "clipping needs at least one gradient, got none"),
        (
            [{"w": np.ones(2)}, {"w": np.array([np.nan])}],
            {"max_norm": 1},
            "gradient of step 1 has an entry that is not",
        ),
        ([[]], {"max_norm": 1}, "the gradient of step 0 has no entry"),
    ],
)
def test_what_cannot_be_entered_is_refused(gradients, limits, message):
    with pytest.raises(ValueError, match=message):
        lens.clipping(gradients, **limits)
