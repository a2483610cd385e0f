"""Chains of FFmpeg's filters, from one source to one sink."""

from collections.abc import Iterable, Iterator
from typing import Any

import av
from av.filter import Graph
from av.filter.context import FilterContext


def chain(graph: Graph, source: FilterContext, filters: Iterable[str], sink: str) -> Graph:
    """Link filters one after another.

    Parameters:
        graph: the graph that has the source.
        source: what frames are pushed into.
        filters: each as FFmpeg writes it, `name` or `name=arguments`.
        sink: `buffersink` or `abuffersink`.

    Returns:
        The graph, ready for frames.
    """
    last = source
    for description in [*filters, sink]:
        name, _, arguments = description.partition("=")
        node = graph.add(name, arguments)
        last.link_to(node)
        last = node
    graph.configure()
    return graph


def pull(graph: Graph) -> Iterator[Any]:
    """Return the frames that are ready."""
    while True:
        try:
            yield graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
