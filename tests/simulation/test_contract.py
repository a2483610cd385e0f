"""The stand-ins behave as moto and the emulator do; where AWS differs from those, it is written."""

import io
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import boto3
import pytest
from botocore.exceptions import ClientError

from local.cloud import CREDENTIALS
from tests.support import mocked
from tests.support.aws.dynamodb import Database, Table
from tests.support.aws.s3 import S3, Storage
from tests.support.stand_ins import REGION
from tests.support.template import RESOURCES

KEY = {"pk": "a", "sk": "b"}
# Where moto or the emulator does not behave as AWS, by the name of the test.
DIFFERENCES = {
    ("mocked_services", "test_an_expression_that_is_not_valid_is_an_error[#n]"): (
        "moto ends with a KeyError"
    ),
    ("mocked_services", "test_a_version_is_copied_even_if_it_was_overwritten_or_deleted"): (
        "moto ignores CopySourceIfMatch"
    ),
    ("emulated", "test_an_expression_that_is_not_valid_is_an_error[grammar]"): (
        "the emulator reads over it"
    ),
    ("mocked_services", "test_an_upload_that_was_aborted_is_gone"): "moto ends with a KeyError",
}


class Services(NamedTuple):
    """A table as the template defines it, and S3 with the buckets `input` and `output`."""

    table: Any
    s3: Any


@pytest.fixture(scope="module")
def emulated(emulator: str) -> Services:
    options: Any = {"endpoint_url": emulator, **CREDENTIALS}
    s3 = boto3.client("s3", **options)
    mocked.create_buckets(s3)
    return Services(mocked.create_jobs_table(boto3.resource("dynamodb", **options)), s3)


@pytest.fixture(scope="module")
def mocked_services() -> Iterator[Services]:
    with mocked.aws():
        s3 = boto3.client("s3", region_name=REGION)
        mocked.create_buckets(s3)
        dynamodb = boto3.resource("dynamodb", region_name=REGION)
        yield Services(mocked.create_jobs_table(dynamodb), s3)


@pytest.fixture(scope="module")
def in_memory() -> Services:
    table = Table(Database(RESOURCES["JobsTable"]["Properties"]))
    return Services(table, S3(Storage("input", "output")))


@pytest.fixture(params=["in_memory", "mocked_services", "emulated"])
def services(request: pytest.FixtureRequest) -> Services:
    """Empty services of one kind."""
    name = request.node.name.replace(f"{request.param}-", "").replace(f"[{request.param}]", "")
    if reason := DIFFERENCES.get((request.param, name)):
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    services: Services = request.getfixturevalue(request.param)
    for item in services.table.scan()["Items"]:
        services.table.delete_item(Key={"pk": item["pk"], "sk": item["sk"]})
    for bucket in ("input", "output"):
        for key in keys(services, bucket):
            services.s3.delete_object(Bucket=bucket, Key=key)
    return services


def keys(services: Services, bucket: str = "input", **query: Any) -> list[str]:
    listed = services.s3.list_objects_v2(Bucket=bucket, **query)
    return [item["Key"] for item in listed.get("Contents", ())]


def code_of(call: Callable[..., Any], **request: Any) -> str:
    """Return the code of the error that a call ends with."""
    with pytest.raises(ClientError) as caught:
        call(**request)
    return str(caught.value.response["Error"]["Code"])


# ─── DynamoDB ─────────────────────────────────────────────────────────────────────────────────


def put(services: Services, pk: str, sk: str = "x", **attributes: Any) -> None:
    services.table.put_item(Item={"pk": pk, "sk": sk, **attributes})


def get(services: Services, pk: str = "a", sk: str = "b") -> Any:
    found = services.table.get_item(Key={"pk": pk, "sk": sk}, ConsistentRead=True)
    return found.get("Item")


VALUES = {"text": "ä\0", "yes": True, "list": [1, {"a": Decimal("0.60")}, []], "map": {}}


def test_an_item_is_read_as_it_was_written(services: Services) -> None:
    assert get(services) is None
    put(services, "a", "b", **VALUES)
    found = get(services)
    assert found == KEY | VALUES
    assert type(found["list"][0]) is Decimal
    found["list"].append("changed")
    assert get(services) == KEY | VALUES


@pytest.mark.parametrize("value", [0.5, object()])
def test_what_cannot_be_stored_is_an_error(services: Services, value: object) -> None:
    with pytest.raises(TypeError):
        put(services, "a", value=value)


