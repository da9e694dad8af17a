"""How close samples are to the data: pure functions of (samples, reference).

All of them run inside ``jax.jit`` and return scalars, or dictionaries of scalars under
names that do not change. Import the modules by name:

- ``mixture``: points of the plane against the known density of a mixture.
- ``images``: all of the following for one set of images, as one dictionary.
- ``distances``: Fréchet, kernel and sliced Wasserstein distance of features.
- ``neighbours``: precision, recall, density and coverage.
- ``histogram``: of modes or classes; their number, evenness, and the classifier score.
- ``classifier``: the network whose features those of images are measured in.

What a perfect sampler scores, for a finite number of samples, is neither 0 nor 1: each
docstring says what, and it belongs beside every result.
"""
