"""Kills a function before its n-th side effect.

Python imports this module in every function of an embedded cloud that has its folder in
PYTHONPATH. `$RETAKE_CHAOS/armed.json` names the function and n. Every boto3 call that changes
something counts, and so does every POST. They are found by watching the clients, not by a list in
the product. The function that dies renames the file to `fired.json`, so only one does.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

READS = ("Get", "BatchGet", "Head", "List", "Describe", "Query", "Scan", "Assume", "Receive")
FOLDER = Path(os.environ.get("RETAKE_CHAOS", "/nowhere"))
# The emulator runs a function as .../ministack-lambda-<function>-<random>/_worker.py.
WORKER = " ".join(sys.orig_argv)
counter = {"order": "", "effects": 0}


def count_effect(name: str) -> None:
    """Count a side effect that is about to happen, and die if it is the one."""
    armed = FOLDER / "armed.json"
    try:
        order = json.loads(armed.read_text())
    except (OSError, ValueError):
        return
    if f"-{order['function']}Function-" not in WORKER:
        return
    if counter["order"] != order["id"]:
        counter.update(order=order["id"], effects=0)
    counter["effects"] += 1
    with (FOLDER / "trace.log").open("a") as trace:
        trace.write(f"{order['id']} {order['function']} {counter['effects']} {name}\n")
    if counter["effects"] == order["before"]:
        try:
            armed.rename(FOLDER / "fired.json")
        except FileNotFoundError:
            return
        os._exit(9)


def watch_clients() -> None:
    """Watch all clients of boto3 and httpx."""
    import botocore.client
    import httpx

    call, send = botocore.client.BaseClient._make_api_call, httpx.Client.send

    def watched_call(self: Any, operation_name: str, api_params: Any) -> Any:
        if not operation_name.startswith(READS):
            count_effect(operation_name)
        return call(self, operation_name, api_params)

    def watched_send(self: Any, request: httpx.Request, **options: Any) -> httpx.Response:
        if request.method == "POST":
            count_effect("POST")
        return send(self, request, **options)

    botocore.client.BaseClient._make_api_call = watched_call
    httpx.Client.send = watched_send


if "ministack-lambda-" in WORKER and FOLDER.is_dir():
    watch_clients()
    if settings := os.environ.get("RETAKE_HARSH"):
        import harsh_aws

        harsh_aws.bring(settings, FOLDER, harsh_aws.name_of(WORKER))
