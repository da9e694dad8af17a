"""A nonsmooth fit: the polynomial with the smallest largest error. jax and optax only.

    python experiments/minimax_fit.py

Of degree 10, to |t| on 401 points of [-1, 1]: minimise max_i |p(t_i) - |t_i||, one kink
that all coefficients share. 500 updates each, float32, one schedule; a linear program
gives 0.0278418 (tests/lab/test_examples.py). Expected, in seconds on any machine:

                 largest error    above the optimum
    sgd               0.028022              1.8e-04
    adam              0.028299              4.6e-04
    goldstein         0.027842              1.7e-07

With first steps of 0.03, 0.3 and 1 instead of 0.1, sgd and adam end 2.3e-4 to 5.5e-4
above the optimum, and goldstein at most 1.3e-6.
"""

import argparse

import jax
import jax.numpy as jnp
import optax

import subsel

STEPS, DEGREE, OPTIMUM = 500, 10, 0.0278417604
T = jnp.linspace(-1.0, 1.0, 401)
BASIS = jnp.cos(jnp.outer(jnp.arccos(T), jnp.arange(DEGREE + 1)))  # Chebyshev's


def largest_error(coefficients):
    return jnp.max(jnp.abs(BASIS @ coefficients - jnp.abs(T)))


def fit(tx):
    """The smallest error met on the way."""

    def step(carry, _):
        x, state = carry
        updates, state = tx.update(jax.grad(largest_error)(x), state, x)
        return (optax.apply_updates(x, updates), state), largest_error(x)

    start = jnp.zeros(DEGREE + 1)
    return jax.lax.scan(step, (start, tx.init(start)), length=STEPS)[1].min()


def schedule(count):
    return 0.1 * 1e-6 ** (count / STEPS)


OPTIMIZERS = {
    "sgd": optax.sgd(schedule),
    "adam": optax.adam(schedule),
    "goldstein": subsel.goldstein(schedule, size=8),
}


def compare() -> dict[str, float]:
    return {
        name: float(jax.jit(fit, static_argnums=0)(tx))
        for name, tx in OPTIMIZERS.items()
    }


if __name__ == "__main__":
    form = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=__doc__, formatter_class=form).parse_args()
    print(f"{'':12} {'largest error':>17} {'above the optimum':>20}")
    for name, error in compare().items():
        print(f"{name:12} {error:17.6f} {error - OPTIMUM:20.1e}")
