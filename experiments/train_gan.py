"""Train the article's GAN, with subgradient selection or any optimizer beside it.

python experiments/train_gan.py
python experiments/train_gan.py --dataset mnist --data-dir DIR
python experiments/train_gan.py --resume runs/digits-subsel-seed0-001
"""

import argparse
import sys

import tyro

from subsel.gan import config
from subsel.gan.train import train
from subsel.lab.errors import exit_status


def main():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--resume")
    resume = parser.parse_known_args()[0].resume
    default = config.load(resume) if resume else config.Config()
    train(tyro.cli(config.Config, default=default, description=__doc__.splitlines()[0]))


if __name__ == "__main__":
    sys.exit(exit_status(main))
