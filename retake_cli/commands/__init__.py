"""The verbs of `retake`: one module a verb, with what only that verb needs."""
