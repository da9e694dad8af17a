"""What tests of scripts share."""

import importlib.util

import pytest


@pytest.fixture(autouse=True)
def quick_compilation(monkeypatch):
    """Scripts that run for moments take longer to optimise than to run."""
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # of what is started


@pytest.fixture(scope="module")
def script(request):
    """The ``SCRIPT`` of a test's module, imported."""
    path = request.module.SCRIPT
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
