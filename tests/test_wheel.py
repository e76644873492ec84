"""The wheel: both parts and the sample are in it, and it works in a clean environment."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import datasets
import pytest

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(CHECKOUT)]
    subprocess.run(command, check=True, capture_output=True)
    (found,) = out.glob("*.whl")
    return found


def test_what_is_in_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
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
pairs = datasets.load_dataset("ggt-100k", "sample")
print(sorted(pairs), pairs["train"][0]["lq"].size[0] >= 512, len(pairs["train"]) + len(pairs["test"]) >= 9)
"""
    loaded = subprocess.run([python, "-c", code], capture_output=True, text=True, env=clean, cwd=tmp_path)
    assert loaded.stdout == "['test', 'train'] True True\n", loaded.stderr
