"""Against the published values, independent solvers, and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog, minimize

from subsel.problems import GAMES, PROBLEMS, eigenvalue_product, relu_network

SIZES = (2, 10, 50, 200)


def crescent(n):
    return 4.25 * ((n - 1 + 1) // 2) + 7.75 * ((n - 1) // 2)


# f at the start, as a function of n: Haarala et al. 2004 and the sources in the module
STARTS = {
    "maxq": lambda n: n**2,
    "mxhilb": lambda n: np.sum(1 / np.arange(1, n + 1)),
    "chained_lq": lambda n: n - 1,
    "chained_cb3_i": lambda n: 20 * (n - 1),
    "chained_cb3_ii": lambda n: 20 * (n - 1),
    "active_faces": lambda n: np.log(n + 1),
    "brown_2": lambda n: 2 * (n - 1),
    "chained_mifflin_2": lambda n: 4.75 * (n - 1),
    "chained_crescent_i": crescent,
    "chained_crescent_ii": crescent,
    "chebyshev_rosenbrock_1": lambda n: 0.5,
    "chebyshev_rosenbrock_2": lambda n: 0.5,
    "nesterov": lambda n: 0.0,
    "test29_6": lambda n: 3 if n > 2 else np.nan,
}
FIXED = {"rosenbrock": (2, 8.36), "half_and_half": (8, 656.0263)}
DIMENSIONS = {
    "rosenbrock": 2,
    "half_and_half": 8,
    "eigenvalue_product": 16,
    "exponential_sums": 4,
    "relu_network": 17,
}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", STARTS)
def test_value_at_the_start(name, n):
    problem = PROBLEMS[name](n)
    value = STARTS[name](n)
    if np.isfinite(value):
        np.testing.assert_allclose(jax.jit(problem.f)(problem.start), value, rtol=1e-9)


@pytest.mark.parametrize("name", FIXED)
def test_value_at_the_start_in_one_dimension_only(name):
    n, value = FIXED[name]
    problem = PROBLEMS[name](n)
    np.testing.assert_allclose(problem.f(problem.start), value, rtol=1e-6)


@pytest.mark.parametrize("name", PROBLEMS)
def test_value_at_the_minimiser_and_nothing_near_is_better(name):
    problem = PROBLEMS[name](DIMENSIONS.get(name, 10))
    gradient = jax.jit(jax.grad(problem.f))
    assert np.isfinite(gradient(problem.start)).all()
    if problem.minimiser is None:
        return
    best = problem.f(problem.minimiser)
    np.testing.assert_allclose(best, problem.best, atol=1e-9)
    assert np.isfinite(gradient(jnp.asarray(problem.minimiser))).all()
    noise = np.random.default_rng(0).normal(size=(100, len(problem.start)))
    near = jax.jit(jax.vmap(problem.f))
    for radius in 1e-6, 1e-2, 1.0:
        assert (near(problem.minimiser + radius * noise) > best - 1e-12).all()


@pytest.mark.parametrize("name", PROBLEMS)
def test_convex_where_it_says_so(name):
    problem = PROBLEMS[name](DIMENSIONS.get(name, 6))
    a, b = np.random.default_rng(0).normal(size=(2, 2000, len(problem.start)))
    f = jax.jit(jax.vmap(problem.f))
    violated = np.any(f((a + b) / 2) > (f(a) + f(b)) / 2 + 1e-9)
    assert violated != problem.convex


@pytest.mark.parametrize("n", [2, 10, 20, 50])
def test_smallest_values_of_mifflin_2(n):
    """By SLSQP on the epigraph: sum(t - x) subject to t >= 3.75 r and t >= 0.25 r."""
    slopes = np.repeat([3.75, 0.25], n - 1)
    index = np.arange(n - 1)

    def sides(z):
        r = z[: n - 1] ** 2 + z[1:n] ** 2 - 1
        return np.tile(z[n:], 2) - slopes * np.tile(r, 2)

    def jacobian(z):
        rows = np.zeros((n - 1, 2 * n - 1))
        rows[index, index], rows[index, index + 1] = 2 * z[: n - 1], 2 * z[1:n]
        out = -slopes[:, None] * np.tile(rows, (2, 1))
        out[:, n:] += np.tile(np.eye(n - 1), (2, 1))
        return out

    cost = np.concatenate([-np.ones(n - 1), [0], np.ones(n - 1)])
    solved = minimize(
        lambda z: cost @ z,
        np.full(2 * n - 1, 0.5),
        jac=lambda z: cost,
        method="SLSQP",
        constraints={"type": "ineq", "fun": sides, "jac": jacobian},
        options={"maxiter": 1000, "ftol": 1e-12},
    )
    problem = PROBLEMS["chained_mifflin_2"](n)
    found = float(problem.f(solved.x[:n]))
    assert found == pytest.approx(problem.best, abs=1e-4)


@pytest.mark.parametrize("n", [2, 4])
def test_smallest_value_of_exponential_sums(n):
    """For fixed rates the best amplitudes are a linear program."""
    s = np.linspace(1, 10, 2000)

    def best(rates):
        basis = np.exp(-s[:, None] * rates)
        ones = np.ones((len(s), 1))
        sides = np.block([[-basis, -ones], [basis, -ones]])
        free = [(None, None)] * len(rates) + [(0, None)]
        cost = np.append(np.zeros(len(rates)), 1)
        solved = linprog(cost, sides, np.append(-1 / s, 1 / s), bounds=free)
        return solved.fun, solved.x[:-1]

    start = [0.3, 1.0][: n // 2]
    rates = minimize(lambda b: best(b)[0], start, method="Nelder-Mead").x
    value, amplitudes = best(rates)
    problem = PROBLEMS["exponential_sums"](n)
    assert value == pytest.approx(problem.best, rel=1e-3)
    point = jnp.append(amplitudes, rates)
    assert float(problem.f(point)) == pytest.approx(value, rel=1e-6)


def test_eigenvalue_product_against_numpy_and_a_closed_form():
    problem = eigenvalue_product(9)
    x = problem.start.reshape(3, 3)
    rows = x / np.linalg.norm(x, axis=1, keepdims=True)
    other = eigenvalue_product(9, covariance=np.ones((3, 3)))
    largest = np.linalg.eigvalsh(rows @ rows.T)[-1]
    np.testing.assert_allclose(other.f(problem.start), np.log(largest))
    # A of two rows: log(1 + a |cos|), smallest, 0, where the rows are orthogonal
    two = eigenvalue_product(4, covariance=np.array([[1, 0.5], [0.5, 1]]))
    for angle in 0.0, 1.0, np.pi / 2:
        point = np.array([1, 0, np.cos(angle), np.sin(angle)])
        expected = np.log1p(0.5 * abs(np.cos(angle)))
        np.testing.assert_allclose(two.f(point), expected, atol=1e-12)


def test_relu_network_against_a_loop():
    problem = relu_network(points=5, power=1, penalty=0.1)
    x, total = problem.start, 0.0
    for t in np.linspace(-1, 1, 5):
        first = [max(0, x[k] * t + x[3 + k]) for k in range(3)]
        second = [
            max(0, sum(x[6 + 3 * j + k] * first[k] for k in range(3)) + x[12 + j])
            for j in range(2)
        ]
        out = x[14] * second[0] + x[15] * second[1] + x[16]
        total += abs(out - (np.sin(np.pi * np.exp(t)) - t)) / 5
    expected = total + 0.1 * np.abs(x).sum()
    np.testing.assert_allclose(problem.f(x), expected)


def test_ties_go_to_one_piece():
    gradient = jax.grad(PROBLEMS["nesterov"](4).f)(jnp.zeros(4))
    np.testing.assert_array_equal(gradient, [1, 0, 0, 0])


@pytest.mark.parametrize("name", DIMENSIONS)
def test_a_dimension_in_which_it_is_not_defined(name):
    if name != "half_and_half":
        with pytest.raises(ValueError, match=rf"{name}\(3\): defined in"):
            PROBLEMS[name](3)


FIELDS = {
    "bilinear": lambda psi, theta: (-theta, psi),
    "dirac": lambda psi, theta: (
        -theta / (1 + np.exp(psi * theta)),
        psi / (1 + np.exp(psi * theta)),
    ),
    "hinge_dirac": lambda psi, theta: (theta * (psi * theta > -1), -psi),
}


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.parametrize("point", [(1.0, 1.0), (-2.0, 0.3), (3.0, -0.7)])
def test_fields_of_the_games(name, point):
    game = GAMES[name]
    z = dict(zip(game.start, point, strict=True))
    expected = dict(zip(game.start, FIELDS[name](*point), strict=True))
    field = game.field(z)
    for player in game.start:
        np.testing.assert_allclose(field[player], expected[player], rtol=1e-12)
