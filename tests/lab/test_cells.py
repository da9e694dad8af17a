import json
from pathlib import Path

import pytest

from subsel.lab import cells
from subsel.lab.errors import UsageError


def interrupt():
    raise KeyboardInterrupt


def test_an_interrupted_experiment_goes_on_where_it_was(tmp_path):
    out, ran = tmp_path / "new" / "results.json", []

    def work(name, value):
        return lambda: ran.append(name) or {"value": value}

    plan = {"a": work("a", 1), "b": interrupt, "c": work("c", 3)}
    with pytest.raises(KeyboardInterrupt, match="1 of 3 cells are kept"):
        cells.run(out, {"steps": 5}, plan)
    report = cells.run(out, {"steps": 5}, plan | {"b": work("b", 2)})
    assert ran == ["a", "b", "c"]
    assert json.loads(out.read_text()) == report
    expected = {"a": {"value": 1}, "b": {"value": 2}, "c": {"value": 3}}
    assert report["cells"] == expected and list(report["cells"]) == list(expected)


def test_results_and_the_picture_beside_them_have_names_of_their_own():
    with pytest.raises(UsageError, match=r"--out runs/games.png: .* ends in .json"):
        cells.place("games", False, Path("runs/games.png"))
    kept = Path("runs/mine.json")
    assert cells.place("games", True, kept) == kept
    assert cells.place("games", True, None) != cells.place("games", False, None)


def test_another_protocol_is_not_mixed_in(tmp_path):
    out = tmp_path / "results.json"
    cells.run(out, {"steps": (5,)}, {"a": lambda: 1})
    cells.run(out, {"steps": [5]}, {"a": interrupt})  # the same, once in JSON
    with pytest.raises(UsageError, match="another protocol.*--out"):
        cells.run(out, {"steps": (6,)}, {"a": lambda: 1})
    assert json.loads(out.read_text())["cells"] == {"a": 1}


@pytest.mark.parametrize("text", ["", "[1]", '{"cells": {}}', "[" * 100_000])
def test_what_is_no_results_file_is_refused(tmp_path, text):
    out = tmp_path / "results.json"
    out.write_text(text)
    with pytest.raises(UsageError, match=r"--out"):
        cells.run(out, {}, {"a": lambda: 1})
    assert out.read_text() == text
