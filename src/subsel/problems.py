"""Nonsmooth test problems and games, in any dimension where they are defined.

``PROBLEMS[name](n)`` is a :class:`Problem`, ``GAMES[name]`` a :class:`Game`. Ties of a
maximum go to the first piece: an average over tied pieces, as ``jnp.max`` takes it, is
a selection already, and solves Nesterov's problem in one step.

In one file because it is a table: short entries, of one form, read side by side.

References, by the letters in the docstrings:
    [H] Haarala, Miettinen and Mäkelä, New limited memory bundle method for large-scale
    nonsmooth optimization, 2004. [G] Gürbüzbalaban and Overton, On Nesterov's nonsmooth
    Chebyshev-Rosenbrock functions, 2012. [B] Burke, Lewis and Overton, A robust
    gradient sampling algorithm for nonsmooth, nonconvex optimization, 2005. [L] Lewis
    and Overton, Nonsmooth optimization via quasi-Newton methods, 2013. [N] Nesterov,
    Introductory Lectures on Convex Optimization, 2004. [V] Lukšan and Vlček, Test
    problems for nonsmooth unconstrained and linearly constrained optimization, 2000.
    [M] Mescheder, Geiger and Nowozin, Which training methods for GANs do actually
    converge?, 2018. [K] Gebken, A note on piecewise differentiable regression, 2026.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Problem(NamedTuple):
    """Minimise ``f`` over vectors ``[n]``. Arrays are NumPy's, in double precision."""

    f: Callable  # [n] -> a scalar
    start: np.ndarray  # [n]
    best: float | None  # smallest value known; None where it is not
    minimiser: np.ndarray | None = None  # a point that attains it, where known
    convex: bool = False


class Game(NamedTuple):
    """Two players, each descending its own loss; the solution is the origin."""

    field: Callable  # point -> the gradients of both players' own losses
    start: dict[str, Any]


def _largest(values):
    return values[jnp.argmax(values)]


def _even(n, even, odd):
    """``even`` at the second, fourth, … coordinate, ``odd`` at the first, third, …"""
    return np.where(np.arange(1, n + 1) % 2 == 0, even, odd).astype(float)


