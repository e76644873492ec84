"""From photographs to a training batch: the demo, on the sample."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ggt100k
from ggt_tools.cli import main
from ggt_tools.demo import batch
from ggt_tools.stages.validate import validate
from ggt_tools.stages.validate.passing import NOTE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    assert main(["demo", str(folder)]) == 0
    return folder


def test_the_demo_writes_what_it_prints(demo: Path) -> None:
    assert (demo / "workspace/ledger.sqlite").is_file()
    assert list(validate(str(demo / "ggt-100k"))) == []
    sheet = np.asarray(Image.open(demo / "contact_sheet.png"))
    assert sheet.shape[1] == 2400 and sheet.std() > 20


def test_the_gate_keeps_most_pairs_and_gives_reasons_for_the_others(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(demo / "workspace")]) == 0
    funnel = capsys.readouterr().out.split("\n\n")[0]
    rows = {line.split()[0]: line.split()[1:] for line in funnel.splitlines()[1:]}
    photos = len(list(ggt100k.sample_folder().glob("*.jpg")))
    assert [int(rows[stage][0]) for stage in ("ingest", "restore", "align", "verdict")] == [photos] * 4
    kept = int(rows["verdict"][1])
    assert photos / 2 < kept < photos, "better for most, and what is not better does not get in"
    rejected = sum(int(number) for number in re.findall(r"(\d+) [a-z_]+", " ".join(rows["verdict"][2:])))
    assert kept + rejected == photos


def test_a_second_demo_gives_equal_bytes(demo: Path) -> None:
    before = release_bytes(demo / "ggt-100k")
    assert main(["demo", str(demo)]) == 0
    assert release_bytes(demo / "ggt-100k") == before


def release_bytes(root: Path) -> dict[Path, bytes]:
    """The files of a release by path, without validate's note, which holds their times."""
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != NOTE}


def test_a_batch_has_the_same_windows_of_lq_and_gt(demo: Path) -> None:
    pairs = ggt100k.load_dataset(data_dir=str(demo / "ggt-100k"), split="train", cache_dir=str(demo / "cache"))
    lq, gt = batch(pairs, size=256, count=8, seed=0)
    assert lq.shape == gt.shape == (8, 256, 256, 3) and lq.dtype == gt.dtype == np.uint8
    grey = [images.mean(axis=3).reshape(8, -1).astype(float) for images in (lq, gt)]
    alike = [float(np.corrcoef(a, b)[0, 1]) for a, b in zip(*grey, strict=True)]
    assert min(alike) > 0.8, alike
    assert not np.array_equal(lq, gt)


def test_the_packed_sample_equals_a_new_pack_of_its_photographs(demo: Path) -> None:
    """Shipped and made here agree: the LQ to the byte; the GT as far as OpenCV's arithmetic is the same everywhere."""
    packed = ggt100k.sample_folder() / "packed"
    assert list(validate(str(packed))) == []
    mine, shipped = (json.loads((root / ggt100k.MANIFEST).read_text()) for root in (demo / "ggt-100k", packed))
    assert {name: about["pairs"] for name, about in mine["shards"].items()} == {
        name: about["pairs"] for name, about in shipped["shards"].items()
    }
    for name in mine["shards"]:
        with tarfile.open(demo / "ggt-100k" / name) as one, tarfile.open(packed / name) as other:
            assert one.getnames() == other.getnames()
            for member in one.getnames():
                if member.endswith(".png"):
                    a, b = (
                        ggt100k.decode_image(tar.extractfile(member).read())  # type: ignore[union-attr]
                        for tar in (one, other)
                    )
                    far = np.abs(a.astype(int) - b)
                    assert far.max() == 0 if ".lq." in member else float(far.mean()) < 0.5, member


def test_the_packed_sample_has_both_splits_and_stays_small() -> None:
    packed = ggt100k.sample_folder() / "packed"
    size = sum(path.stat().st_size for path in packed.rglob("*") if path.is_file())
    manifest = json.loads((packed / ggt100k.MANIFEST).read_text())
    assert all(manifest["splits"][split]["pairs"] >= 1 for split in ggt100k.SPLITS)
    assert size < 20_000_000
