"""How badly AWS and Segmind behave in one history, until the storm is over."""

from dataclasses import dataclass, fields
from random import Random

STORM_SECONDS = 2400  # then everything works, and what was dropped must come to its end


@dataclass(frozen=True)
class Weather:
    """The shares of calls, events, or requests that meet a fault.

    Attributes:
        throttled: calls that AWS throttles; boto3 tries again.
        refused: calls that fail, however often boto3 tries.
        lost: writes that take effect, but whose responses are lost; boto3 tries again.
        broken: writes that take effect, but whose responses never arrive.
        unprocessed: batches of DynamoDB that are read in part.
        conflict: writes to DynamoDB that meet a transaction.
        stalled: calls that take so long that their function may time out.
        killed: calls before or after which their function dies.
        slow_index: writes that an index shows only seconds later.
        event_late: events that take up to two minutes.
        event_doubled: events that come twice.
        event_lost: events that never come.
        message_doubled: messages that SQS delivers twice.
        function_throttled: invocations that Lambda throttles.
        execution_stopped: executions that somebody stops.
        execution_failed: executions that fail by themselves.
        schedule_missed: minutes without a sweep.
        schedule_doubled: minutes with two sweeps at once.
        submit_lost: submits that never reach Segmind, and whose senders cannot tell.
        submit_unanswered: submits that Segmind accepts, but whose responses are lost.
        submit_rejected: submits that are rejected with an error, unpaid.
        request_failed: other requests to Segmind that fail.
        download_broken: downloads that break off.
        render_failed: renders that end FAILED.
        record_late: records that some replicas do not have at first.
        result_odd: results in a rare shape.
        cost_missing: results without their price, or with one that is wrong.
    """

    throttled: float = 0
    refused: float = 0
    lost: float = 0
    broken: float = 0
    unprocessed: float = 0
    conflict: float = 0
    stalled: float = 0
    killed: float = 0
    slow_index: float = 0
    event_late: float = 0
    event_doubled: float = 0
    event_lost: float = 0
    message_doubled: float = 0
    function_throttled: float = 0
    execution_stopped: float = 0
    execution_failed: float = 0
    schedule_missed: float = 0
    schedule_doubled: float = 0
    submit_lost: float = 0
    submit_unanswered: float = 0
    submit_rejected: float = 0
    request_failed: float = 0
    download_broken: float = 0
    render_failed: float = 0
    record_late: float = 0
    result_odd: float = 0
    cost_missing: float = 0

    @property
    def may_end_functions(self) -> bool:
        """Tell whether functions may end before their work is done, again and again."""
        return max(self.killed, self.stalled, self.refused, self.broken, self.lost) > 0

    @classmethod
    def of(cls, dice: Random) -> "Weather":
        """Choose the weather: some faults never happen, some seldom, and some often."""
        often = {
            "killed": 0.02,
            "stalled": 0.005,
            "refused": 0.01,
            "broken": 0.01,
            "lost": 0.05,
            "execution_stopped": 0.3,
            "execution_failed": 0.1,
            "event_lost": 0.2,
        }
        chosen = {
            field.name: dice.choice((0, 0, 0.1, 1)) * often.get(field.name, 0.3)
            for field in fields(cls)
        }
        return cls(**chosen)
