"""The recipes of docs/events.md, deployed as they are."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from local.cloud import ROOT, deploy
from tests.support.stack import Stack

RECIPES = ROOT / "docs/recipes"


@dataclass
class Chat:
    """A chat with an incoming webhook.

    Attributes:
        url: the webhook's URL.
        posts: the texts that were posted.
    """

    url: str = ""
    posts: list[str] = field(default_factory=list)


@pytest.fixture
def chat() -> Iterator[Chat]:
    """A chat that keeps what is posted."""
    chat = Chat()

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            chat.posts.append(json.loads(body)["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Webhook) as server:
        chat.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield chat
        server.shutdown()
        thread.join()


def test_the_recipes_receive_the_event_of_a_retake(
    pipeline: Stack, clip: Path, chat: Chat, tmp_path: Path
) -> None:
    endpoint = pipeline.cloud.outputs["Endpoint"]
    function = deploy(
        endpoint, {}, tmp_path, RECIPES / "call-my-lambda.yaml", "when-retake-is-ready"
    )["FunctionName"]
    webhook = {"WebhookUrl": chat.url}
    deploy(endpoint, webhook, tmp_path, RECIPES / "post-to-a-chat.yaml", "retake-to-chat")
    pipeline.drop_pair("recipe/clip.mp4", clip, {"prompt": "for a recipe"})
    pipeline.until("recipe/clip.mp4", "DELIVERED")
    pipeline.eventually(lambda: is_logged(pipeline, function), "the function's log")
    pipeline.eventually(lambda: is_posted(chat), "a post")


def is_logged(pipeline: Stack, function: str) -> bool:
    """Tell whether the function printed where the retake is."""
    logs = pipeline.cloud.client("logs")
    try:
        events = logs.filter_log_events(logGroupName=f"/aws/lambda/{function}")["events"]
    except logs.exceptions.ResourceNotFoundException:  # it was not called yet
        return False
    return any("recipe/clip.mp4 is ready at s3://" in event["message"] for event in events)


def is_posted(chat: Chat) -> bool:
    """Tell whether the outcome was posted to the chat."""
    return any(
        text.startswith("Retake Delivered") and "recipe/clip.mp4" in text for text in chat.posts
    )
