"""One logger and one metrics namespace for all functions."""

from aws_lambda_powertools import Logger, single_metric
from aws_lambda_powertools.metrics import MetricUnit

logger = Logger(service="retake")


def count(name: str, value: float = 1) -> None:
    """Count something in the metrics namespace `Retake`."""
    with single_metric(name=name, unit=MetricUnit.Count, value=value, namespace="Retake"):
        pass
