"""Inner products, norms and combinations of pytrees of arrays.

Everything is accumulated in float32 at least (float64 where a leaf is float64), over
the real and imaginary parts alike: complex leaves are vectors of twice their size.

A while loop of this package decides by a boolean that it carries, computed once. Under
``vmap`` JAX computes a condition twice, to go on at all and to change a member, and XLA
may round the two differently: a member at a tie would keep the loop going and never
change.
"""

import jax
import jax.numpy as jnp

# Between these bounds a float32 sum of squares has neither lost a leading term to
# underflow nor overflowed.
_SAFE_SQUARES = (1e-28, 1e28)


def accumulator(tree):
    """The real dtype that sums over the leaves of ``tree`` are taken in."""
    dtypes = [jnp.result_type(leaf) for leaf in jax.tree.leaves(tree)]
    return jnp.finfo(jnp.result_type(jnp.float32, *dtypes)).dtype


def inner(a, b):
    """Real inner product <a, b> of two pytrees of one structure; a scalar."""
    dtype = accumulator(a)

    def leaf(x, y):
        if jnp.iscomplexobj(x):
            return leaf(x.real, y.real) + leaf(x.imag, y.imag)
        # A sum of products, not a dot: it keeps any sharding, and no TF32 creeps in.
        return jnp.sum(x.astype(dtype) * y.astype(dtype))

    return sum(jax.tree.leaves(jax.tree.map(leaf, a, b)), jnp.zeros((), dtype))


def nought(tree, dtype=None):
    """0 of the kind that the norm is, which varies over the devices of a ``shard_map``
    where the tree does: what a loop carries has to do so from its first pass on."""
    return jnp.zeros_like(inner(tree, tree), dtype)


@jax.jit  # without it, a call outside of jit would compile the branches anew
def norm(tree):
    """Euclidean norm of a pytree, without underflow or overflow of the squares.

    One pass over the data where the plain sum of squares is safe, two where it is not.
    Returns NaN when an entry is NaN or infinite.
    """
    squares = inner(tree, tree)
    low, high = _SAFE_SQUARES

    def scaled():
        leaves = jax.tree.leaves(tree)
        largest = [jnp.max(jnp.abs(x), initial=0).astype(squares.dtype) for x in leaves]
        top = jnp.max(jnp.stack([jnp.zeros_like(squares), *largest]))
        unit = jax.tree.map(lambda x: x / jnp.where(top == 0, 1, top), leaves)
        return top * root(inner(unit, unit))

    safe = (squares > low) & (squares < high)
    return jax.lax.cond(safe, lambda: root(squares), scaled)


def root(squares):
    """The square root, whose derivative at 0 is taken to be 0: no NaN comes back."""
    return jnp.where(squares == 0, 0, jnp.sqrt(jnp.where(squares == 0, 1, squares)))


def is_zero(tree):
    """Whether every entry is zero: one pass that fuses with what made the tree."""
    return jnp.stack([jnp.all(x == 0) for x in jax.tree.leaves(tree)] or [True]).all()


def power_of_two(length):
    """A power of two near ``length``, of which the reciprocal is a normal number too:
    in float32 between 2**-120 and 2**120. 1 if not finite."""
    largest = jnp.finfo(length.dtype).maxexp - 8
    exponent = jnp.frexp(length)[1]
    exponent = jnp.where(length == 0, -largest, exponent)
    exponent = jnp.clip(exponent, -largest, largest)
    return jnp.ldexp(
        jnp.ones_like(length), jnp.where(jnp.isfinite(length), exponent, 0)
    )


def scale(tree, factor):
    """``factor`` times every leaf, computed in the accumulator, in the leaf's dtype."""
    dtype = accumulator(tree)

    def leaf(x):
        wide = jnp.promote_types(x.dtype, dtype)
        return (x.astype(wide) * factor).astype(x.dtype)

    return jax.tree.map(leaf, tree)


def add(tree, offset):
    """The sum of two trees, in the dtypes of the first."""
    return jax.tree.map(lambda x, move: x + move.astype(x.dtype), tree, offset)


def resize(tree, norm, length):
    """A tree of the given ``norm`` brought to ``length``; a zero tree stays zero.

    By two products, of which neither overflows; divisions would not fuse with what
    comes next.
    """
    dtype = accumulator(tree)
    near = power_of_two(norm)
    rest = length * (near / jnp.where(norm > 0, norm, 1))

    def leaf(x):
        wide = jnp.promote_types(x.dtype, dtype)
        return (x.astype(wide) * (1 / near) * rest).astype(x.dtype)

    return jax.tree.map(leaf, tree)


def common_scale(gram, scale):
    """A Gram matrix of ``rows[k] / scale[k]`` as that of rows over one factor, the
    largest scale: nothing overflows, and what is lost is short beside the longest."""
    relative = scale / jnp.max(scale)
    return gram * relative[:, None] * relative[None, :]


def cosine(a, b):
    """Of the angle between two pytrees; 0 where either is zero."""
    return jnp.clip(inner(*[resize(x, norm(x), 1.0) for x in (a, b)]), -1, 1)


def where(condition, a, b):
    """``a`` where the scalar ``condition`` holds, else ``b``; bits are kept."""
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def cast(tree, like):
    """``tree`` in the dtypes of ``like``."""

    def leaf(x, y):
        dtype = jnp.result_type(y)
        return x if jnp.result_type(x) == dtype else x.astype(dtype)

    return jax.tree.map(leaf, tree, like)


def combine(rows, weights):
    """The sum of ``weights[k] * rows[k]`` over a tuple of pytrees.

    A weight of exactly zero removes its row, whatever the row holds: a NaN that was not
    selected stays out.
    """

    def leaf(*leaves):
        wide = jnp.promote_types(leaves[0].dtype, weights.dtype)
        terms = [
            jnp.where(w == 0, 0, w * x.astype(wide))
            for w, x in zip(weights, leaves, strict=True)
        ]
        return sum(terms).astype(leaves[0].dtype)

    return jax.tree.map(leaf, *rows)


def pick(rows, index):
    """``rows[index]`` for a traced ``index``, bit for bit."""
    picked = rows[0]
    for k, row in enumerate(rows[1:], start=1):
        picked = where(index == k, row, picked)
    return picked


def unit_ball(key, tree):
    """A point drawn uniformly from the unit ball, shaped like ``tree``.

    A normalised Gaussian has a uniform direction, and U^(1/P) the radius of a uniform
    point among P dimensions (Muller 1959).
    """
    leaves, structure = jax.tree.flatten(tree)
    direction_key, radius_key = jax.random.split(key)
    keys = jax.random.split(direction_key, max(len(leaves), 1))
    parts = [2 if jnp.iscomplexobj(x) else 1 for x in leaves]
    draws = [  # of variance 1 in each part; sharded as the leaf is, by the zeros
        jax.random.normal(k, x.shape, x.dtype) * part**0.5 + jnp.zeros_like(x)
        for k, x, part in zip(keys, leaves, parts, strict=False)
    ]
    size = sum(x.size * part for x, part in zip(leaves, parts, strict=True))
    radius = jax.random.uniform(radius_key) ** (1 / max(size, 1))
    direction = jax.tree.unflatten(structure, draws)
    return resize(direction, norm(direction), radius)
