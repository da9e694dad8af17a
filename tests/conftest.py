"""Makes JAX strict, before anything imports it."""

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
