"""A report says what the numbers say; its page stands alone and fits a phone."""

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib import image
from matplotlib.figure import Figure

from subsel.gan.ablation import figures, headline, report

COMMAND = "python experiments/compare_optimizers.py --out study <a> & 'b'"
MACHINE = {
    "cpu": "a CPU",
    "threads": 2,
    "devices": ["cpu"],
    "python": "3.11",
    "versions": {"jax": "0.10"},
}
EVIL = "<script>alert('`x`|$y$')</script>"
PROTOCOL = {
    "budget": 3000,
    "trials": 5,
    "tuning_seeds": 2,
    "finalists": 2,
    "finalist_seeds": 3,
    "seeds": 4,
    "segments": 3,
    "population": 4,
    "curve_samples": 100,
    "final_samples": 400,
}


def _pair(improvement, side):
    return {"improvement": improvement, "p": 0.01, "p_holm": 0.0234567, "side": side}


def _cell(shape, score, against=None, averaged=None):
    rng = np.random.default_rng(0)
    return {"against": against or {}} | {
        "point": {"learning_rate": 0.000123456, "b1": 0.0},
        "edges": [],
        "values": [0.2, 0.3, 0.4, 0.5],
        "median": 0.35,
        "averaged": 0.3,
        "averaged_against": averaged or {},
        "diverged": 0,
        "scores": [0.5, 0.6, 0.7, 0.8],
        "score": [score, score - 0.1, score + 0.1],
        "success": [3, 4],
        "success_interval": [0.194, 0.994],
        "times": [2000.0, 1000.0, 3000.0, None],
        "tuning": [1.0, 0.5, 0.4, 0.3, None],
        "finalists": [0.3, 0.4],
        "overturned": True,
        "expected_best": [0.2, 0.3, 0.4, 0.45, 0.5],
        "default_values": [],
        "default_median": None,
        "curve": {
            "gradients": [1000.0, 2000.0, 3000.0],
            "median": [1.0, 0.5, 0.35],
            "low": [0.8, 0.4, 0.2],
            "high": [1.5, 0.8, 0.5],
        },
        "final": {"metric": 0.35, "high_quality": 0.98765},
        "cosine": {"g_cosine": 0.5},
        "seconds": 1234.5,
        "compiling": 0.1,
        "samples": [rng.uniform(-1, 1, 4 * np.prod(shape)).tolist()] * 2,
    }


def _diverged(cell):
    nothing = [None] * 3
    return cell | {
        "median": None,
        "averaged": None,
        "diverged": 4,
        "values": [None] * 4,
        "times": [None] * 4,
        "score": [0.0, 0.0, 0.0],
        "final": {},
        "curve": cell["curve"] | {"median": nothing, "low": nothing, "high": nothing},
        "edges": ["eps"],
    }


def _found():
    """Two tasks; a rule with a control that diverged, and lacks a task."""
    shapes = {"ring": [2], "pictures of": [4, 4, 1]}
    plain = {"about": "a | b", "rule": False, "control_of": None, "gradients": 1}
    plain["controls"] = []
    about = {"adam": plain | {"knobs": []}}
    about["turn"] = plain | {"rule": True, "gradients": 2, "knobs": ["radius"]}
    about["turn"] |= {"controls": [EVIL]}
    about[EVIL] = plain | {"control_of": "turn", "knobs": []}
    tasks, cells = {}, {name: {} for name in about}
    for task, shape in shapes.items():
        real = {"metric": 0.1, "high_quality": 0.999}
        tasks[task] = {"about": "easy", "primary": "metric", "real": real}
        tasks[task] |= {"floor": 0.1, "curve_floor": 0.15, "untrained": 2.0}
        tasks[task] |= {"target": 0.4, "shape": shape}
        tasks[task] |= {"target_at": 0.75, "judge": "9 samples, net-1"}
        cells["adam"][task] = _cell(shape, 0.6)
        averaged = {"adam": _pair([0.25, 0.125, 0.375], -1)}
        pair = {"adam": _pair([0.7, 0.55, 0.9], 1)}
        cells["turn"][task] = _cell(shape, 0.8, pair, averaged)
    cells["turn"]["ring"]["against"][EVIL] = _pair([1.0, 1.0, 1.0], 1)
    against = {"adam": _pair([0.0, 0.0, 0.0], -1)}
    cells[EVIL]["ring"] = _diverged(_cell([2], 0.0, against))
    line = np.linspace(1, 0, 11).tolist()
    whole = {"score": [0.7, 0.6, 0.8], "benchmark": [0.5, 0.4, 0.6]}
    whole["profile"] = {"line": line, "low": line, "high": line}
    return {
        "protocol": PROTOCOL,
        "asked": {"tasks": [*tasks, "third"], "contestants": list(about)},
        "tasks": tasks,
        "contestants": about,
        "cells": cells,
        "overall": {
            "adam": whole | {"against": None},
            "turn": whole | {"against": _pair([0.7, 0.6, 0.8], 1)},
        },
        "levels": np.linspace(0, 1, 11).tolist(),
    }


