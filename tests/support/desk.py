"""The real command, as an operator runs it, beside a running embedded cloud."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from local.cloud import CREDENTIALS, ROOT

from . import media
from .stack import Stack

PACKAGES = [
    ROOT,
    *(ROOT / "layers" / path for path in ("retake", "media", "dependencies/python")),
]
TIMEOUT_SECONDS = 240


class Desk:
    """A folder from which the command finds the embedded cloud.

    Attributes:
        folder: the folder; clips are made in its subfolder `shoot`.
        stack: the stack on the embedded cloud.
        environment: the command's environment variables.
    """

    def __init__(self, folder: Path, stack: Stack) -> None:
        self.folder, self.stack = folder, stack
        (folder / ".local").mkdir()
        (folder / ".local/outputs.json").write_text(json.dumps(stack.cloud.outputs))
        (folder / "shoot").mkdir()
        path = [*map(str, PACKAGES), os.environ.get("PYTHONPATH", "")]
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "RETAKE_"))
        }
        self.environment |= {"PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}

    @property
    def aws_environment(self) -> dict[str, str]:
        """Return the variables with which AWS tools use the embedded cloud."""
        return {
            "AWS_ENDPOINT_URL": self.stack.cloud.outputs["Endpoint"],
            "AWS_ACCESS_KEY_ID": CREDENTIALS["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": CREDENTIALS["aws_secret_access_key"],
        }

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start `retake …`."""
        return subprocess.Popen(
            [sys.executable, "-m", "retake_cli", *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Tests that run in the background inherit that SIGINT is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, *arguments: str, code: int = 0, **environment: str) -> str:
        """Run `retake …`, and return its output.

        Parameters:
            arguments: the command's.
            code: the exit code that is expected; a traceback never is.
            environment: further environment variables.
        """
        process = self.start(*arguments, **environment)
        output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
        assert process.returncode == code, output
        assert "Traceback" not in output
        return output

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run `retake … --json`, and return what it prints."""
        return json.loads(self.run(*arguments, "--json", code=code))

    def clip(self, name: str, title: str = "") -> Path:
        """Make a clip; its content is determined by its title, which is by default its name."""
        path = self.folder / "shoot" / name
        return media.clip(path, "-metadata", f"title={title or name}")
