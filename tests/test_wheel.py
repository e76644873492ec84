"""The wheel: it contains both packages and the sample, with or without the C extension, and works when installed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import datasets
import pytest

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the C extension, where this machine has a compiler and the headers."""
    return build_wheel(tmp_path_factory.mktemp("dist"))


def build_wheel(out: Path, **environment: str) -> Path:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(CHECKOUT)]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | environment)
    (built,) = out.glob("*.whl")
    return built


def names_in(wheel: Path) -> list[str]:
    return zipfile.ZipFile(wheel).namelist()


def has_extension(wheel: Path) -> bool:
    return any(name.startswith("ggt_format/_native.") and name.endswith((".so", ".pyd")) for name in names_in(wheel))


def can_compile() -> bool:
    headers = Path(sysconfig.get_path("include"), "Python.h")
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cl")[0]
    return headers.is_file() and shutil.which(compiler) is not None


def test_the_extension_is_in_it_where_it_can_be_compiled(wheel: Path) -> None:
    assert has_extension(wheel) == can_compile()
    assert "none-any" not in wheel.name or not has_extension(wheel)
    assert not [name for name in names_in(wheel) if name.endswith(".c")]
    if has_extension(wheel) and sys.version_info >= (3, 11):
        assert "-cp311-abi3-" in wheel.name


def test_without_a_compiler_the_wheel_is_pure(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path, CC="/bin/false")
    assert wheel.name.endswith("-py3-none-any.whl") and not has_extension(wheel)
    assert "ggt_format/native.py" in names_in(wheel)


@pytest.mark.parametrize("compiler", ["/bin/false", ""])
def test_an_editable_install_needs_no_compiler(tmp_path: Path, compiler: str) -> None:
    """It builds the extension beside its source where it can."""
    root = tmp_path / "checkout"
    keep = (
        "ggt_format/*.py",
        "ggt_format/*.c",
        "ggt100k.py",
        "pyproject.toml",
        "hatch_build.py",
        "README.md",
        "LICENSE",
    )
    for path in (path for pattern in keep for path in CHECKOUT.glob(pattern)):
        copy = root / path.relative_to(CHECKOUT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    for folder in ("tools/ggt_tools", "dataset_card/sample", "dataset_card/card"):
        (root / folder).mkdir(parents=True)
    environment = os.environ | ({"CC": compiler} if compiler else {})
    code = "import hatchling.build; print(hatchling.build.build_editable('dist'))"
    subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, check=True, capture_output=True)
    built = [path for path in (root / "ggt_format").glob("_native.*") if path.suffix in (".so", ".pyd")]
    assert len(built) == (not compiler and can_compile())
    load = "from ggt_format.native import native; print(native is not None)"
    run = subprocess.run([sys.executable, "-c", load], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout == f"{bool(built)}\n"


def test_what_is_in_it(wheel: Path) -> None:
    names = names_in(wheel)
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {
        "ggt100k.py",
        "ggt_format",
        "ggt_tools",
        "ggt100k_sample",
    }
    ours = ("policy/gate.toml", "reasons.toml", "stages/card/prose/card.md", "py.typed")
    for name in ("ggt100k_sample/NOTICE", *(f"ggt_tools/{name}" for name in ours)):
        assert name in names
    assert "ggt100k_sample/packed/index/manifest.json" in names
    assert sum(name.startswith("ggt100k_sample/") and name.endswith(".jpg") for name in names) >= 12


def test_it_works_in_a_clean_environment(wheel: Path, tmp_path: Path) -> None:
    """Installed beside the requirements of this one, which a .pth file lends: the registry is not asked again."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HF_", "GGT100K_"))}
    clean |= {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    ask = [python, "-c", "import site; print(site.getsitepackages()[0])"]
    site = Path(subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip())
    (site / "lent.pth").write_text(str(Path(datasets.__file__).parents[1]))  # its own .pth files are not followed
    helped = subprocess.run(
        [python.parent / "ggt100k", "--help"], capture_output=True, text=True, env=clean, cwd=tmp_path
    )
    assert helped.returncode == 0 and "pack" in helped.stdout, helped.stderr
    code = """
import ggt100k, datasets
assert "site-packages" in ggt100k.__file__, ggt100k.__file__
from ggt_format.native import native
pairs = datasets.load_dataset("ggt-100k", "sample")
many = len(pairs["train"]) + len(pairs["test"]) >= 9
print(sorted(pairs), pairs["train"][0]["lq"].size[0] >= 512, many, native is not None)
"""
    loaded = subprocess.run([python, "-c", code], capture_output=True, text=True, env=clean, cwd=tmp_path)
    assert loaded.stdout == f"['test', 'train'] True True {has_extension(wheel)}\n", loaded.stderr