@pytest.fixture
def found():
    return _found()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder, found = tmp_path_factory.mktemp("study") / "report", _found()
    report.write(found, folder, COMMAND, MACHINE)
    assert found == _found()  # as it was
    return folder


class Page(HTMLParser):
    """Tags with what they say, and whether all that is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.append(text)


def test_the_page_is_whole_and_refers_to_nothing_outside(written):
    text = (written / "report.html").read_text()
    page = Page(text)
    assert not page.open
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    for _, attrs in page.tags:
        for key in ("href", "xlink:href", "src"):
            link = attrs.get(key, "#")
            assert link.startswith(("#", "data:image/png;base64,")), link
            assert link[:1] != "#" or link[1:] in ids | {""}
    assert not re.search(r"@import|<link|<iframe|fetch\(", text)
    outside = re.sub(r'"data:[^"]*"|xmlns:xlink="[^"]*"', "", text)
    assert "http" not in outside
    assert set(re.findall(r"url\((.)", outside)) <= {"#"}
    assert any(tag == "meta" and a.get("name") == "viewport" for tag, a in page.tags)


def test_a_name_is_text_and_never_a_program(written):
    text = (written / "report.html").read_text()
    page = Page(text)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert "↳ " + EVIL in page.texts
    assert "<script" not in (written / "report.md").read_text().replace("\\<", "")


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_both_forms_say_the_same(written, name):
    text = (written / name).read_text()
    text = html.unescape(text) if name.endswith("html") else text.replace("\\", "")
    for said in (
        "turn is better than tuned Adam on 2 of 2 tasks and worse on none.",
        "Over all tasks together better: turn.",
        f"(yet): adam on third; turn on third; {EVIL} on pictures of, third.",
        "0.700 [0.550, 0.900] ▲",
        "p 0.0235",
        "3/4 [0.194, 0.994]",
        "0.250 [0.125, 0.375] ▼ p 0.0235",  # of the mean of G
        "not part of this report: adam_at_once,",
        "learning_rate 0.000123, b1 0",
        "⚑ eps",
        "diverged",
        "miss",
        "1230",  # seconds, three digits
        "real samples",
        "untrained G",
        "control of turn",
        "0.988",  # a secondary metric
        "Equal budget: 3000 gradients",
        "a CPU, 2 threads",
    ):
        assert said in text, said
    pictures = len(list(written.glob("*.png")))
    assert pictures == 6 and text.count("Made by") == text.count(COMMAND) == pictures


def test_tables_of_the_markdown_are_whole_and_its_pictures_are_there(written):
    text = (written / "report.md").read_text()
    blocks = [b for b in text.split("\n\n") if b.startswith("|")]
    assert len(blocks) == 5
    for block in blocks:
        columns = [len(re.findall(r"(?<!\\)\|", line)) for line in block.split("\n")]
        assert len(set(columns)) == 1
    links = re.findall(r"!\[[^]]*\]\(([^)]*)\)", text)
    assert {written / link for link in links} == set(written.glob("*.png"))
    assert "samples-pictures-of.png" in links
    for link in links:
        assert (written / link).stat().st_size < 250_000
        assert np.ptp(image.imread(written / link)[..., :3]) > 0.2


@pytest.mark.parametrize(
    ("compared", "whole", "beaten", "said"),
    [
        ({}, {}, {}, "No rule has been compared with tuned Adam yet."),
        (
            {"a": {"x": 0, "y": 0}},
            {"a": 0},
            {"a": ([], 0)},
            "No rule is better than tuned Adam on any task.",
        ),
        (
            {"a": {"x": 1, "y": 0, "z": 1, "w": 0}},
            {},
            {"a": (["c", "d"], 1)},
            "a is better than tuned Adam on 2 of 4 tasks and worse on none. Of these "
            "it is better than all its controls (c, d) on 1.",
        ),
        (
            {"a": {"x": 1}, "b": {"x": -1, "y": 0}, "c": {"x": 1, "y": -1}},
            {"b": -1, "c": 1},
            {"a": ([], 1), "b": ([], 0), "c": (["d"], 0)},
            "a is better than tuned Adam on 1 of 1 task and worse on none.\n"
            "c is better than tuned Adam on 1 of 2 tasks and worse on 1. Of these it "
            "is better than all its controls (d) on none.\n"
            "Better on none and worse on some: b (1 of 2).\n"
            "Over all tasks together better: c.\nOver all tasks together worse: b.",
        ),
        (
            {"b": {"x": -1}},
            {},
            {"b": ([], 0)},
            "No rule is better than tuned Adam on any task.\n"
            "Better on none and worse on some: b (1 of 1).",
        ),
    ],
)
def test_the_headline_is_made_of_the_data(compared, whole, beaten, said):
    assert headline.headline(compared, whole, beaten) == said


@pytest.mark.parametrize(("side", "mark"), [(0, ""), (1, "▲"), (-1, "▼")])
def test_a_mark_says_which_side_is_sure(found, tmp_path, side, mark):
    cells = found["cells"]["turn"]
    found["tasks"] = {"ring": found["tasks"]["ring"]}
    found["overall"] = {}
    against = {"adam": _pair([0.7, 0.5, 0.9], side)}
    found["cells"]["turn"] = {"ring": cells["ring"] | {"against": against}}
    report.write(found, tmp_path, COMMAND, MACHINE)
    lines = (tmp_path / "report.md").read_text().split("\n")
    (row,) = (
        line for line in lines if line.startswith("| turn |") and "p 0.02" in line
    )
    assert [sign for sign in "▲▼" if sign in row] == list(mark)


def test_a_task_without_a_target_has_a_report(found, tmp_path):
    found["tasks"]["ring"]["target"] = None
    report.write(found, tmp_path, COMMAND, MACHINE)
    assert "out of reach" in (tmp_path / "report.md").read_text()


def test_every_line_of_a_panel_has_a_colour_of_its_own(found):
    for i in range(9):
        found["contestants"][f"rule {i}"] = found["contestants"]["adam"] | {
            "rule": True
        }
        found["cells"][f"rule {i}"] = {"ring": found["cells"]["turn"]["ring"]}
        found["overall"][f"rule {i}"] = found["overall"]["turn"]
    drawn = figures.pictures(found)
    for name in ("curves", "tuning", "profile"):
        shown = []
        for _, draw in drawn[name].panels:
            axes = Figure().subplots()
            draw(axes)
            handles, labels = axes.get_legend_handles_labels()
            assert len({line.get_color() for line in handles}) == len(labels)
            shown += labels
        assert all(shown.count(f"rule {i}") == 1 for i in range(9))


def test_a_study_that_has_only_begun_has_a_report(found, tmp_path):
    found |= {"tasks": {}, "cells": {}, "contestants": {}, "overall": {}}
    found["asked"] = {"tasks": ["ring"], "contestants": ["adam"]}
    report.write(found, tmp_path, COMMAND, MACHINE)
    assert "No rule has been compared" in (tmp_path / "report.md").read_text()
    assert not list(tmp_path.glob("*.png"))


# ---------------------------------------------------------------- in a browser

_PROBE = """<script>
const heads = [...document.querySelectorAll("table")[2].tHead.rows[0].cells];
const column = name => heads.findIndex(head => head.textContent === name);
const said = i => [...document.querySelectorAll("table")[2].tBodies[0].rows].map(
  row => row.cells[i].textContent);
