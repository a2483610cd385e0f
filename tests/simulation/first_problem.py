"""Runs histories until one fails; the arguments are the first seed and how many."""

import sys

from .history import DROPS
from .runs import run_one

first, number = map(int, sys.argv[1:])
for seed in range(first, first + number):
    result = run_one(DROPS, seed)
    if result.problems:
        print(f"seed {seed}: {result.problems[0]}")
        sys.exit(1)
