"""The bench of GPUs, small and on the CPU: every table is made, with random weights and without network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import gpu
from tests.benchmarks.gpu_models import nafnet

pytest.importorskip("pyiqa")
pytestmark = pytest.mark.slow


def rows(text: str, title: str) -> dict[str, list[str]]:
    """Return the cells of a table below its title, by the first cell."""
    section = text.split(f"### {title}")[1].split("###")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line]
    return {first: rest for first, *rest in cells[2:]}


def test_all_tables_are_made_on_the_cpu() -> None:
    text = gpu.tables(gpu.TINY)
    assert "failed" not in text and "left out" not in text.replace("left out |", ""), text
    metrics = rows(text, "Metrics")
    assert metrics["gmsd"][0] == "real" and metrics["topiq_nr"][0] == "random"
    assert metrics["no such model"][0] == "not here: AssertionError"
    for name in ("gmsd", "topiq_nr"):
        _, alone, batch, busy, half, difference, by_batch = metrics[name]
        assert float(alone) > 0 and float(batch) > 0 and float(half) > 0 and busy == "-"
        assert 0 <= float(difference) < 0.1 and 0 <= float(by_batch) < 1e-4
    waiting = rows(text, "Waiting")
    assert all(0 <= float(cells[1].rstrip("%")) <= 100 and float(cells[0]) > 0 for cells in waiting.values())
    assert "all of gmsd, topiq_nr;" in text
    assert float(rows(text, "The fidelity model")["CPUExecutionProvider"][0]) > 0
    training = rows(text, "Training")
    assert float(training["PairDataset"][0]) > 0
    assert training["data that is on the GPU"][1] == "1.00"
    assert "values finite: True" in text


def test_tables_without_time_are_left_out() -> None:
    text = gpu.tables(replace(gpu.TINY, budget=0.0))
    assert text.count("left out: no time") == 5


def test_a_failing_table_does_not_affect_the_others(tmp_path: Path) -> None:
    text = gpu.tables(replace(gpu.TINY, models=(), pairs=0))
    assert text.count("failed: ") >= 2 and "values finite: True" in text
    assert "CPUExecutionProvider" in text


def test_the_network_keeps_the_size_of_its_input() -> None:
    import torch

    network: Any = nafnet(4, (1, 2), 1)
    images = torch.zeros(2, 3, 16, 24)
    assert network(images).shape == images.shape
