"""Which contestants stand together in tables and pictures, and in which order."""

from subsel.gan.ablation.study import TARGET


def families(found: dict) -> dict[str, list[str]]:
    """What is drawn in one panel beside Adam: a rule with its controls, by its name.

    Those that have no controls are together.
    """
    about = found["contestants"]
    groups = {}
    for name, one in about.items():
        if (root := one["control_of"]) not in (None, TARGET):
            groups.setdefault(root, [root] if root in about else []).append(name)
    kept = {TARGET, *(name for members in groups.values() for name in members)}
    rest = {False: [], True: []}
    for name in about:
        if name not in kept:
            rest[about[name]["rule"]].append(name)
    rest[False].sort(key=lambda name: not about[name]["control_of"])  # Adam's first
    alone = {"optimizers": rest[False], "rules without controls": rest[True]}
    alone = {title: members for title, members in alone.items() if members}
    return (alone | groups) or {TARGET: []}


def order(found: dict) -> list[str]:
    """All contestants, Adam first, and controls after what they control."""
    members = [name for family in families(found).values() for name in family]
    return [name for name in (TARGET, *members) if name in found["contestants"]]


def role(one: dict) -> str:
    """Of a contestant: control, rule or optimizer."""
    return "control" if one["control_of"] else "rule" if one["rule"] else "optimizer"
