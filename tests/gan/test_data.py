"""Data sets: what `load` finds and refuses, what it keeps, and how `batch` draws.

Small sets are prepared here with tensorflow-datasets itself; real MNIST is read where
SUBSEL_TFDS, or shared/tfds beside the repository, holds it. No test asks the network.
"""

import ast
import http.server
import importlib.resources
import io
import json
import os
import pickle
import shlex
import shutil
import socket
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from absl import logging
from PIL import Image
from scipy import stats
from sklearn.datasets import load_digits

from subsel.gan import data, images
from subsel.lab import errors
from subsel.lab.errors import UsageError

TFDS = Path(os.environ.get("SUBSEL_TFDS") or Path(__file__, "../../../../shared/tfds"))
TFDS = TFDS.resolve()
HALVES = slice(0, 63), slice(64, 127)
COLOUR = {
    "id": tfds.features.Text(),
    "image": tfds.features.Image(shape=(32, 32, 3)),
    "label": tfds.features.ClassLabel(num_classes=7),
}


class SubselToy(tfds.core.GeneratorBasedBuilder):
    """50 random images in 3 files; needs neither TensorFlow nor a network."""

    VERSION = tfds.core.Version("1.0.0")
    FEATURES = COLOUR
    SPLIT = "train"
    url_infos = None  # what the data set would download

    def _info(self):
        features = tfds.features.FeaturesDict(self.FEATURES)
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {self.SPLIT: self._generate_examples()}

    def _generate_examples(self):
        for i in range(50):
            made = {"id": str(i), "image": png(toy_image(i)), "label": i % 7}
            yield i, {k: made[k] for k in self.FEATURES}


def toy_image(i):
    return np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8)


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    file.seek(0)
    return file


def prepare(folder):
    config = tfds.download.DownloadConfig(num_shards=3)
    builder = SubselToy(data_dir=folder)
    builder.download_and_prepare(file_format="array_record", download_config=config)
    return Path(builder.data_dir)


@pytest.fixture(scope="session")
def toy_source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    prepare(folder)
    return folder


@pytest.fixture
def toy(toy_source, tmp_path):
    """A data directory of its own with the toy set in it."""
    return Path(shutil.copytree(toy_source, tmp_path / "data"))


@pytest.fixture(scope="session")
def mnist():
    if not (TFDS / "mnist").is_dir():
        pytest.skip(f"needs MNIST, prepared by tensorflow-datasets, in {TFDS}/mnist")
    return TFDS


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """No name is ever resolved, and nothing of the user's is read or written."""

    def refuse(host, *args, **kwargs):
        if host in ("127.0.0.1", "localhost"):
            return resolve(host, *args, **kwargs)
        raise socket.gaierror(socket.EAI_NONAME, f"no network in tests: {host}")

    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "default"))
    for proxy in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.upper(), raising=False)


@pytest.fixture
def can_prepare(monkeypatch):
    """As if all that preparation needs were installed."""
    monkeypatch.setattr(images.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "importlib_resources", importlib.resources)


@pytest.fixture
def decodes(monkeypatch):
    """The number of times that records were decoded."""
    calls = []

    def decode(*args):
        calls.append(args)
        return original(*args)

    original = images._decode
    monkeypatch.setattr(images, "_decode", decode)
    return calls


def refusal(*args):
    with pytest.raises(UsageError) as caught:
        data.load(*args)
    return str(caught.value)


def caches(tmp_path):
    return sorted((tmp_path / "cache" / "subsel").glob("*"))


def check_toy(dataset):
    # Prepared sets are shuffled; the label and a pixel tell which image is which.
    images = {toy_image(i).tobytes(): i for i in range(50)}
    order = [images.pop(row.tobytes()) for row in dataset.rows]
    assert not images
    np.testing.assert_array_equal(dataset.labels, np.array(order) % 7)
    assert dataset.rows.dtype == np.uint8 and dataset.labels.dtype == np.int32
    assert dataset.noise == 0


