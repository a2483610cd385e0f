"""The recipes of docs/events.md, as they are."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from local.cloud import ROOT, deploy
from tests.stack import Stack

RECIPES = ROOT / "docs/recipes"


@pytest.fixture
def chat() -> Iterator[HTTPServer]:
    """A chat that keeps what is posted."""

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["content-length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    posted: list[str] = []
    with HTTPServer(("127.0.0.1", 0), Webhook) as server:
        server.posted = posted  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_recipes_hear_of_a_retake(pipeline: Stack, clip: Path, chat: HTTPServer, tmp_path: Path) -> None:
    endpoint = pipeline.cloud.outputs["Endpoint"]
    mine = deploy(endpoint, {}, tmp_path, RECIPES / "call-my-lambda.yaml", "when-retake-is-ready")
    webhook = {"WebhookUrl": f"http://127.0.0.1:{chat.server_port}/"}
    deploy(endpoint, webhook, tmp_path, RECIPES / "post-to-a-chat.yaml", "retake-to-chat")
    pipeline.drop_pair("recipe/clip.mp4", clip, {"prompt": "for a recipe"})
    pipeline.until("recipe/clip.mp4", "DELIVERED")
    logs = pipeline.cloud.client("logs")

    def heard() -> bool:
        try:
            events = logs.filter_log_events(logGroupName=f"/aws/lambda/{mine['FunctionName']}")["events"]
        except logs.exceptions.ResourceNotFoundException:  # it was not called yet
            return False
        return any("recipe/clip.mp4 is ready at s3://" in event["message"] for event in events)

    pipeline.eventually(heard, "my function's word")
    posted: list[str] = chat.posted  # type: ignore[attr-defined]
    pipeline.eventually(lambda: any(text.startswith("Retake Delivered") and "recipe/clip.mp4" in text for text in posted), "a post")
