"""Package and deploy templates to an embedded cloud with the AWS CLI."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import boto3

from .config import (
    ARTIFACTS_BUCKET,
    CREDENTIALS,
    HOME,
    MAX_REQUESTS_PER_MINUTE,
    REGION,
    ROOT,
    STACK,
)
from .processes import clean_environment

BUILD = "build"  # the folder's name
# What the emulator needs changed: text of template.yaml, and its replacement. Nothing of this is in
# the template that goes to AWS.
ADAPTATIONS = {
    # It speaks plain http, on loopback.
    '{ Bool: { aws:SecureTransport: "false" } }': (
        '{ Bool: { aws:SecureTransport: "false" }, NotIpAddress: { aws:SourceIp: 127.0.0.0/8 } }'
    ),
    # A scaled minute is shorter, so more requests fit into a real one.
    "MaxValue: 300\n": f"MaxValue: {MAX_REQUESTS_PER_MINUTE}\n",
    # It asks for a permission that AWS does not have.
    "[sqs:ReceiveMessage, sqs:DeleteMessage]": (
        "[sqs:ReceiveMessage, sqs:DeleteMessage, sqs:DeleteMessageBatch]"
    ),
}
UNBUILT = ("functions", "statemachine", "layers/dependencies/python")


def deploy(
    endpoint: str,
    parameters: Mapping[str, str],
    folder: Path,
    template: Path | None = None,
    stack: str = STACK,
) -> dict[str, str]:
    """Package and deploy a template, and return the stack's outputs.

    Parameters:
        endpoint: the embedded cloud's AWS endpoint.
        parameters: the stack's parameters.
        folder: for what is built and packaged. What was built before is used again, so an
            update of a stack replaces no code.
        template: by default the project's, with its layers built and adapted to the emulator;
            another one is deployed as it is.
        stack: the stack's name.
    """
    _create_artifacts_bucket(endpoint)
    template = template or _build(folder / BUILD)
    packaged = folder / "packaged.yaml"
    _aws(
        endpoint,
        "package",
        f"--template-file={template}",
        f"--s3-bucket={ARTIFACTS_BUCKET}",
        f"--output-template-file={packaged}",
    )
    overrides = [f"{name}={value}" for name, value in parameters.items()]
    _aws(
        endpoint,
        "deploy",
        f"--template-file={packaged}",
        f"--s3-bucket={ARTIFACTS_BUCKET}",  # it is too large for a request
        f"--stack-name={stack}",
        *("--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"),
        "--no-fail-on-empty-changeset",
        *(["--parameter-overrides", *overrides] if overrides else []),
    )
    cloudformation = boto3.client("cloudformation", endpoint_url=endpoint, **CREDENTIALS)
    deployed = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in deployed.get("Outputs", ())}


def remove_build(folder: Path) -> None:
    """Remove what an earlier `deploy` has built in a folder."""
    shutil.rmtree(folder / BUILD, ignore_errors=True)


def _build(folder: Path) -> Path:
    """Build what `sam build` builds and return the template's copy in the build.

    The build mirrors the project, so the template's relative paths lead to built layers.
    """
    template = folder / "template.yaml"
    if template.exists():
        return template
    for path in UNBUILT:
        link = folder / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(ROOT / path)
    _make_layer("retake", "build-RetakeLayer", folder / "layers/retake")
    _make_layer("media", "code", folder / "layers/media")
    template.write_text(adapt((ROOT / "template.yaml").read_text()))
    return template


def adapt(template: str) -> str:
    """Return the template as the emulator needs it; each adaptation must apply once."""
    for original, adapted in ADAPTATIONS.items():
        if template.count(original) != 1:
            raise ValueError(f"template.yaml has no longer exactly one {original!r}")
        template = template.replace(original, adapted)
    return template


def _make_layer(layer: str, target: str, artifacts: Path) -> None:
    """Run the target of a layer's Makefile, as `sam build` does."""
    command = [
        *("make", "--silent", f"--directory={ROOT / 'layers' / layer}", target),
        f"PYTHON={sys.executable}",
        f"ARTIFACTS_DIR={artifacts.resolve()}",
    ]
    _run(f"make {target}", command, clean_environment(HOME))


def _create_artifacts_bucket(endpoint: str) -> None:
    s3 = boto3.client("s3", endpoint_url=endpoint, **CREDENTIALS)
    if ARTIFACTS_BUCKET not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(
            Bucket=ARTIFACTS_BUCKET,
            CreateBucketConfiguration={"LocationConstraint": REGION},
        )


def _aws(endpoint: str, verb: str, *arguments: str) -> None:
    """Run a command of `aws cloudformation`."""
    environment = clean_environment(HOME) | {
        "AWS_ACCESS_KEY_ID": CREDENTIALS["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": CREDENTIALS["aws_secret_access_key"],
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint,
    }
    command = [sys.executable, "-m", "awscli", "cloudformation", verb, *arguments]
    _run(f"aws cloudformation {verb}", command, environment)


def _run(name: str, command: list[str], environment: Mapping[str, str]) -> None:
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{name} failed:\n{result.stdout}{result.stderr}")
