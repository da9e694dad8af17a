"""Draw from the generator of a run: new samples, or a walk between latent points.

    python experiments/sample.py runs/digits-subsel-seed0-001
    python experiments/sample.py runs/digits-subsel-seed0-001 --interpolate

Takes about five seconds. --interpolate draws one row for each of --rows pairs of latent
points; from left to right the latent point turns from the first to the second.
"""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from subsel.gan import sample
from subsel.lab import cache
from subsel.lab.errors import exit_status


def main(
    run_dir: Annotated[Path, tyro.conf.Positional],
    *,
    interpolate: bool = False,
    rows: int = 8,
    columns: int = 16,
    seed: int = 1,
    step: int | None = None,
    temperature: float | None = None,
    out: Path | None = None,
    data_dir: str | None = None,
):
    """Draws a picture from a checkpoint.

    Args:
        run_dir: folder of the run.
        interpolate: walk between pairs of latent points, one row each.
        rows: rows of the picture.
        columns: samples in a row.
        seed: of the latent points.
        step: one of the last two reports; the newest if left out.
        temperature: in place of the run's; below 1 better samples that vary less.
        out: PNG to write; samples-STEP-SEED.png in the run's folder, or
            interpolation-STEP-SEED.png, if left out.
        data_dir: where tensorflow-datasets keeps its sets, if not where the run says:
            it was trained on another machine.
    """
    cache.keep_programs()
    drawn = sample.draw(
        run_dir, interpolate, rows, columns, seed, step, out, temperature, data_dir
    )
    print(drawn)


if __name__ == "__main__":
    sys.exit(exit_status(lambda: tyro.cli(main, description=__doc__.splitlines()[0])))
