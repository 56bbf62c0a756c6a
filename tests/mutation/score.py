"""The score: which mutants the gradient check and the laws kill, and which live."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
from around_rules import check_around_rules
from equivalent import EQUIVALENT, Key
from hand_written import with_workers
from mutants import Mutant, load, load_around, mutants_of
from subjects import AROUND_RULES, NAMES, WRONG_ALIKE, Subject, subjects

from minirnn import rules
from minirnn.checking import GradcheckError, check_rule
from minirnn.testing.example_inputs import examples
from minirnn.testing.inner_laws import complex_arguments
from minirnn.testing.laws import check_laws
from minirnn.testing.pieces import PIECES
from minirnn.testing.strict_cupy import strict_cupy
from minirnn.workers import blas_has_one_thread, use_workers

FAR_AWAY = {"move": [((np.array([1.0, -2.0]),), {"backend": "cupy"})]}  # what needs a device, if only the fake one
NOT_MEANT = {"astype": ("float32_stays_float32",)}  # a law that a rule breaks by its nature
SEEN_BEFORE = ("gradients_match_numbers", "every_subset_of_outputs")  # laws for which the gradient check has stood in


@dataclass
class Score:
    """What became of the mutants of one subject."""

    subject: Subject
    by_check: list[Mutant] = field(default_factory=list)  # the numbers disagree
    by_law: list[Mutant] = field(default_factory=list)  # a law is broken, though the numbers agree
    by_error: list[Mutant] = field(default_factory=list)  # it does not run
    equivalent: list[Mutant] = field(default_factory=list)  # alive, and listed with a reason
    survivors: list[Mutant] = field(default_factory=list)  # alive

    @property
    def killed(self) -> list[Mutant]:
        return self.by_check + self.by_law + self.by_error

    @property
    def mutants(self) -> list[Mutant]:
        return self.killed + self.equivalent + self.survivors


def scores(rule: str | None = None) -> Iterator[Score]:
    """One score per subject, as it is reached; of everything, or of what one rule's backward pass runs through.

    Raises
    ------
    ValueError
        If there is no such rule or combinator.
    BackendError
        If there can be no second worker, whose faults would not be found.
    """
    if rule is not None and rule not in NAMES:
        raise ValueError(f"rule must be one of {', '.join(NAMES)}, got {rule!r}")
    with use_workers(2):
        pass
    return map(score_of, (s for s in subjects() if rule is None or rule in s.rules))


def one_of_each_line(subject: Subject) -> list[Mutant]:
    """Of every line one mutant, drawn by the line itself, so always the same; none that is known to live."""
    lines: dict[str, list[Mutant]] = {}
    for mutant in mutants_of(subject):
        if mutant.key not in EQUIVALENT:
            lines.setdefault(mutant.key[1], []).append(mutant)
    return [Random(line).choice(mutants) for line, mutants in lines.items()]


def score_of(subject: Subject, mutants: Iterable[Mutant] | None = None) -> Score:
    """Tries these mutants of a subject, or all."""
    score = Score(subject)
    for mutant in mutants_of(subject) if mutants is None else mutants:
        if end := killer(mutant):
            getattr(score, f"by_{end}").append(mutant)
        elif mutant.key in EQUIVALENT:
            score.equivalent.append(mutant)
        else:
            score.survivors.append(mutant)
    return score


def killer(mutant: Mutant) -> str:
    """What kills the mutant: ``"check"``, ``"law"`` or ``"error"``; empty if it lives.

    First the gradient check of few entries and dense directions, on every example of every rule that the mutant is
    part of; then, for what is left, the laws. Mutants of combinators have checks of their own, in the same order.
    """
    whatever_its_kernels = patch("minirnn.workers.blocks_are_quicker", blas_has_one_thread)
    with strict_cupy(), use_workers(1), whatever_its_kernels, warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # numbers and laws are to judge, not what NumPy says of the way there
        try:
            _check_rules(mutant)
            if around := AROUND_RULES.keys() & mutant.subject.rules:
                check_around_rules(load_around(mutant, PIECES), around, (mutant.subject.module, mutant.subject.name))
        except GradcheckError:
            return "check"
        except AssertionError:
            return "law"
        except Exception:  # whatever a broken rule raises, it has been noticed
            return "error"
    return ""


def _check_rules(mutant: Mutant) -> None:
    loaded: dict[tuple[str, bool], Callable] = {}  # one world for all examples
    for rule, inputs, static in _trials(mutant, loaded):
        check_rule(rule, inputs, static, max_entries=2)
    for rule, inputs, static in _trials(mutant, loaded):
        check_laws(rule, inputs, static, without=(*SEEN_BEFORE, *NOT_MEANT.get(rule.__name__, ())))
        original = getattr(rules, rule.__name__)  # the law on complex numbers asks nothing of who takes none any more
        assert complex_arguments(rule, inputs, static) == complex_arguments(original, inputs, static)
        if rule.__name__ in WRONG_ALIKE:  # loss and gradients
            np.testing.assert_allclose(rule(*inputs, **static)[0], original(*inputs, **static)[0], rtol=1e-12)


def _trials(mutant: Mutant, loaded: dict[tuple[str, bool], Callable]) -> Iterator[tuple[Any, ...]]:
    """The rules that the mutant is part of, each with every example, in turn as a whole and in pieces."""
    for name in (name for name in mutant.subject.rules if name not in AROUND_RULES):
        for k, (inputs, static) in enumerate([*examples(name), *FAR_AWAY.get(name, ())]):
            way = name, k % 2 == 1
            if way not in loaded:
                loaded[way] = with_workers(2, load(mutant, name, PIECES)) if k % 2 else load(mutant, name)
            yield loaded[way], inputs, static


def listed_but_dead(found: Iterable[Score]) -> set[Key]:
    """Keys of the list of equivalents that no mutant of these subjects bears, or one that was killed."""
    found = list(found)
    places = {score.subject.place for score in found}
    alive = {mutant.key for score in found for mutant in score.equivalent}
    dead = {mutant.key for score in found for mutant in score.killed}
    return {key for key in EQUIVALENT if key[0] in places and (key in dead or key not in alive)}
