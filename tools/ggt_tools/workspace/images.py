"""The images of a workspace: `images/` or a URL, each file named by the SHA-256 of its bytes; and what just arrived.

An image that was paid for first goes to `incoming/` under the id of its work. If a kill comes before its row is
committed, the next run finds it there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ggt_format.files import make_folder, sync_folder, write_whole
from ggt_tools.errors import ConfigError, ShardError
from ggt_tools.files.outputs import why_unwritable
from ggt_tools.workspace.store import Store


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """The images of a workspace, by the SHA-256 of their files. Picklable, for another process."""

    store: Store

    @staticmethod
    def path_of(name: str) -> str:
        """Return the path of an image below the root of the store."""
        return f"images/{name[:2]}/{name}"

    def image(self, name: str) -> bytes:
        """Return the bytes of an image. Raises ShardError if they are not those that were stored."""
        if not name.isalnum():
            raise ConfigError(f"{name!r}: is not the name of an image. Give the name that a record has.")
        try:
            data = self.store.read(self.path_of(name))
        except FileNotFoundError as fault:
            raise self._missing(name) from fault
        if hashlib.sha256(data).hexdigest() != name:
            raise ShardError(
                f"{self._full_path(name)}: its bytes are not those that were stored. "
                "Restore the workspace from its backup."
            )
        return data

    def image_size(self, name: str) -> int:
        """Return the size of an image file in bytes."""
        try:
            return self.store.size(self.path_of(name))
        except FileNotFoundError as fault:
            raise self._missing(name) from fault

    def put(self, data: bytes) -> str:
        """Store an image file and return its name. The file is complete or absent; any process may call this."""
        name = hashlib.sha256(data).hexdigest()
        if not self.store.has(self.path_of(name)):
            self.store.write(self.path_of(name), data)
        return name

    def _full_path(self, name: str) -> str:
        return f"{self.store.root}/{self.path_of(name)}"

    def _missing(self, name: str) -> ShardError:
        return ShardError(
            f"{self._full_path(name)}: the ledger names it, but it is missing. Restore the workspace from its backup."
        )


@dataclass(frozen=True, slots=True)
class IncomingFolder:
    """The folder `incoming/`: image files that arrived and whose candidates have no row yet."""

    path: Path
    images: ImageFolder

    def receive(self, work: str, data: bytes) -> None:
        """Write the image of a work item to disk, before anything else happens. Any thread may call this."""
        self.path.mkdir(exist_ok=True)
        write_whole(self.path / work, data)

    def works(self) -> list[str]:
        """Return the ids of the work items whose image arrived and is not settled."""
        if not self.path.is_dir():
            return []
        for part in self.path.glob("*.part"):
            part.unlink()
        return sorted(path.name for path in self.path.iterdir())

    def remove(self, work: str) -> None:
        """Remove what arrived for a work item."""
        (self.path / work).unlink()

    def store_image(self, work: str) -> str:
        """Store what arrived for a work item as an image, and return its name. The file in this folder stays."""
        file = self.path / work
        data = file.read_bytes()
        name = hashlib.sha256(data).hexdigest()
        root = self.images.store.root
        path = Path(root) / ImageFolder.path_of(name)
        if "://" in root or path.exists():
            return self.images.put(data)
        make_folder(path.parent)
        try:
            path.hardlink_to(file)
        except OSError:  # a file system without links
            write_whole(path, data)
        sync_folder(path.parent)
        return name


def open_store(workspace: Path, images: str) -> Store:
    """Return where the images of a workspace are: in itself, or where its file `images.url` says.

    Args:
        workspace: Folder of the workspace, which is created if it does not exist.
        images: A folder or an fsspec URL for the images of a new workspace; "" for the workspace itself.

    Raises:
        ConfigError: The workspace has its images elsewhere already.
    """
    note = workspace / "images.url"
    if not workspace.is_dir():
        workspace.mkdir(parents=True)
    if note.exists():
        noted = note.read_text(encoding="utf-8").strip()
        if images not in ("", noted):
            raise ConfigError(f"{workspace}: its images are at {noted}, not at {images}. Leave the option out.")
        return Store(noted)
    if images:
        if (workspace / "images").exists():
            raise ConfigError(f"{workspace}: has its images in it. Only a new workspace can have them elsewhere.")
        root = images if "://" in images else str(Path(images).resolve())
        write_whole(note, (root + "\n").encode())
        return Store(root)
    if not (workspace / "images").is_dir() and not why_unwritable(workspace / "images"):
        (workspace / "images").mkdir()
    return Store(str(workspace))
