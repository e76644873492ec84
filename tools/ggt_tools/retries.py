"""The one retry policy of requests that cost nothing. Paid calls have their own, in `ggt_tools.providers.calls`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from ggt_tools.errors import TransientError

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")


def retry(
    request: Callable[[], T],
    *,
    attempts: int,
    first_wait: float = 2.0,
    max_wait: float = math.inf,
    warn: Callable[[str], None] = lambda message: None,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Return what a request returns; send it again where it raises a TransientError.

    Args:
        request: Sends the request.
        attempts: Number of attempts, 1 or more; the error of the last one is raised.
        first_wait: Seconds before the second attempt. Before each further one it waits twice as long.
        max_wait: Seconds of one wait at most; but a server that asks for a longer wait gets it.
        warn: Receives each attempt that failed and is repeated.
        sleep: Waits for so many seconds.

    Raises:
        TransientError: The last attempt failed too.
    """
    import tenacity

    def wait(state: RetryCallState) -> float:
        return max(_fault(state).retry_after, min(first_wait * 2.0 ** (state.attempt_number - 1), max_wait))

    def warn_of(state: RetryCallState) -> None:
        warn(f"{_fault(state)}. The request is sent again.")

    policy = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(TransientError),
        stop=tenacity.stop_after_attempt(attempts),
        wait=wait,
        sleep=sleep,
        before_sleep=warn_of,
        reraise=True,
    )
    return policy(request)


def _fault(state: RetryCallState) -> TransientError:
    fault = state.outcome.exception() if state.outcome else None
    assert isinstance(fault, TransientError)  # nothing else is retried
    return fault
