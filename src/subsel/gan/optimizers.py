"""Optimizers by name: tables of factories, so that an ablation is a list of names.

Each factory takes ``(learning_rate, b1, b2)``; what an optimizer has no use for is
ignored, and everything else is at Optax's own default.
"""

import optax

import subsel

OPTIMIZERS = {
    "subsel": lambda lr, b1, b2: subsel.adam(lr, b1, b2),
    "sgd": lambda lr, b1, b2: optax.sgd(lr),
    "momentum": lambda lr, b1, b2: optax.sgd(lr, momentum=b1),
    "adam": lambda lr, b1, b2: optax.adam(lr, b1, b2),
    "adamw": lambda lr, b1, b2: optax.adamw(lr, b1, b2),
    "rmsprop": lambda lr, b1, b2: optax.rmsprop(lr, decay=b2),
    "adabelief": lambda lr, b1, b2: optax.adabelief(lr, b1, b2),
    "radam": lambda lr, b1, b2: optax.radam(lr, b1, b2),
    "lion": lambda lr, b1, b2: optax.lion(lr, b1, b2),
    "optimistic_adam": lambda lr, b1, b2: optax.optimistic_adam_v2(lr, b1=b1, b2=b2),
}

# (learning_rate, steps) -> what Optax takes as a learning rate
SCHEDULES = {
    "constant": lambda lr, steps: lr,
    "linear": lambda lr, steps: optax.linear_schedule(lr, 0.0, steps),
    "cosine": lambda lr, steps: optax.cosine_decay_schedule(lr, steps),
}

# What is made of the gradients of both players before each player's optimizer, given
# the optimizer of the pair for a trial step; None where the players alternate.
GAMES = {
    "alternating": lambda trial: None,
    "simultaneous": lambda trial: optax.identity(),
    "extragradient": lambda trial: subsel.select_subgradient(subsel.lookahead(trial)),
    "past_extragradient": lambda trial: subsel.select_subgradient(
        subsel.history(2), subsel.optimistic()
    ),
}
