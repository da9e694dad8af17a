"""What the tests of the GAN part share."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def quick_compilation(request):
    """Programs that run for moments take longer to optimise than to run."""
    if not getattr(request.module, "QUICK_COMPILATION", False):
        yield
        return
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
