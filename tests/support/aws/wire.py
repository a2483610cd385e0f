"""The wire between a client and its service: where time passes, and where faults happen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from botocore.exceptions import ClientError


@dataclass(frozen=True)
class Call:
    """A call to AWS that is about to be made.

    Attributes:
        service: such as `dynamodb`.
        operation: such as `PutItem`.
        parameters: those of the call.
        effect: makes the call at the service, and returns its response.
    """

    service: str
    operation: str
    parameters: Mapping[str, Any]
    effect: Callable[[], Any]


class Wire(Protocol):
    """Makes calls, as well or as badly as it likes."""

    def __call__(self, call: Call) -> Any:
        """Make a call, and return its response."""
        ...


def direct(call: Call) -> Any:
    """Make a call at once, without faults."""
    return call.effect()


def client_error(
    operation: str, code: str, message: str = "", *, status: int = 400, **details: Any
) -> ClientError:
    """Return the error that botocore raises for an error response.

    Parameters:
        operation: such as `PutItem`.
        code: such as `ThrottlingException`.
        message: of the service.
        status: the HTTP status.
        details: the response's other fields.
    """
    response: Any = {
        "Error": {"Code": code, "Message": message or code},
        "ResponseMetadata": {"HTTPStatusCode": status},
        **details,
    }
    return ClientError(response, operation)