CONDITIONS = [
    ("attribute_not_exists(pk)", False),
    ("attribute_exists(pk)", True),
    ("attribute_exists(absent)", False),
    ("n = :two", True),
    ("n <> :two", False),
    ("n < :two", False),
    ("n <= :two", True),
    ("n >= :two", True),
    ("n > :two", False),
    ("word = :two", False),
    ("word <> :two", True),
    ("absent = :two", False),
    ("absent <> :two", True),
    ("absent <= :two", False),
    ("attribute_not_exists(absent) AND n = :two", True),
    ("attribute_not_exists(absent) OR n > :two", True),
    ("n > :two OR attribute_exists(absent) OR word = :two", False),
    ("n > :two AND (word = :two OR n = :two)", False),
    ("(n > :two AND word = :two) OR n = :two", True),
    ("NOT n = :two", False),
]


@pytest.mark.parametrize(("condition", "holds"), CONDITIONS)
def test_a_write_takes_effect_only_if_its_condition_holds(
    services: Services, condition: str, holds: bool
) -> None:
    put(services, "a", "b", n=2, word="w")
    request: Any = {"Item": KEY | {"n": 3}, "ConditionExpression": condition}
    if ":two" in condition:
        request["ExpressionAttributeValues"] = {":two": 2}
    if holds:
        services.table.put_item(**request)
    else:
        code = code_of(services.table.put_item, **request)
        assert code == "ConditionalCheckFailedException"
    assert get(services)["n"] == (3 if holds else 2)


def update(services: Services, expression: str, **more: Any) -> Any:
    return services.table.update_item(Key=KEY, UpdateExpression=expression, **more)


def test_an_update_sets_removes_and_adds(services: Services) -> None:
    put(services, "a", "b", gone=1, sum=Decimal("0.6"))
    update(
        services,
        "SET #state = :new, since = if_not_exists(since, :now) REMOVE gone, never ADD #sum :more",
        ExpressionAttributeNames={"#state": "state", "#sum": "sum"},
        ExpressionAttributeValues={":new": "N", ":now": 5, ":more": Decimal("0.2")},
    )
    assert get(services) == KEY | {"state": "N", "since": 5, "sum": Decimal("0.8")}
    update(
        services,
        "SET since = if_not_exists(since, :now)",
        ExpressionAttributeValues={":now": 6},
    )
    assert get(services)["since"] == 5


def test_an_update_creates_an_item_and_returns_it(services: Services) -> None:
    values = {":one": 1}
    after = update(
        services, "SET n = :one", ExpressionAttributeValues=values, ReturnValues="ALL_NEW"
    )
    assert after["Attributes"] == KEY | {"n": 1}
    before = update(
        services, "ADD n :one", ExpressionAttributeValues=values, ReturnValues="ALL_OLD"
    )
    assert before["Attributes"] == KEY | {"n": 1}
    services.table.delete_item(Key=KEY)
    created = update(
        services, "SET n = :one", ExpressionAttributeValues=values, ReturnValues="ALL_OLD"
    )
    assert "Attributes" not in created


def test_an_update_reads_the_item_as_it_was(services: Services) -> None:
    put(services, "a", "b", was=1)
    update(
        services,
        "SET was = :two, kept = if_not_exists(was, :two)",
        ExpressionAttributeValues={":two": 2},
    )
    assert get(services) == KEY | {"was": 2, "kept": 1}


@pytest.mark.parametrize(
    "request_",
    [
        {"UpdateExpression": "SET n = :one", "ExpressionAttributeValues": {":other": 1}},
        {
            "UpdateExpression": "SET n = :one",
            "ExpressionAttributeValues": {":one": 1, ":other": 1},
        },
        {"UpdateExpression": "SET #n = :one", "ExpressionAttributeValues": {":one": 1}},
        {"UpdateExpression": "SET status = :one", "ExpressionAttributeValues": {":one": 1}},
        {"UpdateExpression": "SET n := :one", "ExpressionAttributeValues": {":one": 1}},
    ],
    ids=["missing", "unused", "#n", "reserved", "grammar"],
)
def test_an_expression_that_is_not_valid_is_an_error(
    services: Services, request_: dict[str, Any]
) -> None:
    assert code_of(services.table.update_item, Key=KEY, **request_) == "ValidationException"


