"""`retake drop` checks clips, drops them, and follows them until their retakes are saved."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Group
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from retake.domain.sidecar import SCHEMA
from retake.domain.status_file import printable

from .. import jobs
from ..console import Screen, count, usd
from ..costs import todays_budget
from ..follow import FollowedDrop, follow
from ..plan import DropOptions, Rejection, plan
from ..session import Session
from ..stack import Stack
from ..upload import ReadyDrop, assess, preset_lookup, upload, upload_presets

SHOWN_DROPS = 20  # lines of a plan
_MODES: list[str] = SCHEMA["properties"]["mode"]["enum"]
_RESUME = (
    "dropped clips continue in the cloud; run the same command again to resume, "
    "and nothing is paid for twice"
)


def _check_modes(modes: list[str]) -> list[str]:
    for mode in modes:
        if mode not in _MODES:
            raise typer.BadParameter(f"{mode} does not exist; choose one of {', '.join(_MODES)}")
    return modes


def drop(
    context: typer.Context,
    clips: Annotated[
        list[Path],
        typer.Argument(
            exists=True, metavar="CLIP…", help="MP4 files, or folders that contain them."
        ),
    ],
    prompt: Annotated[str | None, typer.Option(help="Describe how the clips should look.")] = None,
    mode: Annotated[
        list[str],
        typer.Option(
            callback=_check_modes,
            help="How far the results may depart from the clips. "
            "Repeat the option to make one job for each mode.",
        ),
    ] = [],  # noqa: B006 - typer copies it
    first_frame: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Image to use as the first frame."),
    ] = None,
    prefix: Annotated[str, typer.Option(help="Folder in the input bucket.")] = "",
    rerun: Annotated[
        int | None,
        typer.Option(
            min=1, max=1_000_000, help="Pay for another take of the same content: 1, 2, 3, …"
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Most pixels of the short side that are sent: 1080, 720, 540, or source."
        ),
    ] = None,
    max_usd: Annotated[
        float | None,
        typer.Option(min=0.01, help="What each clip may cost, instead of the stack's MaxJobUsd."),
    ] = None,
    sound: Annotated[
        str | None, typer.Option(help="Sound of the films: keep, the clip's; or none.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what would be dropped and paid; upload nothing."),
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the retakes, and save them.")
    ] = False,
    out: Annotated[
        Path, typer.Option(file_okay=False, help="Folder in which --wait saves the retakes.")
    ] = Path("retakes"),
) -> None:
    """Check clips, and drop each with a sidecar.

    The sidecar beside a clip (clip.json) takes precedence. The options fill in what it leaves out,
    then the preset of its folder (_retake.json); dropping a folder uploads its preset, too. With
    several --mode options, each job gets its own name (clip.flex_1.mp4, clip.flex_3.mp4), so no
    result overwrites another. Dropping the same content again costs nothing.
    """
    session: Session = context.obj
    options = DropOptions(
        prompt=prompt,
        modes=tuple(dict.fromkeys(mode)),
        first_frame=first_frame,
        prefix=prefix,
        rerun=rerun,
        size=int(size) if size and size.isdecimal() else size,
        sound=sound,
        max_usd=max_usd,
    )
    command = DropCommand(stack=session.stack, screen=session.screen)
    if dry_run:
        code = command.show_plan(clips, options)
    else:
        code = command.run(clips, options, save_to=out if wait else None)
    raise typer.Exit(code)


class DropCommand:
    """Checks and drops clips.

    Its methods return the exit code: 1 if a clip was refused or failed, or there is none.

    Parameters:
        stack: the stack.
        screen: where the outcome is shown.
    """

    def __init__(self, *, stack: Stack, screen: Screen) -> None:
        self._stack, self._screen = stack, screen

    def show_plan(self, paths: Sequence[Path], options: DropOptions) -> int:
        """Show what would be dropped and paid; upload nothing."""
        drops, rejections = self._check(paths, options)
        value = {
            "jobs": [_drop_json(drop) for drop in drops],
            "presets": _preset_keys(drops),
            "refused": _rejections_json(rejections),
            "usd": round(_total_usd(drops), 2),
            "usd_by_size": _usd_by_size(drops),
            "budget_left_usd": round(todays_budget(self._stack).left, 2),
        }
        self._screen.show(value, self._plan(drops, "nothing was dropped"))
        return int(bool(rejections) or not drops)

    def run(self, paths: Sequence[Path], options: DropOptions, save_to: Path | None = None) -> int:
        """Drop what can be dropped.

        Parameters:
            paths: clips and folders.
            options: what the command line says about them.
            save_to: the folder in which the retakes are saved; `None` to not wait for them.
        """
        drops, rejections = self._check(paths, options)
        self._upload(drops)
        failed = bool(rejections) or not drops
        refused = _rejections_json(rejections)
        if save_to is None:
            value = {"jobs": [_drop_json(drop) for drop in drops], "refused": refused}
            drawing = self._plan(drops, "dropped; run `retake watch` to follow the jobs")
            self._screen.show(value, drawing)
            return int(failed)
        followed = self._follow(drops, save_to)
        value = {"jobs": [one.as_json() for one in followed], "refused": refused}
        self._screen.show(value, _outcome(followed))
        return int(failed or any(one.has_failed for one in followed))

    def _check(
        self, paths: Sequence[Path], options: DropOptions
    ) -> tuple[list[ReadyDrop], list[Rejection]]:
        stack = self._stack
        try:
            planned, rejections = plan(paths, options, stack.max_clip_seconds, preset_lookup(stack))
            drops, refused = assess(stack, planned)
        except KeyboardInterrupt:
            self._interrupted("clips were still being checked, nothing was dropped this time")
        rejections += refused
        if not self._screen.as_json:
            self._say_rejections(rejections)
            if not drops and not rejections:
                self._screen.say("no clips found", "")
        return drops, rejections

    def _say_rejections(self, rejections: Sequence[Rejection]) -> None:
        for rejection in rejections:
            path, refusal = printable(rejection.path), rejection.refusal
            reason = f"✗ {path}: {printable(refusal.reason)}\n    {printable(refusal.cure)}"
            self._screen.say(reason, "")
        if rejections:
            clips = count(len(rejections), "clip")
            self._screen.say(f"{clips} not dropped; nothing was paid for them", "red")

    def _upload(self, drops: Sequence[ReadyDrop]) -> None:
        done: list[ReadyDrop] = []
        try:
            self._upload_to(done, drops)
        except KeyboardInterrupt:
            self._interrupted(f"{len(done)} of {count(len(drops), 'job')} dropped")
        except Exception:
            dropped = f"{len(done)} of {count(len(drops), 'job')} dropped"
            self._screen.say(f"{dropped}; {_RESUME}", "")
            raise

    def _upload_to(self, done: list[ReadyDrop], drops: Sequence[ReadyDrop]) -> None:
        upload_presets(self._stack, drops)
        done += [drop for drop in drops if not drop.uploaded_keys]
        # Sidecars of clips that are there come first: the preset lets such a clip start without
        # its sidecar in half a minute.
        changed = [drop for drop in drops if drop.uploaded_keys]
        changed.sort(key=lambda drop: drop.clip_bytes)
        progress = Progress(
            TextColumn("dropping"),
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=self._screen.err,
            transient=True,
            disable=self._screen.as_json or not changed,
        )
        with progress:
            bar = progress.add_task("", total=sum(drop.clip_bytes for drop in changed))
            upload(
                self._stack,
                changed,
                on_progress=lambda byte_count: progress.advance(bar, byte_count),
                on_done=done.append,
            )

    def _follow(self, drops: Sequence[ReadyDrop], save_to: Path) -> Sequence[FollowedDrop]:
        if not drops:
            return []
        follower = follow(self._stack, self._screen, drops, save_to)
        try:
            follower.run()
        except KeyboardInterrupt:
            over = sum(followed.is_over for followed in follower.drops)
            self._interrupted(f"{over} of {count(len(drops), 'job')} finished")
        return follower.drops

    def _interrupted(self, what: str) -> NoReturn:
        self._screen.say(f"interrupted: {what}; {_RESUME}", "")
        raise typer.Exit(130) from None

    def _plan(self, drops: Sequence[ReadyDrop], verb: str) -> Group:
        """Draw what is, or would be, dropped and paid."""
        if not drops:
            return Group()
        total, left = _total_usd(drops), todays_budget(self._stack).left
        to_pay = sum(drop.price_usd > 0 for drop in drops)
        sums = f"{count(len(drops), 'job')}, {to_pay} to pay for, about {usd(total)} USD"
        if total > left:
            sums += f"; {usd(left)} USD of today's budget is left, the rest waits for later days"
        lines: list[Text] = []
        by_size = _usd_by_size(drops)
        if len(set(by_size.values())) > 1:
            listed = ", ".join(f"{usd(price)} at {size}" for size, price in by_size.items())
            lines.append(Text(f"in all, in USD by --size: {listed}", "dim"))
        if rates := dict.fromkeys(drop.estimate.rate for drop in drops if drop.estimate):
            lines.append(Text(f"estimated with {' and '.join(rates)}", "dim"))
        if len(drops) > SHOWN_DROPS:
            lines.append(Text(f"… and {len(drops) - SHOWN_DROPS} more", "dim"))
        for key in _preset_keys(drops):
            others = "other clips that wait in that folder start with it"
            lines.append(Text(f"{printable(key)} is uploaded, too: {others}", "dim"))
        return Group(_plan_table(drops[:SHOWN_DROPS]), *lines, Text(f"{sums}; {verb}", "bold"))


def _plan_table(drops: Sequence[ReadyDrop]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("clip", overflow="fold")
    table.add_column("mode", no_wrap=True)
    table.add_column("USD", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for drop in drops:
        table.add_row(
            Text(printable(drop.planned.key)),
            drop.planned.sidecar.mode,
            usd(drop.price_usd) if drop.price_usd else "–",
            Text("; ".join([_known(drop), *drop.planned.steps]), "dim"),
        )
    return table


def _known(drop: ReadyDrop) -> str:
    """Return what is known about a drop already."""
    job = drop.known_job
    if job is None:
        return "new" if drop.changes_clip else "new; the clip is in the bucket already"
    if drop.is_retry:
        return f"{job.state} before, tried again: {printable(jobs.explanation(job))}"
    return f"already {job.state}" if job.has_ended else f"already in progress: {job.state}"


def _outcome(drops: Sequence[FollowedDrop]) -> Group:
    """Draw what became of every drop."""
    lines: list[Text] = []
    cures = dict.fromkeys(followed.do_now for followed in drops if followed.do_now)
    for followed in drops:
        key = printable(followed.key)
        if followed.saved:
            saved = (printable(followed.saved), "bold")
            lines.append(Text.assemble(("✓ ", "green"), key, " → ", saved, overflow="fold"))
            continue
        reason = followed.trouble or (jobs.explanation(followed.job) if followed.job else "")
        status = f"  {followed.state}  {printable(reason)}"
        lines.append(Text.assemble(("✗ ", "red"), key, status, overflow="fold"))
    saved_count = sum(bool(followed.saved) for followed in drops)
    paid = sum(
        jobs.paid_usd(followed.job)
        for followed in drops
        if followed.job and followed.drop.price_usd
    )
    lines += [Text(f"→ {cure}", "bold") for cure in cures]
    sums = f"{saved_count} of {count(len(drops), 'retake')} saved; {usd(paid)} USD this time"
    return Group(*lines, Text(sums, "bold"))


def _total_usd(drops: Sequence[ReadyDrop]) -> float:
    return sum(drop.price_usd for drop in drops)


def _usd_by_size(drops: Sequence[ReadyDrop]) -> dict[str, float]:
    """Return what all drops would cost together at each size."""
    totals: dict[str, float] = {}
    for drop in drops:
        for size, price in drop.usd_by_size.items():
            totals[size] = round(totals.get(size, 0.0) + price, 2)
    return totals


def _preset_keys(drops: Sequence[ReadyDrop]) -> list[str]:
    return sorted(
        {drop.planned.preset_key for drop in drops if drop.planned.preset_body is not None}
    )


def _drop_json(drop: ReadyDrop) -> dict[str, Any]:
    return {
        "file": str(drop.planned.clip),
        "key": drop.planned.key,
        "job": drop.job_id,
        "mode": drop.planned.sidecar.mode,
        "found": drop.planned.found and drop.planned.found.describe(),
        "done": list(drop.planned.steps),
        "usd": drop.price_usd,
        "usd_by_size": drop.usd_by_size,
        "rate": drop.estimate and drop.estimate.rate,
        "known": drop.known_job and drop.known_job.state,
    }


def _rejections_json(rejections: Sequence[Rejection]) -> list[dict[str, Any]]:
    return [
        {
            "file": str(rejection.path),
            "reason": rejection.refusal.reason,
            "do_now": rejection.refusal.cure,
            "field": rejection.refusal.field,
        }
        for rejection in rejections
    ]
