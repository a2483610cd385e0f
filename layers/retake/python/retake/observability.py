"""One logger and one metrics namespace for all functions; the stack's name is their `service`."""

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

logger = Logger()
metrics = Metrics(namespace="Retake")


def measure(name: str, value: float = 1) -> None:
    """Add a figure to what the function tells CloudWatch when it ends."""
    metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)
