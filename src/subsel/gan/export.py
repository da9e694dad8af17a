"""Samples of a run, and the real ones, as files that other programs measure.

torch-fidelity, clean-fid and pytorch-fid read a folder of PNGs and turn each into RGB,
so a grey image is stored as grey: it becomes three equal channels there. The evaluator
of guided-diffusion (ADM) reads ``arr_0`` of an npz, ``[N, H, W, 3]`` uint8, and turns
nothing into anything, so a grey image is repeated in it.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from PIL import Image
from tqdm import tqdm

from subsel.gan import checks, data, features, game
from subsel.lab.errors import UsageError

_CHUNK = 500  # samples drawn at once


def export(
    run_dir: Path,
    out: Path,
    count: int = 10_000,
    seed: int = 1,
    at: int | None = None,
    temperature: float | None = None,
    data_dir: str | None = None,
) -> dict:
    """Writes ``count`` samples of a run's generator and the whole test split.

    Into the folder ``out``: ``samples/000000.png`` and so on, the same as
    ``samples.npz`` (labels in ``arr_1`` where the generator is told the class);
    ``reference/`` and ``reference.npz``, of the test split; for sets of single images
    ``reference_statistics.npz``, with mean ``mu`` ``[d]`` and covariance ``sigma``
    ``[d, d]`` of the reference in the project's feature network of the set, which is
    not Inception; and ``export.json``, which says how all of it was made.

    Samples are drawn with the averaged weights where the run has them, and latent
    points and labels in chunks with addresses of their own: the first of many are the
    same as the first of few.

    Args:
        run_dir: folder of a run on images.
        out: folder to write, new or empty.
        count: of samples. Fréchet distances depend on it: 10,000 or 50,000 are usual.
        seed: of latent points and labels.
        at: step of the checkpoint; the newest if None.
        temperature: of the noise; the run's own if None.
        data_dir: where tensorflow-datasets keeps its sets; as the run's if None.

    Returns:
        What ``export.json`` holds.

    Raises:
        UsageError: not a run on images, no such checkpoint, a count below 1, or a
            folder that is not empty or cannot be written.
    """
    if count < 1:
        raise UsageError(f"--count {count}: expected 1 or more")
    checks.seed(seed)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(
            f"--out {out} is not an empty folder: choose another, since a program that "
            "measures it would take old samples for new ones"
        )
    cfg, playing, state = game.restored(
        run_dir, at, temperature=temperature, data_dir=data_dir
    )
    if len(playing.dataset.shape) != 3:
        raise UsageError(
            f"{run_dir} was trained on {cfg.dataset}, which has no images to export; "
            "its metrics are in metrics.jsonl"
        )
    made = {
        "run": str(run_dir),
        "dataset": cfg.dataset,
        "step": int(state.step),
        "generator": game.drawn_with(cfg, state),
        "samples": {"count": count, "seed": seed},
        "values": "G's x in [-1, 1] as round(127.5 (x + 1)) in 0..255; PNGs of grey "
        "images are grey, npz are RGB",
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        drawn = _drawn(playing, cfg, playing.generator(state), count, seed)
        images, labels = _pictures(out / "samples", drawn, count)
        if cfg.conditional:
            made["samples"]["labels"] = "as frequent as in the training split; in arr_1"
        _arrays(out / "samples.npz", images, *[labels] * cfg.conditional)
        made |= _reference(out, cfg, playing)
        (out / "export.json").write_text(json.dumps(made, indent=1) + "\n")
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from None
    return made


def to_uint8(samples) -> np.ndarray:
    """From [-1, 1] to 0..255, rounded: the inverse of :func:`subsel.gan.data.scaled`.

    What is outside of [-1, 1] is cut off.
    """
    scaled = 127.5 * (np.asarray(samples, np.float64) + 1)
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def _drawn(playing, cfg, generator, count, seed) -> Iterator:
    """Chunks of images ``[n, H, W, C]`` uint8 and of labels ``[n]``."""
    label_of = jax.jit(lambda key: data.draw(playing.dataset, key, _CHUNK)[1])
    for i in range(0, count, _CHUNK):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), i), 2)
        z = jax.random.normal(keys[0], (_CHUNK, cfg.latent))
        label = label_of(keys[1])
        kept = min(_CHUNK, count - i)  # of a whole chunk, which compiles once
        yield (
            to_uint8(playing.draw(generator, z, label))[:kept],
            np.asarray(label)[:kept],
        )


def _reference(out, cfg, playing) -> dict:
    """Writes what is of the test split, and says how it was made."""
    test = data.load(cfg.dataset, cfg.data_dir, "test")
    rows, labels, count = test.rows, test.labels, len(test.rows)
    made = {"split": "test", "count": count}
    if test.stack > 1:
        rows, labels = data.draw(test, jax.random.key(0), count)
        rows = to_uint8(rows)
        made["stacked"] = "at random, with seed 0"
    chunks = (
        (rows[i : i + _CHUNK], labels[i : i + _CHUNK]) for i in range(0, count, _CHUNK)
    )
    images, _ = _pictures(out / "reference", chunks, count)
    _arrays(out / "reference.npz", images)
    if test.stack > 1:  # the network is of single images
        return {"reference": made}
    train = playing.dataset.rows, playing.dataset.labels
    network = features.network(cfg.dataset, train, (test.rows, test.labels))
    found = np.asarray(features.compute(network.apply, rows)[0], np.float64)
    np.savez(
        out / "reference_statistics.npz",
        mu=found.mean(axis=0),
        sigma=np.cov(found, rowvar=False),
    )
    return {"reference": made, "statistics": f"in {network.name}, not in Inception"}


def _pictures(folder, chunks, count) -> tuple[np.ndarray, np.ndarray]:
    """Writes a PNG of each image; all images and labels, in their order."""
    folder.mkdir()
    kept = []
    with tqdm(desc=folder.name, total=count, unit="image") as bar:
        done = 0
        for images, labels in chunks:
            for pixels in images:
                grey = pixels.shape[-1] == 1
                image = Image.fromarray(pixels[..., 0] if grey else pixels)
                image.save(folder / f"{done:06d}.png")
                done += 1
            bar.update(len(images))
            kept.append((images, labels))
    images, labels = zip(*kept, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _arrays(path, images, *more):
    rgb = np.repeat(images, 3 // images.shape[-1], axis=-1)
    np.savez(path, rgb, *more)
