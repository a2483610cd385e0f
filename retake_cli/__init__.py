"""The operator's command, `retake`."""
