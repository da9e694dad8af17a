"""All metrics of images, in the features of one network."""

import jax
import jax.numpy as jnp

from subsel.gan.metrics import distances, histogram, neighbours


def images(
    samples: tuple[jax.Array, jax.Array],
    reference: tuple[jax.Array, jax.Array],
    key: jax.Array,
) -> dict[str, jax.Array]:
    """All metrics of a set of images, as scalars.

    =====================  ========================================================
    frechet                squared Fréchet distance of the features
    kernel_distance        mean over blocks of 1,000 features, and its standard
    kernel_distance_error  error (NaN where there is one block)
    sliced_wasserstein     SW2 of the features
    precision, recall,     with 5 neighbours
    density, coverage
    classes                how many the samples are put in
    class_entropy          of the histogram of these, at most log K
    class_kl               of the same to the uniform one
    classifier_score       1 to K
    =====================  ========================================================

    Args:
        samples, reference: features ``[N, d]`` and logits ``[N, K]``, as the ``apply``
            of ``subsel.gan.features.network`` gives them.
        key: of the directions of the sliced distance; one for all that is compared.

    Comparable for one network, one N and one reference only; name all three.
    """
    (fake, logits), (real, _) = samples, reference
    mean, error = distances.kernel_distance(fake, real)
    counts = histogram.count(jnp.argmax(logits, axis=1), logits.shape[1])
    return {
        "frechet": distances.frechet(fake, real),
        "kernel_distance": mean,
        "kernel_distance_error": error,
        "sliced_wasserstein": distances.sliced_wasserstein(fake, real, key),
        **neighbours.prdc(fake, real),
        "classes": histogram.modes(counts),
        "class_entropy": histogram.entropy(counts),
        "class_kl": histogram.kl_to_uniform(counts),
        "classifier_score": histogram.classifier_score(logits),
    }
