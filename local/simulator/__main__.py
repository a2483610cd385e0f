"""`python -m local.simulator`: serve on 127.0.0.1 until SIGTERM or SIGINT, telling the URL as a line of JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from dataclasses import fields
from pathlib import Path

from .server import Simulator
from .settings import Settings


def main() -> None:
    """Run the simulator as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m local.simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0: a free one")
    parser.add_argument("--ready-file", type=Path, help="file that gets the line of JSON once calls are taken")
    parser.add_argument("--work-dir", type=Path, help="where its files are made; default: the temporary directory")
    for item in fields(Settings):
        flag, default = "--" + item.name.replace("_", "-"), item.default
        told = f"{item.metadata['help']} (default: {default})" if default != "" else item.metadata["help"]
        parser.add_argument(flag, type=type(default), default=default, help=told)
    arguments = parser.parse_args()
    try:
        settings = Settings(**{item.name: getattr(arguments, item.name) for item in fields(Settings)})
    except ValueError as error:
        parser.error(str(error))
    asyncio.run(serve(Simulator(settings, arguments.port, arguments.work_dir), arguments.ready_file))


async def serve(simulator: Simulator, ready_file: Path | None) -> None:
    """Serve until a signal, and tell when calls are taken."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, simulator.stop)

    def ready() -> None:
        line = json.dumps({"url": simulator.url})
        if ready_file:
            part = ready_file.with_name(ready_file.name + ".part")
            part.write_text(line + "\n")
            part.replace(ready_file)
        print(line, flush=True)

    try:
        await simulator.serve(ready)
    finally:
        if ready_file:
            ready_file.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
