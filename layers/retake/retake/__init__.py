"""Retake: drop a clip and a sidecar in a bucket, get the retake back."""
