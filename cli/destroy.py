"""`python -m cli.destroy`: removes the stack; the videos and the jobs table only when told to. Exit code 1: not finished, 2: not begun."""

import argparse
import sys
from collections import Counter
from functools import partial
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from retake.rules.states import State

IN_FLIGHT = {State.SUBMITTING, State.SUBMIT_UNKNOWN, State.RENDERING, State.DELIVERING}
BUCKET, TABLE = "AWS::S3::Bucket", "AWS::DynamoDB::Table"
Kept = list[tuple[str, str]]  # what outlives the stack: type and name


class Refused(Exception):
    """It is not done; the text says why, and what to do."""


class Removal:
    """A stack and its data. `endpoint`: of an emulator, `None` for AWS."""

    def __init__(self, stack: str, endpoint: str | None) -> None:
        make = partial(boto3.client, endpoint_url=endpoint)
        self.stack, self._formation, self._s3, self._dynamo = stack, make("cloudformation"), make("s3"), make("dynamodb")
        self._resource = partial(boto3.resource, endpoint_url=endpoint)
        self.id, self.kept = self._find()

    def _find(self) -> tuple[str | None, Kept]:
        """Find the stack, `None` when it is gone, and what of it outlives it; CloudFormation knows that for 90 days more."""
        try:
            found = self._formation.describe_stacks(StackName=self.stack)["Stacks"][0]
            if found.get("EnableTerminationProtection"):
                command = f"aws cloudformation update-termination-protection --no-enable-termination-protection --stack-name {self.stack}"
                raise Refused(f"the stack is protected from deletion; switch that off, then try again:\n  {command}")
            stack: str | None = found["StackId"]
            known = stack
        except ClientError as error:
            if "does not exist" not in str(error):
                raise
            deleted = self._pages("list_stacks", "StackSummaries", StackStatusFilter=["DELETE_COMPLETE"])
            gone = [each for each in deleted if each["StackName"] == self.stack]
            stack, known = None, max(gone, key=lambda each: each["CreationTime"])["StackId"] if gone else None
        if known is None:
            return None, []
        parts = self._pages("list_stack_resources", "StackResourceSummaries", StackName=known)
        events = self._pages("describe_stack_events", "StackEvents", StackName=known)
        parts += [event for event in events if event.get("ResourceStatus") == "DELETE_SKIPPED"]  # what was left by a deletion before
        named = {(part["ResourceType"], part.get("PhysicalResourceId", "")): None for part in parts}
        return stack, [(kind, name) for kind, name in named if kind in (BUCKET, TABLE) and name and self._is_there(kind, name)]

    def _pages(self, operation: str, what: str, **asked: Any) -> list[dict[str, Any]]:
        return [each for page in self._formation.get_paginator(operation).paginate(**asked) for each in page[what]]

    def _is_there(self, kind: str, name: str) -> bool:
        try:
            self._s3.head_bucket(Bucket=name) if kind == BUCKET else self._dynamo.describe_table(TableName=name)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchBucket", "ResourceNotFoundException"):
                return False
            raise
        return True

    def jobs(self) -> list[dict[str, Any]]:
        """Read the state, the clip and the request of every job."""
        rows = [row for kind, name in self.kept if kind == TABLE for row in self._scan(name)]
        return [row for row in rows if row["sk"] == "job"]

    def _scan(self, table: str) -> list[dict[str, Any]]:
        client = self._resource("dynamodb").meta.client
        asked = {"ProjectionExpression": "sk, #state, #key, request_id", "ExpressionAttributeNames": {"#state": "state", "#key": "key"}}
        pages = client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True, **asked)
        return [row for page in pages for row in page["Items"]]

    def protected(self) -> str | None:
        """Name the table if it refuses to be deleted."""
        tables = [self._dynamo.describe_table(TableName=name)["Table"] for kind, name in self.kept if kind == TABLE]
        return next((str(table["TableName"]) for table in tables if table.get("DeletionProtectionEnabled")), None)

    def remove_stack(self) -> None:
        """Delete the stack and wait until it is gone; wait-loops that still run can hold that up for an hour."""
        self._formation.delete_stack(StackName=self.id)
        try:
            self._formation.get_waiter("stack_delete_complete").wait(StackName=self.id, WaiterConfig={"Delay": 5, "MaxAttempts": 800})
        except WaiterError as error:
            events = self._formation.describe_stack_events(StackName=self.id)["StackEvents"]
            failed = [event for event in events if event["ResourceStatus"] == "DELETE_FAILED"]
            why = [f"  {event['LogicalResourceId']}: {event.get('ResourceStatusReason', '')}" for event in failed] or [str(error)]
            raise Refused("\n".join(["CloudFormation could not delete everything; mend it and try again:", *why])) from error

    def remove_data(self, say: Any) -> None:
        """Delete what outlived the stack: every version, delete marker and unfinished upload, the buckets, the table."""
        for kind, name in sorted(self.kept, reverse=True):  # the table last: it tells what was in flight
            if kind == TABLE:
                self._dynamo.delete_table(TableName=name)
            else:
                self._empty(name)
                self._s3.delete_bucket(Bucket=name)
            say(f"deleted {name}")

    def _empty(self, name: str) -> None:
        bucket = self._resource("s3").Bucket(name)
        for upload in bucket.multipart_uploads.all():
            upload.abort()
        failed = [error for answer in bucket.object_versions.delete() for error in answer.get("Errors", [])]
        if failed:
            raise Refused(f"{len(failed)} objects of {name} could not be deleted, such as {failed[0]['Key']}: {failed[0].get('Message')}")


