"""`python -m vivace` is the command line."""

import sys

from vivace.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
