"""The picture of V-curves: a panel per argument, the best steps marked, and nothing to draw without a sweep."""

import io

import numpy as np
import pytest

from minirnn import lens, rules
from minirnn.checking import check_rule
from minirnn.testing.example_inputs import example_inputs

pytest.importorskip("matplotlib")


def checked(name, **options):
    inputs, static = example_inputs(name)
    return check_rule(getattr(rules, name), inputs, static, **{"sweep": True, **options})


def test_a_panel_for_every_argument_with_both_best_steps():
    figure = lens.v_curves(checked("matmul"))
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in panels] == ["x: correct", "y: correct"]
    for axes in panels:
        marks = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
        assert marks == pytest.approx([2.0**-26, 2.0 ** (-52 / 3)])
        assert (axes.get_xscale(), axes.get_yscale(), axes.get_xlabel()) == ("log", "log", "step h")


def test_the_curves_are_those_of_the_report():
    report = checked("tanh")
    (axes,) = lens.v_curves(report).axes
    curve = report.arguments[0].v_curve
    drawn = dict(zip(axes.lines[2].get_xdata(), axes.lines[2].get_ydata(), strict=True))
    assert drawn == {h: e for h, e in zip(curve.steps, curve.central, strict=True) if e > 0}


def test_several_reports_share_a_picture(tmp_path):
    path = tmp_path / "v.png"
    lens.v_curves([checked("tanh"), checked("exp")], path, title="$both$")
    assert path.read_bytes().startswith(b"\x89PNG")
    figure = lens.v_curves([checked("tanh"), checked("exp")], io.BytesIO())
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["tanh: x: correct", "exp: x: correct"]


def test_without_a_sweep_there_is_nothing_to_draw():
    with pytest.raises(ValueError, match="no report has a V-curve: check with sweep=True"):
        lens.v_curves(checked("tanh", sweep=False))


def test_a_line_without_errors_is_an_empty_panel():
    report = check_rule(lambda x: (2 * x, lambda dy: (2 * dy,)), (np.array([0.5]),), sweep=True)
    (axes,) = lens.v_curves(report).axes
    assert [len(line.get_xdata()) for line in axes.lines[:1]] == [0]
