"""Generators and discriminators: pure init/apply pairs, built from an `Architecture`.

The only place that knows Flax. `net` has the interface, `architecture` the choices,
`layers` what networks are made of; `mlp`, `dcgan` and `resnet` are the networks.
"""

from subsel.gan.models.architecture import AT_ZERO, PRECISIONS, Architecture
from subsel.gan.models.layers import NORMS
from subsel.gan.models.net import (
    MODELS,
    OUTPUTS,
    Net,
    Variables,
    discriminator,
    generator,
    parameter_count,
    standing,
)
from subsel.gan.models.walk import great_circle

__all__ = [
    "AT_ZERO",
    "MODELS",
    "NORMS",
    "OUTPUTS",
    "PRECISIONS",
    "Architecture",
    "Net",
    "Variables",
    "discriminator",
    "generator",
    "great_circle",
    "parameter_count",
    "standing",
]
