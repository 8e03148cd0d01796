"""Unpacks the notebooks of archives that others made: bounded, without links, never outside of a folder."""

import lzma
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from autograde.errors import CourseError
from autograde.grading.student_names import printable

ZIP, TAR = (".zip",), (".tar.gz", ".tgz")
MAX_MEMBER_BYTES = 200 << 20
MAX_BYTES = 4 << 30  # of what has to be unpacked, all archives together
MAX_MEMBERS = 20_000
MAX_NAME_BYTES = 255  # of one part of a path, as file systems have it
MAX_PATH_BYTES = 1000
MAX_DEPTH = 20
FOLDER = ".folder"  # behind the name of a folder that was given whole: it is read as an archive is
JUNK = ("__MACOSX", ".ipynb_checkpoints")
DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
    *(EOFError, NotImplementedError, RuntimeError, OSError),
)


@dataclass(frozen=True)
class Found:
    """A file of an archive or beside it.

    parts: its path, an archive's name first. path: where its notebook lies now, or None, and then
    reason: says why there is none.
    """

    parts: tuple[str, ...]
    path: Path | None
    reason: str = ""

    @property
    def shown(self) -> str:
        """Its path, for a message."""
        return printable("/".join(self.parts).replace(f"{FOLDER}/", "/", 1))


class _Budget:
    """What may be unpacked yet."""

    def __init__(self) -> None:
        self.members, self.bytes = 0, 0

    def take(self, whose: str, size: int) -> None:
        """Raises CourseError."""
        self.members, self.bytes = self.members + 1, self.bytes + size
        if self.members > MAX_MEMBERS or self.bytes > MAX_BYTES:
            most = f"{MAX_MEMBERS} files or {MAX_BYTES >> 30} GB"
            raise CourseError(f"{whose} is refused: it holds more than {most}.")


def check_size(folder: Path) -> None:
    """Raises CourseError where a folder holds more than an archive may."""
    budget = _Budget()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            budget.take(folder.name, path.stat().st_size)


def unpack(source: Path, target: Path) -> list[Found]:
    """Copy the notebooks of a folder, and of the archives that lie in it, into another; returns all files.

    An archive within an archive or a folder is not opened. Raises CourseError where an archive cannot be
    read, holds too much, or names a place outside of it.
    """
    budget, found = _Budget(), []
    for path in sorted(source.rglob("*")):
        parts = path.relative_to(source).parts
        if path.is_symlink() or not path.is_file() or _junk(parts):
            continue
        if len(parts) == 1 and path.name.lower().endswith((*ZIP, *TAR)):
            members = _zip if path.name.lower().endswith(ZIP) else _tar
            found += list(members(path, target, budget))
        else:
            budget.take(printable(parts[0]), 0)
            with path.open("rb") as file:
                found.append(_take(parts, path.stat().st_size, file, target))
    return found


def _zip(path: Path, target: Path, budget: _Budget) -> Iterator[Found]:
    try:
        archive = zipfile.ZipFile(path)
    except DAMAGED as error:
        _raise_where_the_system_failed(error)
        raise CourseError(f"{path.name} cannot be read: {printable(str(error))}.") from None
    with archive:
        members = [(member, _parts(path, _zip_name(member))) for member in archive.infolist()]
        for member, parts in members:
            if member.is_dir() or _junk(parts):
                continue
            unpacked = _is_notebook(parts) and member.file_size <= MAX_MEMBER_BYTES
            budget.take(path.name, member.file_size if unpacked else 0)
            if stat.S_ISLNK(member.external_attr >> 16):
                yield Found(parts, None, "is a link")
            else:
                yield _from_zip(archive, member, parts, target)


def _from_zip(archive: zipfile.ZipFile, member: zipfile.ZipInfo, parts: tuple[str, ...], to: Path) -> Found:
    if not _is_notebook(parts):
        return Found(parts, None, _no_notebook(parts))
    try:
        with archive.open(member) as file:
            return _take(parts, member.file_size, file, to)
    except DAMAGED as error:
        _raise_where_the_system_failed(error)
        return Found(parts, None, f"cannot be unpacked: {printable(str(error))}")


def _tar(path: Path, target: Path, budget: _Budget) -> Iterator[Found]:
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                parts = _parts(path, member.name)
                budget.take(path.name, member.size)  # even what is passed over has to be unpacked
                if member.isdir() or _junk(parts):
                    continue
                file = archive.extractfile(member) if member.isreg() else None
                yield _take(parts, member.size, file, target) if file else Found(parts, None, "is a link")
    except DAMAGED as error:
        _raise_where_the_system_failed(error)
        raise CourseError(f"{path.name} cannot be read: {printable(str(error))}.") from None


def _take(parts: tuple[str, ...], size: int, file: IO[bytes], target: Path) -> Found:
    """Copy a notebook; anything else is only told of."""
    if not _is_notebook(parts):
        return Found(parts, None, _no_notebook(parts))
    if size > MAX_MEMBER_BYTES:
        return Found(parts, None, f"is larger than {MAX_MEMBER_BYTES >> 20} MB")
    if reason := _unfit(parts):
        return Found(parts, None, reason)
    path = target.joinpath(*parts[:-1], f"{parts[-1][: -len('.ipynb')]}.ipynb")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        copy = path.open("xb")
    except (FileExistsError, NotADirectoryError):
        raise CourseError(f"{printable('/'.join(parts))} is there twice: nothing was collected.") from None
    try:
        with copy:
            shutil.copyfileobj(file, copy)
    except DAMAGED:
        path.unlink()
        raise
    return Found(parts, path)


def _parts(archive: Path, name: str) -> tuple[str, ...]:
    """A member's path, the archive's name first. Raises CourseError where it leads out of the archive."""
    pieces = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in pieces:
        raise CourseError(f"{archive.name} is refused: {printable(name)!r} leads out of the archive.")
    return (archive.name, *(piece for piece in pieces if piece not in ("", ".")))


def _zip_name(member: zipfile.ZipInfo) -> str:
    """Its name; macOS writes UTF-8 without saying so, which zipfile reads as the characters of old DOS."""
    if member.flag_bits & 0x800:
        return member.filename
    try:
        return member.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return member.filename


def _raise_where_the_system_failed(error: BaseException) -> None:
    """A full disk is no fault of an archive; decompressors raise an OSError without a number."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def _unfit(parts: Sequence[str]) -> str:
    """Why no file can have this path, or ""."""
    whole = "/".join(parts)
    if any(unicodedata.category(one) in ("Cc", "Cs") for one in whole):
        return "has characters in its name that no name has"
    longest = max(len(part.encode()) for part in parts)
    if longest > MAX_NAME_BYTES or len(whole.encode()) > MAX_PATH_BYTES or len(parts) > MAX_DEPTH:
        return "has too long a name"
    return ""


def _no_notebook(parts: Sequence[str]) -> str:
    inner = parts[-1].lower().endswith((*ZIP, *TAR, ".rar", ".7z", ".tar"))
    return "is an archive in another or in a folder: unpack it first" if inner else "is no notebook"


def _is_notebook(parts: Sequence[str]) -> bool:
    return parts[-1].lower().endswith(".ipynb")


def _junk(parts: Sequence[str]) -> bool:
    """What systems and Jupyter lay beside files."""
    return any(part in JUNK for part in parts) or parts[-1].startswith("._") or parts[-1] == ".DS_Store"
