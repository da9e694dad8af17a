"""What is measured of programs and processes, where the answer is known."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subsel.lab import children, products, traces
from subsel.lab.errors import RunError


def hold(mib):
    return np.ones(mib * 2**17)[:1]


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_memory_is_that_of_the_new_process_alone():
    here = hold(600)  # is not counted
    small, large = (children.peak_of(hold, mib) for mib in (1, 301))
    assert 250 < large - small < 350
    assert small < 500 < children.peak_mib()
    del here


def test_a_command_is_stopped_at_the_line():
    program = "import time; print('step 1: x'); time.sleep(60)"
    seen = children.until([sys.executable, "-c", program], "step ")
    assert 0 < seen["seconds"] < 60


def test_a_command_that_ends_without_the_line_says_why():
    with pytest.raises(RunError, match="no such thing"):
        children.until([sys.executable, "-c", "raise SystemExit('no such thing')"], "s")


def test_products_are_as_many_as_they_say():
    sizes = (3, 3, 3), (64, 96, 128)
    turns, operations = products.turns(list(sizes), torch_too=False)
    assert list(turns) == ["3 x 3 by 3 x 3, JAX", "64 x 96 by 96 x 128, JAX"]
    links = [
        operations[name] / (2 * 2 * np.prod(size))
        for name, size in zip(turns, sizes, strict=True)
    ]
    assert links[0] == 10_000  # small ones wait for launches, on a GPU
    assert links[1] % 1 == 0 and operations["64 x 96 by 96 x 128, JAX"] > 9e9


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="of a CPU's threads")
def test_products_are_told_from_the_rest():
    def shares(f, *args):
        program = jax.jit(f).lower(*args).compile()
        program(*args)
        return traces.shares(
            lambda: jax.block_until_ready(program(*args)), program.as_text()
        )

    x = jnp.eye(512)
    multiplied = shares(lambda x: jax.lax.fori_loop(0, 20, lambda i, y: y @ x, x), x)
    sorted_ = shares(lambda x: jnp.sort(x, axis=0), x)
    assert multiplied["matrix products"] > 0.5
    assert sorted_["matrix products"] == 0 < sorted_["others"]
    for found in (multiplied, sorted_):
        kinds = [found[kind] for kind in ("matrix products", "others", "none")]
        assert min(kinds) >= 0 and np.isclose(sum(kinds), 1)
