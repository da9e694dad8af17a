"""The search finds what closed forms say, and fills in what a run has never seen."""

import dataclasses

import jax
import numpy as np
import pytest
from matplotlib import image

from subsel.gan import checkpoint, config, data, game, inpaint
from subsel.gan.config import Config
from subsel.gan.inpaint import Search
from subsel.gan.models import Net, Variables
from subsel.gan.objective import Pair
from subsel.lab.errors import UsageError

NONE = Variables({}, {})
TINY = Config(hidden=(8,), latent=4, optimizer="sgd")


def net(apply):
    """A network without parameters, as ``(x, label) -> y``."""
    return Net(lambda key: NONE, lambda variables, x, label=None: (apply(x, label), {}))


def find(g, d, images, seen, search, latent=3, classes=0):
    nets = Pair(d=net(d), g=net(g))
    finder = inpaint.finder(nets, latent, classes, search)
    return finder(Pair(NONE, NONE), images, seen, jax.random.key(0))


def test_a_linear_g_gives_ridge_regression_on_the_visible_part():
    random = np.random.default_rng(0)
    kernel, images = random.normal(size=(3, 8)), random.normal(size=(2, 8))
    kernel, images = np.float32(kernel), np.float32(images)
    seen = np.stack([np.arange(8) < 5, np.arange(8) > 2])
    search = Search(steps=400, restarts=2, learning_rate=0.1, realism=0, prior=0.5)
    found = find(lambda z, label: z @ kernel, None, images, seen, search)
    for n in range(2):
        part = kernel[:, seen[n]]
        left = 2 * part @ part.T + 0.5 * np.eye(3)
        z = np.linalg.solve(left, 2 * part @ images[n, seen[n]])
        np.testing.assert_allclose(found.z[n], z, atol=1e-3)
        np.testing.assert_allclose(found.drawn[n], z @ kernel, atol=5e-3)
        misfit = np.sum((z @ kernel - images[n])[seen[n]] ** 2)
        np.testing.assert_allclose(found.loss[n], misfit, rtol=0.01)


def test_d_pulls_where_nothing_is_seen():
    """mu z = lambda sigma(w z) w, by iteration of the fixed point."""
    w = np.float32([1, -2, 0.5])
    search = Search(steps=400, restarts=1, learning_rate=0.1, realism=0.8, prior=2.0)
    nothing = np.zeros((1, 3), bool)
    found = find(lambda z, label: z, lambda x, label: x @ w, w[None], nothing, search)
    z = np.zeros(3)
    for _ in range(100):
        z = 0.8 / 2 / (1 + np.exp(-w @ z)) * w
    np.testing.assert_allclose(found.z[0], z, atol=1e-3)


@pytest.mark.parametrize(("loss", "power"), [("l1", 1), ("l2", 2)])
def test_the_class_is_searched_for_and_the_best_start_kept(loss, power):
    """G makes its class and nothing else."""

    def g(z, label):
        return 0 * z + label[:, None]

    images = np.float32([[3, 9, 9], [0, 9, 9]])
    seen = np.array([[True, False, False]] * 2)
    search = Search(1, 5, "subsel", loss=loss, realism=0)
    found = find(g, None, images, seen, search, classes=5)
    np.testing.assert_array_equal(found.drawn, [[3] * 3, [0] * 3])
    wanted = np.abs(np.arange(5) - images[:, :1]) ** power
    np.testing.assert_allclose(found.loss, wanted)


def test_the_nearest_is_so_where_something_is_seen():
    random = np.random.default_rng(0)
    train_rows = random.integers(0, 256, (30, 4, 4, 1)).astype(np.uint8)
    images = random.uniform(-1, 1, (5, 4, 4, 1)).astype(np.float32)
    seen = random.random(images.shape) < 0.5
    found = inpaint.nearest(images, seen, train_rows, block=7)
    scaled = np.asarray(data.scaled(train_rows))
    for n in range(5):
        apart = [np.sum((images[n] - x)[seen[n]] ** 2) for x in scaled]
        np.testing.assert_array_equal(found[n], scaled[np.argmin(apart)])


