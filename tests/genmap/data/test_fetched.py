"""The loaders of real data sets: on the real files where they are, on made ones where they are not."""

import gzip
import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from data_files import fails, given

from genmap import data
from genmap.data import fetched

REAL = Path(os.environ.get("GENMAP_DATA", ""))
needs_real = pytest.mark.skipif(
    not (REAL / "fsdd" / "recordings.zip").is_file(), reason="GENMAP_DATA names no folder with the real files"
)


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4) for n in array.shape)
    return gzip.compress(header + array.tobytes(), 1)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_mnist_is_split_evenly_and_keeps_its_labels(name, tmp_path, monkeypatch):
    """On made images, each a picture of its own label."""
    files = {}
    for part, n in (("train", 60_000), ("t10k", 10_000)):
        y = (np.arange(n) % 10).astype(np.uint8)
        images = np.broadcast_to(20 * y[:, None, None], (n, 28, 28)).copy()
        images[:, 0, 0] = 255
        files |= {f"{part}-images-idx3-ubyte.gz": idx(images), f"{part}-labels-idx1-ubyte.gz": idx(y)}
    given(monkeypatch, tmp_path, name, files)
    splits = getattr(data, name)()
    assert [part.x.shape for part in splits] == [(n, 1, 28, 28) for n in (55_000, 5_000, 10_000)]
    assert np.bincount(splits.validation.y).tolist() == [500] * 10
    for part in splits:
        assert (part.x.dtype, part.y.dtype) == (np.float32, np.int64)
        assert np.array_equal(np.round(part.x[:, 0, 5, 5] * 255), 20 * part.y)
        assert (part.x[:, 0, 0, 0] == 1).all()


def test_cifar10_keeps_colours_rows_and_labels(tmp_path, monkeypatch):
    """On made photographs: red is the label, green the row, blue the column."""
    y = (np.arange(10_000) % 10).astype(np.uint8)
    row, column = (a.astype(np.uint8) for a in np.mgrid[:32, :32])
    image = np.stack([np.broadcast_to(a, (10_000, 32, 32)) for a in (y[:, None, None], row, column)], axis=1)
    records = np.hstack([y[:, None], image.reshape(10_000, -1)]).tobytes()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        for batch in [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]:
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{batch}.bin")
            info.size = len(records)
            archive.addfile(info, io.BytesIO(records))
    given(monkeypatch, tmp_path, "cifar10", {"cifar-10-binary.tar.gz": packed.getvalue()})
    splits = data.cifar10()
    assert [part.x.shape for part in splits] == [(n, 3, 32, 32) for n in (45_000, 5_000, 10_000)]
    assert np.bincount(splits.validation.y).tolist() == [500] * 10
    levels = np.round(splits.test.x * 255)
    assert np.array_equal(levels[:, 0, 0, 0], splits.test.y)
    assert (levels[:, 1] == row).all() and (levels[:, 2] == column).all()


@pytest.mark.parametrize("content", [b"", b"no archive", gzip.compress(b"short", mtime=0)])
def test_a_listed_file_that_holds_something_else_gets_one_line(content, tmp_path, monkeypatch):
    given(monkeypatch, tmp_path, "cifar10", {"cifar-10-binary.tar.gz": content})
    fails(data.cifar10, str(tmp_path), "is damaged")


@needs_real
def test_mnist_t10k_on_the_real_files(monkeypatch):
    monkeypatch.setenv("GENMAP_DATA", str(REAL))
    splits = data.mnist_t10k()
    assert [part.x.shape for part in splits] == [(n, 1, 28, 28) for n in (8_000, 1_000, 1_000)]
    assert np.bincount(splits.test.y).tolist() == np.bincount(splits.validation.y).tolist() == [100] * 10
    assert len({image.tobytes() for part in splits for image in part.x}) == 10_000
    centre = np.stack([splits.train.x[splits.train.y == c].mean(0).ravel() for c in range(10)])
    distance = ((splits.test.x.reshape(-1, 1, 784) - centre) ** 2).sum(-1)
    assert (
        distance.argmin(1) == splits.test.y
    ).mean() > 0.75  # nearest mean image: the labels fit the images


