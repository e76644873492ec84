"""What all sources of photographs have in common, and the simplest of them: a folder."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ggt_tools.errors import ConfigError, PairError
from ggt_tools.files import SUFFIXES
from ggt_tools.files.folders import ImageFiles, find_images, read_file
from ggt_tools.files.passed_over import PassedOver
from ggt_tools.stages.ingest.credits import CREDITS, Credit, read_credits

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file that may be a photograph.

    Attributes:
        name: Its name in messages and in the ledger, unique in its source.
        folder: Name of the folder that it is in.
        data: Its bytes; b"" where it cannot be read.
        fault: Why it cannot be read.
        credit: What credits.csv or a list states of it.
    """

    name: str
    folder: str = ""
    data: bytes = b""
    fault: PairError | None = None
    credit: Credit = Credit()  # noqa: RUF009  it is frozen


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where photographs come from.

    Attributes:
        files: The files, one by one; they can be iterated over once.
        count: Number of files; 0 where only reading them all would tell.
        passed_over: What else the source holds.
        faults: A message for each folder that cannot be read.
    """

    files: Iterator[SourceFile]
    count: int
    passed_over: PassedOver = dataclasses.field(default_factory=PassedOver)
    faults: tuple[str, ...] = ()


def no_licence(name: str) -> PairError:
    """Return the error of a file whose licence nothing states."""
    return PairError("no_licence", f"{name}: no licence is stated. Add it to {CREDITS}, or pass --licence.")


def no_photograph(source: Path, passed_over: PassedOver) -> ConfigError:
    """Return the error of a source without photographs."""
    others = f" Passed over: {passed_over}." if str(passed_over) else ""
    return ConfigError(f"{source}: no photograph is in it. ingest reads {', '.join(SUFFIXES)}.{others}")


def bad_name(name: str) -> SourceFile | None:
    """Return a file with a fault where its name can stand neither in the ledger nor in a message; else None."""
    try:
        name.encode()
    except UnicodeEncodeError:
        name = ascii(name)[1:-1]
        return SourceFile(
            name=name, fault=PairError("bad_name", f"{name}: the name has bytes that are not UTF-8. Rename the file.")
        )
    if not name.isprintable():
        name = ascii(name)[1:-1]
        return SourceFile(
            name=name, fault=PairError("bad_name", f"{name}: the name has invisible characters. Rename the file.")
        )
    return None


def find_photos(folder: Path) -> ImageFiles:
    """Find every image file below a folder, in the order of their names.

    Raises:
        ConfigError: There is none.
    """
    image_files = find_images(folder, besides=(CREDITS,))
    if not image_files.paths:
        raise no_photograph(folder, image_files.passed_over)
    return image_files


def from_folder(folder: Path) -> Source:
    """Open a folder: the image files below it, with what each credits.csv in it states.

    Raises:
        ConfigError: There is no image file, or a credits.csv is wrong.
    """
    image_files = find_photos(folder)
    paths = {path.relative_to(folder).as_posix(): path for path in image_files.paths}
    credits = read_credits(folder, image_files.besides, paths)
    return Source(
        files=(_read(path, name, credits) for name, path in paths.items()),
        count=len(paths),
        passed_over=image_files.passed_over,
        faults=image_files.faults,
    )


def _read(path: Path, name: str, credits: Mapping[str, Credit]) -> SourceFile:
    if (bad := bad_name(name)) is not None:
        return bad
    file = SourceFile(name=name, folder=path.parent.name, credit=credits.get(name, Credit()))
    try:
        return dataclasses.replace(file, data=read_file(path, name))
    except PairError as error:
        return dataclasses.replace(file, fault=error)


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Generator[Result, None, None]:
    """Call a function for each item in threads, and yield the results in the order of the items.

    At most `threads` results are computed ahead.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ingest")
    ahead: deque[Future[Result]] = deque()
    try:
        for item in items:
            ahead.append(pool.submit(function, item))
            if len(ahead) >= threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
