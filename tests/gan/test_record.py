"""The metrics file: whole lines, in order, whatever happened to it."""

import json

import numpy as np
import pytest

from subsel.gan import record
from subsel.lab.errors import UsageError


def write(run_dir, first, count):
    steps = np.arange(first, first + count)
    metrics = {"d_loss": steps / 8, "g_loss": -steps / 8}
    record.append(run_dir, first, metrics, {})


def test_what_is_appended_is_read(tmp_path):
    write(tmp_path, 1, 2)
    write(tmp_path, 3, 1)
    rows = record.read(tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert rows[2] == {"step": 3, "d_loss": 0.375, "g_loss": -0.375}


def test_what_is_known_of_the_last_step_is_in_its_line_alone(tmp_path):
    found = {"frechet": 0.5, "protocol": "as ever", "kernel_distance_error": np.nan}
    record.append(tmp_path, 1, {"d_loss": np.array([1.0, 2.0])}, found)
    first, last = record.read(tmp_path)
    assert first == {"step": 1, "d_loss": 1.0}
    assert last == {"step": 2, "d_loss": 2.0} | found | {"kernel_distance_error": None}


def test_what_is_not_finite_is_null_so_that_any_json_reader_can_read_it(tmp_path):
    record.append(tmp_path, 1, {"d_loss": np.array([1.0, np.nan, np.inf])}, {})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    no_constants = {"parse_constant": pytest.fail}
    values = [json.loads(line, **no_constants)["d_loss"] for line in lines]
    assert values == [1.0, None, None]


@pytest.mark.parametrize("torn", ["", '{"step": 6, "d_lo', '{"step": 6}'])
def test_truncate_keeps_the_lines_of_the_checkpoint_and_no_torn_one(tmp_path, torn):
    write(tmp_path, 1, 5)
    before = (tmp_path / "metrics.jsonl").read_text().splitlines(keepends=True)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write(torn)
    record.truncate(tmp_path, 3)
    assert (tmp_path / "metrics.jsonl").read_text() == "".join(before[:3])


def test_truncate_refuses_a_file_that_lacks_steps(tmp_path):
    write(tmp_path, 1, 2)
    with pytest.raises(UsageError, match=r"steps 1 to 3"):
        record.truncate(tmp_path, 3)


@pytest.mark.parametrize(
    "line", [b"\x80\x04.", b'{"step" 2}', b"[2]", b'{"a": 1}', b"["]
)
def test_a_damaged_line_is_named(tmp_path, line):
    write(tmp_path, 1, 3)
    path = tmp_path / "metrics.jsonl"
    first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + line * 10_000 + b"\n" + third)
    with pytest.raises(UsageError, match="line 2 of .*metrics.jsonl is damaged"):
        record.truncate(tmp_path, 3)
