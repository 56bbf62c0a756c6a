"""Dates as people write them, and the same in ISO 8601: "the 3rd of May, 1998" is 1998-05-03.

The spellings do not contradict each other: numbers alone are day, month and year, unless the year comes first, and
years of two digits are those from 1930 to 2029. A weekday is the right one, and says nothing new.

Each date is spelled once. So no date of the test was trained on, in any spelling; its day, month and year all were.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

from minirnn.arrays import random_generator
from minirnn.text.grammars.parts import Pairs, in_parts

FIRST, LAST = date(1930, 1, 1), date(2029, 12, 31)
TRAIN, VALID, TEST = 8000, 500, 500

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
    "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth",
    "nineteenth", "twentieth", "twenty-first", "twenty-second", "twenty-third", "twenty-fourth", "twenty-fifth",
    "twenty-sixth", "twenty-seventh", "twenty-eighth", "twenty-ninth", "thirtieth", "thirty-first",
)  # fmt: skip


def _numbered(day: int) -> str:
    """The ordinal of a day in digits: 1st, 2nd, 3rd, 4th, 11th, 21st."""
    return f"{day}{'th' if day in (11, 12, 13) else {1: 'st', 2: 'nd', 3: 'rd'}.get(day % 10, 'th')}"


def _month(d: date) -> str:
    return MONTHS[d.month - 1]


def _weekday(d: date) -> str:
    return WEEKDAYS[d.weekday()]


SPELLINGS: tuple[Callable[[date], str], ...] = (
    lambda d: f"{d.day} {_month(d)} {d.year}",
    lambda d: f"{d.day} {_month(d)[:3]} {d.year}",
    lambda d: f"{d.day:02}-{_month(d)[:3].upper()}-{d.year}",
    lambda d: f"{_month(d)} {d.day} {d.year}",
    lambda d: f"{_month(d).lower()} {d.day} {d.year}",
    lambda d: f"{_month(d)} {d.day}, {d.year}",
    lambda d: f"{_month(d)[:3]} {d.day}, {d.year}",
    lambda d: f"{_month(d)} {_numbered(d.day)}, {d.year}",
    lambda d: f"{_numbered(d.day)} of {_month(d)}, {d.year}",
    lambda d: f"the {_numbered(d.day)} of {_month(d)} {d.year}",
    lambda d: f"the {ORDINALS[d.day - 1]} of {_month(d)}, {d.year}",
    lambda d: f"{_weekday(d)}, {_month(d)} {d.day}, {d.year}",
    lambda d: f"{_weekday(d)[:3]} {d.day} {_month(d)[:3]} {d.year}",
    lambda d: f"{d.day}/{d.month}/{d.year}",
    lambda d: f"{d.day:02}/{d.month:02}/{d.year}",
    lambda d: f"{d.day}.{d.month}.{d.year}",
    lambda d: f"{d.year}/{d.month:02}/{d.day:02}",
    lambda d: f"{d.day} {_month(d)} '{d.year % 100:02}",
    lambda d: f"{d.day}.{d.month}.{d.year % 100:02}",
)


def pairs() -> Pairs:
    """Dates of a hundred years, each in one spelling."""
    rng = random_generator(0, "dates")
    days = rng.permutation((LAST - FIRST).days + 1)[: TRAIN + VALID + TEST]
    spellings = rng.integers(len(SPELLINGS), size=len(days))
    dates = [FIRST + timedelta(days=int(day)) for day in days]
    return in_parts([(SPELLINGS[k](d), d.isoformat()) for d, k in zip(dates, spellings, strict=True)], VALID, TEST)
