"""How far the sides of an image or a signal are halved."""

SMALLEST, LARGEST = 4, 8  # sides at which halving stops, and at which it may stop


def levels(shape: tuple[int, ...]) -> int:
    """How often every side of ``(*sides, C)`` is halved: while even and above 4.

    The side that can be halved least often decides: 64 -> 4 is 4 levels, 28 -> 7 is 2.

    Raises:
        ValueError: there is no side, one cannot be halved, or what is left is above 8.
    """
    sides = shape[:-1]
    if not sides:
        raise ValueError(
            f"samples of shape {shape} have no sides to convolve over: expected images "
            "(H, W, C) or signals (L, C); points need the model mlp"
        )
    count = min(map(_halvings, sides))
    left = tuple(side >> count for side in sides)
    if count == 0 or max(left) > LARGEST:
        raise ValueError(
            f"the sides of samples {shape} can be halved {count} times, to {left}: "
            f"expected sides that as many halvings each, 1 or more, bring to {LARGEST} "
            "or less, such as 8, 28, 32 or 64; or the model mlp"
        )
    return count


def base(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The sides that are left after all halvings."""
    return tuple(side >> levels(shape) for side in shape[:-1])


def _halvings(side: int) -> int:
    count = 0
    while side % 2 == 0 and side > SMALLEST:
        side, count = side // 2, count + 1
    return count
