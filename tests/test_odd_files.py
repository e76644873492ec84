"""Files that decoders reject or misread, at each place where they are read: adopt, evaluate, priors of shards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest

import ggt100k
from ggt_tools.errors import PairError
from ggt_tools.records import Candidate, Conversion, Photo, Refusal
from ggt_tools.stages.adopt import ExternalPair, ImportedPair, PairOptions, adopt
from ggt_tools.stages.adopt.storing import store_images
from ggt_tools.stages.evaluate import EvaluateConfig, evaluate
from ggt_tools.workspace.ledger import Ledger

from .making import make_dataset, picture
from .test_imaging import BROKEN, adobe_exif, chunk, exif, in_adobe_rgb, planes, saved, with_chunk

Pixels = npt.NDArray[np.uint8]
LONG = chunk(b"tEXt", b"workflow\0" + b"x" * 2_500_000)
ODD_EXIF = exif((0x011A, 2, 4, b"72\0\0"), orientation=1)
# What is odd, the file of an image, and the change that is noted of it
TAKEN: dict[str, tuple[Callable[[Pixels], bytes], str]] = {
    "16-bit planes": (lambda image: planes(image.astype(np.uint16) * 257), "16_bit_to_8_bit"),
    "16-bit PNG": (lambda image: imagecodecs.png_encode(image.astype(np.uint16) * 257), "16_bit_to_8_bit"),
    "a long text": (lambda image: with_chunk(saved(image, "PNG"), LONG), ""),
    "odd EXIF": (lambda image: saved(image, "WEBP", lossless=True, exif=ODD_EXIF), ""),
    "a broken profile": (
        lambda image: saved(image, "PNG", icc_profile=BROKEN["no profile at all"]), "broken_profile_as_srgb",
    ),
    "Adobe RGB by EXIF": (
        lambda image: saved(in_adobe_rgb(image), "WEBP", lossless=True, exif=adobe_exif()), "colour_from_exif",
    ),
}  # fmt: skip


def cut_jpeg(image: Pixels) -> bytes:
    whole = saved(image, "JPEG", quality=95)
    return whole[: len(whole) // 2] + b"\xff\xd9"


REFUSED: dict[str, tuple[Callable[[Pixels], bytes], str]] = {
    "a JPEG that ends early": (cut_jpeg, "damaged"),
    "PQ": (lambda image: with_chunk(saved(image, "PNG"), chunk(b"cICP", bytes([9, 16, 0, 1]))), "unsupported_mode"),
    "signed 16 bits": (lambda image: planes(image.astype(np.int16)), "unsupported_mode"),
}
CONFIG = PairOptions(name="a-set", restorer="a-model", licence="CC0-1.0", degradation="rain")
LQ, GT = picture(1, 80, 100), picture(2, 80, 100)


def adopted(lq: bytes, gt: bytes) -> ImportedPair | Refusal:
    pair = ExternalPair(name="a.x", output="out/a.x", lq=lambda: lq, gt=lambda: gt)
    (found,) = adopt([pair], CONFIG, frozenset(), lambda: "2026-01-01T00:00:00Z")
    assert isinstance(found, ImportedPair | Refusal)
    return found


@pytest.mark.parametrize("side", ["photograph", "output"])
@pytest.mark.parametrize("name", TAKEN)
def test_adopt_reads_what_ingest_reads_and_records_changes(tmp_path: Path, name: str, side: str) -> None:
    make, change = TAKEN[name]
    lq = make(LQ) if side == "photograph" else saved(LQ, "PNG")
    gt = make(GT) if side == "output" else saved(GT, "PNG")
    found = adopted(lq, gt)
    assert isinstance(found, ImportedPair)
    with Ledger(tmp_path, create=True) as ledger:
        ledger.add(*store_images(found, ledger.put_image))
        (photo,), (candidate,) = ledger.all(Photo), ledger.all(Candidate)
        pixels = {"photograph": photo.image, "output": candidate.image}
        images = {place: ggt100k.decode_image(ledger.image(image)) for place, image in pixels.items() if change}
        changes = {one.candidate: one.changes for one in ledger.all(Conversion)}
    if change:
        for place, image in images.items():
            off = np.abs(image.astype(int) - {"photograph": LQ, "output": GT}[place])
            assert off.mean() < 1.2, place
    assert changes == {"": (change,) if change and side == "photograph" else ()} | (
        {candidate.id: (change,)} if change and side == "output" else {}
    )


@pytest.mark.parametrize("side", ["photograph", "output"])
@pytest.mark.parametrize("name", REFUSED)
def test_adopt_refuses_what_ingest_refuses(name: str, side: str) -> None:
    make, reason = REFUSED[name]
    found = adopted(*((make(LQ), saved(GT, "PNG")) if side == "photograph" else (saved(LQ, "PNG"), make(GT))))
    assert isinstance(found, Refusal)
    assert found.reason == (reason if side == "photograph" else f"output_{reason}")


def test_a_damaged_true_ground_truth_is_left_out_with_a_note() -> None:
    whole = saved(LQ, "PNG")
    pair = ExternalPair(name="a", output="b", lq=lambda: whole, gt=lambda: saved(GT, "PNG"), ref=lambda: cut_jpeg(GT))
    (found,) = adopt([pair], CONFIG, frozenset(), lambda: "2026-01-01T00:00:00Z")
    assert isinstance(found, ImportedPair)
    assert found.ref == b"" and "pixels are missing" in found.remark


@pytest.mark.slow
def test_evaluate_measures_outputs_that_are_odd_and_lists_those_that_are_damaged(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "release" / "ggt-100k", count=len(TAKEN) + len(REFUSED) + 7, test=0.6)
    pairs = list(ggt100k.PairDataset(root, "test"))
    out = tmp_path / "out"
    out.mkdir()
    makers = [*TAKEN.values(), *REFUSED.values()]
    assert len(pairs) >= len(makers)
    for (make, _), pair in zip(makers, pairs, strict=False):
        data = make(pair["gt"])
        suffix = {b"II": "tif", b"\x89P": "png", b"RI": "webp", b"\xff\xd8": "jpg"}[data[:2]]
        (out / f"{pair['key']}.{suffix}").write_bytes(data)
    found = evaluate(root, out, EvaluateConfig(metrics=("psnr",)))
    keys = [pair["key"] for pair in pairs]
    good, bad = keys[: len(TAKEN)], keys[len(TAKEN) : len(makers)]
    assert {key: found.values[key]["psnr"] > 40 for key in good} == dict.fromkeys(good, True)
    assert [found.faults[key][0] for key in bad] == [reason for _, reason in REFUSED.values()]


def test_an_error_names_its_file() -> None:
    from ggt_tools.imaging import read_image

    for name, (make, reason) in REFUSED.items():
        with pytest.raises(PairError) as fault:
            read_image(make(LQ), f"{name}.x", 10**6)
        assert fault.value.reason == reason
        assert str(fault.value).startswith(f"{name}.x: ")
