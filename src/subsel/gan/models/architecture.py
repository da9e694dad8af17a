"""What a network is, as data."""

import dataclasses

# "auto" is JAX's own choice: the left derivative of ReLU, the right one of leaky ReLU.
AT_ZERO = ("auto", "left", "mid", "right")
PRECISIONS = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A generator or a discriminator. The defaults are the article's dense network.

    The dense layers ``hidden`` are all of mlp's; in dcgan they are the first ones of G
    and the last ones of D, as in InfoGAN (Chen 2016); resnet has none.
    """

    model: str = "mlp"
    """mlp, dcgan or resnet."""
    hidden: tuple[int, ...] | None = None
    """Widths of the dense layers; None: (128, 128) in mlp, none in dcgan."""
    width: int = 64
    """Channels of dcgan and resnet at the highest resolution; they tell the paper's."""
    norm: str = "none"
    """none, batch or layer."""
    spectral: bool = False
    """Divide every weight matrix of D by its largest singular value; G never does."""
    slope: float = 0.2
    """Of the leaky ReLU below 0 (TensorFlow's default; Flax's is 0.01); 0 is ReLU."""
    at_zero: str | float = "auto"
    """Derivative of the (leaky) ReLU at 0: auto, left, mid, right, or a number."""
    precision: str = "float32"
    """Of the computation, float32 or bfloat16; what is kept is float32 in both."""
