"""Train the article's GAN, with subgradient selection or any optimizer beside it.

python experiments/train_gan.py
python experiments/train_gan.py --dataset mnist --data-dir DIR
python experiments/train_gan.py --recipe ring --seed 1
python experiments/train_gan.py --resume runs/digits-subsel-seed0-001

A recipe is a set of other defaults; every option can still be changed. On several
hosts, each starts the same command: --distributed auto under Slurm, MPI or Kubernetes,
--distributed HOST:PORT,COUNT,INDEX elsewhere.
"""

import argparse
import sys

import tyro

from subsel.gan import checks, config, hosts
from subsel.gan.recipes import RECIPES
from subsel.gan.train import train
from subsel.lab import cache
from subsel.lab.errors import UsageError, exit_status

ABOUT = (
    f"{__doc__.splitlines()[0]} --recipe NAME takes its defaults from one of "
    f"{', '.join(RECIPES)}. --distributed auto joins the processes that Slurm, "
    "MPI or Kubernetes started to one run, HOST:PORT,COUNT,INDEX those of any hosts."
)


def main():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--distributed")
    given, options = parser.parse_known_args()
    if given.distributed:
        hosts.join(given.distributed)
    parser.add_argument("--resume")
    parser.add_argument("--recipe")
    given, others = parser.parse_known_args(options)
    default = config.Config()
    if given.resume and given.recipe:
        raise UsageError(
            f"--recipe {given.recipe} with --resume {given.resume}: a run goes on with "
            "its own options; leave --recipe out"
        )
    if given.resume is not None:
        default = hosts.together(lambda: config.load(given.resume))
    elif given.recipe is not None:
        checks.one_of("recipe", given.recipe, RECIPES)
        default, options = RECIPES[given.recipe](), others
    cache.keep_programs()
    chosen = tyro.cli(config.Config, default=default, args=options, description=ABOUT)
    try:
        train(chosen)
    except UsageError as error:
        if not given.recipe:
            raise
        raise UsageError(
            f"{error} (what was not given is as --recipe {given.recipe} has it)"
        ) from None


if __name__ == "__main__":
    sys.exit(exit_status(main))
