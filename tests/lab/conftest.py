"""Scripts that run for moments take longer to optimise than to run."""

import pytest


@pytest.fixture(autouse=True)
def quick_compilation(monkeypatch):
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # of what is started
