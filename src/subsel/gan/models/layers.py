r"""The layers that the networks are made of, as their architecture wants them.

Normalisations, of activations x with channels last:

- batch: mean and variance over the batch and all sides (Ioffe and Szegedy, 2015); over
  all devices too. Running means, of momentum 0.9, take their place outside of training.
- layer: over all sides and channels of one sample (Ba et al., 2016), with a scale and a
  shift for each channel, as in the critic of WGAN-GP (Gulrajani et al., 2017).

With a label y, scale and shift are those of its class (de Vries et al., 2017): with
"none", that is all that is left, a class-wise affine map of the channels.

Spectral normalisation (Miyato et al., 2018) divides a weight, as a matrix W of one
column for each output, by an estimate of its largest singular value,

.. math::
    W / \sigma, \quad \sigma = v^T W u, \qquad
    v \leftarrow W u / |W u|, \quad u \leftarrow W^T v / |W^T v|

with one iteration from the stored u at each use. Gradients flow through sigma, and
not through u and v. Only training stores the new u.
"""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from subsel import kinks
from subsel.gan.models import convolution
from subsel.gan.models.architecture import Architecture

MOMENTUM, _EPSILON = 0.9, 1e-5


@dataclasses.dataclass(frozen=True)
class Layers:
    """Makes and applies layers, in the ``nn.compact`` method that it is used in.

    What all layers of one network agree on: the architecture, the initial kernels and
    scales, the number of classes, the mapped axis that batches are shared over, and
    whether this is training.
    """

    arch: Architecture
    kernel_init: Callable
    scale_init: Callable
    classes: int
    axis: str | None
    train: bool

    @property
    def dtype(self):
        """Of the arithmetic; parameters are float32."""
        return jnp.dtype(self.arch.precision)

    @property
    def bias(self) -> bool:
        """Of a layer before a normalisation, which has a shift of its own."""
        return self.arch.norm == "none"

    def dense(self, x, features: int, bias: bool = True):
        """``[B, K]`` to ``[B, features]``."""
        layer = nn.Dense(
            features, use_bias=bias, dtype=self.dtype, kernel_init=self.kernel_init
        )
        return self._run(layer, x)

    def hidden(self, x, widths: tuple[int, ...] = ()):
        """``[B, K]`` through the dense layers chosen, or those of ``widths``."""
        for width in widths if self.arch.hidden is None else self.arch.hidden:
            x = self.act(self.norm(self.dense(x, width, self.bias)))
        return x

    def conv(self, x, features: int, size: int, stride: int = 1, **options):
        """``[B, *sides, K]`` to ``[B, *sides / stride, features]``.

        ``options``, here and in :meth:`deconv`: ``bias``, and ``kernel_init`` if not
        that of the network.
        """
        layer = self._conv(convolution.conv, x, features, size, stride, **options)
        return self._run(layer, x)

    def deconv(self, x, features: int, size: int, stride: int, **options):
        """Transposed: ``[B, *sides, K]`` to ``[B, *sides * stride, features]``."""
        layer = self._conv(convolution.deconv, x, features, size, stride, **options)
        return self._run(layer, x)

    def norm(self, x, label=None):
        """Normalises ``[B, ..., C]``; ``label`` ``[B]`` chooses scale and shift."""
        y = NORMS[self.arch.norm](self, x, label is None)
        if label is None:
            return y
        scale, shift = (
            self._embedding(x.shape[-1], init)(label)
            for init in (self.scale_init, nn.initializers.zeros)
        )
        wide = (len(x), *(1,) * (x.ndim - 2), x.shape[-1])
        return y * scale.reshape(wide) + shift.reshape(wide)

    def act(self, x):
        """The (leaky) ReLU, with the derivative at 0 that was chosen."""
        chosen = {} if self.arch.at_zero == "auto" else {"at_kink": self.arch.at_zero}
        if self.arch.slope == 0:
            return kinks.relu(x, **chosen)
        return kinks.leaky_relu(x, self.arch.slope, **chosen)

    def with_class(self, z, label):
        """Noise ``[B, L]``, and the class as ``classes`` more entries of 0 and 1.

        A dense layer after it learns an embedding (Mirza and Osindero, 2014).
        """
        if label is None:
            return z
        return jnp.concatenate([z, jax.nn.one_hot(label, self.classes)], axis=1)

    def logit(self, phi, label, bias: bool = True):
        r"""Of features ``[B, F]``: the log-odds ``[B]`` that the samples are real.

        .. math::
            w^T \phi + b + e_y^T \phi

        the last term with labels only (Miyato and Koyama, cGANs with projection
        discriminator, 2018). In float32, as losses subtract logits.
        """
        exact = dataclasses.replace(
            self, arch=dataclasses.replace(self.arch, precision="float32")
        )
        phi = phi.astype(jnp.float32)
        logit = exact.dense(phi, 1, bias)[:, 0]
        if label is None:
            return logit
        embedding = exact._embedding(phi.shape[1], self.kernel_init)
        return logit + jnp.sum(exact._run(embedding, label) * phi, axis=1)

    def _conv(self, kind, x, features, size, stride, bias=True, kernel_init=None):
        sides = x.ndim - 2
        return nn.Conv(
            features,
            (size,) * sides,
            (stride,) * sides,
            use_bias=bias,
            dtype=self.dtype,
            kernel_init=kernel_init or self.kernel_init,
            conv_general_dilated=kind,
        )

    def _embedding(self, features, init):
        return nn.Embed(self.classes, features, dtype=self.dtype, embedding_init=init)

    def _run(self, layer, x):
        if self.arch.spectral:
            return nn.SpectralNorm(layer)(x, update_stats=self.train)
        return layer(x)


def _batch(layers, x, affine):
    return nn.BatchNorm(
        use_running_average=not layers.train,
        momentum=MOMENTUM,
        axis_name=layers.axis,
        **_affine(layers, affine),
    )(x)


def _layer(layers, x, affine):
    over = tuple(range(1, x.ndim))
    return nn.LayerNorm(reduction_axes=over, **_affine(layers, affine))(x)


def _affine(layers, affine):
    return {
        "epsilon": _EPSILON,
        "dtype": layers.dtype,
        "use_scale": affine,
        "use_bias": affine,
        "scale_init": layers.scale_init,
    }


NORMS = {"none": lambda layers, x, affine: x, "batch": _batch, "layer": _layer}
