"""Results for whole files after `ingest --fit crop`: cut to the window that was taken, or reported as such."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import ggt100k
from ggt_tools.cli import main
from ggt_tools.providers.protocol import Setting
from ggt_tools.records import Aligned, Candidate, Conversion, Photo
from ggt_tools.restorers import restorer
from ggt_tools.restorers.protocol import FramingRestorer
from ggt_tools.workspace.ledger import Ledger

from .photographs import noisy, photograph, psnr

Pixels = npt.NDArray[np.uint8]


def verb(*argv: str | Path) -> tuple[int, list[str]]:
    """Runs a verb in this process: its exit status, and the lines of stderr."""
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        code = main([str(arg) for arg in argv])
    return code, [line for line in err.getvalue().splitlines() if line.startswith("ggt100k")]


def original(width: int, height: int) -> Pixels:
    """A photograph of that size with detail everywhere."""
    halves = [Image.fromarray(photograph(name)).resize((width // 2, height)) for name in ("friends-2", "wine-1")]
    return noisy(np.concatenate([np.asarray(half) for half in halves], axis=1), 3)


def restored(image: Pixels) -> Image.Image:
    """What a model made of a whole photograph: brighter by a little, which no alignment undoes."""
    return Image.fromarray(np.asarray(np.clip(image.astype(np.int16) + 6, 0, 255), np.uint8))


def save(image: Image.Image, path: Path, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def start(tmp_path: Path, image: Pixels, fit: str = "crop") -> tuple[Path, Path, Photo, Pixels]:
    """A workspace with one photograph, a folder for results, the photograph, and its pixels."""
    w, photos = tmp_path / "w", tmp_path / "photos"
    save(Image.fromarray(image), photos / "IMG_1.png")
    assert verb("ingest", photos, w, "--licence", "CC0-1.0", "--fit", fit)[0] == 0
    with Ledger(w) as ledger:
        (photo,) = ledger.all(Photo)
        pixels = ggt100k.decode_image(ledger.image(photo.image))
    return w, tmp_path / "results", photo, pixels


def finish(w: Path, results: Path) -> tuple[list[str], Candidate, Aligned, Pixels | None]:
    """Return the lines that restore prints, its candidate, what align made of it, and the aligned pixels."""
    code, said = verb("restore", w, "--with", f"folder:{results}")
    assert code == 0
    assert verb("align", w)[0] == 0
    with Ledger(w) as ledger:
        (candidate,), (aligned,) = ledger.all(Candidate), ledger.all(Aligned)
        image = ggt100k.decode_image(ledger.image(aligned.image)) if aligned.image else None
    return said, candidate, aligned, image


def resized(image: Image.Image, scale: float) -> Image.Image:
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)


def turned(image: Image.Image) -> tuple[Image.Image, Image.Exif]:
    """The same as a camera stores it that was held upright: on its side, with a tag."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return image.transpose(Image.Transpose.ROTATE_90), exif


SHAPES = {"landscape": (1600, 1150), "portrait": (1080, 1500), "panorama": (2200, 1040), "one side short": (1500, 800)}
RESULTS: dict[str, Callable[[Image.Image, Path], None]] = {
    "of the same size": lambda image, out: save(image, out / "IMG_1.png"),
    "in a folder, as a JPEG": lambda image, out: save(image, out / "deep" / "IMG_1.jpg", quality=97, subsampling=0),
    "smaller, as models return it": lambda image, out: save(resized(image, 0.95), out / "IMG_1.webp", lossless=True),
    "larger": lambda image, out: save(resized(image, 1.25), out / "IMG_1.png"),
    "on its side with a tag": lambda image, out: save(
        turned(image)[0], out / "IMG_1.jpg", quality=97, subsampling=0, exif=turned(image)[1]
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "result"),
    [*(("landscape", result) for result in RESULTS), *((shape, "of the same size") for shape in list(SHAPES)[1:])],
)
def test_a_result_for_the_whole_file_is_cropped_to_the_imported_window(tmp_path: Path, shape: str, result: str) -> None:
    width, height = SHAPES[shape]
    image = original(width, height)
    w, out, photo, pixels = start(tmp_path, image)
    RESULTS[result](restored(image), out)
    said, candidate, aligned, found = finish(w, out)
    assert said[0] == (
        "ggt100k restore: results: 1 of 1 results show the whole image of a file of which ingest took a window. align "
        "crops them to that window."
    )
    assert candidate.frame[:2] == (width, height)
    assert candidate.frame[4:] == (photo.width, photo.height)
    assert (aligned.reason, aligned.model) == ("", "identity")
    assert found is not None and found.shape == pixels.shape
    assert psnr(found, np.asarray(restored(pixels))) > (28 if result.startswith(("smaller", "larger")) else 34)


@pytest.mark.slow
@pytest.mark.parametrize("fit", ["resize", "pad"])
def test_a_result_for_the_whole_file_fits_the_other_ways_of_ingest_too(tmp_path: Path, fit: str) -> None:
    image = original(1400, 1120)
    w, out, photo, pixels = start(tmp_path, image, fit)
    save(restored(image), out / "IMG_1.png")
    _, candidate, aligned, found = finish(w, out)
    assert candidate.frame == (() if fit == "pad" else (1280, 1024, *candidate.frame[2:4], 1024, 1024))
    assert aligned.reason == ""
    assert found is not None and found.shape == (photo.height, photo.width, 3)
    assert psnr(found, np.asarray(restored(pixels))) > 28


