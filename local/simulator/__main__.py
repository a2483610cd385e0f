"""`python -m local.simulator`: serve on 127.0.0.1 until SIGTERM or SIGINT.

Once it accepts connections, it prints its URL as one line of JSON.
"""

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
    """Run the simulator with the options of the command line."""
    parser = _parser()
    options = parser.parse_args()
    try:
        settings = Settings(**{item.name: getattr(options, item.name) for item in fields(Settings)})
    except ValueError as error:
        parser.error(str(error))
    asyncio.run(serve(Simulator(settings, options.port, options.work_dir), options.ready_file))


def _parser() -> argparse.ArgumentParser:
    """Return the parser; every setting is an option."""
    parser = argparse.ArgumentParser(prog="python -m local.simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0: a free one")
    parser.add_argument("--ready-file", type=Path, help="file to write the line of JSON to")
    parser.add_argument("--work-dir", type=Path, help="folder for files (default: temporary)")
    for item in fields(Settings):
        flag = "--" + item.name.replace("_", "-")
        text = item.metadata["help"]
        if item.default != "":
            text += f" (default: {item.default})"
        parser.add_argument(flag, type=type(item.default), default=item.default, help=text)
    return parser


async def serve(simulator: Simulator, ready_file: Path | None) -> None:
    """Serve until a signal arrives.

    Parameters:
        simulator: what to serve.
        ready_file: gets the line of JSON once connections are accepted; removed at the end.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, simulator.stop)

    def announce() -> None:
        line = json.dumps({"url": simulator.url})
        if ready_file:
            part = ready_file.with_name(ready_file.name + ".part")
            part.write_text(line + "\n")
            part.replace(ready_file)
        print(line, flush=True)

    try:
        await simulator.serve(announce)
    finally:
        if ready_file:
            ready_file.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
