"""What settled jobs cost, summed up in DynamoDB as they are settled."""

import hashlib
from typing import Any

from ..domain.cost_sum import CostSum
from . import dynamodb
from .dynamodb import Item

_PK = "costs"


def addition(cost: CostSum) -> Item:
    """Return the update that adds a cost to the sum of its day, folder, mode and size."""
    # The name of a folder can be as long as a sort key.
    folder = hashlib.sha256(cost.folder.encode()).hexdigest()[:32]
    return {
        "Key": {"pk": _PK, "sk": f"{cost.day}#{folder}#{cost.mode}#{cost.size}"},
        "UpdateExpression": "SET #day = :day, #folder = :folder, #mode = :mode, #size = :size "
        "ADD jobs :jobs, estimated_usd :estimated_usd, billed_usd :billed_usd, "
        "unpriced_jobs :unpriced_jobs, unpriced_usd :unpriced_usd",
        "ExpressionAttributeNames": {
            f"#{name}": name for name in ("day", "folder", "mode", "size")
        },
        "ExpressionAttributeValues": {
            f":{name}": value for name, value in dynamodb.to_item(cost).items()
        },
    }


def read(table: Any) -> list[CostSum]:
    """Read all sums, oldest first."""
    items = dynamodb.pages(
        table.query,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": _PK},
        ConsistentRead=True,
    )
    return [dynamodb.from_item(CostSum, item) for item in items]
