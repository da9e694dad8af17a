"""Samples of a run as files that torch-fidelity, clean-fid and ADM's evaluator read.

    python experiments/export_samples.py RUN_DIR --count 10000 --out FOLDER
    fidelity --fid --kid --prc --input1 FOLDER/samples --input2 FOLDER/reference
    python -m pytorch_fid FOLDER/samples FOLDER/reference
    python evaluator.py FOLDER/reference.npz FOLDER/samples.npz

The second line is torch-fidelity's, the third pytorch-fid's (clean-fid takes the same
two folders), the fourth guided-diffusion's; each brings weights of Inception along,
which this project does not have. Images of 28x28 were never what Inception was trained
on: compare such numbers only with those of the same program on the same data.

FOLDER/reference_statistics.npz has mu and sigma of the test split in the project's own
feature network, under the names that pytorch-fid uses: for features of that network,
never to be compared with features of Inception. FOLDER/export.json says what was drawn.

15 seconds for 10,000 digits of an MLP on 2 cores of an Intel Xeon that others used too,
four of them for the feature network, which is trained once: 44 MB.
"""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from subsel.gan import export
from subsel.lab import cache
from subsel.lab.errors import exit_status


def main(
    run_dir: Annotated[Path, tyro.conf.Positional],
    *,
    out: Path,
    count: int = 10_000,
    seed: int = 1,
    step: int | None = None,
    temperature: float | None = None,
    data_dir: str | None = None,
):
    """Writes samples, the test split, and its statistics.

    Args:
        run_dir: folder of the run.
        out: folder to write, new or empty.
        count: samples to draw.
        seed: of latent points and labels.
        step: one of the last two reports; the newest if left out.
        temperature: of the noise drawn from; the run's own if left out.
        data_dir: where tensorflow-datasets keeps its sets, if not where the run says:
            it was trained on another machine.
    """
    cache.keep_programs()
    made = export.export(run_dir, out, count, seed, step, temperature, data_dir)
    for name, value in made.items():
        print(f"{name:11}{value}")


if __name__ == "__main__":
    sys.exit(exit_status(lambda: tyro.cli(main, description=__doc__.splitlines()[0])))