def test_masks():
    missing = {kind: ~inpaint.visible(kind, (4, 6, 2), 3)[1] for kind in inpaint.MASKS}
    assert all(mask.shape == (4, 6, 2) for mask in missing.values())
    assert all((mask[..., 0] == mask[..., 1]).all() for mask in missing.values())
    index = {"left": np.s_[:, :3], "right": np.s_[:, 3:], "top": np.s_[:2]}
    index |= {"bottom": np.s_[2:], "centre": np.s_[1:3, 1:5]}
    for kind, part in index.items():
        assert missing[kind][part].all(), kind
        assert missing[kind].sum() == missing[kind][part].size, kind
    random = inpaint.visible("random", (28, 28, 1), 2)
    assert 0.15 < random.mean() < 0.25 and (random[0] != random[1]).any()
    signal = inpaint.visible("right", (128, 1))[0, :, 0]
    np.testing.assert_array_equal(signal, np.arange(128) < 64)
    with pytest.raises(UsageError, match="a signal has none; use left or right"):
        inpaint.visible("top", (128, 1))
    with pytest.raises(UsageError, match="unknown mask 'rigth'.*'right'"):
        inpaint.visible("rigth", (8, 8, 1))


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """Of a run that was stopped at once: training adds nothing here but time."""
    folder = tmp_path_factory.mktemp("inpaint")
    config.save(TINY, folder)
    saver = checkpoint.open(folder)
    checkpoint.save(saver, game.fresh(TINY, game.build(TINY)))
    checkpoint.close(saver)
    return folder


def test_a_run_fills_in_unseen_images(run_dir):
    errors, path = inpaint.inpaint(run_dir, images=3, search=Search(steps=2))
    assert path == run_dir / "inpaint-right-0-1.png"
    assert image.imread(path).shape[:2] == (
        4 * 9 * 6,
        120 + 3 * 9 * 6,
    )  # labels beside it
    test, rows = (data.load("digits", split=split).rows for split in ("test", "train"))
    order = np.random.default_rng(1).permutation(len(test))[:3]
    mean = rows.astype(float).mean(axis=0)
    gap = (test[order] - mean[None])[:, :, 4:] / 255
    assert errors["mean"] == pytest.approx(np.sqrt(np.mean(gap**2)), rel=1e-5)
    assert 0 < errors["nearest"] < 1 and 0 < errors["generator"] < 1


def test_the_script_prints_the_errors_and_draws(
    run_dir, tmp_path, script_status, capsys
):
    out = tmp_path / "filled.png"
    options = ["--images", 2, "--steps", 2, "--restarts", 2, "--out", out]
    assert script_status("inpaint.py", run_dir, *options) == 0
    said = capsys.readouterr().out
    assert "RMSE of the missing part of 2 images" in said and str(out) in said
    assert image.imread(out).shape[:2] == (4 * 9 * 6, 120 + 2 * 9 * 6)


def test_what_is_seen_is_left_as_it_is():
    truth = np.float32([[1, -1]])
    seen = np.array([[True, False]])
    assert inpaint.rmse(np.float32([[1, 0]]), truth, seen) == 0.5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mask": "half"}, "unknown mask 'half'"),
        ({"images": 0}, "--images 0: expected 1 to 599"),
        ({"images": 600}, "--images 600: expected 1 to 599"),
        ({"seed": -1}, "--seed -1: expected 0 or more"),
        ({"search": Search(restarts=0)}, "--restarts 0: expected 1 or more"),
        ({"search": Search(optimizer="adm")}, "unknown optimizer 'adm'.*'adam'"),
        ({"search": Search(loss="l3")}, "unknown loss 'l3'"),
        ({"search": Search(prior=-1.0)}, "--prior -1.0: expected 0 or more"),
        ({"at": 7}, "no checkpoint of step 7"),
    ],
)
def test_what_cannot_be_searched_for_is_refused(run_dir, change, said):
    with pytest.raises(UsageError, match=said):
        inpaint.inpaint(run_dir, **change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dataset": "ring"}, "only single images and signals"),
        ({"pack": 2}, "judges 2 samples together: use --realism 0"),
    ],
)
def test_runs_that_cannot_fill_in_are_refused(tmp_path, change, said):
    config.save(dataclasses.replace(TINY, **change), tmp_path)
    with pytest.raises(UsageError, match=said):
        inpaint.inpaint(tmp_path)
