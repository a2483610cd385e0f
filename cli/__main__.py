"""`python -m cli` is `retake`."""

import sys


def main() -> None:
    """Run `retake`; Ctrl-C is answered without a traceback while it is still starting, too."""
    try:
        from .app import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
