"""``python tests/trust [NAME ...] [--long] [--seed N]``: runs campaigns, and prints what was tried and what failed.

The quick part takes a minute and is part of the tests; the long part is for an evening. Exit code 1 if a case failed.
"""

import argparse
import sys
from time import perf_counter

from counting import campaigns, failures


def main() -> int:
    """Runs the campaigns that the command line names, all of them if it names none."""
    every = campaigns()
    parser = argparse.ArgumentParser(prog="python tests/trust", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(every)}")
    parser.add_argument("--long", action="store_true", help="far more cases")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random (0)")
    options = parser.parse_args()
    unknown = sorted({*options.names} - {*every})
    if unknown:
        parser.error(f"there is no campaign {', '.join(unknown)}; choose from {', '.join(every)}")
    failed = False
    for name in options.names or every:
        start = perf_counter()
        tried, wrong = failures(every[name](long=options.long, seed=options.seed))
        failed |= bool(wrong) or not tried
        print(f"{name}: {tried:,} cases, {len(wrong):,} failures, {perf_counter() - start:.0f} s", flush=True)
        for case in wrong[:20]:
            print(f"  {case.what}: {case.failure}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
