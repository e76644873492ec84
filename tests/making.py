"""Test data: small pairs, dataset folders, and shards that break one rule."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

import ggt100k
from ggt_format.png import encode_png
from ggt_tools.evidence import EvidenceItem, parse_evidence
from ggt_tools.records import Aligned, Candidate, Pair, Photo, Score, Verdict
from ggt_tools.stages.pack import PackConfig, pack
from ggt_tools.workspace.ledger import Ledger

GATE = """
[must]
structure = { min = 0.3, reason = "another_scene", why = "Every pair here passes it." }
[gain.other]
reason = "no_gain"
why = "Every pair here passes it."
any = { structure = { min = 0.3 } }
[best]
by = ["structure"]
"""


def evidence(*lines: str) -> tuple[EvidenceItem, ...]:
    """Evidence from the lines that render it."""
    return tuple(map(parse_evidence, lines))


def lines_of(verdict: Verdict) -> tuple[str, ...]:
    """The lines that render the evidence of a verdict."""
    return tuple(map(str, verdict.evidence))


def picture(seed: int, height: int = 70, width: int = 90) -> npt.NDArray[np.uint8]:
    """Something like a photograph: soft waves with a little noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / random.uniform(5, 30) + y / random.uniform(5, 30) + random.uniform(0, 6)) for _ in range(3)]
    return (np.stack(waves, axis=2) * 90 + 120 + random.integers(-8, 9, (height, width, 3))).astype(np.uint8)


class Putting(Protocol):
    """Where the images of a pair are put."""

    def put(self, data: bytes) -> str: ...


class Store:
    """Images by the SHA-256 of their bytes, in memory."""

    def __init__(self) -> None:
        self._data: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        name = hashlib.sha256(data).hexdigest()
        self._data[name] = data
        return name

    def image(self, name: str) -> bytes:
        return self._data[name]

    def image_size(self, name: str) -> int:
        return len(self._data[name])


def make_pair(store: Putting, seed: int, degradation: str = "rain", **photo: Any) -> Pair:
    lq = picture(seed)
    gt = (lq // 2 + 60).astype(np.uint8)
    key = ggt100k.pair_key(lq)
    facts: dict[str, Any] = {
        "key": key,
        "image": store.put(encode_png(lq)),
        "width": lq.shape[1],
        "height": lq.shape[0],
        "degradation": degradation,
        "degradations": (degradation, "mixed"),
        "source": "internet",
        "source_name": "tests",
        "licence": "CC0-1.0",
        "author": "Zoë «the author»",
        "url": "https://example.org/1",
        "file": f"{seed}.jpg",
        "original": "0" * 64,
    }
    candidate = Candidate(
        id=f"candidate-{seed}",
        key=key,
        restorer="classical-1",
        strategy="fixed",
        prompt="Remove the rain.",
        round=0,
        seed=0,
        created="2026-01-01T00:00:00Z",
        image=store.put(encode_png(gt)),
        reason="",
    )
    scores = (
        Score(candidate=candidate.id, metric="structure", metric_version="core-1", value=0.5 + seed / 1000),
        *([Score(candidate=candidate.id, metric="gmsd", metric_version="1", value=0.25)] if seed % 2 else []),
    )
    verdict = Verdict(
        candidate=candidate.id, gate="0" * 16, decision="keep", stage="", reason="",
        evidence=evidence(f"structure {scores[0].value:.3f} >= 0.300"),
    )  # fmt: skip
    return Pair(
        photo=Photo(**(facts | photo)), candidate=candidate, image=candidate.image, scores=scores, verdict=verdict
    )


def make_pairs(store: Putting, count: int, degradations: Sequence[str] = ("rain", "snow")) -> list[Pair]:
    return [make_pair(store, seed, degradations[seed % len(degradations)]) for seed in range(count)]


def make_dataset(
    out: Path, count: int = 6, degradations: Sequence[str] = ("rain", "snow"), test: float = 0.22, **config: Any
) -> Path:
    """A dataset folder of `count` small pairs in `out`."""
    store = Store()
    pack(make_pairs(store, count, degradations), store, out, PackConfig(test=test, **config), gate=GATE)
    return out


def make_workspace(folder: Path, count: int, degradations: Sequence[str] = ("rain", "snow")) -> Path:
    """A workspace in which `count` pairs are approved."""
    with Ledger(folder, create=True) as ledger:
        pairs = make_pairs(ledger.images, count, degradations)
        for pair in pairs:
            aligned = Aligned(candidate=pair.candidate.id, version="1", image=pair.image, reason="")
            ledger.add(pair.photo, pair.candidate, aligned, *pair.scores)
        ledger.judge("0" * 16, GATE, [pair.verdict for pair in pairs])
    return folder


def change_shard(root: Path, change: Callable[[bytes], bytes], which: int = 0) -> str:
    """Changes the bytes of a shard, and the manifest with it, so that only what was changed is wrong. Its name."""
    path = root / ggt100k.MANIFEST
    manifest = json.loads(path.read_text())
    name = sorted(manifest["shards"])[which]
    data = change((root / name).read_bytes())
    (root / name).write_bytes(data)
    manifest["shards"][name] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    path.write_text(json.dumps(manifest))
    return name


def run_python(code: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a Python of its own, with caches of its own under `cwd`'s sibling, and no Hub but the one given."""
    cwd.mkdir(exist_ok=True)
    home = cwd.parent / f"{cwd.name}-home"
    home.mkdir(exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "GGT100K_"))}
    settings = {"HF_HOME": str(home), "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=inherited | settings | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


# What every fork server of the tests has in it: there is one for the whole run, and whoever starts it chooses.
FORKED = [
    "ggt_tools.cli",
    "ggt_tools.stages.pack",
    "tests.packing",
    "ggt_tools.stages.prompt",
    "ggt_tools.restorers.gemini",
    "ggt_tools.providers.vlm",
    "google.genai",
]


def run_verb(argv: Sequence[str], environment: dict[str, str]) -> None:
    """The command in a process of its own. A fork server keeps the environment of whoever started it first."""
    from ggt_tools.cli import main

    os.environ.update(environment)
    sys.exit(main(argv))
