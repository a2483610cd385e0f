"""Runs `retake` as `python -m retake_cli`."""

import sys


def main() -> None:
    """Run `retake`; Ctrl-C prints no traceback, even while the command is still starting."""
    try:
        from .app import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
