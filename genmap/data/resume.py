"""A downloader for pooch that goes on where an earlier download broke off, with a progress bar."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import requests
from requests import exceptions
from tqdm.auto import tqdm

TIMEOUT_SECONDS = (10, 30)  # to connect, and between two pieces
TRIES = 5  # at most, each from where the one before broke off
PIECE_BYTES = 1 << 16  # that are read at a time


class TooLong(exceptions.RequestException):
    """The server sends more than the file's size."""


class Resume:
    """Downloads into `part`, and only when that is whole moves it to where pooch wants it.

    part: stays when a download breaks off, whatever ends the process.
    size: of the file, in bytes, at most.
    """

    def __init__(self, part: Path, size: int) -> None:
        self.part, self.size = part, size

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Download `url` to `output_file`.

        url: the file's address.
        output_file: its path.
        pooch: who asks; not used.

        Raises requests' exceptions where that fails.
        """
        for left in reversed(range(TRIES)):
            before = self._have()
            try:
                self._get(url, before)
                break
            except (exceptions.ConnectionError, exceptions.ChunkedEncodingError):
                if not left or self._have() <= before:
                    raise
        shutil.move(self.part, output_file)

    def _have(self) -> int:
        """Return how many bytes are there already; a part that is too long is none."""
        have = self.part.stat().st_size if self.part.is_file() else 0
        return have if have <= self.size else 0

    def _get(self, url: str, have: int) -> None:
        if have == self.size:
            return
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable and have:
                self.part.unlink()
                return self._get(url, 0)
            answer.raise_for_status()
            goes_on = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            self._write(answer, have if goes_on else 0)

    def _write(self, answer: requests.Response, start: int) -> None:
        """Append to the first `start` bytes of the part."""
        length = int(answer.headers.get("Content-Length", 0))
        bar = tqdm(
            total=start + length if length else None,
            initial=start,
            desc=self.part.stem,
            unit="B",
            unit_scale=True,
        )
        with self.part.open("ab" if start else "wb") as out, bar:
            for piece in answer.iter_content(PIECE_BYTES):
                out.write(piece)
                bar.update(len(piece))
                if out.tell() > self.size:
                    raise TooLong


def reason(error: exceptions.RequestException) -> str:
    """Return in a few words why a download failed."""
    if error.response is not None:
        return f"the server says {error.response.status_code}"
    if isinstance(error, TooLong):
        return "the server sends more than the file's size"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, exceptions.Timeout):
        return "the server does not answer"
    return "no connection"
