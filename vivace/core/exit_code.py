"""What a process says and returns when it stops early: one sentence instead of a traceback."""

import sys
from collections.abc import Callable

from vivace.core.errors import VivaceError

OK, BAD_INPUT, TRUNCATED, INTERRUPTED = 0, 2, 3, 130


def exit_code_of(run: Callable[[], int | None], name: str = "vivace") -> int:
    """Run a command and return its exit code, 0 for None.

    What Vivace raises on purpose becomes a sentence on stderr, behind `name`, and the code 2; an interrupt
    becomes 130. Anything else is a fault of ours and keeps its traceback.
    """
    try:
        return run() or OK
    except VivaceError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return INTERRUPTED
