"""One player of a comparison in its own process: ``python player.py QUESTION FUNCTION ARGUMENTS``, these in JSON."""

import json
import sys
from importlib import import_module

if __name__ == "__main__":
    question, function, arguments = sys.argv[1:]
    report = getattr(import_module(question), function)(**json.loads(arguments))
    print(json.dumps(report))
