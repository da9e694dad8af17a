r"""Do images from a GAN help a classifier that has few real ones? Compared with shifts.

    python experiments/augment_data.py --out results/augment_data.json
    python experiments/augment_data.py --dataset mnist --data-dir DIR \
        --out results/augment_data_mnist.json
    python experiments/augment_data.py --quick

A classifier sees 5, 10 or 20 real images of each class; half of its batch may come from
a class-conditional GAN with differentiable augmentation, trained on the same images and
on no others, and images may be shifted. Seeds choose other images; ways share images,
start and batches. No training is stopped by looking at the test split.

Generated images do not help; shifts do, on MNIST. Test accuracy in %, and the gain
over real images alone, paired by seed, with 95 % intervals over 5 seeds:

             a class  real         real and generated  real, shifted  all three
    digits         5  85.4 +-3.4   -0.6 +-1.2           -0.6 +-3.5    -0.4 +-3.9
                  10  90.3 +-1.2   -0.6 +-1.3           +0.2 +-1.5    +0.2 +-2.6
                  20  94.2 +-0.9   -1.0 +-0.8           -2.0 +-2.1    -2.6 +-2.0
    mnist          5  67.5 +-4.4   -0.4 +-2.2           +8.8 +-5.2   +11.0 +-5.5
                  10  77.6 +-1.9   -1.3 +-2.0          +10.2 +-3.4    +9.6 +-3.9
                  20  84.2 +-1.2   -1.0 +-0.7           +8.8 +-2.0    +7.2 +-1.9

1.6 minutes for digits and 9 for MNIST on 2 cores of an Intel Xeon that others used too.
The GAN is an MLP; its images are recognisable but noisy (the picture of samples). A
place is a large shift for 8x8 digits, and those of the test split are all centred.

In one file because the GAN, the classifier and their comparison are one protocol.
"""

import functools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from subsel.gan import config, data, features, game, pictures, step
from subsel.gan.config import Config
from subsel.gan.metrics.classifier import Classifier
from subsel.lab import cells
from subsel.lab.errors import UsageError, exit_status
from subsel.lab.files import atomic
from subsel.lab.statistics import student

# How a classifier's batch is made: the share of generated images, and whether each
# image is moved along each side, by up to a fourteenth of it, at least by a place.
WAYS = {
    "real": (0.0, False),
    "real and generated": (0.5, False),
    "real, shifted": (0.0, True),
    "real and generated, shifted": (0.5, True),
}
BATCH = 64


