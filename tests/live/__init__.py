"""The opt-in live check: one clip through a deployed stack shows how the real Segmind behaves."""