def test_an_item_that_is_too_large_is_an_error(services: Services) -> None:
    put(services, "a", "b", text="t" * 400_000)
    assert (
        code_of(services.table.put_item, Item=KEY | {"text": "t" * 410_000})
        == "ValidationException"
    )


def change(pk: str, condition: str = "attribute_exists(pk)") -> dict[str, Any]:
    return {
        "Update": {
            "TableName": "jobs",
            "Key": {"pk": pk, "sk": "x"},
            "UpdateExpression": "SET n = :n",
            "ConditionExpression": condition,
            "ExpressionAttributeValues": {":n": 1},
        }
    }


def test_a_transaction_writes_everything_or_nothing(services: Services) -> None:
    put(services, "one")
    client = services.table.meta.client
    with pytest.raises(ClientError) as caught:
        client.transact_write_items(TransactItems=[change("one"), change("two")])
    response: Any = caught.value.response
    assert response["Error"]["Code"] == "TransactionCanceledException"
    codes = [reason["Code"] for reason in response["CancellationReasons"]]
    assert codes == ["None", "ConditionalCheckFailed"]
    assert "n" not in get(services, "one", "x")
    put(services, "two")
    client.transact_write_items(TransactItems=[change("one"), change("two")])
    assert (get(services, "one", "x")["n"], get(services, "two", "x")["n"]) == (1, 1)


def test_a_batch_of_reads_leaves_out_what_does_not_exist(services: Services) -> None:
    put(services, "one", n=1)
    put(services, "two", n=2)
    asked = [{"pk": pk, "sk": "x"} for pk in ("one", "two", "three")]
    read = services.table.meta.client.batch_get_item
    found = read(RequestItems={"jobs": {"Keys": asked, "ConsistentRead": True}})
    assert sorted(item["n"] for item in found["Responses"]["jobs"]) == [1, 2]
    assert found["UnprocessedKeys"] == {}
    doubled = {"jobs": {"Keys": [asked[0], asked[0]]}}
    assert code_of(read, RequestItems=doubled) == "ValidationException"


def queue(services: Services, *ats: int) -> None:
    for number, at in enumerate(ats):
        put(services, f"job#{number}", "j", follow_up="DUE", follow_up_at=at, other=number)
    put(services, "elsewhere", follow_up="HELD", follow_up_at=1)
    put(services, "nowhere", other=1)


DUE: dict[str, Any] = {
    "IndexName": "follow-up",
    "KeyConditionExpression": "#queue = :queue AND #at <= :at",
    "ExpressionAttributeNames": {"#queue": "follow_up", "#at": "follow_up_at"},
    "ExpressionAttributeValues": {":queue": "DUE", ":at": 30},
}


def read_all(services: Services, **query: Any) -> list[Any]:
    """Read the items of a query page by page."""
    found = []
    while True:
        page = services.table.query(**query)
        found += page["Items"]
        if "LastEvaluatedKey" not in page:
            return found
        query["ExclusiveStartKey"] = page["LastEvaluatedKey"]


@pytest.mark.parametrize("more", [{}, {"Limit": 1}, {"Limit": 2}, {"Limit": 3}])
def test_an_index_is_read_in_order_page_by_page(services: Services, more: Any) -> None:
    queue(services, 30, 10, 20, 31)
    found = read_all(services, **DUE, **more)
    assert [item["follow_up_at"] for item in found] == [10, 20, 30]
    newest_first = read_all(services, **DUE, **more, ScanIndexForward=False)
    assert newest_first == found[::-1]


def test_items_with_the_same_sort_key_are_all_read(services: Services) -> None:
    queue(services, 5, 5, 5)
    found = read_all(services, **DUE, Limit=1)
    assert sorted(item["other"] for item in found) == [0, 1, 2]


def test_items_are_counted(services: Services) -> None:
    queue(services, 30, 10, 31)
    page = services.table.query(**DUE, Select="COUNT")
    assert page["Count"] == 2
    assert "Items" not in page


def test_an_index_shows_an_item_while_it_has_its_keys(services: Services) -> None:
    queue(services, 10)
    key = {"pk": "job#0", "sk": "j"}
    services.table.update_item(Key=key, UpdateExpression="REMOVE follow_up, follow_up_at")
    assert read_all(services, **DUE) == []


