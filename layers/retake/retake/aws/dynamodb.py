"""DynamoDB items as typed records: conversion, reading by key, pages, and lost races."""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from types import NoneType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from botocore.exceptions import ClientError

Item = dict[str, Any]
Record = TypeVar("Record")

FOLLOW_UP_INDEX = "follow-up"
# A record's `follow_up` is stored as two attributes: the keys of the index.
QUEUE_ATTRIBUTE, AT_ATTRIBUTE = "follow_up", "follow_up_at"
# All jobs and waiting files by their listing, and by the key of their file, each in order of time.
NEWEST_INDEX, TAKES_INDEX = "newest", "takes"
LISTING_ATTRIBUTE, LISTED_AT_ATTRIBUTE = "listing", "listed_at"
PREFIX_CHARACTERS = 8  # of a job's id, that are enough to find it

_BATCH = 100  # items that DynamoDB returns in one batch
_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.05, 1.0  # after a batch of which nothing was read
# Upper limits of the pauses before a transaction is tried again, each with its own random share.
_CONFLICT_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8)


def error_code(error: ClientError) -> str:
    """Return the service's name of an error."""
    return str(error.response["Error"]["Code"])


def raise_unless_lost_race(error: ClientError) -> None:
    """Swallow the one error that is an expected outcome: the condition did not hold."""
    if error_code(error) == "ConditionalCheckFailedException":
        return
    if "ConditionalCheckFailed" not in _cancellation_reasons(error):
        raise error


def key(name: str) -> dict[str, str]:
    """Return the key of a record.

    The partition key is the name, and the sort key its kind. Only a job is different: its
    partition is the beginning of its id, so a query with that finds it.

    Parameters:
        name: the kind of the record, alone or followed by `#` and what tells it from others.
    """
    kind, _, rest = name.partition("#")
    if kind == "job":
        return {"pk": f"job#{rest[:PREFIX_CHARACTERS]}", "sk": rest}
    return {"pk": name, "sk": kind}


def get(table: Any, name: str) -> Item | None:
    """Read an item by the name of its record, consistently."""
    found: Item | None = table.get_item(Key=key(name), ConsistentRead=True).get("Item")
    return found


def get_many(table: Any, keys: Iterable[dict[str, str]]) -> Iterator[Item]:
    """Yield the items with some keys, read consistently; those that do not exist are left out.

    DynamoDB leaves keys unprocessed when it throttles, or when a response would be too large.

    Parameters:
        table: a boto3 Table.
        keys: the keys, each only once.
    """
    pending = list(keys)
    pause = _FIRST_PAUSE_SECONDS
    while pending:
        batch, pending = pending[:_BATCH], pending[_BATCH:]
        request = {table.name: {"Keys": batch, "ConsistentRead": True}}
        page = table.meta.client.batch_get_item(RequestItems=request)
        items = page["Responses"].get(table.name, [])
        yield from items
        unprocessed = page.get("UnprocessedKeys", {}).get(table.name, {}).get("Keys", [])
        pending += unprocessed
        if unprocessed and not items:
            time.sleep(pause)
            pause = min(2 * pause, _MAX_PAUSE_SECONDS)


def get_named(table: Any, names: Iterable[str]) -> dict[str, Item]:
    """Read items by the names of their records, in one call; missing ones are left out."""
    keys = {name: key(name) for name in names}
    by_key = {(found["pk"], found["sk"]): found for found in get_many(table, keys.values())}
    return {
        name: by_key[each["pk"], each["sk"]]
        for name, each in keys.items()
        if (each["pk"], each["sk"]) in by_key
    }


def update_together(table: Any, *updates: Item) -> None:
    """Make several updates in one transaction, again if another one is at the same items.

    Parameters:
        table: a boto3 Table.
        updates: the parameters of each update, as of `update_item`.
    """
    changes = [{"Update": {"TableName": table.name, **update}} for update in updates]
    for seconds in (*_CONFLICT_SECONDS, None):
        try:
            table.meta.client.transact_write_items(TransactItems=changes)
            return
        except ClientError as error:
            if seconds is None or "TransactionConflict" not in _cancellation_reasons(error):
                raise
            time.sleep(random.uniform(0, seconds))  # noqa: S311 - not a secret


def _cancellation_reasons(error: ClientError) -> set[str]:
    """Return why a transaction was canceled: the codes of its parts."""
    reasons: Any = error.response.get("CancellationReasons", ())
    return {reason["Code"] for reason in reasons if "Code" in reason}


def put_if(table: Any, item: Item, condition: str, **values: Any) -> bool:
    """Put an item if a condition holds, and tell whether it did.

    Parameters:
        table: a boto3 Table.
        item: the item.
        condition: the condition, with values such as `:before`.
        values: these values by name, such as `before`.
    """
    given = {f":{name}": value for name, value in values.items()}
    try:
        table.put_item(
            Item=item,
            ConditionExpression=condition,
            **({"ExpressionAttributeValues": given} if given else {}),
        )
    except ClientError as error:
        raise_unless_lost_race(error)
        return False
    return True


def pages(read: Callable[..., Any], **query: Any) -> Iterator[Item]:
    """Yield the items of a query or scan, page by page."""
    while True:
        page = read(**query)
        yield from page["Items"]
        if "LastEvaluatedKey" not in page:
            return
        query["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def to_item(record: Any) -> Item:
    """Convert a record to attributes; fields that are `None` are left out."""
    item: Item = to_attribute(record)
    if follow_up := item.pop("follow_up", None):
        item |= {QUEUE_ATTRIBUTE: follow_up["queue"], AT_ATTRIBUTE: follow_up["at"]}
    return item


def to_attribute(value: Any) -> Any:
    """Convert a value to what DynamoDB stores."""
    if value is None or isinstance(value, (str, int)):
        return value
    if is_dataclass(value):
        kind: Any = type(value)
        given = ((name, getattr(value, name)) for name in _names_of(kind))
        return {
            name: item if type(item) is str else to_attribute(item)
            for name, item in given
            if item is not None
        }
    if isinstance(value, Mapping):
        return {str(name): to_attribute(item) for name, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [to_attribute(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    return Decimal(str(value)) if isinstance(value, float) else value


@cache
def _names_of(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def from_item(kind: type[Record], item: Mapping[str, Any]) -> Record:
    """Convert an item to a record; attributes that the record does not know are ignored."""
    if QUEUE_ATTRIBUTE in item:
        follow_up = {"queue": item[QUEUE_ATTRIBUTE], "at": item[AT_ATTRIBUTE]}
        item = {**item, "follow_up": follow_up}
    read: Callable[[Any], Record] = _reader(cast("Any", kind))
    return read(item)


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """Return what reads an attribute of a type; made once, because type hints are slow to read."""
    arguments = get_args(kind)
    if NoneType in arguments:
        (kind,) = (argument for argument in arguments if argument is not NoneType)
        return _reader(kind)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        readers = {field.name: _reader(hints[field.name]) for field in fields(kind)}
        record: Any = kind
        return lambda item: record(
            **{name: readers[name](value) for name, value in item.items() if name in readers}
        )
    if get_origin(kind) is tuple:
        read_item = _reader(arguments[0])
        return lambda items: tuple(map(read_item, items))
    if arguments:
        read_name, read_value = map(_reader, arguments)
        return lambda items: {read_name(name): read_value(value) for name, value in items.items()}
    if kind is datetime:
        return datetime.fromisoformat
    reader: Callable[[Any], Any] = kind
    return reader
