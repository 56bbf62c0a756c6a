"""``minirnn gradcheck``: rules, and the whole character model, against numbers."""

from __future__ import annotations

import argparse
import difflib
from dataclasses import replace
from typing import Any

from minirnn import rules
from minirnn.arrays import random_generator
from minirnn.checking import GradcheckError, GradcheckReport, check_rule
from minirnn.checking.gradcheck import METHODS
from minirnn.cli.console import Console
from minirnn.cli.settings import UsageError, one_of, whole
from minirnn.functional import gradcheck
from minirnn.models import CharLM
from minirnn.models.char_lm import CELLS
from minirnn.nn import Module
from minirnn.nn.module import flatten
from minirnn.tape import Tensor
from minirnn.testing.example_inputs import RECURRENT, B, D, H, T, V, example_inputs

MODELS = {f"char-lm-{cell}": cell for cell in CELLS}


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "gradcheck",
        help="compare hand-written gradients with numbers",
        description="Compares the gradients that a rule's pullback claims with numeric derivatives, argument by "
        "argument, in float64. Exits with 1 if one is wrong.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"rules of minirnn.rules, {', '.join(MODELS)} (the recurrent rules)"
    )
    parser.add_argument("--all", action="store_true", help="every rule and model")
    parser.add_argument(
        "--method", type=one_of(*METHODS), default="auto", metavar="{" + ",".join(METHODS) + "}",
        help="how the numeric derivative is made (auto: the complex step where the rule is analytic)",
    )  # fmt: skip
    parser.add_argument("--seed", type=whole(0), default=0, metavar="N", help="of inputs and cotangents (0)")
    parser.add_argument("--json", action="store_true", help="one JSON object per rule")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, console: Console) -> int:
    known = [*rules.__all__, *MODELS]
    names = known if options.all else options.names or [*RECURRENT]
    unknown = [name for name in names if name not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        raise UsageError(f"no rule is called {unknown[0]!r}; {hint}")
    wrong, skipped, worst = [], [], 0.0
    for name in names:
        try:
            report = check(name, method=options.method, seed=options.seed)
        except GradcheckError as error:
            wrong.append(name)
            console.say(f"{error}\nagain: minirnn gradcheck {name} --method {options.method} --seed {options.seed}\n")
            found = error.report.to_dict() if error.report else {"rule": name, "ok": False}
            console.record(**{**found, "rule": name, "message": str(error)})
        except ValueError as error:  # this rule has no complex step
            if len(names) == 1:
                raise UsageError(str(error)) from error
            skipped.append(name)
            console.say(f"gradient check of {name} skipped: {error}\n")
            console.record(rule=name, ok=None, skipped=str(error))
        else:
            worst = max(worst, report.max_error)
            console.say(f"{report}\n")
            console.record(**{**report.to_dict(), "rule": name})
    good = len(names) - len(wrong) - len(skipped)
    console.say(f"{good} of {len(names)} agree with the numbers; largest relative error {worst:.1e}")
    if skipped:
        console.say(f"skipped: {', '.join(skipped)}")
    if wrong:
        console.say(f"WRONG: {', '.join(wrong)}")
    return 1 if wrong else 0


def check(name: str, method: str = "auto", seed: int = 0) -> GradcheckReport:
    """Checks one rule, or the character model, on built-in inputs."""
    if name in MODELS:
        return check_char_lm(MODELS[name], method, seed)
    inputs, static = example_inputs(name, seed)
    return check_rule(getattr(rules, name), inputs, static, method=method, seed=seed)


def check_char_lm(cell: str, method: str = "auto", seed: int = 0, layers: int = 2) -> GradcheckReport:
    """Checks a small float64 copy of the model that ``minirnn train`` trains, by all its parameters and its state.

    The code is that of training, from the loss of a window back to the embedding, with a state that is not zero.
    """
    lm = CharLM(V, D, H, layers, cell=cell, seed=seed, dtype="float64")
    rng = random_generator(seed, "char-lm")
    inputs, targets = rng.integers(V, size=(2, B, T))
    parts = [rng.standard_normal(part.shape) for part in flatten(lm(inputs)[1])]
    state = parts[0] if len(parts) == 1 else tuple(parts)
    names = [*(name for name, _ in lm.named_parameters()), *("h_0", "c_0")[: len(parts)]]
    try:
        report = gradcheck(CharLMLoss(lm), (inputs, targets, state), method=method, seed=seed, names=names)
    except GradcheckError as error:
        raise GradcheckError(str(error).replace("CharLMLoss", f"char-lm-{cell}"), error.report) from error
    return replace(report, rule=f"char-lm-{cell}")


class CharLMLoss(Module):
    """The loss of one window as a function of the model's parameters and of the state that enters."""

    def __init__(self, lm: CharLM):
        self.lm = lm

    def forward(self, inputs: Any, targets: Any, state: Any) -> Tensor:
        loss, _ = self.lm.loss(inputs, targets, state)
        return loss