@pytest.mark.parametrize(("index", "shown"), [("newest", {"key"}), ("takes", set[str]())])
def test_an_index_shows_its_own_attributes(services: Services, index: str, shown: set[str]) -> None:
    put(services, "a", listing="L", listed_at="1", key="clip.mp4", other=1)
    partition = {"newest": ("listing", "L"), "takes": ("key", "clip.mp4")}[index]
    [item] = read_all(
        services,
        IndexName=index,
        KeyConditionExpression="#name = :value",
        ExpressionAttributeNames={"#name": partition[0]},
        ExpressionAttributeValues={":value": partition[1]},
    )
    keys_of_index = {"newest": {"listing", "listed_at"}, "takes": {"key", "listed_at"}}[index]
    assert set(item) == {"pk", "sk"} | keys_of_index | shown


def test_the_items_of_a_partition_are_read_by_the_beginning_of_their_sort_key(
    services: Services,
) -> None:
    for sk in ("ab2", "b1", "ab1"):
        put(services, "p", sk, n=1)
    put(services, "q", "ab3", n=1)
    found = read_all(
        services,
        KeyConditionExpression="pk = :pk AND begins_with(sk, :beginning)",
        ExpressionAttributeValues={":pk": "p", ":beginning": "ab"},
        ConsistentRead=True,
    )
    assert [item["sk"] for item in found] == ["ab1", "ab2"]


# ─── S3 ───────────────────────────────────────────────────────────────────────────────────────


def drop(services: Services, key: str, body: bytes = b"body", **more: Any) -> Any:
    return services.s3.put_object(Bucket="input", Key=key, Body=body, **more)


def test_an_object_is_read_as_it_was_written(services: Services) -> None:
    done = drop(services, "ü/a.mp4", b"0123456789", Metadata={"a": "b"}, ContentType="video/mp4")
    found = services.s3.get_object(Bucket="input", Key="ü/a.mp4")
    assert found["Body"].read() == b"0123456789"
    head = services.s3.head_object(Bucket="input", Key="ü/a.mp4")
    for one in (found, head):
        assert one["ETag"] == done["ETag"]
        assert one["VersionId"] == done["VersionId"]
        assert (one["ContentLength"], one["Metadata"]) == (10, {"a": "b"})
        assert one["ContentType"] == "video/mp4"
        assert one["LastModified"].microsecond == 0
    drop(services, "ü/a.mp4", b"0123456789")
    again = services.s3.head_object(Bucket="input", Key="ü/a.mp4")
    assert again["ETag"] == done["ETag"]
    assert again["VersionId"] != done["VersionId"]


def test_a_part_of_an_object_is_read(services: Services) -> None:
    etag = drop(services, "a", b"0123456789")["ETag"]
    found = services.s3.get_object(Bucket="input", Key="a", Range="bytes=2-4", IfMatch=etag)
    assert (found["Body"].read(), found["ContentLength"]) == (b"234", 3)
    past = services.s3.get_object(Bucket="input", Key="a", Range="bytes=8-20")
    assert past["Body"].read() == b"89"
    assert (
        code_of(services.s3.get_object, Bucket="input", Key="a", Range="bytes=10-11")
        == "InvalidRange"
    )


def test_what_is_missing_or_was_overwritten_is_an_error(services: Services) -> None:
    etag = drop(services, "a")["ETag"]
    drop(services, "a", b"other")
    s3 = services.s3
    assert code_of(s3.get_object, Bucket="input", Key="b") == "NoSuchKey"
    assert code_of(s3.head_object, Bucket="input", Key="b") == "404"
    assert code_of(s3.get_object, Bucket="input", Key="a", IfMatch=etag) == "PreconditionFailed"
    s3.delete_object(Bucket="input", Key="a")
    assert code_of(s3.head_object, Bucket="input", Key="a") == "404"


def test_an_object_is_written_only_over_what_is_expected(services: Services) -> None:
    first = drop(services, "a", b"1", IfNoneMatch="*")["ETag"]
    refused = {"Bucket": "input", "Key": "a", "Body": b"2"}
    assert code_of(services.s3.put_object, **refused, IfNoneMatch="*") == "PreconditionFailed"
    second = drop(services, "a", b"2", IfMatch=first)["ETag"]
    assert code_of(services.s3.put_object, **refused, IfMatch=first) == "PreconditionFailed"
    services.s3.delete_object(Bucket="input", Key="a")
    assert code_of(services.s3.put_object, **refused, IfMatch=second) == "NoSuchKey"
    drop(services, "a", b"3", IfNoneMatch="*")


