"""The complete examples outside of GANs run, and say what their docstrings say."""

import ast
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linprog

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"


@pytest.mark.parametrize("page", ["README.md", "docs/rules.md"])
def test_the_python_of_the_pages_runs(page):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {})


SCRIPTS = sorted(path.name for path in EXPERIMENTS.glob("*.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_says_what_a_script_is_about(name, script_status, capsys, tmp_path):
    assert script_status(name, "--help") == 0
    said = capsys.readouterr().out
    about = ast.get_docstring(ast.parse((EXPERIMENTS / name).read_text()))
    assert " ".join(about.splitlines()[0].split()) in " ".join(said.split())
    assert "``" not in said


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_is_run_by_a_test(name):
    tests = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    assert any(f'"{name}"' in text for text in tests)


def test_the_minimax_fit_reaches_the_linear_program():
    example = runpy.run_path(str(EXPERIMENTS / "minimax_fit.py"))
    t = np.linspace(-1, 1, 401)
    basis = np.polynomial.chebyshev.chebvander(t, example["DEGREE"])
    ones, target = np.ones((len(t), 1)), np.abs(t)
    solved = linprog(
        [0] * basis.shape[1] + [1],
        np.block([[basis, -ones], [-basis, -ones]]),
        np.append(target, -target),
        bounds=[(None, None)] * (basis.shape[1] + 1),
    )
    np.testing.assert_allclose(example["OPTIMUM"], solved.fun, rtol=1e-6)
    above = {name: error - solved.fun for name, error in example["compare"]().items()}
    assert above["goldstein"] < 2e-6
    assert min(above["sgd"], above["adam"]) > 1e-4


def test_the_classifier_classifies_and_its_zero_rule_fires():
    found = runpy.run_path(str(EXPERIMENTS / "classify_digits.py"))["compare"]()
    assert all(right > 0.85 * 360 for right, _, _ in found.values())
    assert found["optax.adam"][1] == 0 < found["subsel.adam"][1] < 200
    assert found["min-norm of 4, then Adam"][2] < 0.9
