"""The mutator breaks every backward pass in one place, and no mutant lives but those that are known to be right."""

import ast

import command
import equivalent
import numpy as np
import pytest
import score
from around_rules import check_around_rules
from equivalent import EQUIVALENT
from hand_written import with_workers
from mutants import Mutant, load, load_around, mutants_of
from operators import OPERATORS
from promises import PROMISES
from score import Score, listed_but_dead
from subjects import AROUND_RULES, NAMES, WHOLE, reached_by, source_of, subjects
from trials import trials

from minirnn import rules
from minirnn.arrays import BackendError
from minirnn.checking import check_rule
from minirnn.testing import laws
from minirnn.testing.example_inputs import EXAMPLES, examples
from minirnn.testing.pieces import PIECES
from minirnn.testing.strict_cupy import strict_cupy


def subject(place):
    return next(s for s in subjects() if s.place == place)


def mutants_with(place, change):
    return [m for m in mutants_of(subject(place)) if m.key[3] == change]


@pytest.mark.parametrize("module", sorted({s.module for s in subjects()}))
def test_no_mutant_lives(module):
    """Each line that a gradient comes through is broken in one way, by the command ``python tests/mutation`` in all.

    By module, for the workers to share.
    """
    found = [score.score_of(s, score.one_of_each_line(s)) for s in subjects() if s.module == module]
    assert [str(mutant) for s in found for mutant in s.survivors] == []
    assert all(mutant.function.co_names for s in found for mutant in s.mutants)  # one that is no Python raises here
    noticed = sum(len(s.by_check) + len(s.by_law) for s in found)
    # numbers and laws, not only programs that cannot run; an index that is wrong seldom can
    assert noticed > sum(len(s.killed) for s in found) / 6


def test_every_line_is_broken_unless_all_its_mutants_are_listed():
    for s in subjects():
        lines = {mutant.key[1] for mutant in mutants_of(s) if mutant.key not in EQUIVALENT}
        tried = score.one_of_each_line(s)
        assert {mutant.key[1] for mutant in tried} == lines and len(tried) == len(lines), s.place
        assert [str(mutant) for mutant in score.one_of_each_line(s)] == [str(mutant) for mutant in tried]


def test_the_list_of_equivalents_names_mutants_that_are_there():
    assert EQUIVALENT.keys() <= {mutant.key for s in subjects() for mutant in mutants_of(s)}


def test_there_are_many_of_every_kind():
    mutants = [mutant for s in subjects() for mutant in mutants_of(s)]
    assert len(mutants) > 3000 and {mutant.operator for mutant in mutants} == set(OPERATORS)


def test_every_rule_and_what_it_calls_on_its_way_back_is_mutated():
    assert {name for s in subjects() for name in s.rules} == set(NAMES) > set(rules.__all__)
    places = {s.place for s in subjects()}
    assert {"rules.elementwise.sum_to", "rules.linear.sum_of_products", "kernels.numpy.add_rows"} <= places
    assert {"kernels.lstm.lstm_slopes", "kernels.gru.gru_slopes", "kernels.rnn.rnn_slopes"} <= places
    assert ("minirnn.kernels.lstm", "lstm_gates_back") in reached_by("lstm")
    assert "kernels.lstm.lstm_gates" not in places  # forward


def test_of_combinators_all_is_mutated():
    """At any depth, and in the forward part; classes and helpers, too. What they are wrapped around is left alone."""
    places = {s.place.removeprefix("rules.combinators.") for s in subjects()}
    assert {"asking.Gradients", "form.Form", "windows._in_windows", "form.part_of"} <= places
    assert {"ordering._runs", "observing.Record", "rules.tangents.gru_tangent"} <= places
    lines = {mutant.key[1] for mutant in mutants_of(subject("rules.combinators.windows.truncate"))}
    assert "dstates = gathered.put(now, reduce(_sum, found))" in lines  # two functions deep
    lines = {mutant.key[1] for mutant in mutants_of(subject("rules.combinators.asking.Gradients"))}
    assert "if k >= after:" in lines
    around = {place for name in AROUND_RULES for place in reached_by(name)}
    kernels = {(module, name) for module, name in around if not module.startswith(WHOLE)}
    assert kernels == {("minirnn.kernels.numpy", name) for name in ("turn", "shares", "_parts", "product")}


def test_of_a_rule_that_makes_its_gradients_on_the_way_there_all_is_mutated_but_its_refusals():
    places = {s.place.removeprefix("rules.losses.") for s in subjects()}
    assert {"affine_cross_entropy", "_softmax_loss", "_sums"} <= places
    assert "_check_affine_cross_entropy" not in places
    lines = {mutant.key[1] for mutant in mutants_of(subject("rules.losses.affine_cross_entropy"))}
    assert "xp.matmul(scores, W, out=dx[now])" in lines  # two functions deep
    assert not any("check" in line for line in lines)


