"""DynamoDB in memory: one table with its indexes, as a boto3 Table.

It covers what the pipeline uses. `tests/simulation/test_contract.py` holds it against moto and the
emulator. What it does as AWS does, and those do not: an index can lag (`lag`), and a page can be
small (`page_bytes`).
"""

import time
from bisect import bisect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import accumulate
from types import SimpleNamespace
from typing import Any

from . import expressions
from .wire import Call, Wire, client_error, direct

Item = dict[str, Any]
Key = tuple[str, str]
_MAX_ITEM_BYTES = 400 * 1024
_MAX_BATCH = 100


@dataclass
class Index:
    """A global secondary index: a copy of the items that have its keys, which can lag.

    Attributes:
        keys: the names of its partition and sort key.
        attributes: those that it shows; `None` for all.
        items: what it shows now.
        pending: writes that it will show, as (when, key, item).
        newest: when it shows the newest write of each item.
    """

    keys: tuple[str, str]
    attributes: frozenset[str] | None
    items: dict[Key, Item] = field(default_factory=dict)
    pending: list[tuple[float, Key, Item | None]] = field(default_factory=list)
    newest: dict[Key, float] = field(default_factory=dict)

    def write(self, at: float, key: Key, item: Item | None) -> None:
        """Show a write at a time, or later: the writes of one item are shown in their order."""
        at = self.newest[key] = max(at, self.newest.get(key, at))
        self.pending.append((at, key, item))

    def catch_up(self, now: float) -> None:
        """Show the writes whose time has come."""
        if not self.pending:
            return
        waiting = []
        for write in self.pending:
            at, key, item = write
            if at > now:
                waiting.append(write)
            elif item is None or not all(name in item for name in self.keys):
                self.items.pop(key, None)
            elif self.attributes is None:
                self.items[key] = item
            else:
                self.items[key] = {
                    name: value for name, value in item.items() if name in self.attributes
                }
        self.pending = waiting


class Database:
    """The items of one table, shared by all clients.

    Parameters:
        properties: the table's properties in the template.
        clock: returns seconds.
        lag: returns how many seconds later an index shows a write.
        page_bytes: what a page of a query holds at most.
    """

    def __init__(
        self,
        properties: Mapping[str, Any],
        *,
        clock: Callable[[], float] = time.time,
        lag: Callable[[], float] = lambda: 0.0,
        page_bytes: int = 1_000_000,
    ) -> None:
        self._clock, self._lag, self.page_bytes = clock, lag, page_bytes
        self.keys: tuple[str, str] = _key_names(properties)
        self.items: dict[Key, Item] = {}
        self.indexes = {
            each["IndexName"]: Index(_key_names(each), self._projected(each))
            for each in properties["GlobalSecondaryIndexes"]
        }
        # Called after each write, with the key, the item before it, and the item after it.
        self.written: Callable[[Key, Item | None, Item | None], None] = lambda *_: None

    def _projected(self, index: Mapping[str, Any]) -> frozenset[str] | None:
        projection = index["Projection"]
        if projection["ProjectionType"] == "ALL":
            return None
        others = projection.get("NonKeyAttributes", ())
        return frozenset((*self.keys, *_key_names(index), *others))

    def key_of(self, item: Mapping[str, Any]) -> Key:
        """Return the key of an item."""
        first, second = self.keys
        return item[first], item[second]

    def write(self, key: Key, item: Item | None) -> None:
        """Write or delete an item."""
        before = self.items.get(key)
        if item is None:
            self.items.pop(key, None)
        else:
            self.items[key] = item
        now = self._clock()
        for index in self.indexes.values():
            if before is None and (item is None or index.keys[0] not in item):
                continue
            index.write(now + self._lag(), key, item)
        self.written(key, before, item)

    def visible(self, index: str | None) -> Mapping[Key, Item]:
        """Return the items that a read shows now."""
        if index is None:
            return self.items
        shown = self.indexes[index]
        shown.catch_up(self._clock())
        return shown.items


