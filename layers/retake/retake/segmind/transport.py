"""HTTP connections that end at a deadline, and an httpx transport over them.

A server that sends a byte now and then keeps every read alive. Here a request and its whole
response have one deadline. The transport uses httpcore's public pool and network backend.
"""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from math import inf
from typing import Any

import httpcore
import httpx

from .url_rules import may_connect

TLS = ssl.create_default_context()
_TIMEOUT = httpx.Timeout(20, connect=5)  # of one read; the deadline holds for all of them
_KEEPALIVE_SECONDS = 5
_ERRORS: dict[type[Exception], type[httpx.TransportError]] = {
    httpcore.ConnectTimeout: httpx.ConnectTimeout,
    httpcore.ReadTimeout: httpx.ReadTimeout,
    httpcore.WriteTimeout: httpx.WriteTimeout,
    httpcore.PoolTimeout: httpx.PoolTimeout,
    httpcore.ConnectError: httpx.ConnectError,
    httpcore.ReadError: httpx.ReadError,
    httpcore.WriteError: httpx.WriteError,
    httpcore.ProxyError: httpx.ProxyError,
    httpcore.UnsupportedProtocol: httpx.UnsupportedProtocol,
    httpcore.LocalProtocolError: httpx.LocalProtocolError,
    httpcore.RemoteProtocolError: httpx.RemoteProtocolError,
}


class DeadlineBackend(httpcore.SyncBackend):
    """Opens connections that all end at one deadline."""

    def __init__(self) -> None:
        self._deadline = inf

    def end_in(self, seconds: float) -> None:
        """Set the deadline."""
        self._deadline = time.monotonic() + seconds

    def remaining(
        self,
        timeout: float | None,
        error: type[httpcore.TimeoutException] = httpcore.ReadTimeout,
    ) -> float:
        """Return a step's time-out, shortened to the deadline; raise `error` past it."""
        left = min(self._deadline - time.monotonic(), inf if timeout is None else timeout)
        if left <= 0:
            raise error("the whole request took too long")
        return left

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: Any, **options: Any
    ) -> httpcore.NetworkStream:
        """Connect before the deadline."""
        left = self.remaining(timeout, httpcore.ConnectTimeout)
        return _DeadlineStream(super().connect_tcp(host, port, left, *args, **options), self)


class PublicBackend(DeadlineBackend):
    """Connects to the very addresses that were checked, so DNS cannot change in between.

    Parameters:
        base_url: the configured Segmind origin; if it is loopback, loopback is allowed.
    """

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self._base_url = base_url

    def connect_tcp(
        self, host: str, port: int, *args: Any, **options: Any
    ) -> httpcore.NetworkStream:
        """Resolve the host, check all of its addresses, and connect to one of them."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved") from error
        addresses = [str(info[4][0]) for info in found]
        if not addresses or not all(may_connect(one, self._base_url) for one in addresses):
            raise httpcore.ConnectError(f"{host} is not a public address")
        for address in addresses[:-1]:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return super().connect_tcp(address, port, *args, **options)
        return super().connect_tcp(addresses[-1], port, *args, **options)


class _DeadlineStream(httpcore.NetworkStream):
    """A connection whose every step ends at the backend's deadline."""

    def __init__(self, stream: httpcore.NetworkStream, backend: DeadlineBackend) -> None:
        self._stream, self._backend = stream, backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._backend.remaining(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._backend.remaining(timeout))

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> "_DeadlineStream":
        left = self._backend.remaining(timeout, httpcore.ConnectTimeout)
        secured = self._stream.start_tls(ssl_context, server_hostname, left)
        return _DeadlineStream(secured, self._backend)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Transport(httpx.BaseTransport):
    """An httpx transport over a pool with a network backend of our own.

    Parameters:
        backend: opens the connections.
        max_idle: how many connections are kept for later requests; `None` for all.
    """

    def __init__(self, backend: DeadlineBackend, max_idle: int | None) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=TLS,
            max_keepalive_connections=max_idle,
            keepalive_expiry=_KEEPALIVE_SECONDS,
            network_backend=backend,
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request over the pool."""
        url = request.url
        core = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _httpx_errors():
            response = self._pool.handle_request(core)
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Stream(response),
            extensions=response.extensions,
        )

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


class _Stream(httpx.SyncByteStream):
    """The body of a response."""

    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        with _httpx_errors():
            yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


@contextmanager
def _httpx_errors() -> Iterator[None]:
    """Raise httpcore's errors as httpx's."""
    try:
        yield
    except Exception as error:
        for kind in type(error).__mro__:
            if kind in _ERRORS:
                raise _ERRORS[kind](str(error)) from error
        raise


def new_client(backend: DeadlineBackend, *, max_idle: int | None = None) -> httpx.Client:
    """Create a client that uses no proxy, follows no redirect and keeps no cookies.

    Parameters:
        backend: opens the connections.
        max_idle: how many connections are kept for later requests; `None` for all.
    """
    return httpx.Client(
        transport=_Transport(backend, max_idle),
        timeout=_TIMEOUT,
        follow_redirects=False,
        trust_env=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
    )
