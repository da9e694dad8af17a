"""What can go wrong that a person can mend; anything else keeps its traceback."""

import difflib
import importlib.util
import sys
from collections.abc import Callable, Iterable


class UsageError(Exception):
    """Bad input: names the value, what was expected and what to do. Exit status 2."""


class RunError(Exception):
    """A run that cannot go on, with what was saved and how to go on. Exit status 1."""


def exit_status(main: Callable[[], None]) -> int:
    """Runs a script: 0, 2 after a UsageError, 1 after a RunError, 130 interrupted."""
    try:
        main()
    except (UsageError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt as stop:
        print(f"\n{stop or 'stopped'}", file=sys.stderr)
        return 130
    return 0


def needs(module: str, extra: str) -> None:
    """Raises UsageError where an extra is not installed, before any work is done."""
    if importlib.util.find_spec(module) is None:
        raise UsageError(
            f"this needs {module}, which is not installed: pip install "
            f"'subsel[{extra}]', or in a checkout pip install -e '.[{extra}]'"
        )


def near(name: str, names: Iterable[str]) -> str:
    """What to append to "unknown NAME": "; did you mean 'x' or 'y'?", or nothing."""
    close = difflib.get_close_matches(str(name).lower(), names)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
