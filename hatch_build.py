"""Build the C extension `ggt_format._native` where a compiler is at hand. The package also installs without one.

A wheel with it is a platform wheel: of the stable ABI for Python 3.11 and later, where the buffer protocol belongs to
it, and of one version for 3.10 and for free-threaded builds. A wheel without it is pure. An editable install builds it
beside its source.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "ggt_format/_native.c"
OPTIONAL = "GGT100K_NATIVE"  # "0": do not build it; "required": fail where it cannot be built
STABLE = sys.version_info >= (3, 11) and not sysconfig.get_config_var("Py_GIL_DISABLED")


class NativeBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Compiles the extension and adds it to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or os.environ.get(OPTIONAL) == "0":
            return
        self._folder = Path(tempfile.mkdtemp(prefix="ggt100k-native-"))
        try:
            built = compile_extension(Path(self.root), self._folder)
        except (Exception, SystemExit) as fault:  # no compiler, headers or setuptools; each has exceptions of its own
            if os.environ.get(OPTIONAL) == "required":
                raise
            self.app.display_warning(f"{SOURCE} is not built, and numpy takes its place: {fault!r}")
            return
        if version == "editable":
            shutil.copyfile(built, Path(self.root, "ggt_format", built.name))
            return
        build_data["force_include"][str(built)] = f"ggt_format/{built.name}"
        build_data["pure_python"] = False
        build_data["tag"] = wheel_tag()

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        shutil.rmtree(getattr(self, "_folder", ""), ignore_errors=True)


def compile_extension(root: Path, folder: Path) -> Path:
    """Return the compiled extension in `folder`. Raises whatever setuptools and the compiler raise."""
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    extension = Extension(
        "ggt_format._native",
        [str(root / SOURCE)],
        define_macros=[("Py_LIMITED_API", "0x030B0000")] if STABLE else [],
        extra_compile_args=["/O2"] if os.name == "nt" else ["-O3"],
        py_limited_api=STABLE,
    )
    command = build_ext(Distribution({"name": "ggt100k", "ext_modules": [extension]}))
    command.build_lib, command.build_temp = str(folder / "lib"), str(folder / "temp")
    command.ensure_finalized()
    command.run()
    (built,) = (folder / "lib" / "ggt_format").iterdir()
    return built


def wheel_tag() -> str:
    """Return the tag of a wheel with the extension: Python, ABI and platform."""
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    if STABLE:
        return f"cp311-abi3-{platform}"
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    return f"{python}-{python}{'t' if sysconfig.get_config_var('Py_GIL_DISABLED') else ''}-{platform}"