# ---------------------------------------------------------------- built-in data sets


def test_digits_are_those_of_scikit_learn_every_third_for_testing():
    train, test = data.load("digits"), data.load("digits", None, "test")
    reference = load_digits()
    scaled = np.array([round(grey * 255 / 16) for grey in range(17)])
    scaled = scaled[reference.images.astype(int)]
    third = np.arange(1797) % 3 == 0
    for digits, part in ((train, ~third), (test, third)):
        assert digits.rows.dtype == np.uint8 and digits.labels.dtype == np.int32
        assert digits.rows.min() == 0 and digits.rows.max() == 255
        np.testing.assert_array_equal(digits.rows[..., 0], scaled[part])
        np.testing.assert_array_equal(digits.labels, reference.target[part])
        assert (digits.noise, digits.stack, digits.classes) == (0, 1, 10)
        assert digits.shape == (8, 8, 1)
    assert (len(train.rows), len(test.rows)) == (1198, 599)


def test_ring_has_eight_distinct_modes_at_radius_two():
    ring = data.load("ring")
    np.testing.assert_allclose(np.linalg.norm(ring.rows, axis=1), 2, rtol=1e-6)
    gap = np.linalg.norm(ring.rows - np.roll(ring.rows, 1, axis=0), axis=1)
    np.testing.assert_allclose(gap, 4 * np.sin(np.pi / 8), rtol=1e-5)
    assert ring.rows.shape == (8, 2) and ring.rows.dtype == np.float32
    assert ring.labels.tolist() == list(range(8)) and ring.noise == 0.02


def test_grid_has_the_25_modes_of_spacing_two():
    grid = data.load("grid")
    expected = {(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)}
    assert {tuple(row) for row in grid.rows.tolist()} == expected
    assert grid.rows.shape == (25, 2) and grid.rows.dtype == np.float32
    assert grid.labels.tolist() == list(range(25)) and grid.noise == 0.05


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_a_mixture_is_its_own_test_set(name):
    train, test = data.load(name), data.load(name, split="test")
    np.testing.assert_array_equal(train.rows, test.rows)
    assert train.shape == (2,) and train.classes == len(train.rows)


@pytest.mark.parametrize("name", ["digits", "ring", "signals", "stacked_mnist"])
def test_another_split_of_a_built_in_set_is_refused(name):
    message = refusal(name, None, "validation")
    assert f"{name} has no split called validation, only train, test" in message


def test_signals_are_five_kinds_in_range_and_the_same_each_time():
    train, test = data.load("signals"), data.load("signals", split="test")
    assert (len(train.rows), len(test.rows)) == (4096, 1024)
    for signals in (train, test):
        assert signals.rows.dtype == np.float32 and signals.shape == (128, 1)
        assert np.abs(signals.rows).max() <= 1 and signals.noise == 0
        counts = np.bincount(signals.labels)
        assert len(counts) == signals.classes == 5 and np.ptp(counts) <= 1
    np.testing.assert_array_equal(train.rows, data.load("signals").rows)
    rows = np.concatenate([train.rows, test.rows])
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_signals_are_what_their_labels_say():
    signals = data.load("signals", split="test")
    kind = [signals.rows[signals.labels == k, :, 0] for k in range(5)]
    # Crossings of zero in the first and second half tell the pitch of a chirp.
    crossings = [np.diff(np.sign(rows), axis=1) != 0 for rows in kind]
    early, late = ([c[:, part].sum(axis=1) for c in crossings] for part in HALVES)
    assert (late[1] > early[1]).all() and (late[2] < early[2]).all()
    loud, faint = (np.abs(kind[0][:, part]).max(axis=1) for part in HALVES)
    assert (faint < 0.5 * loud).all()
    assert all(len(np.unique(np.abs(row).round(5))) == 2 for row in kind[4])
    quiet = (kind[4] == 0).sum(axis=1)  # a burst is from 0.3 to 0.5 long
    assert quiet.min() >= 0.5 * 128 - 1 and quiet.max() <= 0.7 * 128 + 1
    spectrum = np.sort(np.abs(np.fft.rfft(kind[3] * np.hanning(128))), axis=1)
    assert (spectrum[:, -2] > 0.3 * spectrum[:, -1]).all()


