"""The harshness of AWS that the emulator lacks, between the functions and the emulator.

`Harshness` configures what `hook/harsh_aws.py` does inside each function. `LaggingCopy` and
`Events` do here what the functions do not see: reads that lag, and events that are late, doubled,
shuffled, or lost.

HARSH sets the number of drops (default 8), and HARSH_SEED repeats the dice of a run. Processes
still interleave as they like, so a run is repeated in its faults, not in its order.
"""

import json
import operator
import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from local.cloud import CREDENTIALS
from retake.aws import dynamodb
from tests.support.stack import Stack

DROPS = int(os.environ.get("HARSH", "8"))
SEED = int(os.environ.get("HARSH_SEED", str(random.randrange(10**6))))
COPY_SUFFIX = "-lagging"
# Of the calls that can meet a fault. A job makes about 60, so most jobs meet several faults.
SHARES = {
    "throttled": 0.02,  # the first try gets SlowDown, or its like; the next one succeeds
    "refused": 0.004,  # every try gets it
    "unprocessed": 0.04,  # a batch of DynamoDB is not read
    "conflict": 0.02,  # a write to DynamoDB meets a transaction; boto3 does not try again
    "canceled": 0.25,  # a transaction, which is rare, meets another one; nor does it here
    "lost": 0.03,  # a write takes effect, but its response is lost; boto3 tries again
    "stalled": 0.006,  # the call takes longer than the message stays invisible
}
# What must happen in a run, however short.
KINDS = {
    *("throttled s3", "throttled dynamodb", "throttled functions"),
    *("refused", "unprocessed", "conflict", "canceled", "lost conditional"),
    *("stale", "stalled", "redelivered in mid-work", "stopped"),
    *("event late", "event doubled", "event out of order", "event lost"),
}
FATES = {"on time": 4, "late": 3, "doubled": 2, "lost": 1, "stopped": 1}  # of an event, in eleven


@dataclass(frozen=True)
class Harshness:
    """What AWS does to the functions.

    Attributes:
        folder: shared with the functions.
        seed: of their dice.
        shares: the share of the calls that meet a fault.
        stall_seconds: how long a stalled call takes.
        copy_suffix: what the name of the lagging copy of a table ends with.
        credentials: those with which the copy is read.
    """

    folder: Path
    seed: int = SEED
    shares: dict[str, float] = field(default_factory=lambda: SHARES)
    stall_seconds: float = 3
    copy_suffix: str = COPY_SUFFIX
    credentials: dict[str, str] = field(default_factory=lambda: CREDENTIALS)

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment variables that bring it to the functions."""
        return {
            "RETAKE_HARSH": json.dumps(asdict(self), default=str),
            "LAMBDA_ACCOUNT_CONCURRENCY": "4",  # a few drops do not need the ten of a new account
        }

    def faults(self) -> Counter[str]:
        """Count what happened so far, by fault."""
        log = self.folder / "harsh.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return Counter(line.partition("\t")[0] for line in lines)


class LaggingCopy:
    """A copy of a stack's table that is some seconds behind; reads that may lag come from it.

    Parameters:
        stack: the stack.
        lag_seconds: the least age of what the copy shows; the greatest is a little over twice that.
    """

    def __init__(self, stack: Stack, lag_seconds: float = 2) -> None:
        self._table, self._lag_seconds = stack.table, lag_seconds
        self._client = stack.cloud.table().meta.client
        self._name = stack.table.name + COPY_SUFFIX
        self._stopped = threading.Event()

    @contextmanager
    def following(self) -> Iterator[None]:
        """Keep the copy up, in a thread, for as long as the context lasts."""
        described = self._client.describe_table(TableName=self._table.name)["Table"]
        self._client.create_table(
            TableName=self._name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=described["KeySchema"],
            AttributeDefinitions=described["AttributeDefinitions"],
            GlobalSecondaryIndexes=[
                {name: index[name] for name in ("IndexName", "KeySchema", "Projection")}
                for index in described["GlobalSecondaryIndexes"]
            ],
        )
        thread = threading.Thread(target=self._follow)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()

    def _follow(self) -> None:
        shown: dict[tuple[str, str], dynamodb.Item] = {}
        while True:
            items = dynamodb.pages(self._table.scan, ConsistentRead=True)
            seen = {(item["pk"], item["sk"]): item for item in items}
            if self._stopped.wait(self._lag_seconds):
                return
            for key, item in seen.items():
                if shown.get(key) != item:
                    self._client.put_item(TableName=self._name, Item=item)
            for pk, sk in shown.keys() - seen.keys():
                self._client.delete_item(TableName=self._name, Key={"pk": pk, "sk": sk})
            shown = seen


class Events:
    """Drops objects whose events are lost, late, doubled, out of order, and at the end of a chain.

    Parameters:
        stack: the stack.
        dice: decides about each event.

    Attributes:
        faults: what was done to the events, such as `event late`.
    """

    def __init__(self, stack: Stack, dice: random.Random) -> None:
        self._stack, self._dice = stack, dice
        self._fates: list[str] = []
        self.faults: Counter[str] = Counter()

    def drop(self, files: list[tuple[str, Any]], lost: str) -> None:
        """Drop files in a random order, and send their events as badly as AWS may.

        Parameters:
            files: the files by their keys.
            lost: part of the keys whose events are all lost.
        """
        self._dice.shuffle(files)
        events: list[tuple[str, int, int]] = []
        with self._stack.losing_events():
            for key, body in files:
                self._stack.drop(key, body)
                events += () if lost in key else self._events_of(key)
        in_order = list(events)
        self._dice.shuffle(events)
        order = [in_order.index(event) for event in events]
        self.faults["event out of order"] = sum(map(operator.gt, order, order[1:]))
        for key, delay_seconds, hops in events:
            self._stack.send_drop_event(key, delay_seconds, hops)

    def _events_of(self, key: str) -> list[tuple[str, int, int]]:
        """Return the events of an object, with their delays and the calls before them."""
        if not self._fates:
            self._fates = list(Counter(FATES).elements())
            self._dice.shuffle(self._fates)
        fate = self._fates.pop()
        self.faults[f"event {fate}"] += 1
        late = self._dice.randint(1, 4)
        match fate:
            case "late":
                return [(key, late, 0)]
            case "doubled":
                return [(key, 0, 0), (key, late, 0)]
            case "stopped":
                return [(key, 0, 16)]
            case "lost":
                return []
        return [(key, 0, 0)]
