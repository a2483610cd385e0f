"""`python -m cli` is `retake`."""

from .app import main

main()
