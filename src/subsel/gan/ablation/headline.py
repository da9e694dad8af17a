"""What a report begins with: which rules are better than tuned Adam, which worse."""

from collections.abc import Iterator

from subsel.gan.ablation.blocks import Block, Heading, Paragraph, Table
from subsel.gan.ablation.comparison import LEVEL
from subsel.gan.ablation.contestants import CONTESTANTS
from subsel.gan.ablation.groups import order
from subsel.gan.ablation.study import TARGET
from subsel.gan.ablation.wording import ABSENT, with_p


def blocks(found: dict) -> Iterator[Block]:
    """The title, the headline and the table of rules."""
    rules = [name for name in order(found) if found["contestants"][name]["rule"]]
    compared = {name: _sides(found, name) for name in rules}
    compared = {name: sides for name, sides in compared.items() if sides}
    yield Heading("Subgradient selection against tuned Adam", 1)
    whole = {
        name: of["against"]["side"]
        for name, of in found["overall"].items()
        if name in compared
    }
    beaten = {name: _beaten(found, name, compared[name]) for name in compared}
    yield Paragraph(headline(compared, whole, beaten), headline=True)
    yield Paragraph(
        "Better and worse (▲ and ▼) mean that the 95 % interval of the probability of "
        "improvement, that a run of the rule beats one of tuned Adam, lies wholly "
        "above or below 1/2, and that p of Mann and Whitney's test is below "
        f"{LEVEL}, adjusted by Holm for all comparisons of this report: of fewer "
        "contestants or tasks more are sure, and to choose them by what was found "
        "makes sure of nothing. Over all tasks the same, by the test stratified by "
        "task (van Elteren 1960), adjusted for all contestants that are on all tasks. "
        "All this is of fresh runs at the points that tuning found; that other tuning "
        "seeds might have found others is not in it. An interval has no width where "
        "every run of one beats every run of the other, and is too narrow near that: "
        "there p is what decides."
    )
    rows = []
    for name, sides in compared.items():
        cells = [found["cells"][name].get(task) for task in found["tasks"]]
        each = [
            with_p(cell["against"].get(TARGET)) if cell else ABSENT for cell in cells
        ]
        each.append(with_p(found["overall"].get(name, {}).get("against")))
        counts = [str(list(sides.values()).count(side)) for side in (1, -1)]
        rows.append([name, *counts, *each])
    if rows:
        yield Table(["rule", "better", "worse", *found["tasks"], "all tasks"], rows)
    asked = found["asked"]["tasks"]
    missing = {
        name: [task for task in asked if task not in found["cells"].get(name, {})]
        for name in found["asked"]["contestants"]
    }
    missing = [f"{name} on {', '.join(ts)}" for name, ts in missing.items() if ts]
    if missing:
        yield Paragraph(f"Not measured (yet): {'; '.join(missing)}.")
    if others := sorted(CONTESTANTS.keys() - set(found["asked"]["contestants"])):
        yield Paragraph(f"Known, and not part of this report: {', '.join(others)}.")


def headline(
    compared: dict[str, dict[str, int]],
    whole: dict[str, int],
    beaten: dict[str, tuple[list[str], int]],
) -> str:
    """A few plain sentences, a line each.

    Args:
        compared: of each rule and task, 1 where it is better than tuned Adam, -1 where
            it is worse, and 0 where neither is certain.
        whole: the same over all tasks.
        beaten: of each rule its controls, and on how many of the tasks where it is
            better than Adam it is better than each of these, too.
    """
    if not compared:
        return "No rule has been compared with tuned Adam yet."
    better, worse = [], []
    for name, sides in compared.items():
        values = list(sides.values())
        ups, downs = values.count(1), values.count(-1)
        if ups:
            tasks = f"{len(values)} task{'s' * (len(values) != 1)}"
            said = f"{name} is better than tuned Adam on {ups} of {tasks}"
            names, also = beaten[name]
            if names:
                these = f"all its controls ({', '.join(names)})"
                also = f" Of these it is better than {these} on {also or 'none'}."
            else:
                also = ""
            better.append(f"{said} and worse on {downs or 'none'}.{also}")
        elif downs:
            worse.append(f"{name} ({downs} of {len(values)})")
    said = better or ["No rule is better than tuned Adam on any task."]
    if worse:
        said.append(f"Better on none and worse on some: {', '.join(worse)}.")
    for side, word in ((1, "better"), (-1, "worse")):
        if names := [name for name in whole if whole[name] == side]:
            said.append(f"Over all tasks together {word}: {', '.join(names)}.")
    return "\n".join(said)


def _sides(found, name):
    """Of each task that it is compared with tuned Adam on."""
    cells = found["cells"].get(name, {})
    return {
        task: cell["against"][TARGET]["side"]
        for task, cell in cells.items()
        if TARGET in cell["against"]
    }


def _beaten(found, name, sides):
    """Its controls, and the number of tasks where it beats Adam and all of them."""
    names = [c for c in found["contestants"][name]["controls"] if c in found["cells"]]
    won = [task for task, side in sides.items() if side > 0]
    pairs = [found["cells"][name][task]["against"] for task in won]
    also = sum(all(of.get(c, {}).get("side", 0) > 0 for c in names) for of in pairs)
    return names, also
