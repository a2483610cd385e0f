"""Segmind: its API over HTTP, what its responses mean, and the download of result files."""