# ---------------------------------------------------------------- prepared data sets


@pytest.mark.parametrize(
    ("name", "first"), [("mnist", [4, 1, 0, 7, 8, 1]), ("fashion_mnist", [2, 1, 8, 4])]
)
def test_real_sets_are_read(mnist, name, first, decodes):
    dataset = data.load(name, mnist)
    assert dataset.rows.shape == (60000, 28, 28, 1) and dataset.rows.dtype == np.uint8
    assert dataset.labels[: len(first)].tolist() == first
    assert np.bincount(dataset.labels, minlength=10).min() > 5000
    source = tfds.data_source(name, split="train", data_dir=mnist, download=False)
    for i in [0, 1023, 1024, 59999]:
        np.testing.assert_array_equal(dataset.rows[i], source[i]["image"])
        assert dataset.labels[i] == source[i]["label"]
    again = data.load(name, mnist)
    assert len(decodes) == 1
    np.testing.assert_array_equal(again.rows, dataset.rows)
    np.testing.assert_array_equal(again.labels, dataset.labels)


def test_the_test_split_is_read_and_cached_beside_the_train_split(mnist, tmp_path):
    test = data.load("fashion_mnist", mnist, "test")
    assert test.rows.shape == (10000, 28, 28, 1) and test.shape == (28, 28, 1)
    source = tfds.data_source(
        "fashion_mnist", split="test", data_dir=mnist, download=False
    )
    for i in [0, 9999]:
        np.testing.assert_array_equal(test.rows[i], source[i]["image"])
        assert test.labels[i] == source[i]["label"]
    np.testing.assert_array_equal(np.bincount(test.labels), 1000)
    (kept,) = caches(tmp_path)


def test_stacked_mnist_is_mnist_three_at_a_time(mnist):
    stacked = data.load("stacked_mnist", mnist, "test")
    plain = data.load("mnist", mnist, "test")
    np.testing.assert_array_equal(stacked.rows, plain.rows)
    assert stacked.shape == (28, 28, 3) and stacked.classes == 1000


def test_stacked_mnist_is_refused_as_mnist_is(tmp_path, monkeypatch):
    monkeypatch.setattr(images.importlib.util, "find_spec", lambda module: None)
    assert refusal("stacked_mnist", tmp_path) == refusal("mnist", tmp_path)


@pytest.mark.parametrize("name", ["subsel_toy", "subsel_toy:1.0.0", "SubselToy"])
def test_colour_set_in_several_files(toy, name):
    assert len(list(toy.glob("**/*array_record*"))) == 3
    check_toy(data.load(name, toy))


def test_default_folder_is_that_of_tfds(toy, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(toy))
    check_toy(data.load("subsel_toy"))


def test_another_prepared_version_will_do(toy):
    (toy / "subsel_toy/1.0.0").rename(toy / "subsel_toy/0.9.0")
    info = toy / "subsel_toy/0.9.0/dataset_info.json"
    info.write_text(info.read_text().replace("1.0.0", "0.9.0"))
    check_toy(data.load("subsel_toy", toy))


def test_the_terminal_stays_clean(toy, capfd, caplog):
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.INFO)
    data.load("subsel_toy", toy)
    refusal("mnist", toy)
    out, err = capfd.readouterr()
    assert not out and not err and not caplog.records
    assert logging.get_verbosity() == logging.INFO
    logging.set_verbosity(verbosity)


# ---------------------------------------------------------------- what is not there


