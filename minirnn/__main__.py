"""``python -m minirnn``: the command line."""

import sys

from minirnn.cli import main

if __name__ == "__main__":
    sys.exit(main())
