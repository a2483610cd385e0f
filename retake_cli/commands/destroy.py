"""`python -m retake_cli.commands.destroy` deletes the stack, and its data only if asked to.

Exit codes: 0 done, 1 not finished, 2 nothing was removed.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from retake.aws.dynamodb import error_code, pages
from retake.domain.job import IN_FLIGHT

from ..account import explain_aws, open_session
from ..console import CommandError, count
from ..stack import DEFAULT_NAME

BUCKET, TABLE = "AWS::S3::Bucket", "AWS::DynamoDB::Table"
SHOWN_JOBS = 10
_GONE = frozenset({"404", "NoSuchBucket", "ResourceNotFoundException"})
_FIELDS = {
    "ProjectionExpression": "#state, #key, request_id",
    "FilterExpression": "begins_with(pk, :job)",
    "ExpressionAttributeNames": {"#state": "state", "#key": "key"},
    "ExpressionAttributeValues": {":job": "job#"},
    "ConsistentRead": True,
}
_DELETION = {"Delay": 5, "MaxAttempts": 800}  # more than an hour
_CONFIRMATION = "delete everything"


class NotDeletedError(Exception):
    """Something is not deleted; the text says why, and what to do."""


@dataclass(frozen=True)
class DataStore:
    """A bucket or table that outlives its stack.

    Attributes:
        kind: its type in CloudFormation.
        name: its name.
    """

    kind: str
    name: str


@dataclass(frozen=True)
class RemainingJob:
    """What must be known about a job before its stack is deleted."""

    state: str
    key: str
    request_id: str | None


class Deletion:
    """Deletes a stack, and what outlives it.

    Parameters:
        stack: the stack's name.
        session: the boto3 session of its account and Region.
        endpoint: the URL of an emulator; `None` for AWS.
    """

    def __init__(self, *, stack: str, session: Any, endpoint: str | None) -> None:
        self.stack = stack
        self._formation = session.client("cloudformation", endpoint_url=endpoint)
        self._s3 = session.resource("s3", endpoint_url=endpoint)
        self._dynamodb = session.resource("dynamodb", endpoint_url=endpoint)

    @cached_property
    def stack_id(self) -> str | None:
        """Return the stack's id; `None` when the stack is gone.

        Raises:
            NotDeletedError: the stack is protected from deletion.
        """
        try:
            found = self._formation.describe_stacks(StackName=self.stack)["Stacks"][0]
        except ClientError as error:
            if "does not exist" not in str(error):
                raise
            return None
        if found.get("EnableTerminationProtection"):
            command = (
                "aws cloudformation update-termination-protection "
                f"--no-enable-termination-protection --stack-name {self.stack}"
            )
            what = "the stack is protected from deletion; turn that off, then try again"
            raise NotDeletedError(f"{what}:\n  {command}")
        return str(found["StackId"])

    @cached_property
    def data(self) -> list[DataStore]:
        """Return what outlives the stack; CloudFormation remembers a stack for 90 days."""
        stack_id = self.stack_id or self._last_deleted_id()
        if stack_id is None:
            return []
        resources = self._list("list_stack_resources", "StackResourceSummaries", StackName=stack_id)
        events = self._list("describe_stack_events", "StackEvents", StackName=stack_id)
        # What an earlier deletion left is no longer a resource of the stack.
        resources += [event for event in events if event.get("ResourceStatus") == "DELETE_SKIPPED"]
        stores = dict.fromkeys(
            DataStore(resource["ResourceType"], resource.get("PhysicalResourceId", ""))
            for resource in resources
        )
        return [store for store in stores if self._exists(store)]

    def jobs(self) -> list[RemainingJob]:
        """Read all jobs."""
        items = (
            item
            for table in self._tables()
            for item in pages(self._dynamodb.Table(table).scan, **_FIELDS)
        )
        return [RemainingJob(item["state"], item["key"], item.get("request_id")) for item in items]

    def protected_table(self) -> str | None:
        """Return the name of the table if it is protected from deletion."""
        client = self._dynamodb.meta.client
        for name in self._tables():
            if client.describe_table(TableName=name)["Table"].get("DeletionProtectionEnabled"):
                return name
        return None

    def delete_stack(self) -> None:
        """Delete the stack and wait until it is gone.

        Wait loops that still run can delay that by an hour.
        """
        self._formation.delete_stack(StackName=self.stack_id)
        waiter = self._formation.get_waiter("stack_delete_complete")
        try:
            waiter.wait(StackName=self.stack_id, WaiterConfig=_DELETION)
        except WaiterError as error:
            what = "CloudFormation could not delete everything; fix this and try again:"
            lines = [what, *(self._failed_deletions() or [str(error)])]
            raise NotDeletedError("\n".join(lines)) from error

    def delete_data(self, say: Callable[[str], None]) -> None:
        """Delete what outlived the stack: the buckets with everything in them, and the table.

        The table comes last, because it says which jobs were in flight.
        """
        for store in sorted(self.data, key=lambda store: store.kind == TABLE):
            if store.kind == TABLE:
                self._dynamodb.Table(store.name).delete()
            else:
                self._empty(store.name)
                self._s3.Bucket(store.name).delete()
            say(f"deleted {store.name}")

    def _tables(self) -> Iterator[str]:
        return (store.name for store in self.data if store.kind == TABLE)

    def _last_deleted_id(self) -> str | None:
        deleted = [
            stack
            for stack in self._list(
                "list_stacks", "StackSummaries", StackStatusFilter=["DELETE_COMPLETE"]
            )
            if stack["StackName"] == self.stack
        ]
        newest = max(deleted, key=lambda stack: stack["CreationTime"], default=None)
        return str(newest["StackId"]) if newest else None

    def _list(self, operation: str, result: str, **query: Any) -> list[dict[str, Any]]:
        found = self._formation.get_paginator(operation).paginate(**query)
        return [item for page in found for item in page[result]]

    def _exists(self, store: DataStore) -> bool:
        if store.kind not in (BUCKET, TABLE) or not store.name:
            return False
        try:
            if store.kind == BUCKET:
                self._s3.meta.client.head_bucket(Bucket=store.name)
            else:
                self._dynamodb.meta.client.describe_table(TableName=store.name)
        except ClientError as error:
            if error_code(error) in _GONE:
                return False
            raise
        return True

    def _failed_deletions(self) -> list[str]:
        events = self._formation.describe_stack_events(StackName=self.stack_id)["StackEvents"]
        return [
            f"  {event['LogicalResourceId']}: {event.get('ResourceStatusReason', '')}"
            for event in events
            if event["ResourceStatus"] == "DELETE_FAILED"
        ]

    def _empty(self, name: str) -> None:
        """Delete every version, delete marker, and unfinished upload of a bucket."""
        bucket = self._s3.Bucket(name)
        for upload in bucket.multipart_uploads.all():
            upload.abort()
        responses = bucket.object_versions.delete()
        errors = [error for response in responses for error in response.get("Errors", [])]
        if errors:
            first = f"{errors[0]['Key']}: {errors[0].get('Message')}"
            objects = count(len(errors), "object")
            raise NotDeletedError(f"{objects} in {name} could not be deleted, such as {first}")


def main(arguments: list[str] | None = None) -> int:
    """Show what would be lost, ask, and delete; return the exit code."""
    given = _parse(arguments)
    begun = False
    try:
        session = open_session(given.profile, given.region)
        deletion = Deletion(stack=given.stack, session=session, endpoint=given.endpoint_url)
        if not deletion.stack_id and not deletion.data:
            print(
                f"There is no stack {given.stack} in this account and Region, "
                "and no data of a deleted one."
            )
            return 0
        _confirm(deletion, given)
        begun = True
        _delete(deletion, with_data=given.with_data)
    except NotDeletedError as error:
        print(f"{'Not finished' if begun else 'Nothing was removed'}: {error}", file=sys.stderr)
    except (CommandError, BotoCoreError, ClientError, KeyboardInterrupt) as error:
        problem = _problem(error)
        state = "Not finished; run it again to resume" if begun else "Nothing was removed"
        print(f"{state}: {problem.what}", file=sys.stderr)
        if problem.do_now and not begun:
            print(problem.do_now, file=sys.stderr)
    else:
        return 0
    return 1 if begun else 2


def _problem(error: BaseException) -> CommandError:
    if isinstance(error, CommandError):
        return error
    return explain_aws(error) if isinstance(error, Exception) else CommandError("interrupted")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m retake_cli.commands.destroy",
        description="Delete the stack. Its buckets and its jobs table are kept by default.",
    )
    parser.add_argument("--stack", default=DEFAULT_NAME, help="name of the stack")
    parser.add_argument("--profile", help="AWS profile")
    parser.add_argument("--region", help="AWS Region")
    parser.add_argument(
        "--with-data",
        action="store_true",
        help="delete the buckets, with all videos, and the jobs table, too",
    )
    parser.add_argument(
        "--abandon",
        action="store_true",
        help="delete even if jobs are paid for and not delivered yet",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    parser.add_argument("--endpoint-url", help="URL of an AWS emulator")
    return parser.parse_args(arguments)


def _confirm(deletion: Deletion, given: argparse.Namespace) -> None:
    """Show what is deleted and what is kept, and ask.

    Raises:
        NotDeletedError: it must not be deleted, or the user does not want it.
    """
    _show(deletion, given.with_data)
    _refuse_if_in_flight(deletion, given.abandon)
    table = deletion.protected_table() if given.with_data else None
    if table:
        command = f"aws dynamodb update-table --no-deletion-protection-enabled --table-name {table}"
        what = f"the table {table} is protected from deletion; turn that off, then try again"
        raise NotDeletedError(f"{what}:\n  {command}")
    if deletion.stack_id:
        _ask(f"To delete the stack, type its name ({given.stack}): ", given.stack, given.yes)
        _refuse_if_in_flight(deletion, given.abandon)  # a job may have been sent meanwhile
    if given.with_data and deletion.data:
        question = f"To permanently delete all videos and jobs, type: {_CONFIRMATION}\n"
        _ask(question, _CONFIRMATION, given.yes)


def _delete(deletion: Deletion, *, with_data: bool) -> None:
    if deletion.stack_id:
        print(
            f"Deleting the stack {deletion.stack}. This takes a few minutes, "
            "or an hour while abandoned jobs are running."
        )
        deletion.delete_stack()
        print("The stack is deleted.")
    if with_data:
        deletion.delete_data(print)


def _show(deletion: Deletion, with_data: bool) -> None:
    print(
        f"The stack {deletion.stack} is {'deployed' if deletion.stack_id else 'deleted already'}."
    )
    print("Permanently deleted:" if with_data else "Kept (add --with-data to delete it):")
    for store in deletion.data or [DataStore("", "nothing")]:
        print(f"  {store.kind:22} {store.name}")
    for state, number in sorted(Counter(job.state for job in deletion.jobs()).items()):
        print(f"  {count(number, 'job')} {state}")


def _refuse_if_in_flight(deletion: Deletion, abandon: bool) -> None:
    in_flight = [job for job in deletion.jobs() if job.state in IN_FLIGHT]
    if not in_flight:
        return
    jobs = count(len(in_flight), "job")
    lines = [f"{jobs} paid for, or possibly paid for, and not delivered yet:"]
    for job in in_flight[:SHOWN_JOBS]:
        lines.append(f"  {job.state:15} {job.key}  {job.request_id or 'no request ID yet'}")
    if abandon:
        print("Abandoned: " + "\n".join(lines))
        return
    lines.append(
        "Wait until they are delivered, or add --abandon: "
        "Segmind keeps their results for 7 days under these request IDs."
    )
    raise NotDeletedError("\n".join(lines))


def _ask(question: str, expected: str, yes: bool) -> None:
    if yes:
        return
    try:
        typed = input(question)
    except EOFError:
        raise NotDeletedError("there is no one to ask; add --yes to skip the question") from None
    if typed.strip() != expected:
        raise NotDeletedError("the text does not match")


if __name__ == "__main__":
    sys.exit(main())
