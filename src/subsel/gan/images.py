"""Image classification sets of tensorflow-datasets, as arrays.

In one file because no other may import tensorflow_datasets, which happens only when a
set is asked for.
"""

import contextlib
import glob
import hashlib
import importlib.util
import io
import json
import os
import re
import shlex
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from tqdm import tqdm

from subsel.lab import cache
from subsel.lab.errors import UsageError, near
from subsel.lab.files import atomic

# tensorflow-datasets 4.9.10 prepares with the second too, and does not declare it.
_PREPARES_WITH = ("tensorflow", "importlib_resources")
_TFDS = "tensorflow_datasets."
_PATIENCE = 4.0  # seconds in which a host has to answer
_CHUNK = 1024  # records decoded between two updates of the progress bar


def load(
    name: str,
    data_dir: str | None,
    others: tuple[str, ...] = (),
    split: str = "train",
) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, H, W, C] uint8 and labels [N] int32 of one split.

    Args:
        name: NAME[/CONFIG][:VERSION], as tensorflow-datasets has it.
        data_dir: where its sets are; prepared there if it can be.
        others: names of sets that are not among these, for the error message.
        split: as the set calls it.

    Raises:
        UsageError: no such set or split, not one of images, not to be had here, or
            damaged.
    """
    with _quiet():
        return _load(name, data_dir, others, split)


def _load(name, data_dir, others, split):
    folder = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    folder = os.path.abspath(os.path.expanduser(folder))
    if data_dir and not os.path.isdir(folder):
        raise UsageError(
            f"--data-dir {data_dir!r} is not a folder; name the one with {name} in it, "
            "or make it to have the set prepared there"
        )
    builder = _builder(name, folder, others)
    shape = _image_shape(name, builder.info.features)
    if not builder.is_prepared():
        _prepare(name, folder, builder)
    again = f"; move {builder.data_dir} away and prepare it again:\n"
    again += _recipe(name, folder)
    formats = [form.value for form in builder.info.available_file_formats()]
    if "array_record" not in formats:
        raise UsageError(
            f"{name} is prepared as {' and '.join(formats)}, and only array_record can "
            f"be read{again}"
        )
    if split not in builder.info.splits:
        raise UsageError(
            f"{name} has no split called {split}, only "
            f"{', '.join(builder.info.splits)}; choose another data set"
        )
    return _decoded(builder, split, shape, again)


def _builder(name: str, folder: str, others: tuple[str, ...]) -> Any:
    """The tfds builder, of the prepared files where there are any; asks no network."""
    import tensorflow_datasets as tfds

    if re.fullmatch(r"\w+(/[\w.-]+)?(:[\d.]+)?", name):  # no namespace: they ask it
        # Only for a version does tfds look at the files first; any version will do.
        version = {} if ":" in name else {"version": "*.*.*"}
        try:
            _trust(os.path.join(folder, re.split("[/:]", name)[0]))
            return tfds.builder(name, data_dir=folder, **version)
        except tfds.core.DatasetNotFoundError:
            pass
        except Exception as error:  # no such config or version, a damaged description
            raise UsageError(
                f"tensorflow-datasets cannot open {name!r} in {folder}: {_line(error)}"
            ) from error
    names = [*others, *tfds.list_builders(with_community_datasets=False)]
    raise UsageError(
        f"unknown data set {name!r}: expected {', '.join(others)} or an image "
        f"classification set of tensorflow-datasets, such as mnist{near(name, names)}"
    )


def _trust(folder: str) -> None:
    """Raises where a description names classes that are not those of tfds, which
    would import whatever module it says."""

    def check(described):
        for key in ("pythonClassName", "python_class_name", "type"):
            named = described.get(key)  # a feature may be called type, too
            if isinstance(named, str) and not named.startswith(_TFDS):
                raise ValueError(f"{path} asks for {named}, which is not of {_TFDS}*")

    for path in glob.glob(f"{glob.escape(folder)}/**/features.json", recursive=True):
        with open(path, "rb") as file:
            json.load(file, object_hook=check)


def _image_shape(name: str, features: Any) -> tuple[int, int, int]:
    """[H, W, C] of a set with one uint8 image of fixed size and one class a record."""
    import tensorflow_datasets as tfds

    has = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    image, label = has.get("image"), has.get("label")
    if isinstance(image, tfds.features.Image) and image.np_dtype == np.uint8:
        if isinstance(label, tfds.features.ClassLabel) and None not in image.shape:
            return image.shape
    raise UsageError(
        f"{name} is no image classification set of one image size: it needs the "
        "features image, uint8 [height, width, channels], and label, a class, and has "
        f"{' '.join(repr(features).split())}; choose another data set"
    )


def _prepare(name: str, folder: str, builder: Any) -> None:
    """Downloads and prepares, unless it must fail, which takes tfds minutes to see."""
    missing = [m for m in _PREPARES_WITH if importlib.util.find_spec(m) is None]
    problems = [f"{module} is not installed" for module in missing]
    if "importlib_resources" not in missing:  # without it there is no url_infos
        hosts = _silent(builder.url_infos or ())
        problems += [f"{host} does not answer" for host in hosts]
    if not problems:
        try:
            return builder.download_and_prepare(file_format="array_record")
        except Exception as error:  # network, disk, checksum, a package of this set
            problems = [_line(error)]
    raise UsageError(
        f"{name} is not prepared in {folder} and cannot be prepared here: "
        f"{'; '.join(problems)}. Prepare it, or copy a folder prepared elsewhere:\n"
        f"{_recipe(name, folder)}\nor use digits, which needs no download"
    )


def _recipe(name: str, folder: str) -> str:
    """The commands that prepare a set in ``folder``."""
    code = (
        "import tensorflow_datasets as tfds; "
        f"tfds.builder({json.dumps(name)}, data_dir={json.dumps(folder)})"
        '.download_and_prepare(file_format="array_record")'
    )
    return f"  pip install {' '.join(_PREPARES_WITH)}\n  python -c {shlex.quote(code)}"


def _silent(urls: Iterable[str]) -> list[str]:
    """The hosts of ``urls`` that do not answer the client, and proxies, of tfds."""
    import requests

    hosts = {urlsplit(url).netloc: url for url in urls if url.startswith("http")}
    answered = set()

    def ask(host: str, url: str) -> None:
        with contextlib.suppress(Exception):  # no answer, for whatever reason
            requests.head(url, timeout=_PATIENCE)
            answered.add(host)

    # Daemons, because looking up a name has no time limit and must not delay the exit.
    threads = [threading.Thread(target=ask, args=h, daemon=True) for h in hosts.items()]
    deadline = time.monotonic() + _PATIENCE
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return sorted(hosts.keys() - answered)


def _decoded(
    builder: Any, split: str, shape: tuple, again: str
) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels, from the cache if the record files are still the same.

    The files are the split's own, and so is what they are cached as.
    """
    info, name = builder.info.splits[split], builder.info.full_name
    files = [os.fspath(file) for file in info.filepaths]
    try:
        stats = [(f, s.st_size, s.st_mtime_ns) for f in files for s in [os.stat(f)]]
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}{again}") from error
    digest = hashlib.sha256(repr((name, stats)).encode()).hexdigest()[:16]
    path = cache.folder() / f"{name.replace('/', '-')}-{digest}.npz"
    n = info.num_examples
    with contextlib.suppress(Exception):  # whatever is wrong with it, decode again
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as kept:
            rows, labels = kept["rows"], kept["labels"]  # zip compares the checksums
        if (rows.shape, rows.dtype, labels.shape) == ((n, *shape), np.uint8, (n,)):
            return rows, labels
    rows, labels = _decode(builder, split, files, shape, again)
    with contextlib.suppress(OSError):  # without a cache the next run starts later
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as part:
            np.savez(part, rows=rows, labels=labels)
    return rows, labels


