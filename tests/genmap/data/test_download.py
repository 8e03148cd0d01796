"""Downloads: resumed, checked, cached, one at a time; each failure is one line that says what to do."""

import hashlib
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from data_files import fails

from genmap.data import download, resume

CONTENT = np.random.RandomState(0).bytes(600_000)


class Handler(BaseHTTPRequestHandler):
    """Serves the server's `content`, with ranges; each of its `cuts` is how much of an answer is sent."""

    def do_GET(self):
        server = self.server
        server.asked.append(self.headers.get("Range"))
        status = server.statuses.pop(0) if server.statuses else None
        start = int(self.headers["Range"][6:-1]) if "Range" in self.headers and server.ranges else 0
        if status or start >= len(server.content):
            self.send_error(status or 416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header(
                "Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}"
            )
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        end = start + server.cuts.pop(0) if server.cuts else len(server.content)
        self.wfile.write(server.content[start:end])
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.content, http.cuts, http.statuses, http.asked, http.ranges = CONTENT, [], [], [], True
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield http
        http.shutdown()
        thread.join()


def address(server):
    return f"http://127.0.0.1:{server.server_port}/file.bin"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and no folder that is looked in first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GENMAP_DATA", raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache" / "genmap" / "toy"


@pytest.fixture
def listed(server, monkeypatch):
    """Let the registry hold one data set, "toy", with one file on the server; return its entry."""
    entry = {
        "name": "file.bin",
        "url": address(server),
        "bytes": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
    }
    monkeypatch.setattr(download, "registry", lambda: {"toy": {"files": [entry]}})
    return entry


def fetch():
    return download.fetch("toy", "file.bin")


def test_a_file_is_downloaded_once_with_a_bar(server, listed, cache, capsys):
    path = fetch()
    assert path == cache / "file.bin"
    assert path.read_bytes() == CONTENT
    assert "file.bin: 100%" in capsys.readouterr().err
    assert fetch() == path
    assert server.asked == [None]
    assert capsys.readouterr() == ("", "")


def test_a_download_that_is_cut_goes_on_by_itself(server, listed):
    server.cuts = [250_000, 200_000]
    assert fetch().read_bytes() == CONTENT
    first, *later = server.asked
    assert first is None
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in later]
    assert len(starts) == 2 and 180_000 <= starts[0] <= 250_000 < starts[1] <= 450_000


def test_a_later_call_goes_on_where_an_earlier_one_broke_off(server, listed, cache):
    server.cuts = [300_000, 0]
    fails(fetch, "the connection broke off", "goes on where it broke off", address(server))
    assert not (cache / "file.bin").exists()
    assert 0 < (cache / "file.bin.part").stat().st_size <= 300_000
    assert fetch().read_bytes() == CONTENT
    assert server.asked[-1] is not None
    assert not (cache / "file.bin.part").exists()


def test_a_download_whose_process_is_killed_is_resumed(server, listed, cache):
    cache.mkdir(parents=True)
    (cache / "file.bin.part").write_bytes(CONTENT[:123_456])
    (cache / "file.bin.lock").touch()
    assert fetch().read_bytes() == CONTENT
    assert server.asked == ["bytes=123456-"]


def test_a_server_without_ranges_sends_all_again(server, listed, cache):
    server.ranges = False
    cache.mkdir(parents=True)
    (cache / "file.bin.part").write_bytes(CONTENT[:1000])
    assert fetch().read_bytes() == CONTENT


@pytest.mark.parametrize(
    "part", [CONTENT, CONTENT + b"more", b"x" * len(CONTENT)], ids=["whole", "long", "wrong"]
)
def test_a_part_of_full_length_or_more(part, server, listed, cache):
    cache.mkdir(parents=True)
    (cache / "file.bin.part").write_bytes(part)
    if part[:1] == b"x":
        fails(fetch, "SHA-256")
    assert fetch().read_bytes() == CONTENT


def test_a_part_beyond_what_the_server_has_starts_anew(server, listed, cache):
    listed["bytes"] += 1000
    cache.mkdir(parents=True)
    (cache / "file.bin.part").write_bytes(CONTENT + b"x")
    assert fetch().read_bytes() == CONTENT


def test_what_has_another_checksum_is_not_kept(server, listed, cache):
    server.content = CONTENT[:-1] + b"x"
    fails(fetch, "SHA-256 is not the one", address(server))
    assert {path.name for path in cache.iterdir()} == {"file.bin.lock"}


def test_a_file_that_never_ends_is_stopped(server, listed, cache):
    server.content = CONTENT + bytes(10_000_000)
    fails(fetch, "more than the file's size")
    assert (cache / "file.bin.part").stat().st_size <= len(CONTENT) + resume.PIECE_BYTES
    server.content = CONTENT
    assert fetch().read_bytes() == CONTENT