class Table:
    """A boto3 Table over a database.

    Parameters:
        database: its items.
        name: the table's name.
        wire: makes the calls.
    """

    def __init__(self, database: Database, name: str = "jobs", wire: Wire = direct) -> None:
        self._database, self.wire = database, wire
        self.name = self.table_name = name
        client = SimpleNamespace(
            batch_get_item=self._batch_get_item, transact_write_items=self._transact_write_items
        )
        self.meta = SimpleNamespace(client=client)

    def _call(self, operation: str, parameters: Any, effect: Callable[[], Any]) -> Any:
        return self.wire(Call("dynamodb", operation, parameters, effect))

    def get_item(self, **request: Any) -> Any:
        """Read one item; it is never stale, even where it may be."""

        def effect() -> Any:
            item = self._database.items.get(self._key(request["Key"], "GetItem"))
            return {"Item": _loaded(item)} if item is not None else {}

        return self._call("GetItem", request, effect)

    def _batch_get_item(self, **request: Any) -> Any:
        def effect() -> Any:
            (asked,) = request["RequestItems"].values()
            keys = [self._key(key, "BatchGetItem") for key in asked["Keys"]]
            if not keys or len(keys) > _MAX_BATCH or len(set(keys)) < len(keys):
                raise _invalid("BatchGetItem", "too many or doubled keys")
            items = self._database.items
            found = [_loaded(items[key]) for key in keys if key in items]
            return {"Responses": {self.name: found}, "UnprocessedKeys": {}}

        return self._call("BatchGetItem", request, effect)

    def put_item(self, **request: Any) -> Any:
        """Put an item, if a condition holds."""
        return self._call("PutItem", request, lambda: self._write("PutItem", request))

    def update_item(self, **request: Any) -> Any:
        """Update an item, or create it, if a condition holds."""
        return self._call("UpdateItem", request, lambda: self._write("UpdateItem", request))

    def delete_item(self, **request: Any) -> Any:
        """Delete an item, if a condition holds."""
        return self._call("DeleteItem", request, lambda: self._write("DeleteItem", request))

    def _write(self, operation: str, request: Mapping[str, Any]) -> Any:
        key, before, after, holds = self._change(operation, request)
        if not holds:
            raise client_error(operation, "ConditionalCheckFailedException")
        self._database.write(key, after)
        returned = {"ALL_OLD": before, "ALL_NEW": after}.get(request.get("ReturnValues", "NONE"))
        return {"Attributes": _loaded(returned)} if returned else {}

    def _transact_write_items(self, **request: Any) -> Any:
        def effect() -> Any:
            changes = []
            for part in request["TransactItems"]:
                ((kind, change),) = part.items()
                operation = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem"}[kind]
                changes.append(self._change(operation, change))
            if not all(holds for *_, holds in changes):
                reasons = [
                    {"Code": "None"} if holds else {"Code": "ConditionalCheckFailed"}
                    for *_, holds in changes
                ]
                raise client_error(
                    "TransactWriteItems",
                    "TransactionCanceledException",
                    CancellationReasons=reasons,
                )
            for key, _, after, _ in changes:
                self._database.write(key, after)
            return {}

        return self._call("TransactWriteItems", request, effect)

    def _change(
        self, operation: str, request: Mapping[str, Any]
    ) -> tuple[Key, Item | None, Item | None, bool]:
        """Return the key, the item before and after a write, and whether its condition holds."""
        names = request.get("ExpressionAttributeNames", {})
        values = {
            name: _stored(value, operation)
            for name, value in request.get("ExpressionAttributeValues", {}).items()
        }
        key = self._key(request["Item"] if operation == "PutItem" else request["Key"], operation)
        before = self._database.items.get(key)
        used: set[str] = set()
        holds = True
        if "ConditionExpression" in request:
            condition = _condition(request["ConditionExpression"], operation)
            used |= condition.placeholders
            _check_placeholders(condition.placeholders, names, values, operation)
            holds = condition.holds(before or {}, names, values)
        after: Item | None = None
        if operation == "PutItem":
            after = _stored(request["Item"], operation)
        elif operation == "UpdateItem":
            update = _update(request["UpdateExpression"], operation)
            used |= update.placeholders
            _check_placeholders(update.placeholders, names, values, operation)
            first, second = self._database.keys
            after = update.apply(before or {first: key[0], second: key[1]}, names, values)
        if unused := {*names, *values} - used:
            raise _invalid(operation, f"unused in expressions: {sorted(unused)}")
        if after is not None and _exceeds(after, _MAX_ITEM_BYTES):
            raise _invalid(operation, "Item size has exceeded the maximum allowed size")
        return key, before, after, holds

    def query(self, **request: Any) -> Any:
        """Query the table or an index; a page ends after `Limit` items, or when it is full."""
        return self._call("Query", request, lambda: self._query(request))

    def _query(self, request: Mapping[str, Any]) -> Any:
        index = request.get("IndexName")
        names = request.get("ExpressionAttributeNames", {})
        values = request.get("ExpressionAttributeValues", {})
        condition = _condition(request["KeyConditionExpression"], "Query")
        used = set(condition.placeholders)
        if "FilterExpression" in request:
            used |= _condition(request["FilterExpression"], "Query").placeholders
        _check_placeholders(used, names, values, "Query")
        if unused := {*names, *values} - used:
            raise _invalid("Query", f"unused in expressions: {sorted(unused)}")
        values = {name: _stored(value, "Query") for name, value in values.items()}
        if index and request.get("ConsistentRead"):
            raise _invalid("Query", "Consistent reads are not supported on indexes")
        found = [
            item
            for item in self._database.visible(index).values()
            if condition.holds(item, names, values)
        ]
        keys = self._sort_keys(index)
        found.sort(key=lambda item: [item[name] for name in keys])
        if not request.get("ScanIndexForward", True):
            found.reverse()
        return self._page(found, keys, request, names, values)

    def scan(self, **request: Any) -> Any:
        """Scan the table, as `query` reads it."""

        def effect() -> Any:
            names = request.get("ExpressionAttributeNames", {})
            given = request.get("ExpressionAttributeValues", {})
            values = {name: _stored(value, "Scan") for name, value in given.items()}
            found = list(self._database.visible(request.get("IndexName")).values())
            return self._page(found, self._database.keys, request, names, values)

        return self._call("Scan", request, effect)

    def _sort_keys(self, index: str | None) -> Sequence[str]:
        first, second = self._database.keys
        return (self._database.indexes[index].keys[1], first, second) if index else (second,)

    def _page(
        self,
        found: list[Item],
        keys: Sequence[str],
        request: Mapping[str, Any],
        names: Mapping[str, str],
        values: Mapping[str, Any],
    ) -> Any:
        if start := request.get("ExclusiveStartKey"):
            last = [_stored(start[name], "Query") for name in keys]
            places = [[item[name] for name in keys] for item in found]
            if last in places:
                found = found[places.index(last) + 1 :]
            elif not request.get("ScanIndexForward", True):
                found = [item for item, place in zip(found, places, strict=True) if place < last]
            else:
                found = [item for item, place in zip(found, places, strict=True) if place > last]
        page = found[: request.get("Limit")]
        if _exceeds(page, self._database.page_bytes):
            sizes = list(accumulate(map(_size, page)))
            page = page[: max(1, bisect(sizes, self._database.page_bytes))]
        response: dict[str, Any] = {}
        if page and (len(page) < len(found) or len(page) == request.get("Limit")):
            response["LastEvaluatedKey"] = self._position(page[-1], request.get("IndexName"))
        if "FilterExpression" in request:
            matches = _condition(request["FilterExpression"], "Query").holds
            page = [item for item in page if matches(item, names, values)]
        if request.get("Select") != "COUNT":
            response["Items"] = [_loaded(item) for item in page]
        return response | {"Count": len(page)}

    def _position(self, item: Item, index: str | None) -> Item:
        keys = {*self._database.keys, *(self._database.indexes[index].keys if index else ())}
        return {name: _loaded(item[name]) for name in keys}

    def _key(self, given: Mapping[str, Any], operation: str) -> Key:
        key = self._database.key_of(given)
        for part, limit in zip(key, (2048, 1024), strict=True):
            if not isinstance(part, str) or not 0 < len(part.encode()) <= limit:
                raise _invalid(operation, "One or more parameter values were invalid")
        return key


