"""Takes for tests of the gallery's page, and hostile texts to put into them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from retake.domain.job import State
from retake_cli.commands.gallery import Take

NOW = datetime(2026, 11, 23, 9, 40, tzinfo=UTC)
HOSTILE = (
    "<script>window.hit = 1</script>",
    "</title></style></script><img src=x onerror='window.hit = 1'>",
    '" autofocus onfocus="window.hit = 1" x=\'',
    "javascript:window.hit=1//.mp4",
    "{{ 7 * 7 }}{% raw %}${window.hit = 1}",
    "http://127.0.0.1:9/leak.png",
    "a\u202egpj.4pm",
    "half \ud83d of a character",
    "bell \x07 nul \0 line\u2028separator",
    "&lt;b&gt; &amp;",
)


def take(number: int = 0, clip: str = "shoot/clip.mp4", **fields: Any) -> Take:
    """Create a take; a higher number is older, slower, and more expensive."""
    given: dict[str, Any] = {
        "state": State.DELIVERED,
        "message": "Done.",
        "mode": "flex_1",
        "prompt": "ink",
        "length": 2.0,
        "at": NOW - timedelta(minutes=number),
        "took": 60.0 + number,
        "cost_usd": 0.6 + number / 100,
    }
    return Take(job=f"{number:032x}", clip=clip, **given | fields)
