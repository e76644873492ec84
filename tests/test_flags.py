"""Flags of files: Content Credentials that they carry, faces, and what a model of the user's finds."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

import ggt100k
from ggt_format.png import encode_png
from ggt_tools.cli import main
from ggt_tools.errors import ConfigError
from ggt_tools.imaging.content_credentials import BMFF, STORE, TIFF_TAG, read_content_credentials
from ggt_tools.records import Candidate, Flag, Photo, Score, Verdict
from ggt_tools.stages.card import card_texts
from ggt_tools.stages.ingest.flags import PhotoCheck, flag_photos, open_checks
from ggt_tools.stages.restore.credentials import settle
from ggt_tools.workspace.ledger import Ledger

from .making import GATE, make_pairs, make_workspace, picture

SOURCE = b"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def manifest_store(size: int = 400) -> bytes:
    """A JUMBF box as C2PA begins one: a description box with the type, then what it holds."""
    described = struct.pack(">I4s", 8 + 16 + 6, b"jumd") + STORE + b"\x03c2pa\0"
    body = described + SOURCE + bytes(size)
    return struct.pack(">I4s", 8 + len(body), b"jumb") + body


def _encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture(1, 40, 60)).save(file, kind)
    return file.getvalue()


def in_jpeg(store: bytes, part: int = 90) -> bytes:
    """The store in APP11 segments of `part` bytes each, the second box of the file, in another order."""
    head, body = store[:8], store[8:]
    parts = [body[start : start + part] for start in range(0, len(body), part)]
    segments = []
    for number, piece in enumerate(parts, 1):
        content = b"JP" + struct.pack(">HI", 2, number) + head + piece
        segments.append(b"\xff\xeb" + struct.pack(">H", len(content) + 2) + content)
    other = b"JP" + struct.pack(">HI", 1, 1) + struct.pack(">I4s", 16, b"jumb") + bytes(8)
    segments.append(b"\xff\xeb" + struct.pack(">H", len(other) + 2) + other)
    data = _encoded("JPEG")
    return data[:2] + b"".join(reversed(segments)) + data[2:]


def in_png(store: bytes) -> bytes:
    data = _encoded("PNG")
    chunk = struct.pack(">I", len(store)) + b"caBX" + store
    chunk += struct.pack(">I", zlib.crc32(chunk[4:]))
    return data[:33] + chunk + data[33:]


def in_webp(store: bytes) -> bytes:
    data = _encoded("WEBP") + struct.pack("<4sI", b"C2PA", len(store)) + store + bytes(len(store) % 2)
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def in_bmff(store: bytes) -> bytes:
    box = BMFF + bytes(4) + b"manifest\0" + bytes(8) + store
    return struct.pack(">I4s4sI", 16, b"ftyp", b"avif", 0) + struct.pack(">I4s", 8 + len(box), b"uuid") + box


def in_tiff(store: bytes) -> bytes:
    entry = struct.pack("<HHII", TIFF_TAG, 7, len(store), 8 + 2 + 12 + 4)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 1) + entry + bytes(4) + store


CONTAINERS = {"jpeg": in_jpeg, "png": in_png, "webp": in_webp, "bmff": in_bmff, "tiff": in_tiff}


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_manifest_store_is_found_in_each_format(name: str) -> None:
    store = manifest_store()
    found = read_content_credentials(CONTAINERS[name](store))
    assert found is not None
    assert (found.size, found.source_types) == (len(store), ("trainedAlgorithmicMedia",))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_file_without_one_has_none(kind: str) -> None:
    assert read_content_credentials(_encoded(kind)) is None


def test_a_box_of_another_kind_and_the_words_alone_are_none() -> None:
    other = manifest_store().replace(STORE, bytes(16))
    assert all(read_content_credentials(into(other)) is None for into in CONTAINERS.values())
    data = _encoded("JPEG")
    assert read_content_credentials(data + manifest_store()) is None, "after the image, where nothing reads it"


@given(
    st.sampled_from(sorted(CONTAINERS)),
    st.lists(st.tuples(st.integers(0, 900), st.integers(0, 255)), max_size=8),
    st.integers(0, 1200),
)
@example("tiff", [(4, 255), (5, 255)], 1200)
@settings(max_examples=150, deadline=None)
def test_a_damaged_file_raises_nothing(name: str, changes: list[tuple[int, int]], length: int) -> None:
    data = bytearray(CONTAINERS[name](manifest_store(100))[:length])
    for place, value in changes:
        if place < len(data):
            data[place] = value
    read_content_credentials(bytes(data))


def test_ingest_notes_what_a_photographs_file_carries(tmp_path: Path) -> None:
    (tmp_path / "photos" / "rain").mkdir(parents=True)
    for number in range(2):
        file = io.BytesIO()
        Image.fromarray(picture(number, 600, 700)).save(file, "PNG")
        data = file.getvalue()
        if number:
            store = manifest_store()
            chunk = b"caBX" + store
            data = data[:33] + struct.pack(">I", len(store)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
        (tmp_path / "photos" / "rain" / f"{number}.png").write_bytes(data)
    argv = ["ingest", str(tmp_path / "photos"), str(tmp_path / "w"), "--licence", "CC0-1.0", "--classes", "folder"]
    assert main(argv) == 0
    with Ledger(tmp_path / "w") as ledger:
        files = {photo.key: photo.file for photo in ledger.all(Photo)}
        flags = {files[flag.key]: flag for flag in ledger.all(Flag)}
    assert {name: (flag.name, flag.candidate, flag.value > 0, flag.detail) for name, flag in flags.items()} == {
        "rain/0.png": ("c2pa", "", False, ""),
        "rain/1.png": ("c2pa", "", True, "trainedAlgorithmicMedia"),
    }


def test_restore_notes_what_a_replys_file_carries(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        (pair,) = make_pairs(ledger.images, 1)
        facts = {"image": "", "reason": ""}
        with_store, without = (
            Candidate(
                **{n: getattr(pair.candidate, n) for n in pair.candidate.__dataclass_fields__} | facts | {"id": n}
            )
            for n in ("with", "without")
        )
        ledger.receive("with", in_jpeg(manifest_store()))
        ledger.receive("without", encode_png(picture(1)))
        failed = Candidate(
            **{n: getattr(with_store, n) for n in with_store.__dataclass_fields__} | {"id": "no", "reason": "no_image"}
        )
        settle(ledger, with_store, without, failed)
        flags = {flag.candidate: flag for flag in ledger.all(Flag)}
    assert flags.keys() == {"with", "without"}
    assert (flags["with"].detail, flags["without"].value) == ("trainedAlgorithmicMedia", 0.0)
    assert flags["with"].key == pair.photo.key


def _check(name: str, value: float, version: str = "1") -> PhotoCheck:
    return PhotoCheck(name=name, version=version, measure=lambda pixels: value)


def test_a_photograph_is_checked_once_for_each_version(tmp_path: Path) -> None:
    from ggt_tools.events import SILENT

    make_workspace(tmp_path / "w", 3)
    with Ledger(tmp_path / "w") as ledger:
        assert flag_photos(ledger, [_check("nsfw", 0.25), _check("faces", 2.0)], SILENT) == 6
        assert flag_photos(ledger, [_check("nsfw", 0.25), _check("faces", 2.0)], SILENT) == 0
        assert flag_photos(ledger, [_check("nsfw", 0.75, "2")], SILENT) == 3
        flags = {(flag.name, flag.version, flag.value) for flag in ledger.all(Flag)}
    assert flags == {("nsfw", "2", 0.75), ("faces", "1", 2.0)}


def test_flags_are_counted_in_the_card_and_become_scores_for_the_gate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ggt_tools.events import SILENT

    make_workspace(tmp_path / "w", 4)
    assert main(["pack", str(tmp_path / "w"), str(tmp_path / "bare")]) == 0
    bare = card_texts(ggt100k.open_root(str(tmp_path / "bare")), "some-org/ggt-100k")["README.md"].decode()
    assert "Faces: not checked." in bare and "not checked on photographs; not checked on restorations" in _line(bare)
    with Ledger(tmp_path / "w") as ledger:
        keys = sorted(ledger.photo_keys())
        check = PhotoCheck(name="faces", version="1", measure=lambda pixels: float(pixels[0, 0, 0] % 2))
        flag_photos(ledger, [check, _check("blurred_plates", 0.5), _check("watermark", 0.4)], SILENT)
        found = {flag.key: flag.value for flag in ledger.all(Flag) if flag.name == "faces"}
        candidate = next(c for c in ledger.all(Candidate) if c.key == keys[0])
        facts = {"version": "1", "detail": ""}
        ledger.add(Flag(key=keys[0], candidate=candidate.id, name="c2pa", value=900.0, **facts))
        ledger.add(Flag(key=keys[0], candidate="another-candidate", name="c2pa", value=900.0, **facts))
    assert main(["pack", str(tmp_path / "w"), str(tmp_path / "r")]) == 0
    manifest = json.loads((tmp_path / "r" / ggt100k.MANIFEST).read_text())
    face_count = int(sum(found.values()))
    assert manifest["flags"] == {
        "lq": {
            "blurred_plates": {"checked": 4, "flagged": 4},
            "faces": {"checked": 4, "flagged": face_count},
            "watermark": {"checked": 4, "flagged": 0},
        },
        "gt": {"c2pa": {"checked": 1, "flagged": 1}},
    }
    text = _line(card_texts(ggt100k.open_root(str(tmp_path / "r")), "some-org/ggt-100k")["README.md"].decode())
    assert f"found some in {face_count} of 4 photographs" in text and "1 of 1 restorations did" in text
    assert "Flag `blurred_plates`: a model found it in 4 of 4 photographs." in text
    assert "Nudity and the like: not checked." in text
    assert main(["validate", str(tmp_path / "r")]) == 0
    with Ledger(tmp_path / "w") as ledger:
        before = {(s.candidate, s.metric) for s in ledger.all(Score)}
    assert main(["score", str(tmp_path / "w"), "--metrics", "structure,flags"]) == 0
    with Ledger(tmp_path / "w") as ledger:
        scores = {(s.candidate, s.metric): s.value for s in ledger.all(Score)}
        keys_of = ledger.candidate_keys()
    new = {pair: value for pair, value in scores.items() if pair not in before}
    assert {metric for _, metric in new} == {"photo_faces", "photo_blurred_plates", "photo_watermark", "reply_c2pa"}
    assert all(value == found[keys_of[c]] for (c, metric), value in new.items() if metric == "photo_faces")
    capsys.readouterr()
    assert main(["score", str(tmp_path / "w"), "--metrics", "structure,flags"]) == 0
    assert capsys.readouterr().out.startswith("score: 0 scores")
    rule = 'photo_faces = { max = 0.0, if_measured = true, reason = "shows_faces", why = "ours: no faces" }\n'
    (tmp_path / "gate.toml").write_text(GATE.replace("[must]\n", f"[must]\n{rule}"))
    assert main(["verdict", str(tmp_path / "w"), "--gate", str(tmp_path / "gate.toml")]) == 0
    with Ledger(tmp_path / "w") as ledger:
        reasons = {keys_of[verdict.candidate]: verdict.reason for verdict in ledger.all(Verdict)}
    assert reasons == {key: "shows_faces" if value else "" for key, value in found.items()}


def _line(text: str) -> str:
    return " ".join(text.split())


def _onnx(path: Path, shape: list[Any], *, is_probability: bool = True) -> Path:
    """A model whose output is the mean of its input, which is 0 to 1; or that times 300."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0)]
    constants = []
    if not is_probability:
        constants = [helper.make_tensor("factor", kind, [1], [300.0])]
        nodes.append(helper.make_node("Mul", ["mean", "factor"], ["large"]))
    name = "mean" if is_probability else "large"
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("image", kind, shape)],
        [helper.make_tensor_value_info(name, kind, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("shape", [[1, 3, 32, 48], ["batch", 3, "height", "width"]])
def test_a_users_model_gives_a_probability(tmp_path: Path, shape: list[Any]) -> None:
    (check,) = open_checks([], {"nsfw": str(_onnx(tmp_path / "mean.onnx", shape))})
    assert check.name == "nsfw" and len(check.version) == 16
    pixels = np.full((60, 80, 3), 51, np.uint8)
    assert check.measure(pixels) == pytest.approx(0.2, abs=1e-4)


def test_what_is_no_check_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"no model")
    grey = _onnx(tmp_path / "grey.onnx", [1, 1, 32, 32])
    logit = _onnx(tmp_path / "logit.onnx", [1, 3, 32, 32], is_probability=False)
    for names, models, message in (
        (["smoke"], {}, "--flag smoke: is not a check. Give faces, or a model of yours: --flag-model NAME=FILE."),
        ([], {"NSFW": "x"}, "--flag-model NSFW: cannot be the name of a flag."),
        ([], {"c2pa": "x"}, "--flag-model c2pa: cannot be the name of a flag."),
        ([], {"nsfw": str(tmp_path / "no.onnx")}, f"{tmp_path / 'no.onnx'}: is not a model that onnxruntime reads:"),
        ([], {"nsfw": str(grey)}, f"{grey}: its inputs are [('image', [1, 1, 32, 32])], and one of"),
    ):
        with pytest.raises(ConfigError) as fault:
            open_checks(names, models)
        assert str(fault.value).startswith(message)
    (check,) = open_checks([], {"nsfw": str(logit)})
    with pytest.raises(ConfigError) as fault:
        check.measure(np.full((32, 32, 3), 200, np.uint8))
    assert "a probability from 0 to 1 is needed" in str(fault.value)


def test_a_face_is_found_by_the_detector_that_a_wheel_ships() -> None:
    pytest.importorskip("dlib")
    pytest.importorskip("face_recognition_models")
    data = pytest.importorskip("skimage.data")
    (check,) = open_checks(["faces"], {})
    assert check.measure(np.ascontiguousarray(data.astronaut())) == 1.0
    assert check.measure(picture(3, 300, 400)) == 0.0
