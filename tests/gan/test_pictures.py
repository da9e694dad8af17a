"""Pictures are looked at; what a test can hold is that every sample is in its place."""

import numpy as np
import pytest
from matplotlib import image

from subsel.gan import pictures


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_shows_every_image_where_it_belongs(tmp_path, channels):
    rng = np.random.default_rng(0)
    samples = rng.uniform(-1, 1, (5, 48, 48, channels)).astype(np.float32)
    pictures.grid(tmp_path / "grid.png", samples, columns=3)
    sheet = image.imread(tmp_path / "grid.png")[..., :3]
    assert sheet.shape == (2 * 49, 3 * 49, 3)
    for index, sample in enumerate(samples):
        row, column = divmod(index, 3)
        tile = sheet[row * 49 :, column * 49 :][:48, :48]
        expected = np.broadcast_to((sample + 1) / 2, tile.shape)
        np.testing.assert_allclose(tile, expected, atol=1 / 255)
    assert (sheet[50:97, 100:146] == 1).all()  # the sixth place is empty


def test_small_images_are_enlarged_without_blur(tmp_path):
    pictures.grid(tmp_path / "grid.png", np.array([-1.0, 1.0] * 32).reshape(1, 8, 8, 1))
    sheet = image.imread(tmp_path / "grid.png")[..., :3]
    assert sheet.shape == (54, 54, 3)
    assert set(np.unique(sheet)) == {0, 1}


def test_scatter_and_losses_draw_ink_and_leave_one_file(tmp_path):
    points = np.random.default_rng(0).normal(size=(100, 2))
    pictures.samples(tmp_path / "points.png", points, points[:8])
    rows = [{"step": t, "d_loss": 1.0, "g_loss": None} for t in range(1, 200)]
    pictures.losses(tmp_path / "losses.png", rows)
    for name in ("points.png", "losses.png"):
        assert image.imread(tmp_path / name)[..., :3].min() < 0.5
    assert len(list(tmp_path.iterdir())) == 2


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(part, *args, **kwargs):
        part.write_bytes(b"half of a picture")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pictures.image, "imsave", full)
    with pytest.raises(OSError, match="No space"):
        pictures.grid(tmp_path / "grid.png", np.zeros((1, 8, 8, 1)))
    assert list(tmp_path.iterdir()) == []