def test_a_damaged_file_in_the_cache_is_replaced(server, listed, cache):
    fetch().write_bytes(CONTENT[:100])
    assert fetch().read_bytes() == CONTENT


def test_the_next_mirror_is_tried(server, listed, monkeypatch):
    entry = {key: value for key, value in listed.items() if key != "url"}
    mirrors = ["http://127.0.0.1:1/", address(server).removesuffix("file.bin")]
    monkeypatch.setattr(download, "registry", lambda: {"toy": {"files": [entry], "mirrors": mirrors}})
    assert fetch().read_bytes() == CONTENT


def test_a_server_that_refuses_is_quoted(server, listed):
    server.statuses = [404]
    fails(fetch, "the server says 404")


def test_without_a_network_the_line_says_what_to_do(listed):
    listed["url"] = "http://127.0.0.1:1/file.bin"
    fails(fetch, "http://127.0.0.1:1/file.bin (no connection)", "put the file as toy/file.bin", "GENMAP_DATA")


def test_a_silent_server_is_given_up(listed, monkeypatch):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        listed["url"] = f"http://127.0.0.1:{silent.getsockname()[1]}/file.bin"
        monkeypatch.setattr(resume, "TIMEOUT_SECONDS", (0.2, 0.2))
        fails(fetch, "the server does not answer")


def test_a_cache_that_cannot_be_written_gets_one_line(server, listed, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    fails(fetch, str(tmp_path / "file"), "cannot be written", "GENMAP_DATA")


def test_a_full_disk_gets_one_line(server, listed, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(resume.Resume, "_write", full)
    fails(fetch, "No space left on device", "cannot be written")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_cache_gets_one_line(server, listed, cache):
    cache.mkdir(parents=True)
    cache.chmod(0o500)
    fails(fetch, "cannot be written")


def test_two_processes_at_once_download_once(server, listed, cache):
    code = (
        "import sys; from genmap.data import download;"
        f"download.registry = lambda: {{'toy': {{'files': [{listed!r}]}}}};"
        "print(len(download.fetch('toy', 'file.bin').read_bytes()))"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    results = [process.communicate(timeout=600) for process in both]
    assert [out for out, _ in results] == ["600000\n"] * 2, results
    assert server.asked == [None]


def test_a_download_that_another_process_holds_is_given_up(listed, cache, monkeypatch):
    from filelock import FileLock

    cache.mkdir(parents=True)
    monkeypatch.setattr(download, "LOCK_SECONDS", 0.1)
    with FileLock(cache / "file.bin.lock"):
        fails(fetch, "another process")


def test_the_folder_in_genmap_data_comes_first(server, listed, tmp_path, monkeypatch):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "file.bin").write_bytes(CONTENT)
    monkeypatch.setenv("GENMAP_DATA", str(tmp_path))
    assert fetch() == tmp_path / "toy" / "file.bin"
    assert server.asked == []
    (tmp_path / "toy" / "file.bin").unlink()
    assert fetch().read_bytes() == CONTENT
    assert server.asked == [None]


def test_a_damaged_file_in_genmap_data_is_named_not_replaced(server, listed, tmp_path, monkeypatch):
    (tmp_path / "toy").mkdir()
    path = tmp_path / "toy" / "file.bin"
    path.write_bytes(CONTENT[:-1])
    monkeypatch.setenv("GENMAP_DATA", str(tmp_path))
    fails(fetch, str(path), "SHA-256", "delete it")
    assert (server.asked, path.stat().st_size) == ([], 599_999)


@pytest.mark.parametrize("what", ["nothing", "file"])
def test_genmap_data_that_is_no_folder_gets_one_line(what, listed, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GENMAP_DATA", str(tmp_path / what))
    fails(fetch, f"GENMAP_DATA is '{tmp_path / what}', which is no folder")


def test_importing_the_data_imports_nothing_that_downloads():
    heavy = {"pooch", "requests", "filelock", "torch", "sklearn"}
    code = f"import sys; from genmap import data; print({heavy} & {{*sys.modules}})"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout == "set()\n"


def test_the_registry_says_all_of_every_file():
    assert set(download.registry()) == {"mnist", "fashion_mnist", "cifar10", "tinyshakespeare", "fsdd"}
    for name, entry in download.registry().items():
        assert entry["title"] and entry["source"] and entry["licence"]
        for file in entry["files"]:
            remote = download.remote(name, file["name"])
            assert remote.urls and all(url.startswith("http") for url in remote.urls)
            assert len(file.get("sha256") or file["recordings_sha256"]) == 64
            assert file["checksum_from"]
            assert remote.size > 0