const sorted = {};
for (const name of ["contestant", "metric", "p (Holm)"]) {
  const button = heads[column(name)].querySelector("button");
  sorted[name] = [0, 1].map(() => {
    button.focus();
    button.click();
    return [heads[column(name)].getAttribute("aria-sort"), said(column(name))];
  });
}
document.title = JSON.stringify({
  sorted,
  focused: document.activeElement.tagName,
  width: document.documentElement.scrollWidth,
  window: innerWidth,
  paper: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(document.querySelector("svg text")).fill,
});
</script>"""


@pytest.fixture(scope="module")
def chromium():
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if not found:
        pytest.skip("no Chromium here: apt-get install chromium runs this test")
    return found


def _seen(chromium, written, tmp_path, scheme):
    """What a script finds in the page, in a frame as wide as a phone."""
    text = (written / "report.html").read_text()
    (tmp_path / "probed.html").write_text(text.replace("</body>", _PROBE + "</body>"))
    (tmp_path / "phone.html").write_text(
        "<!DOCTYPE html><iframe src=probed.html width=360 height=800 frameborder=0 "
        "onload='document.title = frames[0].document.title'></iframe>"
    )
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    options += ["--allow-file-access-from-files", "--virtual-time-budget=5000"]
    options += [f"--blink-settings=preferredColorScheme={scheme}"]
    options += [f"--user-data-dir={tmp_path / 'profile'}"]
    page = (tmp_path / "phone.html").as_uri()
    run = subprocess.run(
        [chromium, *options, page], capture_output=True, text=True, timeout=60
    )
    title = re.search("<title>(.*?)</title>", run.stdout, re.DOTALL)
    assert title, run.stderr
    return json.loads(html.unescape(title[1]))


def test_in_a_browser_it_sorts_fits_a_phone_and_knows_the_dark(
    chromium, written, tmp_path
):
    dark, light = (_seen(chromium, written, tmp_path, scheme) for scheme in (0, 1))
    assert light["window"] == 360 and light["width"] <= 360
    assert light["paper"] != dark["paper"] and light["ink"] != dark["ink"]
    assert light["focused"] == "BUTTON"
    (up, rising), (down, falling) = light["sorted"]["metric"]
    assert (up, down) == ("ascending", "descending")
    assert rising == ["0.350", "0.350", "diverged"] and falling == rising[::-1]
    (_, rising), (_, falling) = light["sorted"]["contestant"]
    assert rising == ["↳ " + EVIL, "adam", "● turn"] and falling == rising[::-1]
    for _, column in light["sorted"]["p (Holm)"]:
        assert column[-1] == "–"  # what is absent stays last