def test_unknown_name_lists_the_near_ones():
    begin = time.perf_counter()
    message = refusal("minst")
    assert "'minst'" in message and "did you mean 'mnist'" in message
    assert "'ring'" in refusal("Rign") and "'cifar10'" in refusal("cifar-10")
    assert "did you mean" not in refusal("zzzzzzzz")
    assert time.perf_counter() - begin < 10


@pytest.mark.parametrize(
    "name", ["", "..", "../mnist", "a b", "kaggle:mnist", "mnist/"]
)
def test_strange_names(name):
    assert repr(name) in refusal(name)


@pytest.mark.parametrize("name", ["mnist/nope", "mnist:9.9.9", "emnist/nope"])
def test_unknown_config_or_version(name):
    assert f"cannot open {name!r}" in refusal(name)


def test_near():
    assert errors.near("adm", ["adam", "lion"]) == "; did you mean 'adam'?"
    assert (
        errors.near("ADAMW", ["adam", "adamw"]) == "; did you mean 'adamw' or 'adam'?"
    )
    assert errors.near("x", ["adam"]) == ""


def test_data_directory_that_is_missing(tmp_path):
    missing = str(tmp_path / "nowhere")
    assert f"{missing!r} is not a folder" in refusal("mnist", missing)
    assert not Path(missing).exists()


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_offline_refusal_is_quick_and_complete(name, tmp_path, monkeypatch):
    monkeypatch.setattr(images.importlib.util, "find_spec", lambda module: None)
    begin = time.perf_counter()
    message = refusal(name, tmp_path)
    assert time.perf_counter() - begin < 10
    assert f"{name} is not prepared in {tmp_path}" in message
    assert "tensorflow is not installed" in message
    assert "\n  pip install tensorflow importlib_resources\n" in message
    code = shlex.split(message.splitlines()[2])
    assert code[:2] == ["python", "-c"] and f'"{tmp_path}"' in code[2]
    ast.parse(code[2])
    assert not list(tmp_path.iterdir())


def test_host_that_does_not_answer(tmp_path, can_prepare):
    begin = time.perf_counter()
    message = refusal("mnist", tmp_path)
    assert time.perf_counter() - begin < 10
    assert "storage.googleapis.com does not answer" in message
    assert "not installed" not in message


def test_name_server_that_does_not_answer(tmp_path, can_prepare, monkeypatch):
    wake = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: wake.wait(60) and [])
    monkeypatch.setattr(images, "_PATIENCE", 0.5)
    begin = time.perf_counter()
    message = refusal("cifar10", tmp_path)
    wake.set()
    assert time.perf_counter() - begin < 10
    assert "does not answer" in message


