"""The script of the recipes, in its quick form, and that its figures are not stale."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from subsel.gan import config
from subsel.gan.recipes import RECIPES
from subsel.lab.errors import UsageError

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "experiments" / "recipes.py"


def test_the_quick_form_measures_and_keeps_what_is_done(tmp_path):
    out = tmp_path / "found.json"
    command = [sys.executable, SCRIPT, "--quick", "--runs", tmp_path, "--out", out]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "ring, 2500 samples, known density, ema 0.999" in done.stdout
    (cell,) = json.loads(out.read_text())["cells"].values()
    assert cell["minutes"] > 0  # of the first time: the second found it done
    assert cell["final"].keys() - cell["real"].keys() == {"protocol"}
    assert cell["last_iterate"]["protocol"].endswith("last iterate")
    assert cell["final"]["modes"] < cell["real"]["modes"] == 8  # 200 steps are too few
    assert out.with_suffix(".png").stat().st_size > 1000


def test_an_unknown_recipe_is_refused(script):
    with pytest.raises(UsageError, match="unknown recipe 'rng'.*did you mean 'ring'"):
        script.main(("rng",))


def test_a_refusal_says_that_a_recipe_was_in_it(script_status, capsys, tmp_path):
    """What is refused may be an option that the user has not given."""
    assert script_status("train_gan.py", "--recipe", "mnist-dcgan", "--model", "mlp")
    said = capsys.readouterr().err
    assert "makes no sense" in said and "as --recipe mnist-dcgan has it" in said
    assert script_status("train_gan.py", "--recipe", "ring", "--resume", tmp_path)
    assert "leave --recipe out" in capsys.readouterr().err


def test_recipes_are_configurations_that_can_be():
    for recipe in RECIPES.values():
        config.check(recipe())


def test_the_figures_are_of_the_recipes_as_they_are():
    report = json.loads((ROOT / "results" / "recipes.json").read_text())
    found = {tuple(cell.split("/")[:2]) for cell in report["cells"]}
    assert found == {(name, config.digest(RECIPES[name]())) for name in RECIPES}


def test_what_two_networks_judged_is_told_apart(script):
    report = json.loads((ROOT / "results" / "recipes.json").read_text())
    cells = {k: v for k, v in report["cells"].items() if k.startswith("digits/")}
    assert "judged in different ways" not in script.table({"cells": cells})
    list(cells.values())[1]["final"]["protocol"] = "599 samples, digits-0"
    said = script.table({"cells": cells})
    assert "; 599 samples, digits-0" in said and "judged in different ways" in said
