"""Keep the caches of every run to itself, hide the Hub, and fail on skipped tests with --no-skips."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile

import pytest
from hypothesis import HealthCheck, settings

os.environ |= {  # before anything imports datasets, which reads them once
    "HF_HOME": tempfile.mkdtemp(prefix="ggt-100k-tests-"),
    "HF_ENDPOINT": "http://127.0.0.1:9",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_XET": "1",  # the Hub of the tests has none
}

if "PYTEST_XDIST_WORKER" in os.environ:  # such a process ignores Ctrl-C, and so would all that it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)


# A machine that others keep busy is no fault of a strategy
settings.register_profile("shared", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="fail where a test is skipped")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if session.config.getoption("--no-skips") and skipped:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"{len(skipped)} skipped, and --no-skips takes none", red=True)


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Name a parameter of bytes by its length: gzip writes the time into its header, and each process that runs a share
    of the tests has to find the same names."""
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) else None
