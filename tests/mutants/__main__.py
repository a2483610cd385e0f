"""Counts how many mutants of the services the unit tests notice."""

import argparse
import os
import sys
import tomllib
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from random import Random, SystemRandom
from tempfile import TemporaryDirectory

from .mutate import Mutant, mutants
from .unit_tests import PACKAGE, ROOT, CoverageMap, copy_package, pass_with

SERVICES = "retake/services"
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
REQUIRED = 0.95


def main() -> None:
    """Print how many mutants are killed, and those that survive."""
    parser = argparse.ArgumentParser(prog="make mutants")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10_000))
    parser.add_argument("--sample", type=int, default=150)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("modules", nargs="*", help="such as `submit`; by default all services")
    arguments = parser.parse_args()
    random = Random(arguments.seed)
    names = arguments.modules or sorted(
        path.stem for path in (ROOT / PACKAGE / SERVICES).glob("*.py")
    )
    found = mutants(ROOT / PACKAGE, [f"{SERVICES}/{name}.py" for name in names], random)
    known = {
        (entry["module"], entry["removed"], entry["added"])
        for entry in tomllib.loads(EQUIVALENT.read_text())["equivalent"]
    }
    sample = [*islice((mutant for mutant in found if mutant.key not in known), arguments.sample)]
    print(f"seed {arguments.seed}: {len(sample)} mutants", flush=True)
    survivors = 0
    with TemporaryDirectory() as folder:
        tests = CoverageMap(copy_package(Path(folder)), Path(folder))
        given = [(mutant, tests.tests_of(mutant.module, mutant.lines)) for mutant in sample]
        with ProcessPoolExecutor(arguments.processes, get_context("fork")) as pool:
            for mutant, survives in zip(sample, pool.map(_survives, given), strict=True):
                if survives:
                    survivors += 1
                    print(f"\n{mutant.diff}", flush=True)
    killed = len(sample) - survivors
    print(f"\nkilled {killed} of {len(sample)} ({killed / len(sample):.1%}), seed {arguments.seed}")
    sys.exit(killed < REQUIRED * len(sample))


def _survives(given: tuple[Mutant, list[str]]) -> bool:
    mutant, tests = given
    with TemporaryDirectory() as folder:
        package = copy_package(Path(folder))
        (package / mutant.module).write_text(mutant.code)
        return pass_with(package, tests)


if __name__ == "__main__":
    main()
