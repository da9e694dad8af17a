"""Feature networks: the classifier, how it is trained, its name and its cache.

MNIST and Fashion-MNIST take a minute each: experiments/feature_network.py trains them,
and what it found is checked here.
"""

import json
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from subsel.gan import data, features
from subsel.gan.metrics import classifier
from subsel.lab.errors import RunError

RESULTS = Path(__file__).parents[2] / "results" / "feature_networks.json"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Nothing of the user's is read or written."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "subsel"


@pytest.fixture
def trainings(monkeypatch):
    """Training of a few steps, and a list that grows with each."""
    monkeypatch.setattr(features, "RECIPE", features.RECIPE | {"epochs": 1, "steps": 2})
    done, train = [], features._train
    monkeypatch.setattr(
        features, "_train", lambda *args: done.append(args[0]) or train(*args)
    )
    return done


def toy(shape=(8, 8, 1), count=40, seed=0):
    rng = np.random.default_rng(seed)
    if len(shape) == 2:
        rows = rng.normal(size=(count, *shape)).astype(np.float32)
    else:
        rows = rng.integers(0, 256, (count, *shape), np.uint8)
    return rows, np.arange(count, dtype=np.int32) % 3


def test_digits():
    train, test = (data.load("digits", split=split) for split in ("train", "test"))
    pairs = (train.rows, train.labels), (test.rows, test.labels)
    network = features.network("digits", *pairs)
    assert network.accuracy >= 0.97
    assert re.fullmatch(f"digits-{features.digest(*pairs)}-[0-9a-f]{{4}}", network.name)
    found, logits = features.compute(network.apply, test.rows)
    assert found.shape == (599, 32) and logits.shape == (599, 10)
    right = np.argmax(np.asarray(logits), axis=1) == test.labels
    assert network.accuracy == right.mean()
    assert jnp.all(found >= 0) and abs(jnp.mean(found**2) - 1) < 0.1


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "digits"])
def test_what_the_experiment_found(name):
    cell = json.loads(RESULTS.read_text())["cells"][name]
    assert cell["network"].startswith(f"{name}-")
    assert cell["accuracy"] >= features.FLOORS[name]


# ---------------------------------------------------------------- the classifier


@pytest.mark.parametrize("shape", [(8, 8, 1), (7, 6, 3), (9, 1), (6, 4)])
def test_patches_make_a_convolution(shape):
    sides = len(shape) - 1
    x = jax.random.normal(jax.random.key(0), (5, *shape))
    pads = [(1, 1 + side % 2) for side in shape[:-1]]
    conv = nn.Conv(6, (4,) * sides, strides=2, padding=pads, use_bias=False)
    params = conv.init(jax.random.key(1), x)
    kernel = params["params"]["kernel"]  # [4, 4, C, 6]
    halves = kernel.reshape(*(2,) * 2 * sides, shape[-1], 6)  # block, place, …
    order = (*range(0, 2 * sides, 2), *range(1, 2 * sides, 2), 2 * sides, 2 * sides + 1)
    flat = halves.transpose(order).reshape(-1, 6)
    expected = conv.apply(params, x)
    np.testing.assert_allclose(classifier.patches(x) @ flat, expected, atol=1e-5)


@pytest.mark.parametrize(
    "shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (6, 5, 2), (128, 1), (4, 2)]
)
def test_shapes(shape):
    module = classifier.Classifier(classes=7, features=24, channels=8)
    params = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, *shape)))
    made = jax.eval_shape(module.apply, params, jnp.zeros((3, *shape)))
    assert [x.shape for x in made] == [(3, 24), (3, 7)]


def test_rescaling_changes_features_and_no_logits():
    module = classifier.Classifier(classes=3, features=5, channels=8)
    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
    params = jax.jit(module.init)(jax.random.key(1), x)
    old, new = (module.apply(p, x) for p in (params, classifier.rescaled(params, 3.0)))
    np.testing.assert_allclose(old[0], 3 * new[0], rtol=1e-5)
    np.testing.assert_allclose(old[1], new[1], atol=1e-5)


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("shape", [(8, 8, 1), (12, 10, 3), (20, 2)])
def test_any_labelled_set(shape, trainings):
    network = features.network("toy", toy(shape), toy(shape, 10))
    found, logits = network.apply(jnp.zeros((2, *shape)))
    assert found.shape == (2, 32 if max(shape[:-1]) <= 8 else 64)
    assert logits.shape == (2, 3)


def test_training_is_deterministic(trainings, cache):
    def bits():
        network = features.network("toy", toy(), toy(count=10))
        (kept,) = cache.glob("features-toy-*.npz")
        with np.load(kept) as file:
            arrays = [file[key] for key in file.files]
        kept.unlink()
        return network.name, [array.tobytes() for array in arrays]

    assert bits() == bits()
    assert len(trainings) == 2


def test_other_weights_have_another_name(trainings, cache):
    """As another machine may make them, which sums in another order."""
    before = features.network("toy", toy(), toy(count=10)).name
    (kept,) = cache.glob("features-toy-*.npz")
    with np.load(kept) as file:
        arrays = [file[key] for key in file.files]
    arrays[0].flat[0] = np.nextafter(arrays[0].flat[0], np.float32(1))
    np.savez(kept, *arrays)
    after = features.network("toy", toy(), toy(count=10)).name
    assert len(trainings) == 1
    assert before != after and before[:-4] == after[:-4]


