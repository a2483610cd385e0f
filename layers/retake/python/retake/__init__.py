"""Retake: drop a clip and a note in a bucket, get the retake back."""