def main(
    quick: bool = False,
    out: Path | None = None,
    dataset: str = "digits",
    data_dir: str | None = None,
    shots: tuple[int, ...] = (5, 10, 20),
    seeds: int = 5,
    model: str = "mlp",
    augment: tuple[str, ...] = ("color", "translation"),
    gan_steps: int = 3000,
    steps: int = 500,
    generated: int = 1000,
) -> None:
    """Measures what is missing in the file, prints a table and draws two pictures.

    Args:
        quick: small enough for less than a minute.
        out: JSON file to write, or to go on with; the pictures have its name, as PNG.
            If left out, runs/augment_data.json or runs/augment_data_quick.json.
        dataset: digits, mnist, fashion_mnist or another set of images.
        data_dir: where tensorflow-datasets keeps its sets.
        shots: real images of each class, for the classifier and the GAN.
        seeds: other images, networks and batches.
        model: of the GAN: mlp, dcgan or resnet.
        augment: differentiable augmentation of all that D sees.
        gan_steps: of training the GAN.
        steps: of training the classifier.
        generated: images drawn from the GAN, in the classes' turn.
    """
    if min(*shots, seeds - 1, gan_steps, steps, generated, len(shots)) < 1:
        raise UsageError("expected 1 or more of everything, and --seeds 2 or more")
    if quick:
        shots, seeds, gan_steps, steps = shots[:1], 3, min(gan_steps, 200), 50
    protocol = {"dataset": dataset, "shots": shots, "seeds": seeds, "model": model}
    protocol |= {"augment": augment, "gan_steps": gan_steps, "steps": steps}
    protocol |= {"generated": generated, "ways": list(WAYS)}
    settings = Config(
        dataset=dataset,
        data_dir=data_dir,
        model=model,
        conditional=True,
        augment=augment,
        ema=0.999,
        batch_size=BATCH,
        steps=gan_steps,
        log_every=gan_steps,
        eval_every=0,
    )
    cfg = config.check(settings)
    playing = game.build(cfg)
    if len(playing.dataset.shape) != 3 or playing.dataset.stack > 1:
        raise UsageError(f"--dataset {dataset}: expected single images")
    gan = artist(cfg, playing, generated)
    test = data.load(dataset, data_dir, "test")
    classify = classifier(playing.dataset, steps)
    plan = {
        f"{count}/{seed}": functools.partial(
            measure, playing.dataset, test, gan, classify, count, seed
        )
        for count in shots
        for seed in range(seeds)
    }
    out = cells.place("augment_data", quick, out)
    report = cells.run(out, protocol, plan)
    print(table(report))
    picture(out.with_suffix(".png"), report)
    sheet = out.with_name(f"{out.stem}_samples.png")
    few = chosen(playing.dataset, shots[-1], 0)
    drawn = np.asarray(gan(few, 0)[0][: 10 * playing.dataset.classes])
    pictures.grid(sheet, drawn, playing.dataset.classes)
    print(f"\nsaved as {out}, {out.with_suffix('.png')} and {sheet}")


def chosen(dataset, count: int, seed: int):
    """``count`` rows of each class at random."""
    order = np.random.default_rng(seed).permutation(len(dataset.rows))
    labels = dataset.labels[order]
    rows = [order[labels == c][:count] for c in range(dataset.classes)]
    if min(map(len, rows)) < count:
        raise UsageError(f"--shots {count}: a class has {min(map(len, rows))} images")
    rows = np.concatenate(rows)
    return dataset._replace(rows=dataset.rows[rows], labels=dataset.labels[rows])


def artist(cfg, playing, count: int):
    """``(few, seed) -> images, labels``: ``count`` of a GAN that has seen only few.

    All steps are one program; classes take turns.
    """
    init = functools.partial(step.init, playing.nets, playing.tx, playing.rules)
    init = jax.jit(init, out_shardings=step.sharding())
    body = step.make_step(playing.nets, playing.tx, playing.rules, step.ALL)
    run, sample = step.make_run(body, cfg.steps), playing.draw

    def draw(few, seed):
        pool = jax.device_put((few.rows, few.labels), step.sharding())
        state = run(init(jax.random.key(seed)), pool, step.slots(cfg.batch_size))[0]
        key = jax.random.fold_in(state.key, step.SAMPLES)
        z = jax.random.normal(key, (count, cfg.latent))
        label = jnp.arange(count) % few.classes
        return sample(playing.generator(state), z, label), label

    return draw


