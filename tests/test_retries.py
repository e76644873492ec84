"""The retry policy of requests that cost nothing: which errors are retried, how often, and after what delay."""

from __future__ import annotations

import pytest

from ggt_tools.errors import ConfigError, TransientError
from ggt_tools.retries import retry


class Request:
    """Fails with these errors, one after another, and then returns "done"."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_waits_double_up_to_the_longest() -> None:
    request, waits = Request(*[TransientError("the server is down")] * 4), list[float]()
    assert retry(request, attempts=5, max_wait=10.0, sleep=waits.append) == "done"
    assert waits == [2.0, 4.0, 8.0, 10.0]


def test_a_server_that_asks_for_a_longer_wait_gets_it() -> None:
    request, waits = Request(TransientError("too fast", retry_after=70.0), TransientError("too fast")), list[float]()
    assert retry(request, attempts=3, first_wait=1.0, max_wait=60.0, sleep=waits.append) == "done"
    assert waits == [70.0, 2.0]


def test_the_last_error_is_raised_and_no_attempt_is_silent() -> None:
    request, messages = Request(*[TransientError(f"failure {number}") for number in (1, 2, 3)]), list[str]()
    with pytest.raises(TransientError, match="failure 3"):
        retry(request, attempts=3, warn=messages.append, sleep=lambda seconds: None)
    assert request.count == 3
    assert messages == ["failure 1. The request is sent again.", "failure 2. The request is sent again."]


def test_other_errors_are_not_retried() -> None:
    request = Request(ConfigError("the key is wrong"))
    with pytest.raises(ConfigError):
        retry(request, attempts=3, sleep=lambda seconds: pytest.fail("it waits"))
    assert request.count == 1
