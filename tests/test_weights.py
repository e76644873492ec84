"""weights: the files of each metric, which of them a folder has, and downloads that are complete or absent."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ggt_tools.cli import main
from ggt_tools.errors import ConfigError
from ggt_tools.events import Recorded
from ggt_tools.metrics import iqa
from ggt_tools.metrics.iqa import weights
from ggt_tools.metrics.iqa.weights import WeightFile, files_of, is_present, location, missing_files, parse_names
from ggt_tools.metrics.scorer import SETS, Scorer, licence
from ggt_tools.providers.download import download
from ggt_tools.stages.weights import FileState, check
from ggt_tools.stages.weights.run import WeightsConfig, _fetch_missing, run

DATA = bytes(range(256)) * 40
SHA256 = hashlib.sha256(DATA).hexdigest()
Answer = tuple[int, Mapping[str, str], bytes]
FILE = WeightFile(path="hub/pyiqa/model.pth", page="https://example.org", licence="MIT", sha256=SHA256)


@contextmanager
def server(answers: Mapping[str, Answer]) -> Iterator[str]:
    """Serve answers by path on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answers[self.path]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def whole(data: bytes = DATA) -> Answer:
    return 200, {"Content-Length": str(len(data))}, data


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_download_appears_complete(tmp_path: Path) -> None:
    sizes: list[int] = []
    with server({"/a": whole()}) as url:
        found = download(f"{url}/a", tmp_path / "hub" / "a.pth", sha256=SHA256, progress=sizes.append)
    assert found == SHA256 and sum(sizes) == len(DATA)
    assert (tmp_path / "hub" / "a.pth").read_bytes() == DATA
    assert files_in(tmp_path) == ["hub/a.pth"]


def test_a_wrong_checksum_leaves_no_file(tmp_path: Path) -> None:
    with server({"/a": whole(DATA + b"x")}) as url, pytest.raises(ConfigError) as caught:
        download(f"{url}/a", tmp_path / "a.pth", sha256=SHA256)
    other = hashlib.sha256(DATA + b"x").hexdigest()
    assert f"the SHA-256 of the file is {other}, not {SHA256}" in str(caught.value)
    assert files_in(tmp_path) == []


def test_the_first_characters_of_a_checksum_are_compared(tmp_path: Path) -> None:
    with server({"/a": whole()}) as url:
        download(f"{url}/a", tmp_path / "a.pth", sha256=SHA256[:8])
        with pytest.raises(ConfigError, match="the SHA-256"):
            download(f"{url}/a", tmp_path / "b.pth", sha256="00000000")
    assert files_in(tmp_path) == ["a.pth"]


def test_a_cut_download_leaves_no_file_and_keeps_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"old")
    answer = (200, {"Content-Length": str(len(DATA))}, DATA[:100])
    with server({"/a": answer}) as url, pytest.raises(ConfigError, match=f"ended after 100 of {len(DATA)} bytes"):
        download(f"{url}/a", tmp_path / "a.pth")
    assert files_in(tmp_path) == ["a.pth"] and (tmp_path / "a.pth").read_bytes() == b"old"


def test_a_redirect_to_another_host_is_refused(tmp_path: Path) -> None:
    with server({"/b": whole()}) as other, server({"/a": (302, {"Location": f"{other}/b"}, b"")}) as url:
        with pytest.raises(ConfigError) as caught:
            download(f"{url}/a", tmp_path / "a.pth", sha256=SHA256)
        assert f"redirects to another host, {other.removeprefix('http://')}" in str(caught.value)
        assert files_in(tmp_path) == []
        download(f"{url}/a", tmp_path / "a.pth", sha256=SHA256, hosts=["127.0.0.1:*"])
    assert files_in(tmp_path) == ["a.pth"]


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/a", "http://example.org/a"])
def test_a_redirect_to_another_scheme_is_refused(tmp_path: Path, target: str) -> None:
    with server({"/a": (302, {"Location": target}, b"")}) as url, pytest.raises(ConfigError):
        download(f"{url}/a", tmp_path / "a.pth", hosts=["*"])
    assert files_in(tmp_path) == []