def classifier(dataset, steps: int):
    """``(real, made, share, shift, key) -> parameters``, and the network's apply.

    ``real`` and ``made`` are images in [-1, 1] with labels; a batch has ``share`` of
    the second. Adam, with a cosine schedule from 2e-3, and no look at the test split.
    """
    side = max(dataset.shape[:2])
    reach, size = max(side // 14, 1), "small" if side <= 8 else "large"
    module = Classifier(dataset.classes, **features.RECIPE[size])
    tx = optax.adam(optax.cosine_decay_schedule(2e-3, steps))

    def shifted(image, key, shift):
        sides = [(reach, reach), (reach, reach), (0, 0)]
        padded = jnp.pad(image, sides, constant_values=-1.0)
        at = jax.random.randint(key, (2,), 0, 2 * reach + 1)
        at = jnp.where(shift, at, reach)
        return jax.lax.dynamic_slice(padded, (*at, 0), image.shape)

    def some(images, labels, key):
        rows = jax.random.randint(key, (BATCH,), 0, len(images))
        return images[rows], labels[rows]

    def batch(real, made, share, shift, key):
        keys = jax.random.split(key, 3)
        (x, y), (more_x, more_y) = some(*real, keys[0]), some(*made, keys[1])
        of_made = jnp.arange(BATCH) < share * BATCH
        x = jnp.where(of_made[:, None, None, None], more_x, x)
        x = jax.vmap(shifted, (0, 0, None))(x, jax.random.split(keys[2], BATCH), shift)
        return x, jnp.where(of_made, more_y, y)

    def loss(params, x, y):
        _, logits = module.apply(params, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    @jax.jit
    def train(real, made, share, shift, key):
        def move(carry, key):
            params, state = carry
            grads = jax.grad(loss)(params, *batch(real, made, share, shift, key))
            updates, state = tx.update(grads, state)
            return (optax.apply_updates(params, updates), state), None

        init_key, key = jax.random.split(key)
        params = module.init(init_key, real[0][:1])
        keys = jax.random.split(key, steps)
        return jax.lax.scan(move, (params, tx.init(params)), keys)[0][0]

    return train, jax.jit(module.apply)


def measure(dataset, test, gan, classify, count, seed) -> dict:
    """Test accuracy of each way; all share real images, start and batches."""
    few = chosen(dataset, count, seed)
    real, made = (data.scaled(few.rows), jnp.asarray(few.labels)), gan(few, seed)
    train, apply = classify
    found = {}
    for way, (share, shift) in WAYS.items():
        params = train(real, made, share, shift, jax.random.key(seed))
        _, logits = features.compute(functools.partial(apply, params), test.rows)
        found[way] = float(np.mean(np.argmax(logits, axis=1) == test.labels))
    return found


def accuracies(report: dict, count: int, way: str) -> np.ndarray:
    """In %, by seed."""
    seeds = range(report["protocol"]["seeds"])
    return 100 * np.array([report["cells"][f"{count}/{s}"][way] for s in seeds])


def table(report: dict) -> str:
    """Accuracy, and the gain over real images alone, paired by seed."""
    lines = ["", "test accuracy in % (95 % over seeds), and gain over real ones alone"]
    for count in report["protocol"]["shots"]:
        alone = accuracies(report, count, "real")
        for way in WAYS:
            found = accuracies(report, count, way)
            mean, half = student(found)
            line = f"{count:4} a class  {way:29}{mean:6.2f} +-{half:5.2f}"
            if way != "real":
                more, wide = student(found - alone)
                line += f"   {more:+6.2f} +-{wide:5.2f}"
            lines.append(line)
    return "\n".join(lines)


def picture(path: Path, report: dict) -> None:
    """Left, accuracy; right, the gain over real images alone."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots(1, 2)
    shots = report["protocol"]["shots"]
    for i, way in enumerate(WAYS):
        pairs = [accuracies(report, n, way) for n in shots]
        gains = [
            x - accuracies(report, n, "real") for x, n in zip(pairs, shots, strict=True)
        ]
        place = np.arange(len(shots)) + 0.06 * (i - 1.5)
        for ax, values in ((axes[0], pairs), (axes[1], gains)):
            bars = np.transpose([student(x) for x in values])
            ax.errorbar(place, *bars, fmt="o-", capsize=3, label=way, color=f"C{i}")
    axes[0].set(title=f"test accuracy on {report['protocol']['dataset']}, %")
    axes[1].set(title="gain over real images alone, points, paired by seed")
    for ax in axes:
        ax.set_xticks(range(len(shots)), shots)
        ax.set_xlabel("real images of each class; bars: 95 % over seeds")
        ax.grid(alpha=0.2)
    axes[0].legend(frameon=False, fontsize=8)
    with atomic(path) as part:
        figure.savefig(part, dpi=120)


if __name__ == "__main__":
    sys.exit(exit_status(lambda: tyro.cli(main, description=__doc__)))
