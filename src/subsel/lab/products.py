"""How fast float32 matrices are multiplied here, by JAX and by PyTorch.

What a program of known operations takes at the least is measured by it.
"""

from collections.abc import Callable

import jax
import numpy as np

_MOST = 10_000  # products in a turn: a GPU waits for the launches of small ones


def turns(
    sizes: list[tuple[int, int, int]], torch_too: bool
) -> tuple[dict[str, Callable], dict[str, int]]:
    """Turns of nothing but products, by name, and the operations of each turn.

    They are chains (x w) w', with orthonormal w so that nothing grows or vanishes.

    Args:
        sizes: rows and columns of x, and columns of w.
        torch_too: PyTorch's too, on the kind of device that JAX is using.
    """
    budget = 1e10 if jax.default_backend() == "cpu" else 1e13
    found, work = {}, {}
    for rows, inner, outer in sizes:
        v = np.random.default_rng(0).normal(size=max(inner, outer)).astype(np.float32)
        w = np.eye(inner, outer, dtype=np.float32)
        w -= np.outer(v[:inner], 2 / (v @ v) * v[:outer])
        x = np.ones((rows, inner), np.float32)
        once = 4 * rows * inner * outer
        count = min(max(1, round(budget / once)), _MOST)
        chains = {"JAX": _in_jax(x, w, count)}
        if torch_too:
            chains["PyTorch"] = _in_torch(x, w, count)
        for library, turn in chains.items():
            name = f"{rows} x {inner} by {inner} x {outer}, {library}"
            found[name], work[name] = turn, once * count
    return found, work


def _in_jax(x, w, count):
    x, w = jax.device_put((x, w))
    chain = jax.jit(
        lambda x, w: jax.lax.fori_loop(0, count, lambda _, x: (x @ w) @ w.T, x)
    )
    return lambda: jax.block_until_ready(chain(x, w))


def _in_torch(x, w, count):
    import torch

    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    first, w = torch.from_numpy(x).to(device), torch.from_numpy(w).to(device)

    def turn():
        x = first
        for _ in range(count):
            x = (x @ w) @ w.T
        x[0, 0].item()

    return turn