def test_prepares_where_that_can_work(tmp_path, can_prepare, monkeypatch, capsys):
    class Quiet(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(404)  # an answer all the same

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/toy.zip"
        monkeypatch.setattr(SubselToy, "url_infos", {url: None})
        check_toy(data.load("subsel_toy", tmp_path))
        server.shutdown()
    assert not capsys.readouterr().out
    names = {file.name for file in (tmp_path / "subsel_toy/1.0.0").iterdir()}
    assert "subsel_toy-train.array_record-00000-of-00001" in names
    monkeypatch.setattr(SubselToy, "download_and_prepare", None)
    check_toy(data.load("subsel_toy", tmp_path))  # and only once


def test_preparation_that_fails(tmp_path, can_prepare, monkeypatch):
    def fail(self, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(SubselToy, "download_and_prepare", fail)
    message = refusal("subsel_toy", tmp_path)
    assert "OSError: No space left on device" in message
    assert "pip install" in message


def test_the_recipe_prepares(tmp_path):
    folder = tmp_path / 'it\'s "here"'
    exec(shlex.split(images._recipe("subsel_toy", str(folder)).splitlines()[1])[2])
    check_toy(data.load("subsel_toy", folder))


# ---------------------------------------------------------------- what cannot be used


def test_tfrecord_is_refused_with_a_way_out(toy):
    folder = toy / "subsel_toy/1.0.0"
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    for file in folder.glob("*array_record*"):
        file.rename(str(file).replace("array_record", "tfrecord"))
    message = refusal("subsel_toy", toy)
    assert "prepared as tfrecord" in message and f"move {folder} away" in message
    assert 'file_format="array_record"' in message


@pytest.mark.parametrize(
    "features",
    [
        {"id": tfds.features.Text()},
        {"image": COLOUR["image"]},
        {"image": COLOUR["image"], "label": tfds.features.Scalar(np.int64)},
        {"image": tfds.features.Image(), "label": COLOUR["label"]},
        {
            "image": tfds.features.Image(shape=(32, 32, 3), dtype=np.uint16),
            "label": COLOUR["label"],
        },
    ],
    ids=["text", "no label", "no class", "varying shape", "uint16"],
)
def test_not_an_image_classification_set(features, tmp_path, monkeypatch):
    monkeypatch.setattr(SubselToy, "FEATURES", features)
    message = refusal("subsel_toy", tmp_path)  # said before anything is downloaded
    assert "no image classification set" in message
    assert all(
        f"'{name}': {type(f).__name__}(" in message for name, f in features.items()
    )
    prepare(tmp_path)
    assert refusal("subsel_toy", tmp_path) == message


def test_set_of_varying_images_is_refused_without_download():
    assert "shape=(None, None, 3)" in refusal("imagenet2012")


def test_set_without_a_train_split(tmp_path, monkeypatch):
    monkeypatch.setattr(SubselToy, "SPLIT", "test")
    prepare(tmp_path)
    assert "no split called train, only test" in refusal("subsel_toy", tmp_path)
    check_toy(data.load("subsel_toy", tmp_path, "test"))


def test_set_without_a_test_split(toy):
    assert "no split called test, only train" in refusal("subsel_toy", toy, "test")


def test_the_splits_of_a_set_have_caches_of_their_own(tmp_path, monkeypatch, decodes):
    def generate(self, dl_manager):
        return {"train": self._generate_examples(), "test": self._generate_examples()}

    monkeypatch.setattr(SubselToy, "_split_generators", generate)
    prepare(tmp_path)
    for _ in range(2):
        for split in ("train", "test"):
            check_toy(data.load("subsel_toy", tmp_path, split))
    assert len(decodes) == len(caches(tmp_path)) == 2


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
def test_damaged_description(toy, name):
    file = toy / "subsel_toy/1.0.0" / name
    file.write_text(file.read_text()[:40])
    assert "subsel_toy" in refusal("subsel_toy", toy)


@pytest.mark.parametrize("kept", [0, 1, 64, 0.25, 0.5, 65536, -65536, -64, -8, -1])
def test_truncated_file_is_named(toy, kept, tmp_path):
    file = sorted(toy.glob("**/*array_record*"))[1]
    size = file.stat().st_size
    length = int(kept * size) if isinstance(kept, float) else kept % size
    os.truncate(file, length)
    message = refusal("subsel_toy", toy)
    assert f"{file} is damaged" in message and "\n  python -c" in message
    assert not caches(tmp_path)


def test_truncated_mnist_is_named(mnist, tmp_path):
    folder = tmp_path / "mnist"
    shutil.copytree(mnist / "mnist", folder, copy_function=shutil.copyfile)
    file = next(folder.glob("**/*train.array_record*"))
    size = file.stat().st_size
    for cut in [1, 8, 64, 1000, 65536, size // 2, size - 65536, size - 100, size]:
        os.truncate(file, size - cut)
        begin = time.perf_counter()
        assert f"{file} is damaged" in refusal("mnist", tmp_path), cut
        assert time.perf_counter() - begin < 10


def test_flipped_byte_in_a_record_is_named(toy):
    file = sorted(toy.glob("**/*array_record*"))[2]
    content = bytearray(file.read_bytes())
    content[content.index(b"\x89PNG") + 100] ^= 1
    file.write_bytes(content)
    assert f"{file} is damaged" in refusal("subsel_toy", toy)


def test_missing_file_is_named(toy):
    file = sorted(toy.glob("**/*array_record*"))[0]
    file.unlink()
    assert str(file) in refusal("subsel_toy", toy)


@pytest.mark.parametrize("change", [-1, 1])
def test_other_number_of_records_than_described(toy, change):
    info = toy / "subsel_toy/1.0.0/dataset_info.json"
    described = json.loads(info.read_text())
    lengths = described["splits"][0]["shardLengths"]
    held = int(lengths[1])
    lengths[1] = str(held + change)
    info.write_text(json.dumps(described))
    file = sorted(toy.glob("**/*array_record*"))[1]
    message = refusal("subsel_toy", toy)
    assert f"{file} is damaged" in message
    assert f"{held} records, not {held + change}" in message


# ---------------------------------------------------------------- the cache


def test_decodes_once(toy, tmp_path, decodes):
    for _ in range(2):
        check_toy(data.load("subsel_toy", toy))
    assert len(decodes) == 1
    (kept,) = caches(tmp_path)
    assert kept.name.startswith("subsel_toy-1.0.0-") and kept.suffix == ".npz"


def test_decodes_again_when_a_file_changed(toy, tmp_path, decodes):
    data.load("subsel_toy", toy)
    os.utime(sorted(toy.glob("**/*array_record*"))[0], ns=(1, 1))
    check_toy(data.load("subsel_toy", toy))
    assert len(decodes) == 2 and len(caches(tmp_path)) == 2


def flip(content, at):
    changed = bytearray(content)
    changed[at] ^= 1
    return bytes(changed)


def saved(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: b"",
        lambda c: b"not a zip file",
        lambda c: c[: len(c) // 2],
        lambda c: c[:-1],
        lambda c: flip(c, len(c) // 2),  # in the images
        lambda c: flip(c, c.index(b"(50, 32") + 1),  # in their shape
        lambda c: flip(c, c.rindex(b"NUMPY") + 200),  # in the labels
        lambda c: saved(rows=np.zeros((50, 32, 32, 3), np.uint8)),
        lambda c: saved(rows=np.zeros((49, 32, 32, 3), np.uint8), labels=np.zeros(50)),
        lambda c: saved(rows=np.zeros((50, 32, 32, 3)), labels=np.zeros(50)),
    ],
)
def test_a_damaged_cache_is_not_trusted(toy, tmp_path, decodes, damage):
    data.load("subsel_toy", toy)
    (kept,) = caches(tmp_path)
    content = kept.read_bytes()
    kept.write_bytes(damage(content))
    check_toy(data.load("subsel_toy", toy))
    assert len(decodes) == 2
    check_toy(data.load("subsel_toy", toy))  # and it was mended
    assert len(decodes) == 2 and caches(tmp_path) == [kept]


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_in_the_cache_is_not_run(toy, tmp_path):
    data.load("subsel_toy", toy)
    (kept,) = caches(tmp_path)
    kept.write_bytes(saved(rows=np.array([Trap(str(tmp_path / "sprung"))])))
    check_toy(data.load("subsel_toy", toy))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("file", ["features.json", "dataset_info.json", "0-of-00003"])
def test_a_pickle_in_a_prepared_set_is_not_run(toy, tmp_path, file):
    (path,) = (p for p in toy.rglob("*") if p.name.endswith(file))
    path.write_bytes(pickle.dumps(Trap(str(tmp_path / "sprung"))))
    refusal("subsel_toy", toy)
    assert not (tmp_path / "sprung").exists()


def test_a_description_has_no_module_imported(toy, tmp_path, monkeypatch):
    (tmp_path / "of_a_stranger.py").write_text("raise SystemExit('it was run')")
    monkeypatch.syspath_prepend(tmp_path)
    path = toy / "subsel_toy/1.0.0/features.json"
    tfds_class = "tensorflow_datasets.core.features.text_feature.Text"
    text = path.read_text()
    path.write_text(text.replace(tfds_class, "of_a_stranger.Text"))
    assert text != path.read_text()
    assert "asks for of_a_stranger.Text, which is not of" in refusal("subsel_toy", toy)


def test_cache_that_cannot_be_written(toy, tmp_path, decodes):
    (tmp_path / "cache").write_text("a file where the folder should be")
    for _ in range(2):
        check_toy(data.load("subsel_toy", toy))
    assert len(decodes) == 2


def test_full_disk_leaves_no_part_of_a_cache(toy, tmp_path, monkeypatch):
    def fill(path, **arrays):
        Path(path).write_bytes(b"part")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", fill)
    check_toy(data.load("subsel_toy", toy))
    assert not caches(tmp_path)


# ---------------------------------------------------------------- batches

draw = jax.jit(data.batch, static_argnames=("size", "noise", "stack"))


def test_image_batch_holds_rows_scaled_exactly():
    rows = np.arange(256, dtype=np.uint8).reshape(64, 2, 2, 1)
    drawn, labels = map(
        np.asarray, draw(rows, np.arange(64), jax.random.key(0), size=1000)
    )
    assert drawn.shape == (1000, 2, 2, 1) and drawn.dtype == np.float32
    assert drawn.min() == -1 and drawn.max() == 1
    grey = (drawn + 1) * 127.5
    np.testing.assert_allclose(grey, np.rint(grey), atol=1e-4)
    np.testing.assert_array_equal(np.rint(grey).astype(np.uint8), rows[labels])


def test_batch_is_a_function_of_its_key_compiled_or_not():
    rows, labels = data.load("digits")[1:3]
    one = draw(rows, labels, jax.random.key(1), size=16)
    again = draw(rows, labels, jax.random.key(1), size=16)
    plain = data.batch(rows, labels, jax.random.key(1), 16)
    for a, b, c in zip(one, again, plain, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, c, atol=1e-6)
    other = draw(rows, labels, jax.random.key(2), size=16)
    assert np.any(np.asarray(one[0]) != other[0])


def test_the_draw_of_a_place_is_that_of_one_index_a_place():
    """Runs that were started before sets could be stacked go on with the same data."""
    rows = np.arange(500, dtype=np.float32)[:, None]
    key = jax.random.key(3)
    index = jax.random.randint(jax.random.split(key)[0], (64,), 0, 500)
    drawn, labels = draw(rows, np.arange(500), key, size=64)
    np.testing.assert_array_equal(drawn[:, 0], index)
    np.testing.assert_array_equal(labels, index)


@pytest.mark.parametrize(("name", "stack"), [("digits", 1), ("ring", 1), ("digits", 3)])
def test_slots_are_places_of_the_whole_batch(name, stack):
    found = data.load(name)
    size = dict(size=12, noise=found.noise, stack=stack)
    whole = draw(found.rows, found.labels, jax.random.key(5), **size)
    slots = np.array([7, 0, 11])
    part = draw(found.rows, found.labels, jax.random.key(5), slots=slots, **size)
    for a, b in zip(part, whole, strict=True):
        np.testing.assert_allclose(a, np.asarray(b)[slots], atol=1e-6)


def test_float_rows_without_noise_stay_as_they_are():
    rows = np.array([[-3.0, 500.0], [0.25, 7.0]], np.float32)
    drawn, labels = draw(rows, np.array([4, 2]), jax.random.key(0), size=64)
    assert drawn.dtype == np.float32
    np.testing.assert_array_equal(drawn, rows[(np.asarray(labels) == 2).astype(int)])


def test_signals_are_drawn_as_they_are():
    signals = data.load("signals", split="test")
    drawn, labels = draw(signals.rows, signals.labels, jax.random.key(0), size=8)
    for row, label in zip(np.asarray(drawn), np.asarray(labels), strict=True):
        (place,) = np.flatnonzero((signals.rows == row).all(axis=(1, 2)))
        assert signals.labels[place] == label


def test_stacked_rows_are_the_channels_in_the_order_of_the_label():
    rows = (20 * np.arange(10, dtype=np.uint8)).reshape(10, 1, 1, 1)
    rows = np.broadcast_to(rows, (10, 4, 5, 1))
    labels = np.arange(10, dtype=np.int32)
    n = 3000
    drawn, label = map(
        np.asarray, draw(rows, labels, jax.random.key(6), size=n, stack=3)
    )
    assert drawn.shape == (n, 4, 5, 3) and label.dtype == np.int32
    np.testing.assert_array_equal(drawn, np.broadcast_to(drawn[:, :1, :1], drawn.shape))
    digits = np.rint((drawn[:, 0, 0] + 1) * 127.5 / 20).astype(int)
    np.testing.assert_array_equal(label, digits @ [100, 10, 1])
    counts = np.bincount(label, minlength=1000)  # the three are independent
    assert 1e-4 < stats.chisquare(counts).pvalue < 1 - 1e-4


def test_rows_of_several_channels_stay_together_when_stacked():
    rows = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    drawn, label = draw(rows, np.array([0, 1]), jax.random.key(7), size=20, stack=2)
    for sample, number in zip(np.asarray(drawn), np.asarray(label), strict=True):
        expected = np.concatenate([rows[number // 10], rows[number % 10]], axis=-1)
        np.testing.assert_array_equal(sample, expected)


@pytest.mark.parametrize("modes", [7, 8, 1797])
def test_rows_are_drawn_uniformly(modes):
    rows = np.arange(modes, dtype=np.float32)[:, None]
    drawn, _ = draw(rows, np.arange(modes), jax.random.key(3), size=200 * modes)
    counts = np.bincount(np.asarray(drawn)[:, 0].astype(int), minlength=modes)
    assert len(counts) == modes
    assert 1e-4 < stats.chisquare(counts).pvalue < 1 - 1e-4


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_mixture_draws_have_the_stated_spread(name):
    dataset, n = data.load(name), 100_000
    drawn, labels = draw(
        dataset.rows, dataset.labels, jax.random.key(4), size=n, noise=dataset.noise
    )
    drawn = np.asarray(drawn)
    assert drawn.dtype == np.float32
    noise = drawn - dataset.rows[np.asarray(labels)]
    error = dataset.noise / np.sqrt(n)
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=5 * error)
    np.testing.assert_allclose(noise.std(axis=0), dataset.noise, atol=5 * error)
    assert abs(np.corrcoef(noise.T)[0, 1]) < 5 / np.sqrt(n)
    assert stats.kstest(noise[:, 0] / dataset.noise, "norm").pvalue > 1e-4
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=5 * 3 / np.sqrt(n))


def test_real_images_are_none_of_them_twice():
    rows = np.arange(100, dtype=np.float32).reshape(100, 1, 1, 1)
    dataset = data.Dataset("ours", rows, np.zeros(100, np.int32), 0.0)
    seen = np.zeros(100)
    for seed in range(200):
        taken = np.asarray(data.real(dataset, jax.random.key(seed), 30)).ravel()
        assert len(set(taken)) == 30
        seen[taken.astype(int)] += 1
    # Each is in 60 of the 200 on average; hypergeometric, so below binomial spread.
    assert stats.chisquare(seen).pvalue > 1e-4
    assert data.real(dataset, jax.random.key(0), 101).shape == (101, 1, 1, 1)


def test_real_points_are_draws():
    dataset = data.load("ring")
    drawn = data.real(dataset, jax.random.key(1), 500)
    np.testing.assert_array_equal(drawn, data.draw(dataset, jax.random.key(1), 500)[0])
    assert len(np.unique(np.asarray(drawn), axis=0)) == 500
