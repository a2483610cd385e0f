"""One operation in the process that `sandbox.run` starts: JSON comes in, JSON goes out."""

import json
import sys

import av

from retake.domain.refusal import Refusal

from . import operations
from .sandbox import limit


def main() -> None:
    """Run the operation that the command line names."""
    limit()
    av.logging.set_level(av.logging.PANIC)
    operation = getattr(operations, sys.argv[1])
    try:
        result = operation(**json.load(sys.stdin))
    except MemoryError:
        result = Refusal("it needs too much memory", "drop a smaller clip")
    if isinstance(result, Refusal):
        result = {"refusal": vars(result)}
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
