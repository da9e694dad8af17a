"""Numbers that a user gives, checked while the call is still in sight."""

import numbers
from collections.abc import Callable

import jax
import numpy as np

POSITIVE = "a positive number", lambda x: x > 0


def at_least(low: float) -> tuple[str, Callable]:
    """What :func:`number` expects."""
    return f"a number of at least {low}", lambda x: x >= low


def kind(name: str, given, wanted: type, such_as: str) -> None:
    """Refuses what is not of the kind, with a TypeError."""
    if not isinstance(given, wanted):
        raise TypeError(
            f"{name}={given!r}: expected a {wanted.__name__}, such as {such_as} "
            "returns; are its parentheses missing, or is it of another kind?"
        )


def seed(call: str, seed: int) -> None:
    """Refuses what is no integer, with a TypeError; an array may be traced."""
    if not isinstance(seed, numbers.Integral | jax.Array | np.ndarray):
        raise TypeError(f"{call}(seed={seed!r}): expected an integer")


def number(call: str, expected: str, holds: Callable, **named) -> None:
    """Refuses what is no number, and numbers for which ``holds`` is false.

    An array may be traced, and passes.

    Raises:
        TypeError: no number and no array.
        ValueError: another number than ``expected``.
    """
    for name, value in named.items():
        if isinstance(value, jax.Array | np.ndarray):
            continue
        known = isinstance(value, numbers.Real)
        if not (known and holds(value)):
            refused = ValueError if known else TypeError
            raise refused(f"{call}({name}={value!r}): expected {expected}")


def number_or_schedule(call: str, expected: str, holds: Callable, **named) -> None:
    """The same of numbers that may be functions of the count, whose values pass."""
    known = {name: value for name, value in named.items() if not callable(value)}
    number(call, f"{expected}, or a schedule", holds, **known)


def size(call: str, least: int, size: int) -> None:
    """Refuses what is no integer, and less than ``least`` candidates.

    Raises:
        TypeError: no integer.
        ValueError: too small.
    """
    known = isinstance(size, numbers.Integral)
    if not (known and size >= least):
        refused = ValueError if known else TypeError
        raise refused(
            f"{call}(size={size!r}): expected an integer, the number of gradients, of "
            f"at least {least}"
        )