@pytest.mark.slow
def test_the_checksum_that_the_hub_states_is_compared(tmp_path: Path) -> None:
    for etag, is_right in ((SHA256, True), ("0" * 64, False)):
        headers = {"Location": "/b", "X-Linked-Etag": f'"{etag}"'}
        with server({"/a": (302, headers, b""), "/b": whole()}) as url:
            if is_right:
                download(f"{url}/a", tmp_path / "a.pth")
            else:
                with pytest.raises(ConfigError, match="the SHA-256"):
                    download(f"{url}/a", tmp_path / "b.pth")
    assert files_in(tmp_path) == ["a.pth"]


def test_only_https_is_used_for_other_machines(tmp_path: Path) -> None:
    for url in ("http://example.org/a", "file:///etc/hostname", "http://127.0.0.1.example.org/a"):
        with pytest.raises(ConfigError, match="not an https URL"):
            download(url, tmp_path / "a.pth")
    assert files_in(tmp_path) == []


def test_an_error_of_the_server_leaves_no_file(tmp_path: Path) -> None:
    with (
        server({"/a": (404, {"Content-Length": "4"}, b"none")}) as url,
        pytest.raises(ConfigError, match="answers HTTP 404"),
    ):
        download(f"{url}/a", tmp_path / "a.pth")
    with pytest.raises(ConfigError, match="the download failed"):
        download(f"{url}/a", tmp_path / "a.pth")  # nobody listens any more
    assert files_in(tmp_path) == []


def test_fetch_replaces_what_is_missing_or_damaged(tmp_path: Path) -> None:
    path = location(FILE, tmp_path)
    with server({"/a": whole(), "/bad": whole(b"bad")}) as url:
        warnings = Recorded()
        states = [
            FileState(
                file=replace(FILE, url=f"{url}/{name}"), models=("musiq",), path=path.with_name(name), state=state
            )
            for name, state in (("a", "damaged"), ("bad", "missing"), ("a", "present"))
        ]
        assert _fetch_missing(states, warnings) == 1
    assert files_in(tmp_path) == ["hub/pyiqa/a"]
    assert len(warnings.warnings) == 1 and f"{url}/bad" in warnings.warnings[0]


def test_a_file_of_huggingface_hub_is_found_as_the_library_finds_it(tmp_path: Path) -> None:
    (backbone,) = (file for file in files_of("maniqa") or () if file.revision)
    assert not is_present(backbone, tmp_path)
    with server({"/a": whole()}) as url:
        state = FileState(
            file=replace(backbone, url=f"{url}/a"),
            models=("maniqa",),
            path=location(backbone, tmp_path),
            state="missing",
        )
        assert _fetch_missing([state], Recorded()) == 1
    assert is_present(backbone, tmp_path)
    huggingface_hub = pytest.importorskip("huggingface_hub")
    repository = backbone.page.removeprefix("https://huggingface.co/")
    found = huggingface_hub.hf_hub_download(
        repository, "model.safetensors", cache_dir=tmp_path / "huggingface" / "hub", local_files_only=True
    )
    assert Path(found).read_bytes() == DATA


def test_every_metric_of_the_sets_has_its_files_listed() -> None:
    for name in (*SETS["full"], *SETS["offline"]):
        assert files_of(iqa.model_of(name)) is not None, name
        assert weights.licence_of(iqa.model_of(name))
    assert files_of("no such model") is None and weights.licence_of("no such model") == "not known"
    assert {file.name for file in files_of("clipiqa+") or ()} == {"CLIP-IQA+_learned_prompts-603f3273.pth", "RN50.pt"}


def test_names_come_from_the_installed_pyiqa() -> None:
    pytest.importorskip("pyiqa")
    models = {iqa.model_of(name) for name in SETS["full"]}
    for model in models:
        for each in weights._FILES[model]:
            if isinstance(each, weights._Named):
                named = weights._names_in_pyiqa(each.architecture)
                assert named[each.key] == each.file.name, model


def test_names_are_read_without_an_import() -> None:
    source = "import torch\ndefault_model_urls = {'a': get_url_from_name('x-01234567.pth'), 'b': BASE + 'y'}\n"
    assert parse_names(source) == {"a": "x-01234567.pth"}
    assert parse_names("default_model_urls = None") == {}


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=5))
def test_names_round_trip(names: dict[str, str]) -> None:
    table = ", ".join(f"{key!r}: get_url_from_name({name!r})" for key, name in names.items())
    assert parse_names(f"default_model_urls = {{{table}}}") == names