def _decode(
    builder: Any, split: str, files: list[str], shape: tuple, again: str
) -> tuple[np.ndarray, np.ndarray]:
    """Decodes all records, file by file, so that an error can name the file."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    info, end = builder.info.splits[split], 0
    source = builder.as_data_source(split=split, file_format="array_record")
    rows = np.empty((info.num_examples, *shape), np.uint8)
    labels = np.empty(info.num_examples, np.int32)
    with tqdm(total=len(rows), desc=f"decoding {builder.name}", disable=None) as bar:
        for file, count in zip(files, info.shard_lengths, strict=True):
            start, end = end, end + count
            try:
                if (held := len(ArrayRecordDataSource(file))) != count:
                    raise ValueError(
                        f"{held} records, not {count} as dataset_info.json"
                    )
                for i in range(start, end, _CHUNK):
                    items = source.__getitems__(range(i, min(i + _CHUNK, end)))
                    for j, item in enumerate(items, i):
                        rows[j], labels[j] = item["image"], item["label"]
                    bar.update(len(items))
            except Exception as error:  # of the record reader or the image decoder
                raise UsageError(f"{file} is damaged: {_line(error)}{again}") from error
    return rows, labels


def _line(error: Exception) -> str:
    """A library's error on one line of bearable length."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what tfds prints and absl warns of off the terminal."""
    from absl import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
