"""Kills functions of a stack between two of their side effects; see `hook/sitecustomize.py`."""

import json
from pathlib import Path

HOOK = Path(__file__).parent / "hook"


class Killer:
    """Orders that functions die.

    Parameters:
        folder: shared with the functions.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._armed, self._fired = folder / "armed.json", folder / "fired.json"
        self._orders = 0

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment variables with which functions obey."""
        return {"PYTHONPATH": str(HOOK), "RETAKE_CHAOS": str(self._folder)}

    def arm(self, function: str, before: int) -> str:
        """Have the next run of a function die before its n-th side effect; return the order."""
        self._orders += 1
        order = f"order-{self._orders}"
        self._fired.unlink(missing_ok=True)
        new = self._folder / "new.json"
        new.write_text(json.dumps({"id": order, "function": function, "before": before}))
        new.rename(self._armed)
        return order

    def disarm(self) -> bool:
        """End the order, and tell whether a function died of it."""
        self._armed.unlink(missing_ok=True)
        return self._fired.exists()

    def effects(self, order: str, number: int) -> set[str]:
        """Return which side effects were the n-th of a function under an order."""
        log = self._folder / "trace.log"
        lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
        return {effect for of, _, count, effect in lines if (of, int(count)) == (order, number)}
