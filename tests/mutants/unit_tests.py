"""Runs unit tests with a copy of the package, in processes that can be killed."""

import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import boto3  # noqa: F401 - imported here once, so that no process does it again
import hypothesis  # noqa: F401
import moto.dynamodb.models
import moto.s3.models  # noqa: F401
import pytest
from coverage import Coverage, CoverageData

ROOT = Path(__file__).resolve().parents[2]
SUITE = "tests/unit"
PACKAGE = "layers/retake"
BESIDE = ("functions", "retake_cli", "layers/dependencies", "layers/media")
TEST_SECONDS = 60  # of processor time; a test that needs more never ends
RUN_SECONDS = 900  # of real time, for tests that wait forever
MEMORY_BYTES = 4 << 30
PASSED, FAILED, NOT_IMPORTED = 0, 1, 2  # exit codes of pytest


def copy_package(folder: Path) -> Path:
    """Copy the package into a folder, and return the copy."""
    package = shutil.copytree(ROOT / PACKAGE, folder / PACKAGE)
    for name in BESIDE:
        (folder / name).symlink_to(ROOT / name)
    return package


class CoverageMap:
    """Which tests run a line."""

    def __init__(self, package: Path, folder: Path) -> None:
        file = folder / "coverage"
        if not _pass(_record, package, file):
            raise SystemExit("the unit tests fail without a mutant")
        data = CoverageData(str(file))
        data.read()
        self._tests = {
            Path(path).relative_to(package).as_posix(): data.contexts_by_lineno(path)
            for path in data.measured_files()
        }
        self._breadth: dict[str, int] = {}  # how many lines a test runs
        for by_line in self._tests.values():
            for tests in by_line.values():
                for test in tests:
                    self._breadth[test] = self._breadth.get(test, 0) + 1

    def tests_of(self, module: str, lines: range) -> list[str]:
        """Return the tests that could notice a fault in a statement, the narrowest first.

        Any test could notice a fault in what is run when the module is imported.
        """
        by_line = self._tests[module]
        running = [tests for line in lines if (tests := by_line.get(line))]
        near = {test for tests in by_line.values() for test in tests}
        tests = {test for tests in running for test in tests}
        if running and all("" in tests for tests in running):
            tests = {*self._breadth}
        return sorted(tests - {""}, key=lambda test: (test not in near, self._breadth[test], test))


def pass_with(package: Path, tests: list[str]) -> bool:
    """Tell whether tests pass with a copy of the package; those that never end do not."""
    files = sorted({test.partition("::")[0] for test in tests})
    return not tests or _pass(_pytest, package, files, _Only(tests))


class _Only:
    """Runs some tests in their order, and kills the process when one of them never ends."""

    def __init__(self, tests: list[str]) -> None:
        self._rank = {test: rank for rank, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Choose and sort the tests."""
        chosen = [item for item in items if item.nodeid in self._rank]
        items[:] = sorted(chosen, key=lambda item: self._rank[item.nodeid])

    def pytest_runtest_setup(self) -> None:
        """Wind the clock."""
        signal.setitimer(signal.ITIMER_PROF, TEST_SECONDS)


class _Recorder:
    """Records which lines each test runs, with its fixtures and threads."""

    def __init__(self, coverage: Coverage) -> None:
        self._coverage = coverage

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Record for the next test."""
        self._coverage.switch_context(item.nodeid)


def _record(package: Path, file: Path) -> int:
    coverage = Coverage(data_file=str(file), source=[str(package)], config_file=False)
    coverage.start()
    try:
        return _pytest(package, [SUITE], _Recorder(coverage))
    finally:
        coverage.stop()
        coverage.save()


def _pytest(package: Path, files: list[str], plugin: object) -> int:
    sys.dont_write_bytecode = True  # two versions of a module can be equally old and long
    sys.path.insert(0, str(package))
    try:
        for module in walk_packages([str(package)]):  # most are imported when they are needed
            import_module(module.name)
    except Exception:  # noqa: BLE001 - a mutant can fail in any way
        return NOT_IMPORTED  # in conftest.py, pytest would call it a wrong usage
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    path = f"pythonpath=. {package} layers/dependencies/python"
    return pytest.main([*options, "-o", path, *files], plugins=[plugin])


def _pass(run: Callable[..., int], *arguments: Any) -> bool:
    process = get_context("fork").Process(target=_exit_with, args=(run, *arguments))
    process.start()
    process.join(RUN_SECONDS)
    process.kill()
    process.join()
    code = process.exitcode
    if code not in (PASSED, FAILED, NOT_IMPORTED, -signal.SIGPROF, -signal.SIGKILL):
        raise RuntimeError(f"the tests could not be run: pytest ended with {code}")
    return code == PASSED


def _exit_with(run: Callable[..., int], *arguments: Any) -> None:
    os.chdir(ROOT)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    os._exit(run(*arguments))
