"""The comparison is fair and resumes; what it finds is not a test's business."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from subsel.gan import data
from subsel.lab.errors import UsageError

SCRIPT = Path(__file__).parents[2] / "experiments" / "augment_data.py"
TINY = "--quick --gan-steps 2 --steps 2 --generated 100".split()


def test_the_experiment_runs_and_keeps_what_is_done(tmp_path):
    out = tmp_path / "new" / "augment.json"
    command = [sys.executable, SCRIPT, *TINY, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    assert list(report["cells"]) == ["5/0", "5/1", "5/2"]
    for cell in report["cells"].values():
        assert list(cell) == report["protocol"]["ways"]
        assert all(0 <= accuracy <= 1 for accuracy in cell.values())
    for name in ("augment.png", "augment_samples.png"):
        assert (out.parent / name).stat().st_size > 1000


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": 1}, "--seeds 2 or more"),
        ({"dataset": "signals", "augment": ()}, "expected single images"),
    ],
)
def test_what_cannot_be_compared_is_refused(script, tmp_path, change, said):
    with pytest.raises(UsageError, match=said):
        script.main(out=tmp_path / "out.json", **change)


def test_few_images_are_as_many_of_each_class_and_follow_the_seed(script):
    digits = data.load("digits")
    few = script.chosen(digits, 3, 0)
    np.testing.assert_array_equal(np.bincount(few.labels), [3] * 10)
    known = {(row.tobytes(), label) for row, label in zip(*digits[1:3], strict=True)}
    assert all(
        (row.tobytes(), label) in known for row, label in zip(*few[1:3], strict=True)
    )
    assert (few.rows != script.chosen(digits, 3, 1).rows).any()
    with pytest.raises(UsageError, match="--shots 500: a class has"):
        script.chosen(digits, 500, 0)


def test_a_classifier_learns_from_the_share_that_it_is_given(script):
    """Generated images that are all white and of class 7 are no part of a share of 0;
    with a share of 1/2, it learns them too."""
    digits = script.chosen(data.load("digits"), 5, 0)
    white = np.ones((20, 8, 8, 1), np.float32), np.full(20, 7)
    real = data.scaled(digits.rows), digits.labels
    train, apply = script.classifier(digits, 60)
    right = {}
    for share in (0.0, 0.5):
        params = train(real, white, share, False, jax.random.key(0))
        assert (np.argmax(apply(params, real[0])[1], axis=1) == real[1]).mean() > 0.9
        right[share] = jax.nn.softmax(apply(params, white[0][:1])[1])[0, 7]
    assert right[0.5] > 0.95 > right[0.0]
