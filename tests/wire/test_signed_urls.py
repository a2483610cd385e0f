"""Signed URLs name the host of the Region: no other one accepts the signature at any time."""

import ast
import random
from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest

from retake.aws.s3 import SigningSession, UrlSigner, signing_client
from retake.domain.input_files import sent_key
from retake_cli.page.links import Signed
from retake_cli.stack import Stack

from .capture import in_region

SNIPPET = Path(__file__).parents[2] / "docs/snippets/upload.py"
BUCKET = "retake-inputbucket-1a2b"
HOSTS = {
    "us-east-1": "s3.us-east-1.amazonaws.com",
    "eu-central-1": "s3.eu-central-1.amazonaws.com",
    "eu-south-1": "s3.eu-south-1.amazonaws.com",
    "ap-east-1": "s3.ap-east-1.amazonaws.com",
    "ap-southeast-5": "s3.ap-southeast-5.amazonaws.com",
    "us-gov-west-1": "s3.us-gov-west-1.amazonaws.com",
    "cn-north-1": "s3.cn-north-1.amazonaws.com.cn",
}
MAX_URL_CHARACTERS = 2083  # that some validators accept
LOOPBACK = "http://127.0.0.1:4566"


def session(token: str = "t") -> SigningSession:  # noqa: S107 - of nobody
    """Begin a session of the pipeline's signing role."""

    class Sts:
        def assume_role(self, **_: Any) -> dict[str, Any]:
            keys = {"AccessKeyId": "ASIAEXAMPLE1EXAMPLE2", "SecretAccessKey": "s"}
            return {"Credentials": keys | {"SessionToken": token}}

    return UrlSigner(sts=Sts(), role_arn="arn", new_s3=signing_client).session("j")


def sign_for_segmind(key: str) -> str:
    return session().url(BUCKET, key, "j-0.mp4")


def link_in_the_gallery(key: str) -> str:
    stack = Stack(
        where="AWS",
        status="CREATE_COMPLETE",
        outputs={"InputBucketName": BUCKET},
        parameters={},
        session=boto3.Session(),
    )
    link = Signed(stack.s3, timedelta(hours=1))
    return link("name", {"Bucket": BUCKET, "Key": key}, 0).src


def presign_in_the_snippet(key: str) -> str:
    """Run what the snippet does before it uploads, without the stack."""
    names = {"regional", "s3", "presign"}
    module = ast.parse(SNIPPET.read_text())
    module.body = [
        statement
        for statement in module.body
        if isinstance(statement, ast.Import | ast.ImportFrom)
        or (isinstance(statement, ast.Assign) and names & {ast.unparse(statement.targets[0])})
        or (isinstance(statement, ast.FunctionDef) and statement.name in names)
    ]
    space: dict[str, Any] = {"outputs": {"InputBucketName": BUCKET}}
    exec(compile(module, SNIPPET.name, "exec"), space)  # noqa: S102 - our own
    return str(space["presign"](key))


SIGNERS = [sign_for_segmind, link_in_the_gallery, presign_in_the_snippet]


@pytest.mark.parametrize("sign", SIGNERS)
@pytest.mark.parametrize("region", HOSTS)
def test_a_signed_url_names_the_bucket_in_the_regions_host(
    region: str, sign: Callable[[str], str]
) -> None:
    with in_region(region):
        url = urlsplit(sign("shoot/clip.mp4"))
    assert (url.scheme, url.netloc) == ("https", f"{BUCKET}.{HOSTS[region]}")
    assert url.path == "/shoot/clip.mp4"
    query = parse_qs(url.query)
    assert query["X-Amz-SignedHeaders"] == ["host"]
    assert query["X-Amz-Credential"][0].split("/")[2:4] == [region, "s3"]
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]


@pytest.mark.parametrize("sign", SIGNERS)
def test_on_loopback_the_bucket_is_in_the_path(
    sign: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with in_region("eu-central-1"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", LOOPBACK)
        assert sign("clip.mp4").startswith(f"{LOOPBACK}/{BUCKET}/clip.mp4?")


def test_segmind_gets_the_correlation_id_in_a_link_of_an_hour() -> None:
    with in_region("eu-central-1"):
        url = session().url(BUCKET, "sent/j-0.mp4", "j-0.mp4")
    query = parse_qs(urlsplit(url).query)
    assert query["response-content-disposition"] == ['inline; filename="j-0.mp4"']
    assert query["X-Amz-Expires"] == ["3600"]
    assert query["X-Amz-Security-Token"] == ["t"]


def test_the_longest_url_that_segmind_gets_is_short_enough_for_strict_validators() -> None:
    token = b64encode(random.Random(1).randbytes(900)).decode()  # longer than usual
    job = "0" * 32
    with in_region("ap-southeast-5"):
        url = session(token).url("b" * 63, sent_key(job, 1000, ".mp4"), f"{job}-1000.mp4")
    assert len(url) <= MAX_URL_CHARACTERS
    assert url.isascii()
