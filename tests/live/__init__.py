"""The opt-in live check: one short clip through a deployed stack and the real Segmind, to learn what its contract leaves open."""
