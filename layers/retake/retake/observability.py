"""The logger and the metrics of all functions; the stack's name is their `service`."""

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

logger = Logger()
metrics = Metrics(namespace="Retake")


def count(name: str, value: float = 1) -> None:
    """Add a metric that is published when the function ends."""
    metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)
