"""Configurations: what is refused, by which name, and what a run is resumed with."""

import contextlib
import dataclasses
import json

import pytest

from subsel.gan import config
from subsel.gan.config import Config
from subsel.lab.errors import UsageError


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("optimizer", "adm", "unknown optimizer 'adm'.*did you mean 'adam'"),
        ("d_optimizer", "Lion", "did you mean 'lion'"),
        ("g_optimizer", "zzz", "expected one of subsel, sgd"),
        ("loss", "minmax", "did you mean 'minimax'"),
        ("schedule", "cosin", "did you mean 'cosine'"),
        ("output", "tan", "did you mean 'tanh'"),
        ("model", "resnt", "unknown model 'resnt'.*did you mean 'resnet'"),
        ("d_norm", "bach", "unknown norm 'bach'.*did you mean 'batch'"),
        ("penalties", ("r1", "r3"), "unknown penalties 'r3'"),
        ("augment", ("colour",), "did you mean 'color'"),
        ("game", "extra", "unknown game 'extra'"),
        ("precision", "float16", "unknown precision"),
        ("latent", 0, "--latent 0: expected 1 or more"),
        ("steps", -1, "--steps -1"),
        ("batch_size", 0, "--batch-size 0"),
        ("log_every", 0, "--log-every 0"),
        ("samples", 0, "--samples 0"),
        ("hidden", (128, 0), r"--hidden \(128, 0\)"),
        ("seed", -1, "--seed -1"),
        ("relu_at_zero", "up", "expected one of auto, left, mid, right"),
        ("slope", 1.5, "--slope 1.5: expected a number from 0 to below 1"),
        ("ema", 1.0, "--ema 1.0"),
        ("lookahead_share", 0.0, "--lookahead-share 0.0"),
        ("penalty_weight", -1.0, "--penalty-weight -1.0: expected a positive number"),
        ("learning_rate", 0.0, "--learning-rate 0.0: expected a positive number"),
        ("g_learning_rate", float("nan"), "--g-learning-rate nan"),
        ("b1", 1.0, "--b1 1.0"),
        ("steps", 10_500, "try --steps 10000, or --log-every 500"),
    ],
)
def test_what_cannot_be_is_refused_by_name(field, value, message):
    with pytest.raises(UsageError, match=message):
        config.check(dataclasses.replace(Config(), **{field: value}))


def test_the_articles_numbers_are_the_defaults():
    c = Config()
    assert (c.latent, c.batch_size) == (100, 128)
    assert (c.steps, c.log_every, c.samples) == (10_000, 1000, 128)


def test_a_short_run_reports_at_its_end():
    assert config.check(Config(steps=300)).log_every == 300


def test_players_share_options_unless_they_have_their_own():
    c = Config(optimizer="adam", g_optimizer="sgd", d_learning_rate=0.1)
    assert (c.of("d", "optimizer"), c.of("g", "optimizer")) == ("adam", "sgd")
    assert c.of("d", "learning_rate") == 0.1
    assert c.of("g", "learning_rate") == c.learning_rate


def test_a_saved_configuration_is_loaded_as_it_was(tmp_path):
    saved = Config(dataset="ring", hidden=(3, 4), d_learning_rate=0.5, data_dir="x")
    saved = dataclasses.replace(saved, penalties=("r1", "r2"), g_hidden=(5,))
    saved = config.check(saved)
    config.save(saved, tmp_path)
    assert config.load(tmp_path) == saved
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '{"steps": 3, "hidden": [1], "x": 0}']
)
def test_a_spoilt_configuration_is_one_clear_error(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UsageError, match="config.json cannot be read"):
        config.load(tmp_path)


@pytest.mark.parametrize("value", [None, "x", -1, 1.5, [], [[1]], {"a": 1}, 10**30])
def test_no_value_of_any_option_is_a_traceback(tmp_path, value):
    plain = dataclasses.asdict(config.check(Config()))
    for name in plain:
        (tmp_path / "config.json").write_text(json.dumps(plain | {name: value}))
        with contextlib.suppress(UsageError):  # some are fine, some are refused
            config.load(tmp_path)


def test_a_folder_without_a_run_is_one_clear_error(tmp_path):
    with pytest.raises(UsageError, match="not the folder of a run"):
        config.load(tmp_path)


def test_resume_refuses_another_configuration_and_names_the_fields(tmp_path):
    config.save(config.check(Config()), tmp_path)
    saved = config.load(tmp_path)
    wanted = dataclasses.replace(saved, resume=str(tmp_path), seed=3, loss="minimax")
    with pytest.raises(UsageError, match="loss was .*seed was 0, now 3") as error:
        config.resumed(wanted)
    assert "steps" not in str(error.value)
    moved = dataclasses.replace(saved, resume=str(tmp_path), data_dir="/elsewhere")
    assert config.resumed(moved) == dataclasses.replace(moved, run_dir=str(tmp_path))


def test_what_a_run_was_started_with_resumes_it(tmp_path):
    """Though what was saved has its reports where the run ends."""
    short = Config(steps=500)
    config.save(config.check(short), tmp_path)
    wanted = dataclasses.replace(short, resume=str(tmp_path))
    assert config.resumed(wanted).log_every == 500


def test_a_digest_is_of_what_differs_from_the_defaults():
    plain = config.digest(Config())
    assert plain == config.digest(Config(data_dir="anywhere", dataset="digits"))
    others = [
        Config(seed=1),
        Config(pack=2),
        Config(hidden=(64,)),
        Config(hidden=(6, 4)),
    ]
    assert len({plain, *map(config.digest, others)}) == 5
