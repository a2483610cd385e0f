"""The command `drop`, from the check to the retakes on this machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Group
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from retake.rules.states import ENDED, State

from . import costs, jobs
from .console import Screen, plain, usd
from .dropping import Ready, look, presets_of, upload, upload_presets
from .following import Followed, Following
from .planning import Rejected, Wish, plan
from .stack import Stack

SHOWN = 20  # lines of a plan
_GOES_ON = "what is dropped goes on in the cloud; the same command goes on from there, and nothing is paid twice"


@dataclass(frozen=True)
class How:
    """What to do with the plan: only show it, or drop it; stay until the retakes are here, and save them in `out`."""

    dry_run: bool
    wait: bool
    out: Path


def run(stack: Stack, screen: Screen, paths: Sequence[Path], wish: Wish, how: How) -> int:
    """Drop what can be dropped; gives the exit code: 1 when a clip was refused here or there, or failed."""
    try:
        intended, rejected = plan(paths, wish, stack.max_seconds, presets_of(stack))
        ready = look(stack, intended)
    except KeyboardInterrupt:
        _interrupted(screen, "clips were still being checked, nothing was dropped this time")
    if not screen.as_json:
        _tell_rejected(rejected, screen)
        if not ready and not rejected:
            screen.say("there is no clip in there", "")
    if how.dry_run:
        screen.show(_as_json(ready, rejected, stack), _plan(ready, stack))
        return int(bool(rejected) or not ready)
    dropped: list[Ready] = []
    try:
        _upload(stack, screen, ready, dropped)
    except KeyboardInterrupt:
        _interrupted(screen, f"{len(dropped)} of {len(ready)} jobs are dropped")
    except Exception:
        screen.say(f"{len(dropped)} of {len(ready)} jobs are dropped; {_GOES_ON}", "")
        raise
    clips = [Followed(one, one.before if one.before and one.is_fresh(one.before) else None) for one in ready]
    if how.wait and clips:
        follow = Following(stack, screen, how.out, jobs.usual_seconds(jobs.everything(stack.table)), clips)
        try:
            follow.to_the_end()
        except KeyboardInterrupt:
            _interrupted(screen, f"{sum(one.over for one in clips)} of {len(clips)} jobs are over")
    told = [one.as_json() for one in clips] if how.wait else [_ready_json(one) for one in ready]
    picture = _outcome(clips) if how.wait else _plan(ready, stack, done=True)
    screen.show({"jobs": told, "refused": _rejected_json(rejected)}, picture)
    unlucky = any((one.over and one.state != State.DELIVERED) or one.trouble for one in clips) if how.wait else False
    return int(bool(rejected) or unlucky or not ready)


def _interrupted(screen: Screen, what: str) -> NoReturn:
    screen.say(f"interrupted: {what}; {_GOES_ON}", "")
    raise typer.Exit(130) from None


def _upload(stack: Stack, screen: Screen, ready: Sequence[Ready], dropped: list[Ready]) -> None:
    upload_presets(stack, ready)
    # Notes of clips that are there go first: the preset lets a clip that waits start without its note in half a minute.
    new = sorted((one for one in ready if one.puts), key=lambda one: one.bytes)
    dropped += [one for one in ready if not one.puts]
    columns = (TextColumn("dropping"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen.err, transient=True, disable=screen.as_json or not new) as progress:
        line = progress.add_task("", total=sum(one.bytes for one in new))
        upload(stack, new, lambda count: progress.advance(line, count), dropped.append)


def _plan(ready: Sequence[Ready], stack: Stack, done: bool = False) -> Group:
    """Draw what is, or would be, dropped and paid."""
    table = Table(box=None, pad_edge=False)
    table.add_column("clip", overflow="fold")
    table.add_column("mode", no_wrap=True)
    table.add_column("USD", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for one in ready[:SHOWN]:
        price = usd(one.price) if one.price else "–"
        table.add_row(Text(plain(one.intended.key)), one.intended.sidecar.mode, price, Text(_known(one), "dim"))
    total, left = sum(one.price for one in ready), costs.budget(stack).left
    sums = f"{len(ready)} jobs, {sum(one.price > 0 for one in ready)} to pay, about {usd(total)} USD"
    over = f"; {usd(left)} are left of today's budget, the rest waits for the next days" if total > left else ""
    verb = "dropped; `retake watch` shows them move" if done else "nothing was dropped"
    lines = [Text(f"… and {len(ready) - SHOWN} more", "dim")] if len(ready) > SHOWN else []
    lines += [Text(f"{plain(key)} goes along: other clips that wait in that folder start with it", "dim") for key in _presets(ready)]
    return Group(table, *lines, Text(f"{sums}{over}; {verb}", "bold")) if ready else Group()


def _presets(ready: Sequence[Ready]) -> list[str]:
    return sorted({one.intended.preset_key for one in ready if one.intended.preset is not None})


def _known(one: Ready) -> str:
    if one.before is None:
        return "new" if one.intended.key in one.changes else "new; the clip is there already"
    state = one.before["state"]
    if one.again:
        return f"{state} before, tried again: {plain(jobs.reason(one.before))}"
    return f"{state} already" if State(state) in ENDED else f"under way already: {state}"


def _outcome(clips: Sequence[Followed]) -> Group:
    """Draw what became of every clip."""
    lines: list[Text] = []
    for one in clips:
        if one.saved:
            lines.append(Text.assemble(("✓ ", "green"), plain(one.ready.intended.key), " → ", (plain(one.saved), "bold"), overflow="fold"))
        else:
            why = one.trouble or (jobs.reason(one.row) if one.row else "")
            lines.append(Text.assemble(("✗ ", "red"), plain(one.ready.intended.key), f"  {one.state}  {plain(why)}", overflow="fold"))
    paid = sum(jobs.paid(one.row) for one in clips if one.row and one.ready.price)
    return Group(*lines, Text(f"{sum(bool(one.saved) for one in clips)} of {len(clips)} are here; {usd(paid)} USD this time", "bold"))


def _tell_rejected(rejected: Rejected, screen: Screen) -> None:
    for path, refusal in rejected:
        screen.say(f"✗ {plain(path)}: {plain(refusal.reason)}\n    {plain(refusal.cure)}", "")
    if rejected:
        screen.say(f"{len(rejected)} not dropped, nothing paid for them", "red")


def _as_json(ready: Sequence[Ready], rejected: Rejected, stack: Stack) -> dict[str, Any]:
    would = {"jobs": [_ready_json(one) for one in ready], "presets": _presets(ready), "refused": _rejected_json(rejected)}
    return would | {"usd": round(sum(one.price for one in ready), 2), "budget_left_usd": round(costs.budget(stack).left, 2)}


def _ready_json(one: Ready) -> dict[str, Any]:
    told = {"file": str(one.intended.clip), "key": one.intended.key, "job": one.job, "mode": one.intended.sidecar.mode}
    return told | {"usd": one.price, "known": one.before and one.before["state"]}


def _rejected_json(rejected: Rejected) -> list[dict[str, Any]]:
    return [{"file": str(path), "reason": refusal.reason, "do_now": refusal.cure, "field": refusal.field} for path, refusal in rejected]
