"""Every campaign, its quick part: there are cases, and none fails."""

import pytest
from counting import Tried, campaigns, failures


@pytest.mark.parametrize("name", campaigns())
def test_campaign(name, record_property):
    tried, wrong = failures(campaigns()[name](long=False, seed=0))
    record_property("campaign", f"{name}: {tried:,} cases, {len(wrong):,} failures")
    assert tried
    assert not wrong, "\n".join(f"{case.what}: {case.failure}" for case in wrong)


def test_what_failed_is_told_from_what_did_not():
    assert failures(iter([Tried("a"), Tried("b", "no error"), Tried("c")])) == (3, [Tried("b", "no error")])