@pytest.mark.slow
@pytest.mark.parametrize("name", ["IMG_1.png", "KEY.png"])
def test_a_result_for_the_window_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    w, out, photo, pixels = start(tmp_path, original(1600, 1150))
    save(restored(pixels), out / name.replace("KEY", photo.key))
    said, candidate, aligned, found = finish(w, out)
    assert (said, candidate.frame, aligned.reason) == ([], (), "")
    assert found is not None and np.array_equal(found, np.asarray(restored(pixels)))


@pytest.mark.slow
@pytest.mark.parametrize("shows", ["the whole file", "the window"])
def test_name_and_content_decide_what_a_square_result_shows(tmp_path: Path, shows: str) -> None:
    """Both have the same ratio of sides."""
    image = original(1400, 1400)
    w, out, photo, pixels = start(tmp_path, image)
    if shows == "the whole file":
        save(restored(image), out / "IMG_1.png")
    else:
        save(restored(pixels), out / f"{photo.key}.png")
    _, candidate, aligned, found = finish(w, out)
    assert candidate.frame[:2] == ((1400, 1400) if shows == "the whole file" else ())
    assert aligned.reason == ""
    assert found is not None and psnr(found, np.asarray(restored(pixels))) > 34


@pytest.mark.slow
def test_the_first_lines_say_what_will_not_fit_and_what_to_do(tmp_path: Path) -> None:
    image = original(1600, 1150)
    w, out, _, _ = start(tmp_path, image)
    save(Image.fromarray(image[:, :700]), out / "IMG_1.png")
    assert verb("restore", w, "--with", f"folder:{out}")[1][0] == (
        "ggt100k restore: results: 1 of 1 results have the aspect ratio of neither their photograph nor its file. "
        "align will reject most of them. If they show whole files, ingest these into a new workspace: "
        "ggt100k ingest --fit pad."
    )


@pytest.mark.slow
def test_a_photograph_without_a_recorded_window_is_reported_first(tmp_path: Path) -> None:
    image = original(1600, 1150)
    _, out, photo, _ = start(tmp_path, image)
    save(restored(image), out / "IMG_1.png")
    maker = restorer(f"folder:{out}", Setting(names={photo.key: photo.file}))
    assert isinstance(maker, FramingRestorer)
    assert maker.frame(photo) == ()
    (note,) = maker.frame_notes([photo])
    assert "(an older version ingested some without recording the window)" in note


@pytest.mark.slow
def test_a_much_smaller_result_is_reported(tmp_path: Path) -> None:
    image = original(1600, 1150)
    w, out, _, _ = start(tmp_path, image)
    save(resized(restored(image), 0.5), out / "IMG_1.png")
    said = verb("restore", w, "--with", f"folder:{out}")[1]
    assert said[1].startswith("ggt100k restore: results: 1 of these are smaller than that image, so that their windows")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("IMG_1.png", b"no image"),
        ("IMG_1.jpg", b""),
    ],
)
def test_a_result_that_is_not_an_image_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    w, out, _, _ = start(tmp_path, original(1600, 1150))
    out.mkdir()
    (out / name).write_bytes(data)
    verb("restore", w, "--with", f"folder:{out}")
    with Ledger(w) as ledger:
        (candidate,) = ledger.all(Candidate)
    assert (candidate.frame, candidate.image) == ((), "")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["16 bits", "two megabytes of text", "odd EXIF", "a broken profile"])
def test_results_are_read_as_photographs_are(tmp_path: Path, kind: str) -> None:
    """What ingest takes of a photograph, restore and align take of a result; and a change is a fact."""
    import imagecodecs
    from PIL.PngImagePlugin import PngInfo

    image = original(1200, 1100)
    w, out, _, pixels = start(tmp_path, image)
    out.mkdir()
    bright = restored(image)
    if kind == "16 bits":
        (out / "IMG_1.png").write_bytes(imagecodecs.png_encode(np.asarray(bright).astype(np.uint16) * 257))
    elif kind == "two megabytes of text":
        text = PngInfo()
        text.add_text("workflow", "x" * 2_000_000, zip=True)
        save(bright, out / "IMG_1.png", pnginfo=text)
    elif kind == "odd EXIF":
        exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x1a\x01\x0b\0\x01\0\0\0\0\0\xc0\x7f\0\0\0\0"
        save(bright, out / "IMG_1.jpg", quality=97, subsampling=0, exif=exif)
    else:
        save(bright, out / "IMG_1.png", icc_profile=b"junk")
    _, candidate, aligned, found = finish(w, out)
    assert (candidate.reason, aligned.reason) == ("", "")
    assert found is not None and psnr(found, np.asarray(restored(pixels))) > 34
    with Ledger(w) as ledger:
        changes = [one.changes for one in ledger.all(Conversion) if one.candidate == candidate.id]
    wanted = {"16 bits": [("16_bit_to_8_bit",)], "a broken profile": [("broken_profile_as_srgb",)]}
    assert changes == wanted.get(kind, [])


def test_a_damaged_jpeg_is_refused(tmp_path: Path) -> None:
    image = original(1200, 1100)
    w, out, _, _ = start(tmp_path, image)
    buffer = io.BytesIO()
    restored(image).save(buffer, "JPEG")
    out.mkdir()
    (out / "IMG_1.jpg").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2] + b"\xff\xd9")
    verb("restore", w, "--with", f"folder:{out}")
    with Ledger(w) as ledger:
        assert [candidate.reason for candidate in ledger.all(Candidate)] == ["damaged"]
