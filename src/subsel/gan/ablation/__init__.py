"""Comparing optimizers: the same budget, seeds and statistics for each of them."""
