"""What it has cost: by day, by folder, and what is left of today's budget."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from retake.adapters.jobs import Row
from retake.rules.gate import Limits
from retake.rules.states import State

from . import jobs
from .console import now, plain, usd
from .stack import Stack


@dataclass(frozen=True)
class Budget:
    """Today's money, in USD: what is booked at the gate, and what may be; the day is UTC's."""

    spent: float
    limit: float

    @property
    def left(self) -> float:
        return max(0.0, self.limit - self.spent)


def budget(stack: Stack) -> Budget:
    """Read the day's ledger."""
    gate, _ = stack.jobs.gate()
    limits = Limits(int(stack.parameters.get("RequestsPerMinute", 50)), stack.budget_usd)
    return Budget(gate.figures(limits, now().timestamp())["SpentTodayUsd"], stack.budget_usd)


def report(rows: Sequence[Row], today: Budget) -> dict[str, Any]:
    """Add up what jobs cost, by the day of their submit (UTC) and by folder; newest day and dearest folder first."""
    days: defaultdict[str, list[float]] = defaultdict(list)
    folders: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        if cost := jobs.paid(row):
            days[str(row["times"].get(State.SUBMITTING, jobs.began(row)))[:10]].append(cost)
            folders[row["key"].rpartition("/")[0] + "/"].append(cost)
    by_day = sorted(days.items(), reverse=True)
    by_folder = sorted(folders.items(), key=lambda each: -sum(each[1]))
    return {
        "days": [{"day": day, "jobs": len(costs), "usd": round(sum(costs), 2)} for day, costs in by_day],
        "folders": [{"folder": folder, "jobs": len(costs), "usd": round(sum(costs), 2)} for folder, costs in by_folder],
        "total": {"jobs": sum(map(len, days.values())), "usd": round(sum(map(sum, days.values())), 2)},
        "today": {"spent_usd": today.spent, "budget_usd": today.limit, "left_usd": round(today.left, 2)},
    }


def picture(told: dict[str, Any], most: int) -> Group:
    """Draw the report, with at most so many days and folders."""
    today, total = told["today"], told["total"]
    left = f"today {usd(today['spent_usd'])} of {usd(today['budget_usd'])} USD are spent or booked, {usd(today['left_usd'])} left"
    return Group(
        Text(left),
        Text("a new day begins at midnight UTC", "dim"),
        "",
        _table("day (UTC)", [(each["day"], each) for each in told["days"]], most),
        "",
        _table("folder", [(plain(each["folder"]), each) for each in told["folders"]], most),
        "",
        Text(f"all together {usd(total['usd'])} USD for {total['jobs']} jobs", "bold"),
    )


def _table(name: str, lines: list[tuple[str, dict[str, Any]]], most: int) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(name, overflow="fold", min_width=20)
    table.add_column("jobs", justify="right", no_wrap=True)
    table.add_column("USD", justify="right", no_wrap=True)
    for label, sums in lines[:most]:
        table.add_row(Text(label), str(sums["jobs"]), usd(sums["usd"]))
    if rest := lines[most:]:
        more = sum(sums["jobs"] for _, sums in rest), sum(sums["usd"] for _, sums in rest)
        table.add_row(Text(f"{len(rest)} more", "dim"), str(more[0]), usd(more[1]))
    return table