def test_shifts_keep_the_size_and_move_by_at_most_one():
    image = np.zeros((1, 5, 5, 1), np.uint8)
    image[0, 2, 2] = 9
    seen = set()
    for i in range(60):
        moved = np.asarray(features._shifted(jax.random.key(i), jnp.asarray(image)))
        assert moved.shape == image.shape and moved.sum() == 9
        seen.add(tuple(np.argwhere(moved[0, :, :, 0])[0]))
    assert seen == {(i, j) for i in (1, 2, 3) for j in (1, 2, 3)}


def test_accuracy_below_the_floor(trainings, cache):
    with pytest.raises(RunError, match="must be on 97%"):
        features.network("digits", toy(), toy(count=10))
    assert not cache.exists()
    with pytest.raises(RunError, match="mnist:3.0.1-"):
        features.network("mnist:3.0.1", toy(), toy(count=10))


# ---------------------------------------------------------------- name and cache


def test_name_changes_with_all_it_is_made_of(monkeypatch):
    train, test = toy(), toy(count=10)
    other = train[0].copy()
    other[-1, -1, -1, -1] ^= 1
    names = [
        features.digest(train, test),
        features.digest((other, train[1]), test),
        features.digest((train[0], 2 - train[1]), test),
        features.digest(train, toy(count=11)),
    ]
    monkeypatch.setattr(features, "RECIPE", features.RECIPE | {"seed": 1})
    names.append(features.digest(train, test))
    monkeypatch.setattr(jax, "__version__", "another")
    names.append(features.digest(train, test))
    assert len(set(names)) == len(names)
    assert all(len(name) == 8 for name in names)


def test_trained_once(trainings, cache):
    first = features.network("toy/small", toy(), toy(count=10))
    again = features.network("toy/small", toy(), toy(count=10))
    assert len(trainings) == 1
    assert first[:2] == again[:2]
    x = jnp.ones((3, 8, 8, 1))
    np.testing.assert_array_equal(first.apply(x)[1], again.apply(x)[1])
    (kept,) = cache.iterdir()
    assert kept.name == f"features-{first.name[:-5]}.npz"
    features.network("toy/small", toy(seed=1), toy(count=10))
    assert len(trainings) == 2


def flipped(content):
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    "damage", [lambda c: b"", lambda c: b"no zip", lambda c: c[:-1], flipped]
)
def test_a_damaged_cache_is_not_trusted(trainings, cache, damage):
    features.network("toy", toy(), toy(count=10))
    (kept,) = cache.iterdir()
    kept.write_bytes(damage(kept.read_bytes()))
    features.network("toy", toy(), toy(count=10))
    assert len(trainings) == 2
    features.network("toy", toy(), toy(count=10))  # and it was mended
    assert len(trainings) == 2


def test_one_that_was_made_elsewhere(trainings, cache):
    splits = toy(), toy(count=10)
    first = features.network("toy", *splits)
    shutil.rmtree(cache)
    made = features.Made(first.name, first.weights)
    again = features.network("toy", *splits, made)
    assert len(trainings) == 1 and not cache.exists()
    assert (again.name, again.accuracy) == (first.name, first.accuracy)
    x = jnp.ones((3, 8, 8, 1))
    np.testing.assert_array_equal(first.apply(x)[1], again.apply(x)[1])
    for damaged in (
        made._replace(weights=b""),
        made._replace(weights=flipped(made.weights)),
        made._replace(name="toy-01234567-none"),
    ):
        with pytest.raises(RunError, match=f"{damaged.name} is damaged"):
            features.network("toy", *splits, damaged)
    with pytest.raises(RunError, match="not one of other"):
        features.network("other", toy((12, 12, 1)), toy((12, 12, 1), 10), made)
    assert len(trainings) == 1


def test_other_arrays_in_the_cache_are_not_trusted(trainings, cache):
    features.network("toy", toy(), toy(count=10))
    (kept,) = cache.iterdir()
    np.savez(kept, *[np.zeros(2, np.float32)] * 20)
    features.network("toy", toy(), toy(count=10))
    assert len(trainings) == 2


def test_the_quick_form_of_the_script(trainings, tmp_path, monkeypatch, script_status):
    monkeypatch.setattr(features, "FLOORS", {})  # two steps of training are too few
    out = tmp_path / "networks.json"
    assert script_status("feature_network.py", "--quick", "--out", out) == 0
    (cell,) = json.loads(out.read_text())["cells"].values()
    assert trainings == ["digits"] and cell["samples"] == 599
    frechet = cell["floor"]["frechet"]
    assert 0 < frechet["min"] < frechet["median"] < frechet["max"]


def test_cache_that_cannot_be_written(trainings, cache):
    cache.parent.write_text("a file where the folder should be")
    for _ in range(2):
        features.network("toy", toy(), toy(count=10))
    assert len(trainings) == 2


# ---------------------------------------------------------------- batches


def test_compute_in_batches():
    traces = []

    @jax.jit
    def apply(x):
        traces.append(x.shape)
        flat = x.reshape(len(x), -1)
        return flat[:, :3], flat[:, :2]

    rows = toy(count=23)[0]
    whole = apply(data.scaled(rows))
    del traces[:]
    for images in (rows, data.scaled(rows), np.asarray(data.scaled(rows))):
        found = features.compute(apply, images, batch=5)
        for a, b in zip(found, whole, strict=True):
            np.testing.assert_array_equal(a, b)
    padded = np.concatenate([rows, rows])
    drawn = features.compute(apply, lambda i: padded[5 * i : 5 * i + 5], 23, batch=5)
    np.testing.assert_array_equal(drawn[0], whole[0])
    assert traces == [(5, 8, 8, 1)]