def main(arguments: list[str] | None = None) -> int:
    """Tell what would be lost, ask, remove."""
    parser = argparse.ArgumentParser(prog="python -m cli.destroy", description="Removes the stack; both buckets and the jobs table stay.")
    parser.add_argument("--stack", default="retake", help="its name")
    parser.add_argument("--with-data", action="store_true", help="delete the buckets, with all videos, and the jobs table as well")
    parser.add_argument("--abandon", action="store_true", help="even if jobs are paid and not yet delivered")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--endpoint-url", help="of an emulator")
    given = parser.parse_args(arguments)
    begun = False
    try:
        removal = Removal(given.stack, given.endpoint_url)
        if not removal.id and not removal.kept:
            print(f"there is no stack {given.stack} in this account and region, and nothing that one has left")
            return 0
        _tell(removal, given.with_data)
        _refuse_if_in_flight(removal, given.abandon)
        if given.with_data and (table := removal.protected()):
            command = f"aws dynamodb update-table --no-deletion-protection-enabled --table-name {table}"
            raise Refused(f"the table {table} is protected from deletion; switch that off, then try again:\n  {command}")
        if removal.id:
            _ask(f"To remove the stack, type its name ({given.stack}): ", given.stack, given.yes)
            _refuse_if_in_flight(removal, given.abandon)  # asking took its time
        if given.with_data and removal.kept:
            _ask("To delete all videos and jobs for ever, type: delete everything\n", "delete everything", given.yes)
        begun = True
        if removal.id:
            print(f"removing the stack {given.stack}; this takes a few minutes, or an hour while abandoned jobs run")
            removal.remove_stack()
            print("the stack is gone")
        if given.with_data:
            removal.remove_data(print)
    except Refused as refused:
        print(f"{'Not finished' if begun else 'Nothing was removed'}: {refused}", file=sys.stderr)
    except (BotoCoreError, ClientError, KeyboardInterrupt) as error:
        state = "Not finished; run it again, it goes on where it stopped" if begun else "Nothing was removed"
        print(f"{state}: {error or 'interrupted'}", file=sys.stderr)
    else:
        return 0
    return 1 if begun else 2


def _tell(removal: Removal, with_data: bool) -> None:
    print(f"The stack {removal.stack} {'is deployed' if removal.id else 'is gone already'}.")
    print(f"{'To be deleted for ever' if with_data else 'What stays (delete it with --with-data)'}:")
    for kind, name in removal.kept or [("", "nothing")]:
        print(f"  {kind:22} {name}")
    for state, number in sorted(Counter(row["state"] for row in removal.jobs()).items()):
        print(f"  {number} jobs {state}")


def _refuse_if_in_flight(removal: Removal, abandon: bool) -> None:
    flying = [row for row in removal.jobs() if row["state"] in IN_FLIGHT]
    if not flying:
        return
    lines = [f"  {row['state']:15} {row['key']}  {row.get('request_id', 'no request id yet')}" for row in flying[:10]]
    text = f"{len(flying)} jobs are paid, or may be, and not yet delivered:\n" + "\n".join(lines)
    if not abandon:
        then = "Wait until they are delivered, or give --abandon: their results stay at Segmind for 7 days, under these ids"
        raise Refused(f"{text}\n{then}")
    print(f"Abandoned: {text}")


def _ask(question: str, expected: str, yes: bool) -> None:
    try:
        if not yes and input(question).strip() != expected:
            raise Refused("that is not what was asked for")
    except EOFError:
        raise Refused("nobody is there to answer; --yes goes without") from None


if __name__ == "__main__":
    sys.exit(main())
