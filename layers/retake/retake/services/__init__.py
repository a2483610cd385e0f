"""The use cases, one per module: they read, let the domain decide, and write."""
