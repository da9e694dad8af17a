"""Pictures are looked at; what a test can hold is that every sample is in its place."""

import numpy as np
import pytest
from matplotlib import image
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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


def test_a_scatter_plot_draws_ink_and_leaves_one_file(tmp_path):
    points = np.random.default_rng(0).normal(size=(100, 2))
    pictures.samples(tmp_path / "points.png", points, points[:8])
    assert image.imread(tmp_path / "points.png")[..., :3].min() < 0.5
    assert len(list(tmp_path.iterdir())) == 1


def test_what_lies_beyond_the_frame_is_counted(tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(
        Axes, "set_title", lambda axes, title, **_: titles.append(title)
    )
    points = np.array([[0.0, 1.0], [0.0, -1.26], [np.nan, 0.0], [1.2, 0.0]])
    for shown in (points, points[:1]):
        pictures.scatter(tmp_path / "points.png", shown, points[:1])
    counted = "4 samples, 2 of them beyond the frame; modes circled"
    assert titles == [counted, "1 samples; modes circled"]


def test_each_row_has_its_label_beside_it(tmp_path):
    """Ink on the left of a row only where it has a label; the grid stays as it is."""
    images = np.random.default_rng(0).uniform(-1, 1, (6, 48, 48, 1))
    for name, labels in {"plain": (), "named": ("above", "", "below")}.items():
        pictures.samples(tmp_path / f"{name}.png", images, images, 2, labels)
    plain, named = (
        image.imread(tmp_path / f"{name}.png")[..., :3] for name in ("plain", "named")
    )
    margin = named.shape[1] - plain.shape[1]
    np.testing.assert_array_equal(named[:, margin:], plain)
    ink = [row.min() < 0.5 for row in np.split(named[:, :margin], 3)]
    assert ink == [True, False, True]


def test_lines_show_every_signal_where_it_belongs(tmp_path):
    """Constant signals: the height of the ink in its panel is the value."""
    levels = np.array([-0.8, -0.4, 0.4, 0.8, 0.0])
    signals = np.tile(levels[:, None, None], (1, 16, 1))
    pictures.samples(tmp_path / "lines.png", signals, signals, columns=3)
    sheet = image.imread(tmp_path / "lines.png")[..., :3]
    blue = sheet[..., 2] - sheet[..., 0] > 0.4
    height, width = blue.shape
    for index, level in enumerate(levels):
        row, column = divmod(index, 3)
        left = (1.15 * column + 0.15) / (1.15 * 3 + 0.15) * width
        panel = blue[:, round(left) + 2 : round(left + width / 4) - 2]
        top, bottom = row * height // 2, (row + 1) * height // 2
        ink = np.flatnonzero(panel[top:bottom].all(axis=1)) + 0.5 + top
        expected = (1.2 + 2.4 * row - level) / 4.8 * height
        assert abs(ink.mean() - expected) < 1.5
    assert not blue[height // 2 :, -width // 4 :].any()  # the sixth place is empty


def test_every_channel_of_a_signal_has_a_line_of_its_colour(tmp_path):
    signals = np.tile(np.array([0.5, -0.5]), (2, 16, 1))
    pictures.lines(tmp_path / "lines.png", signals)
    sheet = image.imread(tmp_path / "lines.png")[..., :3]
    assert (sheet[..., 2] - sheet[..., 0]).max() > 0.4  # blue
    assert (sheet[..., 0] - sheet[..., 2]).max() > 0.4  # orange


# ---------------------------------------------------------------- curves


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Draws curves, and gives the panels of the figure that was saved."""
    figures = []
    monkeypatch.setattr(
        pictures, "Figure", lambda **kw: figures.append(Figure(**kw)) or figures[-1]
    )

    def draw(record, groups):
        pictures.curves(tmp_path / "curves.png", record, groups)
        assert image.imread(tmp_path / "curves.png").size
        assert len(list(tmp_path.iterdir())) == 1
        return [axes for axes in figures[-1].axes if axes.axison]

    return draw


def test_curves_show_each_step_faint_and_a_running_mean(drawn):
    rng = np.random.default_rng(0)
    rows = [{"step": t, "d": rng.normal(), "g": rng.normal()} for t in range(1, 501)]
    (axes,) = drawn(rows, {"losses": ("d", "g")})
    assert axes.get_title() == "losses"
    for name, faint, mean in zip("dg", axes.lines[::2], axes.lines[1::2], strict=True):
        values = np.array([row[name] for row in rows])
        np.testing.assert_array_equal(faint.get_xydata()[:, 1], values)
        assert faint.get_alpha() < 1 and faint.get_color() == mean.get_color()
        x, y = mean.get_xydata().T
        np.testing.assert_array_equal(x, np.arange(5, 501))
        expected = [values[t - 5 : t].mean() for t in range(5, 501)]
        np.testing.assert_allclose(y, expected, atol=1e-12)
    assert [text.get_text() for text in axes.get_legend().texts] == ["d", "g"]


def test_curves_skip_rows_and_leave_out_names_and_groups(drawn):
    rows = [{"step": t, "loss": None, "other": None} for t in range(1, 301)]
    for t in (100, 200, 300):
        rows[t - 1]["fid"] = 1000 / t
        rows[t - 1]["loss"] = 0.5
    rows[199]["loss"] = None
    rows[299]["once"] = 1.0  # is no curve
    rows[299]["last"] = 3.0  # is drawn where there is one
    groups = {"loss": ("loss",), "quality": ("fid", "kid", "last")}
    groups["none"] = ("other", "once")
    panels = drawn(rows, groups)
    assert [axes.get_title() for axes in panels] == ["loss", "quality"]
    (loss,), (fid, last) = (axes.lines for axes in panels)
    assert last.get_xydata().tolist() == [[300, 3]]
    assert loss.get_xydata().tolist() == [[100, 0.5], [300, 0.5]]
    assert fid.get_xydata().tolist() == [[100, 10], [200, 5], [300, 1000 / 300]]
    assert fid.get_marker() == "o"
    for axes in panels:
        assert axes.get_xlabel() == "step"
        assert any(label.get_visible() for label in axes.get_xticklabels())


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ((0.01, 1.001), "log"),
        ((0.01, 0.99), "linear"),
        ((0.0, 1000.0), "linear"),
        ((-1.0, 1000.0), "linear"),
    ],
)
def test_curves_are_logarithmic_over_two_decades_of_positive_values(
    drawn, values, scale
):
    rows = [{"step": t, "x": value} for t, value in enumerate(values, 1)]
    (axes,) = drawn(rows, {"x": ("x",)})
    assert axes.get_yscale() == scale


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_there_is_one_panel_a_group(drawn, count):
    rows = [{"step": t, **{f"m{i}": float(i) for i in range(count)}} for t in (1, 2)]
    panels = drawn(rows, {f"g{i}": (f"m{i}",) for i in range(count)})
    assert [axes.get_title() for axes in panels] == [f"g{i}" for i in range(count)]


def test_nothing_to_draw_is_an_empty_picture(drawn):
    assert drawn([], {"losses": ("d_loss",)}) == []


# ---------------------------------------------------------------- files


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(part, *args, **kwargs):
        part.write_bytes(b"half of a picture")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pictures.image, "imsave", full)
    with pytest.raises(OSError, match="No space"):
        pictures.grid(tmp_path / "grid.png", np.zeros((1, 8, 8, 1)))
    assert list(tmp_path.iterdir()) == []
