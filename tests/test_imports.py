"""The core is importable alone, documented, and its examples are true."""

import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import subsel

MODULES = [
    f"subsel.{module.name}"
    for module in pkgutil.iter_modules(subsel.__path__)
    if not module.ispkg
]
IMPORTED = """
import sys, jax, optax
before = set(sys.modules)
import subsel
print(*sorted(name for name in set(sys.modules) - before))
"""


def test_importing_it_loads_nothing_but_itself():
    """Beyond jax and optax; so neither its GANs nor flax, orbax, tyro, matplotlib …"""
    result = subprocess.run(
        [sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True
    )
    loaded = result.stdout.split()
    assert "subsel.transform" in loaded
    assert not [n for n in loaded if n.startswith(("subsel.gan", "subsel.lab"))]
    foreign = {name.partition(".")[0] for name in loaded} - {"subsel"}
    assert foreign <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("name", subsel.__all__)
def test_public_names_are_documented(name):
    public = getattr(subsel, name)
    own = inspect.getdoc(public)
    assert own and not own.startswith(f"{name}(")  # not a NamedTuple's default


def test_all_is_sorted_and_complete():
    assert subsel.__all__ == sorted(subsel.__all__)
    public = {
        name
        for name, value in vars(subsel).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public == set(subsel.__all__)


@pytest.mark.parametrize("name", ["subsel", *MODULES])
def test_examples_in_docstrings(name):
    module = importlib.import_module(name)
    assert inspect.getdoc(module)
    failed, examples = doctest.testmod(module)
    assert failed == 0
    assert examples or name not in ("subsel.minnorm", "subsel.transform")
