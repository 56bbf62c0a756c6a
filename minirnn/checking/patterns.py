"""What is wrong with a gradient, told from its numbers: a table of hypotheses, each of which judges itself.

A hypothesis looks at the place where a gradient is wrong first and says how it would have become so, or nothing. Its
score is near one where the numbers could hardly look so otherwise, as when all of them are exactly twice what they
should be; about a half where they only say where to look. None knows the rule, nor any argument's value.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np

from minirnn.checking.anatomy import named
from minirnn.checking.suspects import Finding, Suspect

SIGMOIDS = {"i", "f", "o", "r", "z"}

# --- the numbers at that place ----------------------------------------------------------------------------------------


def not_finite(s: Suspect) -> Finding | None:
    bad = s.wrong & ~np.isfinite(s.found)
    if not bad.any():
        return None
    return Finding("not finite", f"{s.what} is not finite in {bad.sum()} of {bad.size} entries", 1.0)


def zero(s: Suspect) -> Finding | None:
    if s.found.any() or not s.wrong.any():
        return None
    if s.place.steps == (0,) and s.later:
        return Finding("zero", f"{s.what} is zero, and only there: does the loop over time end one step early?", 0.97)
    return Finding("zero", f"{s.what} is zero in all {s.found.size} entries: nothing ever arrives there", 0.95)


def not_zero(s: Suspect) -> Finding | None:
    """What should be zero exactly is so because nothing depends on it: padding, and what no later step can see."""
    if s.right[s.wrong].any() or not s.wrong.any() or not s.grid.right.any():
        return None
    text = f"{s.what} should be zero in all {s.wrong.sum()} entries that are wrong: does something pass a mask?"
    return Finding("leak", text, 0.9)


def factor(s: Suspect) -> Finding | None:
    """One number for all entries: the likeliest slips are a sign, a two, and a mean where a sum is meant."""
    k, count = s.factor, int(s.wrong.sum())
    if not k or not s.has_one_factor:
        return None
    T, B = s.length("time"), s.length("columns")
    likely = {-1.0: "a sign?", 2.0: "a factor of two, or counted twice?", 0.5: "halved?"}
    for terms, over in ((B, "columns"), (T, "steps"), (T * B, "columns and steps")):
        if terms > 2:
            likely[1 / terms] = f"a mean over {over} in place of a sum?"
            likely[float(terms)] = f"a sum over {over} too many?"
    guess = next((guess for number, guess in likely.items() if abs(k / number - 1) < 1e-4), "a constant factor?")
    entries = f"all {count}" if s.wrong.all() else f"{count} of {s.wrong.size}"
    text = f"{s.what} is {k:.6g} times what it should be, in {entries} entries: {guess}"
    return Finding("factor", text, 0.95 * unlike_chance(count))


def slope(s: Suspect) -> Finding | None:
    """A factor between 0 and 1 in every entry, another in each: what slopes and gates are.

    In a sum, over time or of what comes back from the step after, they would not be seen.
    """
    found, right = s.found[s.wrong], s.right[s.wrong]
    comes_back = s.later and s.cotangent is not None and s.cotangent.back
    if s.grid.order == 0 or "inputs" in s.grid.axes or comes_back or not s.wrong.all() or not right.all():
        return None
    low, high = (found / right).min(), (found / right).max()
    text = f"{s.what} is wrong by a factor of its own in each of {found.size} entries, from {low:.3g} to {high:.3g}"
    if s.agree(high, low):  # one factor for all
        return None
    if low >= 4 and s.is_a_step and s.cotangent is None and SIGMOIDS.issuperset(s.place.gates):
        text += ": is the slope s (1 - s) of the sigmoid missing, which is 1/4 at most?"
        return Finding("slope missing", text, 0.9 * unlike_chance(found.size))
    if low >= 1:
        text += ": is a factor below 1 missing, a gate or a slope such as 1 - tanh**2?"
        return Finding("slope missing", text, 0.75 * unlike_chance(found.size))
    if low > 0 and high <= 1:
        return Finding("slope too many", f"{text}: a gate or a slope too many?", 0.75 * unlike_chance(found.size))
    return None


def unlike_chance(entries: int) -> float:
    """How surely it is no chance that all entries are like the first, if each is one time in two."""
    return 1 - 2.0 ** (1 - entries)


# --- right numbers in the wrong place ---------------------------------------------------------------------------------


def exchanged_gates(s: Suspect) -> Finding | None:
    found, right = s.grid.found[s.step], s.grid.right[s.step]
    gates = list(s.gates) if s.grid.gates else []
    for order in permutations(gates) if len(gates) > 1 else ():
        pairs = list(zip(gates, order, strict=True))
        if all(a != b for a, b in pairs) and s.agree(found[gates], right[list(order)]):
            text = ", ".join(f"{s.grid.gates[a]} holds that of {s.grid.gates[b]}" for a, b in pairs)
            return Finding("gates exchanged", f"gates hold each other's gradient of {s.grid.name}: {text}", 0.97)
    return None


def transposed(s: Suspect) -> Finding | None:
    square = "columns" not in s.grid.axes and s.right.shape[1] == s.right.shape[2] > 1
    if not square or not s.agree(s.found, s.right.swapaxes(1, 2)):
        return None
    return Finding("transposed", f"{s.what} is the transpose of what it should be", 0.97)


def shifted(s: Suspect) -> Finding | None:
    found, right = s.grid.found, s.grid.right
    if not s.grid.timed or len(right) < 3:
        return None
    for text, x, y in (
        ("every step but the last holds that of the step after", found[:-1], right[1:]),
        ("every step but the first holds that of the step before", found[1:], right[:-1]),
        ("the steps stand in reverse", found, right[::-1]),
    ):
        if s.agree(x, y):
            return Finding("shifted in time", f"the gradient of {s.grid.name} is right but out of place: {text}", 0.98)
    return None


def exchanged_arguments(s: Suspect) -> Finding | None:
    for name, other in s.grids.items():
        alike = other is not s.grid and other.found.shape == s.grid.found.shape
        if alike and s.agree(s.grid.found, other.right) and s.agree(other.found, s.grid.right):
            return Finding("arguments exchanged", f"the gradients of {s.grid.name} and {name} are exchanged", 0.98)
    return None


def other_axis(s: Suspect) -> Finding | None:
    """Sums over one axis or another of the same array have the same total."""
    found, right = s.found.ravel(), s.right.ravel()
    if s.right.shape[2] != 1 or found.size < 2 or not s.grid.known:
        return None
    if not s.agree(found.sum(keepdims=True), right.sum(keepdims=True)):
        return None
    text = f"the entries of {s.what} are wrong, but their sum, {right.sum():.6g}, is right: summed over the wrong axis?"
    return Finding("wrong axis", text, 0.9)


# --- where it began ---------------------------------------------------------------------------------------------------


def some_columns(s: Suspect) -> Finding | None:
    if not s.place.columns:
        return None
    columns = named("column", s.place.columns)
    text = f"{s.what} is wrong in {columns} of the batch alone: look at what differs between them, lengths and masks"
    return Finding("some columns", text, 0.93)


def few_entries(s: Suspect) -> Finding | None:
    wrong = np.argwhere(s.grid.wrong.reshape(s.grid.shape))
    if len(wrong) > min(3, s.grid.wrong.size // 8):
        return None
    entries = ", ".join(str(tuple(map(int, entry))) for entry in wrong)
    return Finding("few entries", f"{s.grid.name} is wrong at {entries}, and right in all other entries", 0.96)


def forward_pass(s: Suspect) -> Finding | None:
    if s.grid.order > 0:
        return None
    return Finding("forward", f"{s.what}, an output, is wrong: the forward pass is that of another function", 0.7)


def began_here(s: Suspect) -> Finding | None:
    """Where to look, in the lines of the cell: what is right at the step after and wrong here began in between."""
    if s.cell is None or not s.is_a_step:
        return None
    since = f"all is right down to step {s.step + 1}; then " if s.later else ""
    cotangent, found, right = s.cotangent, s.found, s.right
    one_factor = all(s.agree(found[0] * right[k], found[k] * right[0], loose=100) for k in range(1, len(found)))
    if cotangent is None or not one_factor:
        gates = [s.cell.gates[k] for k in s.gates]
        lines = ", ".join(f"da_{gate} = {s.cell.lines[gate]}" for gate in gates)
        only = "" if len(gates) == len(s.cell.gates) else ", and no other gate"
        return Finding(
            "gate",
            f"{since}{s.what} is wrong{only}: look at {lines}, the line{'s' * (len(gates) > 1)} of {s.cell.name}",
            0.6,
        )
    tell = f", to tell by {named('gate', cotangent.factor_of)}" if len(s.cell.gates) > 1 else ""
    if s.later and cotangent.back:
        text = f"{since}{s.what} is wrong{tell}: look at what step {s.step + 1} hands back, {cotangent.back}"
        return Finding("recurrent path", f"{text} in {s.cell.name}", 0.65)
    text = f"{since}{s.what} is wrong{tell}: look at {cotangent.line}, the line of {s.cell.name}"
    return Finding("cotangent", text, 0.65)


def began_at_a_step(s: Suspect) -> Finding | None:
    """The same for a cell of which nobody knows the lines: the step, and its rows."""
    if s.cell is not None or not s.grid.timed:
        return None
    wrong = np.flatnonzero(s.wrong.any(axis=(0, 2))).tolist()
    rows = "" if len(wrong) == s.wrong.shape[1] else f" in {named('row', wrong)} of {s.wrong.shape[1]}, and no other"
    begins = f"{s.what} is wrong{rows}"
    if not s.later:
        return Finding("step", f"{begins}, at the last step already: check the step rule by itself", 0.6)
    text = f"all is right down to step {s.step + 1}; then {begins}: look at what a step hands back to the one before"
    return Finding("recurrent path", text, 0.6)


def different(s: Suspect) -> Finding | None:
    """Where nothing more can be said."""
    wrong = s.grid.wrong
    return Finding("different", f"{s.grid.name} is wrong in {wrong.sum()} of {wrong.size} entries", 0.2)


HYPOTHESES = (
    not_finite,
    zero,
    not_zero,
    factor,
    slope,
    exchanged_gates,
    transposed,
    shifted,
    exchanged_arguments,
    other_axis,
    some_columns,
    few_entries,
    forward_pass,
    began_here,
    began_at_a_step,
    different,
)
