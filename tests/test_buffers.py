"""Buffers of images are reused after their last use, and never before."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggt_format import buffers
from ggt_format.buffers import MAX_BYTES, MAX_FREE_BYTES, MIN_BYTES, empty, empty_image


@pytest.fixture(autouse=True)
def no_buffers() -> None:
    buffers._FREE.clear()


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def kept() -> int:
    return sum(size * len(free) for size, free in buffers._FREE.items())


def test_a_buffer_is_reused_after_its_last_view_is_deleted() -> None:
    image = empty_image(300, 200)
    assert image.shape == (300, 200, 3) and image.dtype == np.uint8
    assert image.flags.c_contiguous and image.flags.writeable
    where, part = address(image), image[10:20, :, 1]
    del image
    assert kept() == 0, "a view still shows it"
    del part
    assert kept() >= 180_000
    assert address(empty_image(300, 200)) == where


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=30), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_no_two_arrays_in_use_share_memory(sizes: list[int], random: object) -> None:
    held: list[tuple[int, np.ndarray]] = []
    for number, size in enumerate(sizes):
        array = empty(size)
        assert len(array) == size
        array[:] = number % 256
        held.append((number % 256, array))
        if random.random() < 0.5:  # type: ignore[attr-defined]
            held.pop(random.randrange(len(held)))  # type: ignore[attr-defined]
        assert all((other == value).all() for value, other in held)


def test_free_buffers_are_limited() -> None:
    size = 1 << 22
    arrays = [empty(size) for _ in range(2 * MAX_FREE_BYTES // size)]
    del arrays
    assert MAX_FREE_BYTES // 2 <= kept() <= MAX_FREE_BYTES


@pytest.mark.parametrize("size", [0, 1, MIN_BYTES - 1, MAX_BYTES + 1])
def test_small_and_huge_arrays_are_plain_ones(size: int) -> None:
    empty(size)
    assert kept() == 0


def test_at_most_an_eighth_is_wasted() -> None:
    for size in (MIN_BYTES, 3 * 256 * 256, 1 << 20, (1 << 20) + 1, 3 * 1024 * 1024):
        buffers._FREE.clear()
        empty(size)
        assert size <= kept() <= 1.125 * size + 1


@pytest.mark.slow
def test_a_copy_and_a_pickle_have_memory_of_their_own() -> None:
    image = empty_image(200, 200)
    image[...] = 7
    copy, pickled = image.copy(), pickle.loads(pickle.dumps(image))
    del image
    gc.collect()
    empty_image(200, 200)[...] = 9
    assert (copy == 7).all() and (pickled == 7).all()


def test_arrays_may_outlive_their_module() -> None:
    """When Python ends, a module that something still holds loses its names; the one imported last goes first."""
    code = """
import sys, types
sys.modules["holder"] = holder = types.ModuleType("holder")
from ggt_format import buffers
holder.held = buffers.empty_image(200, 200)
sys.held = (holder, buffers)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_threads_never_share_a_buffer() -> None:
    faults: list[int] = []

    def work(value: int) -> None:
        for _ in range(300):
            array = empty(MIN_BYTES)
            array[:] = value
            if not (array == value).all():
                faults.append(value)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