def maxq(n: int) -> Problem:
    r""":math:`\max_i x_i^2` [H]."""
    i = np.arange(1.0, n + 1)
    start = np.where(i <= n // 2, i, -i)
    return Problem(lambda x: _largest(x**2), start, 0.0, np.zeros(n), convex=True)


def mxhilb(n: int) -> Problem:
    r""":math:`\max_i |\sum_j x_j / (i + j - 1)|` [H]; the matrix is Hilbert's."""
    i = np.arange(1.0, n + 1)
    hilbert = 1 / (i[:, None] + i - 1)

    def f(x):
        return _largest(jnp.abs(jnp.asarray(hilbert, x.dtype) @ x))

    return Problem(f, np.ones(n), 0.0, np.zeros(n), convex=True)


def chained_lq(n: int) -> Problem:
    r""":math:`\sum_i \max\{-a_i, -a_i + x_i^2 + x_{i+1}^2 - 1\}`,
    :math:`a_i = x_i + x_{i+1}` [H]."""

    def f(x):
        a, b = x[:-1], x[1:]
        return jnp.sum(-a - b + jax.nn.relu(a**2 + b**2 - 1))

    best = -(n - 1) * np.sqrt(2)
    return Problem(f, np.full(n, -0.5), best, np.full(n, np.sqrt(0.5)), convex=True)


def _cb3(x):
    a, b = x[:-1], x[1:]
    return jnp.stack(
        [a**4 + b**2, (2 - a) ** 2 + (2 - b) ** 2, 2 * jnp.exp(b - a)], axis=1
    )


def chained_cb3_i(n: int) -> Problem:
    r""":math:`\sum_i \max\{x_i^4 + x_{i+1}^2, (2 - x_i)^2 + (2 - x_{i+1})^2,
    2 e^{-x_i + x_{i+1}}\}` [H]."""

    def f(x):
        pieces = _cb3(x)
        first = jnp.argmax(pieces, axis=1, keepdims=True)
        return jnp.sum(jnp.take_along_axis(pieces, first, axis=1))

    return Problem(f, np.full(n, 2.0), 2.0 * (n - 1), np.ones(n), convex=True)


def chained_cb3_ii(n: int) -> Problem:
    """The largest of the three sums of :func:`chained_cb3_i`: one shared kink [H]."""

    def f(x):
        return _largest(jnp.sum(_cb3(x), axis=0))

    return Problem(f, np.full(n, 2.0), 2.0 * (n - 1), np.ones(n), convex=True)


def active_faces(n: int) -> Problem:
    r""":math:`\max_i \{\log(|x_i| + 1), \log(|\sum_j x_j| + 1)\}` [H]."""

    def f(x):
        return _largest(jnp.log1p(jnp.abs(jnp.append(x, jnp.sum(x)))))

    return Problem(f, np.ones(n), 0.0, np.zeros(n))


def brown_2(n: int) -> Problem:
    r""":math:`\sum_i |x_i|^{x_{i+1}^2 + 1} + |x_{i+1}|^{x_i^2 + 1}` [H]."""

    def power(x, exponent):
        inside = x != 0  # 0^p has a NaN for a derivative where p is 1
        return jnp.where(inside, jnp.abs(jnp.where(inside, x, 1)) ** exponent, 0)

    def f(x):
        a, b = x[:-1], x[1:]
        return jnp.sum(power(a, b**2 + 1) + power(b, a**2 + 1))

    return Problem(f, _even(n, 1, -1), 0.0, np.zeros(n))


def chained_mifflin_2(n: int) -> Problem:
    r""":math:`\sum_i -x_i + 2 r_i + 1.75 |r_i|`, :math:`r_i = x_i^2 + x_{i+1}^2 - 1`
    [H]. The smallest values known are numerical. Listed as nonconvex, it is convex:
    each term is :math:`\max\{3.75 r_i, 0.25 r_i\} - x_i`, and r is convex."""

    def f(x):
        r = x[:-1] ** 2 + x[1:] ** 2 - 1
        return jnp.sum(-x[:-1] + 2 * r + 1.75 * jnp.abs(r))

    known = {2: -1.0, 10: -6.5146, 20: -13.5831, 30: -20.6535, 40: -27.7243}
    known |= {50: -34.79518141, 200: -140.86, 1000: -706.55}
    return Problem(f, np.full(n, -1.0), known.get(n), convex=True)


def _crescents(x):
    a, b = x[:-1], x[1:]
    bend = a**2 + (b - 1) ** 2
    return jnp.stack([bend + b - 1, -bend + b + 1], axis=1)


def chained_crescent_i(n: int) -> Problem:
    r""":math:`\max\{\sum_i a_i, \sum_i b_i\}`,
    :math:`a_i = x_i^2 + (x_{i+1} - 1)^2 + x_{i+1} - 1`,
    :math:`b_i = -x_i^2 - (x_{i+1} - 1)^2 + x_{i+1} + 1`: one shared kink [H]."""

    def f(x):
        return _largest(jnp.sum(_crescents(x), axis=0))

    return Problem(f, _even(n, 2, -1.5), 0.0, np.zeros(n))


def chained_crescent_ii(n: int) -> Problem:
    r""":math:`\sum_i \max\{a_i, b_i\}` of :func:`chained_crescent_i` [H]."""

    def f(x):
        a, b = _crescents(x).T
        return jnp.sum(jnp.where(a >= b, a, b))

    return Problem(f, _even(n, 2, -1.5), 0.0, np.zeros(n))


def rosenbrock(n: int = 2) -> Problem:
    r""":math:`8 |x_1^2 - x_2| + (1 - x_1)^2`, n = 2 only [L]."""
    _only("rosenbrock", n, 2)

    def f(x):
        return 8 * jnp.abs(x[0] ** 2 - x[1]) + (1 - x[0]) ** 2

    return Problem(f, np.array([-1.2, 1.0]), 0.0, np.ones(2))


def _chebyshev(n, square):
    def f(x):
        valley = jnp.abs(x[1:] - 2 * square(x[:-1]) + 1)
        return jnp.abs(x[0] - 1) / 4 + jnp.sum(valley)

    return Problem(f, np.append(-1.0, np.ones(n - 1)), 0.0, np.ones(n))


def chebyshev_rosenbrock_1(n: int) -> Problem:
    r""":math:`|x_1 - 1| / 4 + \sum_i |x_{i+1} - 2 x_i^2 + 1|`; one Clarke point [G]."""
    return _chebyshev(n, jnp.square)


def chebyshev_rosenbrock_2(n: int) -> Problem:
    r""":math:`|x_1 - 1| / 4 + \sum_i |x_{i+1} - 2 |x_i| + 1|`; :math:`2^{n-1}` Clarke
    points, one of them a minimiser [G]."""
    return _chebyshev(n, jnp.abs)


def half_and_half(n: int = 8) -> Problem:
    r""":math:`\sqrt{x^\top A x} + x^\top B x`, A = diag(1, 0, 1, 0, …),
    B = diag(1 / i²) [L]."""
    a, b = _even(n, 0, 1), 1 / np.arange(1.0, n + 1) ** 2

    def f(x):
        smooth = jnp.sum(jnp.asarray(b, x.dtype) * x**2)
        square = jnp.sum(jnp.asarray(a, x.dtype) * x**2)
        inside = square > 0  # the derivative of the root is infinite at 0
        return jnp.where(inside, jnp.sqrt(jnp.where(inside, square, 1)), 0) + smooth

    return Problem(f, np.full(n, 20.08), 0.0, np.zeros(n), convex=True)


def eigenvalue_product(n: int, covariance=None, seed: int = 0) -> Problem:
    r""":math:`\sum_{j \le K} \log \lambda_j(A \circ X X^\top)`: rows of X of length 1,
    :math:`n = N^2`, K = N / 2 [B].

    Args:
        n: a square.
        covariance: A, ``[N, N]``; left out, a random one, of which no smallest value is
            known. The published values belong to a data file of the authors'.
        seed: of the start and of A.
    """
    side = round(n**0.5)
    _only("eigenvalue_product", n, side**2)
    rng = np.random.default_rng(seed)
    if covariance is None:
        factor = rng.normal(size=(side, 2 * side))
        covariance = factor @ factor.T
        covariance /= covariance.max()

    def f(x):
        rows = x.reshape(side, side)
        rows = rows / jnp.linalg.norm(rows, axis=1, keepdims=True)
        values = jnp.linalg.eigvalsh(jnp.asarray(covariance, x.dtype) * (rows @ rows.T))
        return jnp.sum(jnp.log(values[side - max(side // 2, 1) :]))

    start = rng.normal(size=n)
    return Problem(f, start / np.linalg.norm(start), None)


def exponential_sums(n: int, seed: int = 0) -> Problem:
    r""":math:`\max_s |1/s - \sum_{j \le n/2} a_j e^{-b_j s}|` over 2,000 points s of
    [1, 10]; x = (a, b) [B]."""
    _only("exponential_sums", n, 2 * (n // 2))
    s = np.linspace(1, 10, 2000)

    def f(x):
        a, b = x.reshape(2, -1)
        points = jnp.asarray(s, x.dtype)
        sums = jnp.exp(-points[:, None] * b[None, :]) @ a
        return _largest(jnp.abs(1 / points - sums))

    known = {2: 8.55641e-2, 4: 8.75226e-3, 6: 7.14507e-4, 8: 5.58100e-5}
    return Problem(f, np.random.default_rng(seed).normal(size=n), known.get(n))


def max_of_quadratics(n: int, pieces: int = 5, seed: int = 0) -> Problem:
    r""":math:`\max_i g_i^\top x + x^\top H_i x / 2` with positive :math:`\lambda` such
    that :math:`\sum_i \lambda_i g_i = 0`, and :math:`H_i = M_i^\top M_i` [L]."""
    rng = np.random.default_rng(seed)
    g, m = rng.normal(size=(pieces, n)), rng.normal(size=(pieces, n, n))
    share = rng.uniform(0.1, 1, pieces)
    g[-1] = -share[:-1] @ g[:-1] / share[-1]
    h = m.transpose(0, 2, 1) @ m

    def f(x):
        linear, bend = jnp.asarray(g, x.dtype) @ x, jnp.asarray(h, x.dtype) @ x @ x
        return _largest(linear + bend / 2)

    start = rng.normal(size=n)
    start /= np.linalg.norm(start)
    return Problem(f, start, 0.0, np.zeros(n), convex=True)


def nesterov(n: int) -> Problem:
    r""":math:`\max_i x_i + \|x\|^2 / 2` [N]."""
    return Problem(
        lambda x: _largest(x) + jnp.sum(x**2) / 2,
        np.zeros(n),
        -1 / (2 * n),
        np.full(n, -1 / n),
        convex=True,
    )


def relu_network(n: int = 17, points: int = 7, power: int = 2, penalty: float = 1e-4):
    r""":math:`\frac1N \sum_i |F(x, t_i) - y_i|^p + \lambda \|x\|_1`, F a ReLU network
    of widths 1-3-2-1 with 17 parameters, :math:`y = \sin(\pi e^t) - t` on N points t of
    [-1, 1] [K]. The start is uniform in [-1, 1]."""
    _only("relu_network", n, 17)
    t = np.linspace(-1, 1, points)
    y = np.sin(np.pi * np.exp(t)) - t

    def f(x):
        inner = x[0:3, None] * jnp.asarray(t, x.dtype)[None, :] + x[3:6, None]
        outer = x[6:12].reshape(2, 3) @ jax.nn.relu(inner) + x[12:14, None]
        out = x[14:16] @ jax.nn.relu(outer) + x[16]
        error = jnp.abs(out - jnp.asarray(y, x.dtype)) ** power
        return jnp.mean(error) + penalty * jnp.sum(jnp.abs(x))

    return Problem(f, np.random.default_rng(0).uniform(-1, 1, n), None)


def test29_6(n: int) -> Problem:
    r""":math:`\max_i |(3 - 2 x_i) x_i + 1 - x_{i-1} - x_{i+1}|`, zero beyond the ends
    [V]. There is a strong local minimum at 2."""

    def f(x):
        padded = jnp.pad(x, 1)
        return _largest(jnp.abs((3 - 2 * x) * x + 1 - padded[:-2] - padded[2:]))

    return Problem(f, np.full(n, -1.0), 0.0)


def _only(who, n, dimension):
    if n != dimension:
        raise ValueError(
            f"{who}({n}): defined in {dimension} dimensions, not in {n}; the nearest "
            f"is {who}({dimension})"
        )


PROBLEMS: dict[str, Callable[[int], Problem]] = {
    "maxq": maxq,
    "mxhilb": mxhilb,
    "chained_lq": chained_lq,
    "chained_cb3_i": chained_cb3_i,
    "chained_cb3_ii": chained_cb3_ii,
    "active_faces": active_faces,
    "brown_2": brown_2,
    "chained_mifflin_2": chained_mifflin_2,
    "chained_crescent_i": chained_crescent_i,
    "chained_crescent_ii": chained_crescent_ii,
    "rosenbrock": rosenbrock,
    "chebyshev_rosenbrock_1": chebyshev_rosenbrock_1,
    "chebyshev_rosenbrock_2": chebyshev_rosenbrock_2,
    "half_and_half": half_and_half,
    "eigenvalue_product": eigenvalue_product,
    "exponential_sums": exponential_sums,
    "max_of_quadratics": max_of_quadratics,
    "nesterov": nesterov,
    "relu_network": relu_network,
    "test29_6": test29_6,
}


def _players(d_name, g_name, d_loss, g_loss):
    def field(z):
        d = jax.grad(lambda own: d_loss(own, z[g_name]))(z[d_name])
        g = jax.grad(lambda own: g_loss(z[d_name], own))(z[g_name])
        return {d_name: d, g_name: g}

    return Game(field, {d_name: 1.0, g_name: 1.0})


GAMES: dict[str, Game] = {
    # min over x, max over y, of x y
    "bilinear": _players("y", "x", lambda y, x: -x * y, lambda y, x: x * y),
    # f(psi theta) + f(0) with f(t) = -log(1 + e^-t); psi, the discriminator, maximises
    "dirac": _players(
        "psi",
        "theta",
        lambda psi, theta: jax.nn.softplus(-psi * theta),
        lambda psi, theta: -jax.nn.softplus(-psi * theta),
    ),
    # the hinge loss: D's gradient is exactly zero where psi theta < -1
    "hinge_dirac": _players(
        "psi",
        "theta",
        lambda psi, theta: jax.nn.relu(1 + psi * theta),
        lambda psi, theta: -psi * theta,
    ),
}
