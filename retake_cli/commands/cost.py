"""`retake cost` adds up what was paid, and shows what is left of today's budget."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from retake.domain.cost_sum import CostSum
from retake.domain.status_file import printable

from ..console import count, usd
from ..costs import TodaysBudget, read_costs, todays_budget
from ..session import Prefix, Session

Sums = dict[str, Any]


def cost(
    context: typer.Context,
    prefix: Prefix = "",
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="Number of days and folders to list.")
    ] = 14,
) -> None:
    """Show estimated and real costs, and today's remaining budget.

    They are added up by day, folder, mode and size.
    """
    session: Session = context.obj
    stack = session.stack
    value = report(read_costs(stack, prefix), todays_budget(stack))
    session.screen.show(value, draw(value, limit))


def report(costs: Iterable[CostSum], today: TodaysBudget) -> Sums:
    """Add up what jobs cost.

    Returns:
        The sums by the day of the submit (UTC), newest first; by folder, mode and size, most
        expensive first; the total; and today's budget.
    """
    every = list(costs)
    by_day = _group(every, "day")
    return {
        "days": sorted(by_day, key=lambda sums: str(sums["day"]), reverse=True),
        "folders": _group(every, "folder"),
        "modes": _group(every, "mode"),
        "sizes": _group(every, "size"),
        "total": _sum(every),
        "today": {
            "spent_usd": today.booked,
            "budget_usd": today.limit,
            "left_usd": round(today.left, 2),
        },
    }


def draw(value: Sums, limit: int) -> Group:
    """Draw the report, with at most so many days and folders."""
    today, total = value["today"], value["total"]
    spent, budget, left = (usd(today[f"{name}_usd"]) for name in ("spent", "budget", "left"))
    return Group(
        Text(f"today: {spent} of {budget} USD spent or booked, {left} USD left"),
        Text("the budget is renewed at midnight UTC", "dim"),
        "",
        _table("day (UTC)", [(sums["day"], sums) for sums in value["days"]], limit),
        "",
        _table("folder", [(printable(sums["folder"]), sums) for sums in value["folders"]], limit),
        "",
        _table("mode", [(sums["mode"], sums) for sums in value["modes"]], limit),
        "",
        _table("size", [(sums["size"], sums) for sums in value["sizes"]], limit),
        "",
        Text(f"total: {usd(total['usd'])} USD for {count(total['jobs'], 'job')}", "bold"),
    )


def _sum(costs: Sequence[CostSum]) -> Sums:
    return {
        "jobs": sum(each.jobs for each in costs),
        "estimated_usd": round(sum(each.estimated_usd for each in costs), 2),
        "usd": round(sum(each.usd for each in costs), 2),
        "unpriced_jobs": sum(each.unpriced_jobs for each in costs),
    }


def _group(costs: Iterable[CostSum], name: str) -> list[Sums]:
    """Add up what has the same value of a field, most expensive first."""
    groups: defaultdict[str, list[CostSum]] = defaultdict(list)
    for each in costs:
        groups[getattr(each, name)].append(each)
    sums: list[Sums] = [{name: value, **_sum(each)} for value, each in groups.items()]
    return sorted(sums, key=lambda each: -each["usd"])


def _table(name: str, lines: Sequence[tuple[str, Sums]], limit: int) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(name, overflow="fold", min_width=20)
    table.add_column("jobs", justify="right", no_wrap=True)
    table.add_column("estimated", justify="right", no_wrap=True)
    table.add_column("USD", justify="right", no_wrap=True)

    def add(label: Text, *rows: Sums) -> None:
        figures = (sum(row[each] for row in rows) for each in ("jobs", "estimated_usd", "usd"))
        job_count, estimated, paid = figures
        table.add_row(label, str(job_count), usd(estimated), usd(paid))

    for label, sums in lines[:limit]:
        add(Text(label), sums)
    if rest := [sums for _, sums in lines[limit:]]:
        add(Text(f"{len(rest)} more", "dim"), *rest)
    return table