def test_a_version_is_copied_even_if_it_was_overwritten_or_deleted(services: Services) -> None:
    first = drop(services, "a", b"first")
    drop(services, "a", b"second")
    services.s3.delete_object(Bucket="input", Key="a")
    source = {"Bucket": "input", "Key": "a", "VersionId": first["VersionId"]}
    copy = {"Bucket": "input", "Key": "copy", "CopySource": source}
    services.s3.copy_object(**copy, CopySourceIfMatch=first["ETag"], TaggingDirective="REPLACE")
    old = services.s3.get_object(**source)
    assert old["Body"].read() == b"first"
    found = services.s3.get_object(Bucket="input", Key="copy")
    assert (found["Body"].read(), found["ETag"]) == (b"first", first["ETag"])
    other = code_of(services.s3.copy_object, **copy, CopySourceIfMatch='"other"')
    assert other == "PreconditionFailed"
    services.s3.delete_object(**source)
    assert code_of(services.s3.copy_object, **copy) in ("NoSuchVersion", "NoSuchKey")


def test_objects_are_listed_in_order_page_by_page(services: Services) -> None:
    for key in ("a/2.mp4", "a/1.mp4", "a.json", "a/b/3.mp4", "é.mp4", "Z.mp4"):
        drop(services, key)
    everything = ["Z.mp4", "a.json", "a/1.mp4", "a/2.mp4", "a/b/3.mp4", "é.mp4"]
    assert keys(services) == everything
    assert keys(services, StartAfter="a/1.mp4") == everything[3:]
    assert keys(services, Prefix="a/") == everything[2:5]
    assert keys(services, Prefix="a/", Delimiter="/") == ["a/1.mp4", "a/2.mp4"]
    page = services.s3.list_objects_v2(Bucket="input", MaxKeys=2, StartAfter="Z.mp4")
    assert [item["Key"] for item in page["Contents"]] == everything[1:3]
    assert page["IsTruncated"]
    following = keys(services, ContinuationToken=page["NextContinuationToken"])
    assert following == everything[3:]
    last = services.s3.list_objects_v2(Bucket="input", StartAfter="é.mp4")
    assert not last["IsTruncated"]
    assert "Contents" not in last


def test_a_paginator_lists_everything(services: Services) -> None:
    for number in range(5):
        drop(services, f"{number}")
    paginator = services.s3.get_paginator("list_objects_v2")
    pages = list(paginator.paginate(Bucket="input", MaxKeys=2))
    assert [len(page["Contents"]) for page in pages] == [2, 2, 1]


def test_an_upload_in_parts_becomes_one_object(services: Services) -> None:
    target = {"Bucket": "output", "Key": "a.mp4"}
    begun = services.s3.create_multipart_upload(**target, Metadata={"a": "b"})
    upload = target | {"UploadId": begun["UploadId"]}
    bodies = [b"1" * 5 * 1024 * 1024, b"2"]
    parts = [
        {
            "PartNumber": number,
            "ETag": services.s3.upload_part(Body=body, PartNumber=number, **upload)["ETag"],
        }
        for number, body in enumerate(bodies, 1)
    ]
    done = services.s3.complete_multipart_upload(
        MultipartUpload={"Parts": parts}, IfNoneMatch="*", **upload
    )
    found = services.s3.get_object(**target)
    assert found["Body"].read() == b"".join(bodies)
    assert found["ETag"] == done["ETag"]
    assert found["ETag"].endswith('-2"')
    assert found["Metadata"] == {"a": "b"}


def test_an_upload_that_was_aborted_is_gone(services: Services) -> None:
    target = {"Bucket": "output", "Key": "a.mp4"}
    upload = target | {"UploadId": services.s3.create_multipart_upload(**target)["UploadId"]}
    services.s3.abort_multipart_upload(**upload)
    part = {"Body": b"1", "PartNumber": 1}
    assert code_of(services.s3.upload_part, **part, **upload) == "NoSuchUpload"
    assert keys(services, "output") == []


def test_a_stream_is_uploaded_in_one_pass(services: Services) -> None:
    body = io.BytesIO(b"0123456789")
    services.s3.put_object(Bucket="output", Key="a", Body=body, ContentLength=10)
    found = services.s3.get_object(Bucket="output", Key="a")
    assert b"".join(found["Body"].iter_chunks(3)) == b"0123456789"
