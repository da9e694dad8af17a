"""The operations of a step, counted once more."""

from subsel.gan import work
from subsel.gan.config import Config

SHAPE = (28, 28, 1)


def test_operations_are_counted():
    # Forward: D on 8 + 4 samples, G on 4; backward: twice that, less D's and G's input
    # gradients, plus D's input gradient for G.
    d, g = 784 * 8 + 8 * 8 + 8, 100 * 8 + 8 * 8 + 8 * 784
    by_hand = 12 * d + 4 * g + 8 * d + 8 * (d - 784 * 8) + 4 * d + 4 * g
    by_hand += 4 * (g - 100 * 8)
    cfg = Config(hidden=(8, 8), batch_size=4)
    assert work.operations(cfg, SHAPE) == 2 * by_hand
    # 28 to 14 to 7 pixels, kernels of 4, channels 1, 3, 6; and back.
    first, second, flat = 14 * 14 * 16 * 3, 7 * 7 * 16 * 3 * 6, 7 * 7 * 6
    pair = work.multiplications(Config(model="dcgan", width=3), SHAPE)
    assert tuple(pair) == ([first, second, flat], [100 * flat, second, first])
    products = work.products(Config(model="dcgan"), SHAPE)
    assert products == [(128 * 49, 1024, 128), (128, 1024, 128 * 49)]
