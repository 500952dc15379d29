"""What a process says and returns when it stops early: one sentence instead of a traceback."""

import sys
from collections.abc import Callable

from vivace.core.errors import VivaceError

OK, BAD_INPUT, TRUNCATED, INTERRUPTED = 0, 2, 3, 130


def exit_code_of(run: Callable[[], int | None], name: str = "vivace") -> int:
    """Run a command and return its exit code, 0 for None.

    What Vivace raises on purpose becomes a sentence on stderr, behind `name`, and the code 2, as does a path
    that the system refuses; an interrupt becomes 130. Anything else is a fault of ours and keeps its
    traceback.
    """
    try:
        return run() or OK
    except VivaceError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return BAD_INPUT
    except OSError as error:
        if error.filename is None:
            raise
        why = (error.strerror or type(error).__name__).lower()
        said = f"got {error.filename}, which cannot be used ({why}); name another path"
        print(f"{name}: {said}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return INTERRUPTED
