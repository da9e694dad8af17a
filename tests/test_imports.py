"""The core is importable alone, documented, and its examples are true."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import subsel

ROOT = Path(__file__).parents[1]
SOURCES = {*ROOT.glob("src/**/*.py"), *ROOT.glob("experiments/*.py")}
SCREENS = 250  # lines, beyond which a file says why it is one
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


# What a distribution brings along or is called as, where these differ.
BROUGHT = {
    "jax": {"numpy"},
    "matplotlib": {"PIL"},
    "scikit-learn": {"sklearn", "scipy"},
}
BROUGHT |= {"orbax-checkpoint": {"orbax"}, "tensorflow-datasets": {"absl", "requests"}}
IF_THERE = {"tensorflow", "torch"}  # of users who have them


def test_what_is_imported_is_declared():
    """That the tests' environment has it is not enough."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]

    def declared(requirements):
        names = {re.match(r"[\w-]+", line)[0] for line in requirements}
        brought = [BROUGHT.get(name, set()) for name in names]
        return {name.replace("-", "_") for name in names}.union(*brought)

    core = declared(project["dependencies"])
    gan = core | declared(extras["gan"])
    ablation = gan | declared(extras["ablation"]) | declared(extras["cluster"])
    undeclared = {}
    for path in ROOT.glob("src/**/*.py"):
        room = path.relative_to(ROOT / "src" / "subsel").parts[:-1]
        known = {(): core, ("gan",): gan}.get(room, ablation)
        found = set(_imported(ast.parse(path.read_text()))) - {"subsel"} - IF_THERE
        if unknown := found - set(sys.stdlib_module_names) - known:
            undeclared[str(path)] = unknown
    assert not undeclared


def _imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]


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


def test_what_loads_more_is_there_on_demand():
    code = "import subsel; print(subsel.kinks.relu(1.0), len(subsel.problems.PROBLEMS))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("1.0 "), done.stderr
    assert {"kinks", "problems"} <= set(dir(subsel))
    with pytest.raises(AttributeError, match="has no attribute 'kink'"):
        subsel.kink  # noqa: B018


@pytest.mark.parametrize("name", ["subsel", *MODULES])
def test_examples_in_docstrings(name):
    module = importlib.import_module(name)
    assert inspect.getdoc(module)
    failed, examples = doctest.testmod(module)
    assert failed == 0
    assert examples or name not in ("subsel.minnorm", "subsel.transform")


def test_everything_public_is_documented():
    """By its source, since most of it needs more than jax to be imported."""
    bare = []
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        name = str(path.relative_to(ROOT))
        bare += [name] * (ast.get_docstring(tree) is None)
        if name.startswith("src/"):
            bare += [f"{name}: {found}" for found in _undocumented(tree)]
    assert not bare


def _undocumented(tree):
    """Names of public classes, functions and methods without a docstring."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_":
            if ast.get_docstring(node) is None:
                yield node.name
            if isinstance(node, ast.ClassDef):
                yield from (f"{node.name}.{name}" for name in _undocumented(node))


def test_a_long_file_says_why_it_is_one():
    said = {path: path.read_text() for path in SOURCES}
    long = [path for path, text in said.items() if len(text.splitlines()) > SCREENS]
    assert long and not [
        path
        for path in long
        if "In one file because" not in ast.get_docstring(ast.parse(said[path]))
    ]


def test_there_is_one_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    cited = re.search("^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.M)
    changed = re.search("^## ([0-9.]+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert cited[1] == changed[1] == version == subsel.__version__
