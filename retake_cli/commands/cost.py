"""`retake cost` adds up what was paid: by day, by folder, and what is left of today's budget."""

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
    """Show costs by day and folder, and today's remaining budget."""
    session: Session = context.obj
    stack = session.stack
    value = report(read_costs(stack, prefix), todays_budget(stack))
    session.screen.show(value, draw(value, limit))


def report(costs: Iterable[CostSum], today: TodaysBudget) -> Sums:
    """Add up what jobs cost.

    Returns:
        The sums by the day of the submit (UTC), newest first; by folder, most expensive first;
        the total; and today's budget.
    """
    days: defaultdict[str, list[CostSum]] = defaultdict(list)
    folders: defaultdict[str, list[CostSum]] = defaultdict(list)
    every: list[CostSum] = []
    for each in costs:
        days[each.day].append(each)
        folders[each.folder].append(each)
        every.append(each)
    by_day = [{"day": day, **_sum(each)} for day, each in sorted(days.items(), reverse=True)]
    by_folder = [{"folder": folder, **_sum(each)} for folder, each in folders.items()]
    return {
        "days": by_day,
        "folders": sorted(by_folder, key=lambda sums: -sums["usd"]),
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
        Text(f"total: {usd(total['usd'])} USD for {count(total['jobs'], 'job')}", "bold"),
    )


def _sum(costs: Sequence[CostSum]) -> Sums:
    jobs = sum(each.jobs for each in costs)
    return {"jobs": jobs, "usd": round(sum(each.usd for each in costs), 2)}


def _table(name: str, lines: Sequence[tuple[str, Sums]], limit: int) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(name, overflow="fold", min_width=20)
    table.add_column("jobs", justify="right", no_wrap=True)
    table.add_column("USD", justify="right", no_wrap=True)
    for label, sums in lines[:limit]:
        table.add_row(Text(label), str(sums["jobs"]), usd(sums["usd"]))
    if rest := [sums for _, sums in lines[limit:]]:
        more = Text(f"{len(rest)} more", "dim")
        job_count = sum(sums["jobs"] for sums in rest)
        table.add_row(more, str(job_count), usd(sum(sums["usd"] for sums in rest)))
    return table
