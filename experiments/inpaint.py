r"""Missing parts of images, filled in by a search in the latent space of a trained G.

    python experiments/train_gan.py --dataset digits --steps 6000 --log-every 2000 \
        --ema 0.999 --eval-every 0 --run-dir runs/digits-6000
    python experiments/inpaint.py runs/digits-6000 --images 200 --seed 2

23 seconds and 8 seconds on 2 cores of an Intel Xeon that others used too. Root mean
square error of the missing part of 200 test images, with pixels from 0 to 1, beside the
nearest training image in the visible part and the mean training image:

    --mask                  right   centre   random
    G of an MLP             0.234    0.268    0.231
    nearest image           0.246    0.286    0.259
    mean image              0.284    0.378    0.272

subsel in place of Adam ends in the same; D's opinion changes little (random without it:
0.232). The length of z matters: --prior 0.1 gave 0.257 where 1 gave 0.230 and the
nearest image 0.252 (right, --seed 1, on which the default was chosen). For MNIST and a
DCGAN, which is told the class, and so looks for it as well:

    python experiments/train_gan.py --recipe mnist-dcgan --seed 1 --run-dir runs/mnist
    python experiments/inpaint.py runs/mnist --images 100 --seed 2

2 minutes on one such core (results/inpaint_mnist.png shows the right half):

    --mask                  right   centre   random
    G of a DCGAN            0.236    0.402    0.158
    nearest image           0.256    0.392    0.185
    mean image              0.266    0.417    0.258

Of the centre G knows less than the nearest image does.
"""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from subsel.gan import inpaint
from subsel.lab import cache
from subsel.lab.errors import exit_status

DEFAULT = inpaint.Search()


def main(
    run_dir: Annotated[Path, tyro.conf.Positional],
    *,
    mask: str = "right",
    images: int = 16,
    steps: int = DEFAULT.steps,
    restarts: int = DEFAULT.restarts,
    optimizer: str = DEFAULT.optimizer,
    learning_rate: float = DEFAULT.learning_rate,
    loss: str = DEFAULT.loss,
    realism: float = DEFAULT.realism,
    prior: float = DEFAULT.prior,
    seed: int = 1,
    step: int | None = None,
    out: Path | None = None,
    data_dir: str | None = None,
):
    """Fills in test images, prints the error and draws a picture.

    Args:
        run_dir: folder of the run.
        mask: the missing part: left, right, top, bottom, centre, or random (80 %).
        images: of the test split, at random.
        steps: of each search.
        restarts: searches for an image; the best on its visible part is taken.
        optimizer: adam, subsel, sgd, momentum, …: any that a run can have.
        learning_rate: of the optimizer.
        loss: of the visible pixels, l1 or l2.
        realism: weight of what D says of G(z).
        prior: weight of the squared length of z.
        seed: of the images chosen, the starts and a random mask.
        step: one of the last two reports; the newest if left out.
        out: PNG to write; inpaint-MASK-STEP-SEED.png in the run's folder if left out.
        data_dir: where tensorflow-datasets keeps its sets, if not where the run says:
            it was trained on another machine.
    """
    cache.keep_programs()
    search = inpaint.Search(
        steps, restarts, optimizer, learning_rate, loss, realism, prior
    )
    errors, path = inpaint.inpaint(
        run_dir, mask, images, search, seed, step, out, data_dir
    )
    print(f"RMSE of the missing part of {images} images, with pixels from 0 to 1:")
    for name, error in errors.items():
        print(f"  {name:10}{error:.4f}")
    print(path)


if __name__ == "__main__":
    sys.exit(exit_status(lambda: tyro.cli(main, description=__doc__.splitlines()[0])))