@needs_real
def test_tiny_shakespeare_on_the_real_file(monkeypatch):
    monkeypatch.setenv("GENMAP_DATA", str(REAL))
    splits = data.tiny_shakespeare()
    assert [len(part) for part in splits] == [1_003_854, 55_770, 55_770]
    assert len(set("".join(splits))) == 65
    assert splits.train.startswith("First Citizen:\nBefore we proceed any further, hear me speak.")


@needs_real
def test_spoken_digits_on_the_real_file(monkeypatch):
    monkeypatch.setenv("GENMAP_DATA", str(REAL))
    splits = data.spoken_digits()
    assert [part.x.shape for part in splits] == [(n, 8000) for n in (2400, 300, 300)]
    for part, each in zip(splits, (40, 5, 5), strict=True):
        pairs = list(zip(part.speaker, part.y.tolist(), strict=True))
        assert len(set(pairs)) == 60 and all(pairs.count(pair) == each for pair in set(pairs))
        assert len(np.unique(part.y[:100])) == 10  # the order says nothing of the class
        assert (part.length > 500).all() and (part.length <= 8000).all()
        assert all((x[n:] == 0).all() for x, n in zip(part.x, part.length, strict=True))
        assert np.abs(part.x).max() <= 1
        assert (np.abs(part.x).max(1) > 0.01).all()


@needs_real
@pytest.mark.parametrize("harm", ["cut", "flipped", "one less", "renamed", "bomb", "empty"])
def test_a_damaged_archive_of_recordings_gets_one_line(harm, tmp_path, monkeypatch):
    (tmp_path / "fsdd").mkdir()
    path = Path(shutil.copy(REAL / "fsdd" / "recordings.zip", tmp_path / "fsdd"))
    path.chmod(0o600)
    content = path.read_bytes()
    if harm == "cut":
        path.write_bytes(content[:-1000])
    elif harm == "flipped":
        path.write_bytes(content[:9000] + bytes(50) + content[9050:])
    elif harm == "empty":
        path.write_bytes(b"")
    else:
        with zipfile.ZipFile(REAL / "fsdd" / "recordings.zip") as old, zipfile.ZipFile(path, "w") as new:
            for info in old.infolist()[1:]:
                name = info.filename.replace("1_theo_7", "1_theo_77") if harm == "renamed" else info.filename
                new.writestr(name, old.read(info))
            if harm == "bomb":
                new.writestr("recordings/0_george_0.wav", bytes(50_000_000), zipfile.ZIP_DEFLATED)
    monkeypatch.setenv("GENMAP_DATA", str(tmp_path))
    fails(data.spoken_digits, str(path), "is damaged", "delete it")
    assert fetched.RECORDING_BYTES < 50_000_000


@needs_real
def test_the_makers_archive_with_other_folders_and_files_is_read_too(tmp_path, monkeypatch):
    (tmp_path / "fsdd").mkdir()
    with (
        zipfile.ZipFile(REAL / "fsdd" / "recordings.zip") as old,
        zipfile.ZipFile(tmp_path / "fsdd" / "recordings.zip", "w") as new,
    ):
        new.writestr("free-spoken-digit-dataset-1.0.10/README.md", "about")
        for info in reversed(old.infolist()):
            new.writestr(f"free-spoken-digit-dataset-1.0.10/{info.filename}", old.read(info))
    monkeypatch.setenv("GENMAP_DATA", str(tmp_path))
    theirs = data.spoken_digits()
    monkeypatch.setenv("GENMAP_DATA", str(REAL))
    ours = data.spoken_digits()
    assert all(np.array_equal(a.x, b.x) and a.speaker == b.speaker for a, b in zip(theirs, ours, strict=True))