def test_a_folder_is_checked(tmp_path: Path) -> None:
    pytest.importorskip("pyiqa")
    (state,) = check(["musiq"], tmp_path)
    assert state.state == "missing" and state.models == ("musiq",)
    assert state.path == tmp_path / "hub/pyiqa/musiq_koniq_ckpt-e95806b9.pth"
    state.path.parent.mkdir(parents=True)
    state.path.write_bytes(DATA)
    (damaged,) = check(["musiq"], tmp_path)
    assert damaged.state == "damaged" and SHA256 in damaged.problem
    state.path.write_bytes(b"")
    assert check(["musiq"], tmp_path)[0].problem == "the file is empty"
    assert missing_files(["musiq"], tmp_path) == []  # content is compared by `check` alone


def test_the_wheels_have_the_weights_that_are_listed() -> None:
    pytest.importorskip("pyiqa")
    for model in ("stlpips", "niqe"):
        (file,) = files_of(model) or ()
        path = weights.installed_file(file.package.partition(": ")[2])
        assert path is not None
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
        assert path.stat().st_size == file.size


def test_the_command_lists_and_does_not_fetch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "--metrics", "musiq,core", "--folder", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert out.startswith("weights: 0 present, 1 missing, 0 damaged\n")
    for text in (
        f"  place    {tmp_path}/hub/pyiqa/musiq_koniq_ckpt-e95806b9.pth",
        "  licence  CC BY-NC-SA 4.0 (the repository)",
        "  SHA-256  e95806b9eae5f3814c410f574ba8e552362bd5bc63d758ed5b97860f5d6185aa",
        "ggt100k weights --metrics musiq,core --folder WEIGHTS --fetch",
    ):
        assert text in out
    assert files_in(tmp_path) == []


def test_nothing_is_missing_for_metrics_without_weights(tmp_path: Path) -> None:
    summary = run(WeightsConfig(metrics=("core", "psnr"), folder=tmp_path))
    assert summary.counts == {"present": 0, "missing": 0, "damaged": 0} and not summary.is_failed
    with pytest.raises(ConfigError, match="no metric or set is named 'musik'"):
        run(WeightsConfig(metrics=("musik",)))
    with pytest.raises(ConfigError, match="names no metric"):
        WeightsConfig(metrics=())


@pytest.mark.slow
@pytest.mark.slow
def test_a_set_leaves_out_metrics_whose_weights_are_missing(tmp_path: Path) -> None:
    pytest.importorskip("pyiqa")
    config = iqa.IqaConfig(weights=tmp_path, processes=1, device="cpu")
    with pytest.raises(ConfigError, match="its weights are missing: musiq_koniq"):
        Scorer(["musiq"], config)
    with pytest.raises(ConfigError, match="its weights are missing"):
        Scorer(["default"], config)
    with Scorer(["full"], config) as scorer:
        assert scorer.metrics == ("stlpips",)
        assert "ggt100k weights --metrics musiq" in scorer.left_out["musiq_gain"]


def test_licences_are_listed_with_the_metrics() -> None:
    assert licence("structure") == ""
    assert licence("piqe_gain").endswith("weights: none needed]")
    assert "CC BY-NC-SA 4.0" in licence("musiq_lq")


def test_the_licence_of_pyiqa_is_read_from_its_own_files() -> None:
    pytest.importorskip("pyiqa")
    files = {file.name: file for file in distribution("pyiqa").files or ()}
    assert "# PolyForm Noncommercial License 1.0.0" in files["LICENSE"].read_text()
    assert weights.pyiqa_licence() == (
        "PolyForm Noncommercial License 1.0.0: no commercial use (LICENSE), "
        "S-Lab License 1.0: no commercial use (LICENSE-S-Lab)"
    )
    assert weights.pyiqa_licence() in licence("musiq_lq")


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Name\n\n# A Non-Commercial License 2.0\n", "A Non-Commercial License 2.0: no commercial use"),
        ("MIT License\n\nCopyright", "MIT License"),
        ("S-Lab License 1.0\nfor noncommercial purpose", "S-Lab License 1.0: no commercial use"),
        ("Copyright", "not known"),
    ],
)
def test_the_title_of_a_licence(text: str, title: str) -> None:
    assert weights.licence_title(text) == title