def test_every_part_of_a_combinator_is_tried():
    for s in subjects():
        if s.module.startswith(WHOLE):
            tried = any((s.module, s.name) in trial.passes for trial in trials())
            assert tried or any(not set(those).isdisjoint(s.rules) for those in PROMISES.values()), s.place
    assert set().union(*(trial.uses for trial in trials())) == set(AROUND_RULES) - {"Record"}


def test_original_combinators_live():
    with strict_cupy(), np.errstate(all="ignore"):
        check_around_rules(load_around(None, PIECES), AROUND_RULES)


def test_no_mutant_can_spoil_the_trials_for_the_next():
    for trial in trials():
        for x in (*trial.inputs, *trial.outputs, *trial.cotangents, *trial.gradients):
            assert x is None or not x.flags.writeable


def test_no_mutant_can_run_for_ever():
    """There is no ``while`` to be mutated, and no function calls itself: every loop goes over something finite."""
    for s in subjects():
        assert not any(isinstance(node, ast.While) for part in s.code for node in ast.walk(part)), s.place
        names = {node.id for part in s.code for node in ast.walk(part) if isinstance(node, ast.Name)}
        of_python = s.name in ("sum", "max", "min", "abs")
        assert s.name not in names or of_python, s.place


def test_a_mutant_differs_from_the_source_in_one_place():
    for place in ("rules.lstm.lstm", "rules.losses.cross_entropy", "kernels.gru.gru_slopes"):
        original = source_of(subject(place).module)
        for mutant in list(mutants_of(subject(place)))[::4]:
            changed = mutant.source
            end = len(changed.encode()) - len(original.encode()[mutant.end :])
            assert changed.encode()[: mutant.start] == original.encode()[: mutant.start]
            assert changed.encode()[end:] == original.encode()[mutant.end :]
            assert len(differences(ast.parse(original), ast.parse(changed))) == 1, str(mutant)


def test_no_mutant_is_there_twice():
    for s in subjects():
        mutants = list(mutants_of(s))
        assert len({(m.start, m.end, m.new) for m in mutants}) == len(mutants), s.place
        nothing_to_change = "_pull_again", "Seen", "in_order"  # starred arguments; a list of names; what it was given
        assert mutants or s.name in nothing_to_change, s.place


