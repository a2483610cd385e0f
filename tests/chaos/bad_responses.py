"""Responses of Segmind that a job must survive, as rules of the simulator."""

from typing import Any

BAD_GATEWAY = "<html><head><title>502 Bad Gateway</title></head></html>"
_BROKEN = {"error": "boom"}
_BAD_KEY = {"error": "invalid_api_key", "status_code": 401}
_NOT_FOUND = {"error": "Request not found"}
Faults = dict[str, dict[str, Any]]

# To a submit: whether the request runs cannot be seen from the response.
LOST: Faults = {
    "500-not-run": {"fault": "answer", "status": 500, "body": _BROKEN},
    "502-html-run": {"fault": "answer", "status": 502, "html": BAD_GATEWAY, "processed": True},
    "503-html-not-run": {"fault": "answer", "status": 503, "html": BAD_GATEWAY},
    "504-run": {"fault": "answer", "status": 504, "html": BAD_GATEWAY, "processed": True},
    "200-html-run": {"fault": "answer", "status": 200, "html": BAD_GATEWAY, "processed": True},
    "empty-run": {"fault": "empty", "status": 200, "processed": True},
    "reset-not-run": {"fault": "reset"},
    "reset-run": {"fault": "reset", "processed": True},
    "truncated-run": {"fault": "truncate"},
    "no-id-run": {"fault": "no_id"},
    "redirect-not-run": {"fault": "redirect"},
    "too-late-run": {"fault": "delay", "seconds": 25},
}

# To a submit: the request itself is wrong.
REFUSED: Faults = {
    f"{status}-refused": {"fault": "answer", "status": status, "body": {"error": "invalid value"}}
    for status in (400, 406, 422)
}

# To a poll, or to a request for the result or the history.
STRANGE: Faults = {
    "500": {"fault": "answer", "status": 500, "body": _BROKEN},
    "502-html": {"fault": "answer", "status": 502, "html": BAD_GATEWAY},
    "429": {
        "fault": "answer",
        "status": 429,
        "body": {"error": "slow down"},
        "headers": {"retry-after": "1"},
    },
    "401-once": {"fault": "answer", "status": 401, "body": _BAD_KEY},
    "404": {"fault": "answer", "status": 404, "body": _NOT_FOUND},
    "empty": {"fault": "empty", "status": 200},
    "truncated": {"fault": "truncate"},
    "reset": {"fault": "reset"},
    "slow": {"fault": "slow", "seconds": 2},
    "redirect": {"fault": "redirect"},
}
