"""The table of bad inputs is as long as it has to be, no case stands in it twice, and a poor error is found."""

from importlib import import_module

import pytest
from bad_inputs_campaign import GROUPS
from badness import Bad, Call, faults_of, was_raised_here

from minirnn import nn


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_has_its_cases(group):
    names = [name for call in import_module(f"bad_{group}").calls() for name, _, _ in call.cases()]
    assert len(names) >= GROUPS[group]
    assert len(set(names)) == len(names)


def failures(function, bad, good=1, subject=None):
    call = Call("f", function, {"x": good}, {"x": [bad]}, subject)
    return [case.failure for case in call.tried() if case.failure]


def raising(error):
    def function(x):
        if x != 1:
            raise error

    return function


@pytest.mark.parametrize(
    "function, found",
    [
        (lambda x: None, "no error"),
        (raising(TypeError("x must be 1, got 2")), "raised TypeError, not ValueError"),
        (raising(ValueError("y must be 1, got 2")), "does not name x"),
        (raising(ValueError("x must be 1")), "does not show 2"),
        (raising(ValueError("x must be 1, got 2")), "was not raised by minirnn"),  # but by this file
        (raising(ValueError("xs must be 1, got 2")), "does not name x"),
    ],
)
def test_a_poor_error_is_found(function, found):
    [failure] = failures(function, Bad("wrong", 2))
    assert found in failure


def test_a_good_error_is_none():
    assert failures(lambda x: nn.Linear(x, 1), Bad("negative", -1), subject=None) == [
        "does not name x: in_features must be a positive integer, got -1"
    ]
    assert not [
        case.failure
        for case in Call(
            "nn.Linear", nn.Linear, {"in_features": 1, "out_features": 1}, {"in_features": [Bad("no", 0)]}
        ).tried()
        if case.failure
    ]


def test_a_change_is_found():
    def function(layer, x):
        layer.weight.array[0] = x
        nn.Linear(x, 1)

    [failure] = failures(function, Bad("negative", -1, named="in_features"), subject=lambda: nn.Linear(1, 1))
    assert failure == "something was changed"


def test_a_good_value_that_is_refused_is_found():
    assert (
        "good arguments"
        in [case.what for case in Call("f", nn.Linear, {"in_features": 0}, {"x": [Bad("no", 1)]}).tried()][-1]
    )


def test_an_operation_that_fails_is_no_raise():
    with pytest.raises(AttributeError) as caught:
        nn.Linear(1, 1).seek(0).nothing  # noqa: B018
    assert not was_raised_here(caught.value)
    assert list(faults_of(caught.value, "nothing", "")) == [f"was not raised by minirnn: {caught.value}"]