def differences(one, other):
    """The smallest subtrees in which two trees differ, where one has been put in place of one."""
    if ast.dump(one) == ast.dump(other):
        return []
    ours, theirs = list(ast.iter_child_nodes(one)), list(ast.iter_child_nodes(other))
    if type(one) is not type(other) or len(ours) != len(theirs):
        return [(one, other)]
    inner = [pair for pair in zip(ours, theirs, strict=True) if ast.dump(pair[0]) != ast.dump(pair[1])]
    return differences(*inner[0]) if len(inner) == 1 else [(one, other)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_originals_live(name):
    """In the world that mutants live in, and on the examples that they are tried on, the rule itself keeps all laws."""
    with np.errstate(all="ignore"):
        for k, (inputs, static) in enumerate(examples(name, seed=5)):
            copy = with_workers(2, load(None, name, PIECES)) if k % 2 else load(None, name)
            assert copy is not getattr(rules, name) and copy.__name__ == name
            check_rule(copy, inputs, static, max_entries=2)
            laws.check_laws(copy, inputs, static, without=(*score.SEEN_BEFORE, *score.NOT_MEANT.get(name, ())))


@pytest.mark.parametrize("place", ["rules.elementwise.sum_to", "kernels.lstm.lstm_gates_back", "rules.rnn.rnn"])
def test_a_change_that_is_none_lives(place):
    start = next(mutants_of(subject(place))).start
    assert score.killer(Mutant(subject(place), "none", start, start, "")) == ""


@pytest.mark.parametrize(
    ("place", "change", "by"),
    [
        ("rules.elementwise.tanh", "1 - y * y -> (1 + y * y)", "check"),
        ("rules.elementwise.multiply", "x if wanted[1] else None -> x", "law"),
        ("rules.gru.gru", 'show(probe, t, ("dh",), (dh + dhs[t],)) -> pass', "law"),
        ("rules.linear.affine", "W_saved.T -> W_saved", "error"),
        ("kernels.lstm.lstm_gates_back", "dc += scratch -> dc = scratch", "check"),
        ("rules.combinators.asking.add_to", "totals[k] += part -> totals[k] = part", "check"),
        ("rules.combinators.windows.truncate", "generations - 1 -> generations", "check"),
        ("rules.combinators.form.checked_lengths", "n is not True -> (n is True)", "error"),
        ("kernels.numpy.turn", "::-1 -> :", "law"),
        ("rules.combinators.ordering._runs", "sorted(set(lengths) - {0}) -> (set(lengths) - {0})", "law"),
        ("rules.tangents.lstm_tangent", "f * c_dot -> c_dot", "check"),
        ("rules.losses._softmax_loss", "(1 - smoothing) * hit -> (1 - smoothing)", "check"),
        ("rules.losses.affine_cross_entropy", "counts.sum() -> counts", "law"),  # loss and gradients are wrong alike
    ],
)
def test_what_kills(place, change, by):
    (mutant,) = mutants_with(place, change)
    assert score.killer(mutant) == by


def test_the_library_is_not_touched():
    before = {name: getattr(rules, name) for name in rules.__all__}
    (mutant,) = mutants_with("rules.elementwise.tanh", "1 - y * y -> (1 + y * y)")
    wrong, x = load(mutant, "tanh"), np.array([0.5])
    assert wrong(x)[1](x) != rules.tanh(x)[1](x)
    assert before == {name: getattr(rules, name) for name in rules.__all__}


def test_a_weak_check_yields_survivors(monkeypatch):
    """With an example of ones and cotangents that are not looked at, mutants live, and are counted as what they are."""
    monkeypatch.setattr(score, "examples", lambda name: [((np.ones((2, 2)), np.ones((2, 2))), {})])
    monkeypatch.setattr(score, "check_laws", lambda *arguments, **options: None)
    result = score.score_of(subject("rules.elementwise.multiply"))
    lives = {mutant.key[3] for mutant in result.survivors}
    assert {
        "y if wanted[0] else None -> y",
        "y_saved -> x_saved",
        "sum_to(dz * y_saved, x_shape) -> (dz * y_saved)",
    } <= lives
    assert len(result.mutants) == len(result.killed) + len(result.survivors) == len(list(mutants_of(result.subject)))
    monkeypatch.setattr(score, "EQUIVALENT", {mutant.key: "as weak as it gets" for mutant in result.survivors})
    again = score.score_of(result.subject)
    assert again.survivors == [] and {m.key for m in again.equivalent} == {m.key for m in result.survivors}


def test_stale_entries_of_the_list_are_found(monkeypatch):
    tanh = subject("rules.elementwise.tanh")
    killed = next(mutants_of(tanh))
    listed = {killed.key: "said to be right", (tanh.place, "return", "signs", "gone"): "is no more"}
    monkeypatch.setattr(score, "EQUIVALENT", listed)
    assert listed_but_dead([Score(tanh, by_check=[killed])]) == set(listed)


def test_the_command_for_one_rule(capsys):
    assert command.main(["--rule", "tanh"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["mutants", "by", "check", "by", "law", "by", "error", "equivalent", "survivors"]
    assert [line.split()[0] for line in lines[1:]] == ["rules.elementwise.tanh", "all,"]
    assert lines[1].split()[1:] == lines[2].split()[3:]
    assert int(lines[1].split()[1]) == len(list(mutants_of(subject("rules.elementwise.tanh"))))


def test_the_command_lists_and_complains(capsys, monkeypatch):
    monkeypatch.setattr(score, "check_rule", lambda *arguments, **options: None)
    monkeypatch.setattr(score, "check_laws", lambda *arguments, **options: None)
    assert command.main(["--rule", "negative", "--list"]) == 1
    out = capsys.readouterr().out
    (title, place, line, change) = out[out.index("lives:") :].splitlines()[:4]
    listed = f"{place}\n{line}\n{change}"  # as the list of equivalents wants it
    assert title == "lives:" and next(equivalent._keys(listed)) in {m.key for m in mutants_of(subject(place.strip()))}
    with pytest.raises(SystemExit) as stop:
        command.main(["--rule", "tahn"])
    assert stop.value.code == 2 and "rule must be one of abs, add" in capsys.readouterr().err


def test_the_command_needs_workers(capsys, monkeypatch):
    def refuse(number):
        raise BackendError(f"{number} workers need a BLAS of one thread each")

    monkeypatch.setattr(score, "use_workers", refuse)
    with pytest.raises(SystemExit) as stop:
        command.main(["--rule", "tanh"])
    assert stop.value.code == 2 and "2 workers need a BLAS of one thread each" in capsys.readouterr().err
