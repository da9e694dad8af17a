"""What other programs read is what G drew, and one of them measures what we do."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from PIL import Image

from subsel.gan import checkpoint, config, data, export, features, game, train
from subsel.gan.config import Config
from subsel.gan.metrics import distances
from subsel.gan.metrics.classifier import Classifier
from subsel.lab.errors import UsageError

TINY = Config(
    hidden=(8,),
    latent=4,
    optimizer="sgd",
    steps=2,
    log_every=1,
    batch_size=16,
    samples=10,
    eval_every=0,
)
COUNT = 501  # a chunk and one


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "run"
    tiny = dataclasses.replace(TINY, conditional=True, ema=0.5, run_dir=str(folder))
    return train.train(tiny)


@pytest.fixture(scope="module")
def network():
    """Untrained, which is as good here and takes no time."""
    module = Classifier(10, features=6, channels=4)
    params = module.init(jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32))
    return features.Features(
        "digits-0", 0.1, jax.jit(lambda x: module.apply(params, x)), b""
    )


@pytest.fixture(scope="module")
def folder(run_dir, network, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "new" / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "network", lambda *args: network)
        export.export(run_dir, out, COUNT)
    return out


def png(folder, count):
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"{i:06d}.png" for i in range(count)]
    return np.stack([rgb(folder / name, "L") for name in names])


def rgb(path, mode):
    with Image.open(path) as image:
        assert image.mode == mode
        return np.asarray(image.convert("RGB"))


def test_pngs_and_npz_are_what_the_averaged_g_draws(run_dir, folder):
    with np.load(folder / "samples.npz") as found:
        images, labels = found["arr_0"], found["arr_1"]
    assert images.shape == (COUNT, 8, 8, 3) and images.dtype == np.uint8
    np.testing.assert_array_equal(images, png(folder / "samples", COUNT))
    cfg = config.load(run_dir)
    playing = game.build(cfg)
    state = checkpoint.restore(run_dir, game.fresh(cfg, playing))
    for i in (0, 500):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(1), i), 2)
        z = jax.random.normal(keys[0], (500, 4))[: COUNT - i]
        drawn, _ = playing.nets.g.apply(state.ema, z, labels[i : i + 500])
        wanted = 127.5 * (np.asarray(drawn) + 1)
        there = images[i : i + 500, ..., :1]
        assert np.abs(there - wanted).max() < 0.501  # rounded; float32 elsewhere
    share = np.bincount(labels, minlength=10) / COUNT
    np.testing.assert_allclose(share, 0.1, atol=0.06)


def test_the_reference_is_the_test_split_with_its_statistics(folder, network):
    test = data.load("digits", split="test")
    with np.load(folder / "reference.npz") as found:
        assert found.files == ["arr_0"]
        np.testing.assert_array_equal(found["arr_0"], np.tile(test.rows, 3))
        np.testing.assert_array_equal(
            found["arr_0"], png(folder / "reference", len(test.rows))
        )
    of_test = features.compute(network.apply, test.rows)[0]
    with np.load(folder / "reference_statistics.npz") as found:
        ours = distances.from_covariance(
            np.float32(found["mu"]), np.float32(found["sigma"])
        )
        scale = np.trace(found["sigma"])
    assert float(distances.frechet(ours, of_test)) < 1e-4 * scale


def test_the_export_says_how_it_was_made(run_dir, folder):
    made = json.loads((folder / "export.json").read_text())
    assert made["run"] == str(run_dir) and made["generator"] == "ema 0.5"
    assert made["step"] == 2 and made["samples"]["count"] == COUNT
    assert made["samples"]["seed"] == 1 and made["reference"]["count"] == 599
    assert "digits-0" in made["statistics"] and "127.5" in made["values"]


def test_the_script_writes_both_folders(
    run_dir, network, tmp_path, script_status, monkeypatch
):
    monkeypatch.setattr(features, "network", lambda *args: network)
    out = tmp_path / "exported"
    assert script_status("export_samples.py", run_dir, "--out", out, "--count", 3) == 0
    png(out / "samples", 3)
    assert (out / "reference_statistics.npz").exists()
    assert script_status("export_samples.py", run_dir, "--out", out) == 2


def test_values_are_rounded_as_data_are_scaled():
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(export.to_uint8(data.scaled(levels)), levels)
    np.testing.assert_array_equal(export.to_uint8(np.float32([-2, 2])), [0, 255])


def test_stacked_references_and_colours(tmp_path, monkeypatch):
    """Without MNIST: any two sets of grey images can be stacked."""
    digits = data.load("digits")._replace(stack=3)
    monkeypatch.setattr(data, "load", lambda *args: digits)
    made = export._reference(tmp_path, TINY, None)
    assert "statistics" not in made and "stacked" in made["reference"]
    with np.load(tmp_path / "reference.npz") as found:
        assert found["arr_0"].shape == (1198, 8, 8, 3)
        there = rgb(tmp_path / "reference" / "000007.png", "RGB")
        np.testing.assert_array_equal(there, found["arr_0"][7])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": 0}, "--count 0: expected 1 or more"),
        ({"at": 7}, "no checkpoint of step 7"),
        ({"temperature": 0.0}, "--temperature 0.0: expected a positive number"),
        ({"run_dir": "nowhere"}, "not the folder of a run"),
    ],
)
def test_what_cannot_be_exported_is_refused(run_dir, tmp_path, change, said):
    with pytest.raises(UsageError, match=said):
        export.export(**{"run_dir": run_dir, "out": tmp_path / "new"} | change)
    assert not (tmp_path / "new").exists()


def test_a_temperature_takes_the_place_of_the_runs(
    run_dir, folder, network, tmp_path, monkeypatch
):
    monkeypatch.setattr(features, "network", lambda *args: network)
    made = export.export(run_dir, tmp_path / "cold", 9, temperature=0.5)
    assert made["generator"] == "ema 0.5, temperature 0.5"
    assert (
        png(tmp_path / "cold" / "samples", 9) != png(folder / "samples", COUNT)[:9]
    ).any()


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("sample.py", "--out new.png".split()),
        ("inpaint.py", "--out new.png --images 1 --steps 1 --restarts 1".split()),
        ("export_samples.py", "--out new --count 1".split()),
    ],
)
def test_a_run_from_another_machine_finds_its_data(
    run_dir, network, tmp_path, monkeypatch, script_status, script, options
):
    asked, load = [], data.load

    def noted(name, data_dir=None, split="train"):
        asked.append(data_dir)
        return load(name, split=split)

    monkeypatch.setattr(data, "load", noted)
    monkeypatch.setattr(features, "network", lambda *args: network)
    monkeypatch.chdir(tmp_path)
    assert script_status(script, run_dir, *options, "--data-dir", "here") == 0
    assert set(asked) == {str(tmp_path / "here")}


@pytest.mark.parametrize("script", ["sample.py", "inpaint.py"])
def test_a_picture_is_a_png(run_dir, script_status, script, capsys):
    assert script_status(script, run_dir, "--out", "new.jpg") == 2
    assert "--out new.jpg: expected a name that ends in .png" in capsys.readouterr().err


@pytest.mark.parametrize("used", ["", "config.json"])
def test_a_folder_in_use_is_refused(run_dir, used):
    with pytest.raises(UsageError, match="is not an empty folder: choose another"):
        export.export(run_dir, run_dir / used, 1)


@pytest.mark.parametrize("dataset", ["ring", "signals"])
def test_points_and_signals_are_refused(tmp_path, dataset, monkeypatch):
    monkeypatch.setattr(checkpoint, "restore", lambda *args: None)
    config.save(dataclasses.replace(TINY, dataset=dataset), tmp_path)
    with pytest.raises(UsageError, match=f"{dataset}, which has no images"):
        export.export(tmp_path, tmp_path / "new", 1)


@pytest.mark.filterwarnings("ignore")  # theirs
def test_torch_fidelity_measures_the_distance_that_we_do(folder):
    """In 12 rectified random projections of the RGB images, in its own arithmetic."""
    reason = "torch-fidelity 0.4.0 is not installed; pip install torch-fidelity"
    torch = pytest.importorskip("torch", reason=reason)
    fidelity = pytest.importorskip("torch_fidelity", reason=reason)
    kernel = np.random.default_rng(0).normal(size=(3 * 64, 12)).astype(np.float32)

    class Projections(fidelity.FeatureExtractorBase):
        def __init__(self, name, features_list, **kwargs):
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list():
            return ("projections",)

        @staticmethod
        def get_default_feature_layer_for_metric(metric):
            return "projections"

        @staticmethod
        def can_be_compiled():
            return False

        def forward(self, x):  # [N, 3, 8, 8] uint8
            flat = x.movedim(1, -1).reshape(len(x), -1) / 255
            return (torch.relu(flat @ torch.from_numpy(kernel)),)

    fidelity.register_feature_extractor("projections", Projections)
    theirs = fidelity.calculate_metrics(
        input1=str(folder / "samples"),
        input2=str(folder / "reference"),
        feature_extractor="projections",
        fid=True,
        cuda=False,
        cache=False,
        verbose=False,
    )["frechet_inception_distance"]

    def ours(name):
        with np.load(folder / name) as found:
            flat = found["arr_0"].reshape(-1, 3 * 64) / np.float32(255)
        return np.maximum(flat @ kernel, 0)

    frechet = distances.frechet(ours("samples.npz"), ours("reference.npz"))
    assert theirs > 1
    assert float(frechet) == pytest.approx(theirs, rel=1e-4)