def _key_names(properties: Mapping[str, Any]) -> tuple[str, str]:
    first, second = (each["AttributeName"] for each in properties["KeySchema"])
    return first, second


def _check_placeholders(
    used: Iterable[str], names: Mapping[str, str], values: Mapping[str, Any], operation: str
) -> None:
    for placeholder in used:
        if placeholder not in (names if placeholder.startswith("#") else values):
            raise _invalid(operation, f"{placeholder} is not defined")


def _condition(text: str, operation: str) -> expressions.Condition:
    try:
        return expressions.condition(text)
    except expressions.InvalidExpressionError as error:
        raise _invalid(operation, str(error)) from error


def _update(text: str, operation: str) -> expressions.Update:
    try:
        return expressions.update(text)
    except expressions.InvalidExpressionError as error:
        raise _invalid(operation, str(error)) from error


def _invalid(operation: str, message: str) -> Exception:
    return client_error(operation, "ValidationException", message)


def _stored(value: Any, operation: str) -> Any:
    """Convert a value as boto3 does: numbers to Decimal; what it cannot store is an error."""
    kind = type(value)  # nearly always one of these, and this runs very often
    if kind is dict:
        return {
            name: item if type(item) is str else _stored(item, operation)
            for name, item in value.items()
        }
    if kind is str or kind is bool or kind is Decimal:
        return value
    if kind is int:
        return Decimal(value)
    if isinstance(value, Mapping):
        return {name: _stored(item, operation) for name, item in value.items()}
    if isinstance(value, list):
        return [_stored(item, operation) for item in value]
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return Decimal(value)
    raise TypeError(f"{operation}: {kind} cannot be stored")


_NESTED = (dict, list)


def _loaded(value: Any) -> Any:
    kind = type(value)  # stored values have exactly these types; this runs very often
    if kind is dict:
        return {
            name: _loaded(item) if type(item) in _NESTED else item for name, item in value.items()
        }
    return [_loaded(item) for item in value] if kind is list else value


def _exceeds(value: Any, limit: int) -> bool:
    """Tell whether a value is larger than a limit, without counting if it is much smaller."""
    return 4 * len(repr(value)) > limit and _size(value) > limit


def _size(value: Any) -> int:
    """Return about the bytes of a value."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode())
    if isinstance(value, dict):
        return 3 + sum(len(name) + 1 + _size(item) for name, item in value.items())
    if isinstance(value, list):
        return 3 + sum(1 + _size(item) for item in value)
    return 8
