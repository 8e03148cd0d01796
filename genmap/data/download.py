"""Files of the real data sets: from the folder in GENMAP_DATA, the cache, or the network."""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

LOCK_SECONDS = 900  # to wait for another process that downloads the same file


class DataError(Exception):
    """A data set cannot be had; the message is one line that says what to do."""


class Remote(NamedTuple):
    """One file of a data set, as the registry has it.

    place: its path in the cache, and in the folder that GENMAP_DATA names: NAME/FILE.
    urls: its addresses, in the order in which they are tried.
    size: in bytes, at most.
    sha256: its checksum, or None where it is not fixed.
    """

    place: str
    urls: tuple[str, ...]
    size: int
    sha256: str | None


@cache
def registry() -> dict[str, Any]:
    """Return data/datasets.toml."""
    return tomllib.loads(files("genmap.facts").joinpath("datasets.toml").read_text(encoding="utf-8"))


def remote(name: str, file: str) -> Remote:
    """Return what the registry says of a data set's file.

    name: the data set's.
    file: the file's name there.
    """
    (entry,) = (entry for entry in registry()[name]["files"] if entry["name"] == file)
    mirrors = registry()[name].get("mirrors", [])
    urls = (entry["url"],) if "url" in entry else tuple(mirror + file for mirror in mirrors)
    return Remote(f"{name}/{file}", urls, entry["bytes"], entry.get("sha256"))


def fetch(name: str, file: str) -> Path:
    """Return the path of a data set's file, with the right checksum; download it where it is not there yet.

    Looks first in the folder that the environment variable GENMAP_DATA names, as NAME/FILE, then in the
    user's cache.

    name: the data set's in data/datasets.toml.
    file: the file's name there.

    Raises DataError where GENMAP_DATA is no folder, where the file there is damaged or cannot be read,
    without a network, where the cache cannot be written, and where another process downloads the file for
    too long.
    """
    wanted = remote(name, file)
    return _at_hand(wanted) or _cached(wanted)


def damaged(path: Path, why: str) -> DataError:
    """Return the error for a file that is not what it should be.

    path: of the file.
    why: how one can tell.
    """
    return DataError(f"{path} is damaged: {why}; delete it, then call again to download it afresh")


def _at_hand(wanted: Remote) -> Path | None:
    folder = os.environ.get("GENMAP_DATA", "")
    if not folder:
        return None
    if not Path(folder).is_dir():
        raise DataError(
            f"GENMAP_DATA is {folder!r}, which is no folder; set it to one that is there, or unset it"
        )
    path = Path(folder, wanted.place)
    if not path.is_file():
        return None
    try:
        right = wanted.sha256 in (None, _sha256(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); see to its permissions") from None
    if not right:
        raise damaged(path, "its SHA-256 is not the one in data/datasets.toml")
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cached(wanted: Remote) -> Path:
    import pooch

    path = Path(pooch.os_cache("genmap"), wanted.place)
    if path.is_file() and wanted.sha256 in (None, _sha256(path)):
        return path
    with _alone(path):
        return _retrieve(wanted, path)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one process at a time download to `path`; the lock ends with its process, however that ends."""
    from filelock import FileLock, Timeout

    lock = FileLock(f"{path}.lock", timeout=LOCK_SECONDS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise DataError(
            f"another process has been downloading {path} for {LOCK_SECONDS} s; end it, then call again"
        ) from None
    except OSError as error:
        raise _unwritable(path.parent, error) from None
    try:
        yield
    finally:
        lock.release()


def _unwritable(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"{folder} cannot be written ({error.strerror or error}); make room or rights there, set"
        " XDG_CACHE_HOME to another folder, or put the file into a folder that GENMAP_DATA names"
    )


def _retrieve(wanted: Remote, path: Path) -> Path:
    """Download a file from the first mirror that can; pooch checks it and moves it to its place whole."""
    import pooch
    from requests.exceptions import RequestException

    from genmap.data.resume import Resume, reason

    pooch.get_logger().setLevel("WARNING")
    resume = Resume(path.with_name(f"{path.name}.part"), wanted.size)
    failures = []
    for url in wanted.urls:
        try:
            pooch.retrieve(url, wanted.sha256, path.name, path.parent, downloader=resume)
            return path
        except RequestException as error:
            failures.append(f"{url} ({reason(error)})")
        except ValueError:
            failures.append(f"{url} (its SHA-256 is not the one in data/datasets.toml)")
        except OSError as error:
            raise _unwritable(path.parent, error) from None
    raise DataError(
        f"cannot download {' nor '.join(failures)}; with a network, call again: it goes on where it broke"
        f" off; without one, put the file as {wanted.place} into a folder and set GENMAP_DATA to that folder"
    )
