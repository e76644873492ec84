"""The folder of a release. A release is built beside it, as NAME.part, and moved there when it is complete.

While the old release is moved away (to NAME.old) and the new one is moved in, the folder has no manifest: the release
is missing then, never incomplete. A run that is killed in between is finished by the next one, whatever that is to
pack.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

import ggt_format
from ggt_format.schema import MANIFEST
from ggt_tools.errors import ConfigError, GGTError
from ggt_tools.files.outputs import check_output_folder
from ggt_tools.workspace.ledger import sync_folder, write_whole
from ggt_tools.workspace.locks import held

MOVED = ("data", "README.md", "index")  # the index, which holds the manifest, comes last
PLAN = "plan"  # file in NAME.part with the digest of the plan


def check_folder(out: Path) -> Path:
    """Return the folder that `out` names, links resolved.

    Raises:
        ConfigError: It holds something other than a release.
    """
    out = out.resolve()
    was_killed = (part_of(out) / PLAN).is_file() or _old_of(out).is_dir()  # while it moved the new release in
    is_release = was_killed or (out / MANIFEST).is_file()
    check_output_folder(out)
    if out.is_dir() and not is_release and any(out.iterdir()):
        raise ConfigError(f"{out}: holds other files than a release. Name another folder.")
    return out


def check_replaced(out: Path, version: str, photo_keys: set[str]) -> None:
    """Check that a release may be replaced: the same version, of photographs that the workspace has.

    Args:
        out: Folder of the release that is to be written.
        version: Version that is to be written.
        photo_keys: Keys of all photographs of the workspace.

    Raises:
        ConfigError: It holds another version, or pairs of photographs that the workspace does not have.
    """
    try:
        manifest = ggt_format.open_root(str(out)).manifest
        tables = [pq.read_table(path, columns=["key"]) for path in sorted((out / "index").glob("*.parquet"))]
    except (GGTError, OSError, ValueError):  # there is none, or a damaged one, which a new one may replace
        return
    next_step = f"Give --base {out} to make its next version, or name another folder."
    if manifest["dataset_version"] != version:
        raise ConfigError(f"{out}: holds version {manifest['dataset_version']}, and {version} is packed. {next_step}")
    unknown = {key for table in tables for key in table["key"].to_pylist()} - photo_keys
    if unknown:
        raise ConfigError(
            f"{out}: key {min(unknown)}: {len(unknown)} of its pairs are of photographs that the workspace does not "
            f"have. {next_step}"
        )


@contextlib.contextmanager
def lock_folder(out: Path) -> Iterator[Path]:
    """Lock the folder of a release for one run, and finish what a killed run began. Yields it with links resolved.

    Raises:
        ConfigError: Another run has locked it, or it holds something other than a release.
    """
    out = check_folder(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    taken = f"{out}: {{holder}} packs it. Wait until it ends, then run this again."
    with held(out.with_name(f".{out.name}.lock"), taken, remove=True):
        _recover(out)
        yield out


def part_of(out: Path) -> Path:
    """Return the folder in which the release of `out` is built."""
    return out.with_name(out.name + ".part")


def _old_of(out: Path) -> Path:
    return out.with_name(out.name + ".old")


def begin(part: Path, plan: str) -> None:
    """Prepare `part` for the plan with this digest.

    Files of another plan are deleted; those that a killed run of this plan finished are kept.
    """
    if part.exists() and read_plan(part) != plan:
        shutil.rmtree(part)
    _remove_partial_files(part)
    (part / "index").mkdir(parents=True, exist_ok=True)
    write_whole(part / PLAN, plan.encode())


def read_plan(part: Path) -> str:
    """Return the digest of the plan that `part` is built for; "" where there is none."""
    path = part / PLAN
    return path.read_text() if path.is_file() else ""


def _remove_partial_files(part: Path) -> None:
    for path in [path for path in part.rglob("*") if path.suffix in (".part", ".base")]:
        path.unlink(missing_ok=True)


def move_in(part: Path, out: Path) -> None:
    """Move a complete release to its folder, the index with the manifest last; other files there stay."""
    _remove_partial_files(part)
    _old_of(out).mkdir()  # from now on the release in `part` is complete, and the next run would move it in
    sync_folder(out.parent)
    _swap(part, out)


def _swap(part: Path, out: Path) -> None:
    old = _old_of(out)
    out.mkdir(exist_ok=True)
    for name in reversed(MOVED):
        if (part / name).exists() and (out / name).exists():
            (out / name).rename(old / name)
    sync_folder(out)
    for name in MOVED:
        if (part / name).exists():
            (part / name).rename(out / name)
            sync_folder(out)
    shutil.rmtree(part)
    shutil.rmtree(old)


def _recover(out: Path) -> None:
    """Finish what a killed run began."""
    part, old = part_of(out), _old_of(out)
    if not old.is_dir():
        return
    if (part / MANIFEST).is_file():
        _swap(part, out)
        return
    for name in MOVED:  # the new release is in, or somebody removed it: then the old one goes back
        if (old / name).exists() and not (out / name).exists():
            (old / name).rename(out / name)
    shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(old)
