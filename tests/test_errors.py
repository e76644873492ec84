"""The tree of errors is as its docstring draws it, and the reader raises its own errors."""

from __future__ import annotations

import re

import pytest

import ggt100k
from ggt_tools import errors


def test_the_tree_is_the_one_that_the_docstring_draws() -> None:
    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__ or "")
    assert drawn == ["ConfigError", "PairError", "ShardError", "TransientError"]
    assert [getattr(errors, name).__bases__ for name in drawn] == [(errors.GGTError,)] * 4
    assert errors.GGTError.__bases__ == (Exception,)
    assert sorted(errors.__all__) == sorted(["GGTError", *drawn])


@pytest.mark.parametrize("name", ["GGTError", "ConfigError", "ShardError"])
def test_the_readers_errors_are_the_same_classes(name: str) -> None:
    assert getattr(errors, name) is getattr(ggt100k, name)


def test_a_pair_error_has_a_reason_and_its_text_is_the_message() -> None:
    fault = errors.PairError("too_small", "a.jpg: 3 x 4")
    assert (fault.reason, str(fault)) == ("too_small", "a.jpg: 3 x 4")
