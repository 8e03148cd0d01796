"""The real data sets, fetched by name: MNIST, Fashion-MNIST, CIFAR-10, Tiny Shakespeare, spoken digits."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import wave
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from genmap.data.download import damaged, fetch, registry
from genmap.data.splits import Images, Splits, hold_out

RATE = 8000  # samples a second of all sounds in genmap.data
RECORDING_BYTES = 1 << 20  # of a recording, at most; the longest has 36,568
_RECORDING = re.compile(r"(?:[^/]+/)?recordings/(\d_[a-z]+_\d+\.wav)")


class Speech(NamedTuple):
    """Recordings of one second with labels.

    x: float32 (N, 8000), from -1 to 1, zero after the recording's end.
    length: int64 (N,), samples until that end.
    y: int64 (N,), the digit.
    speaker: N first names.
    """

    x: npt.NDArray[np.float32]
    length: npt.NDArray[np.int64]
    y: npt.NDArray[np.int64]
    speaker: list[str]


def mnist() -> Splits[Images]:
    """Return MNIST, 28x28: train 55,000, validation 5,000 (500 of each class), test the usual 10,000.

    Each x is float32 (N, 1, 28, 28), whole 255ths.

    Raises DataError where its 12 MB cannot be had.

    Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits, 1998.
    """
    return _idx_splits("mnist")


def mnist_t10k() -> Splits[Images]:
    """Return MNIST's 10,000 test images alone, split anew: 9,000 to learn from, 1,000 to test on.

    Train has 8,000 of the 9,000, validation 1,000; validation and test have 100 of each class. For
    machines without the training images: say so beside every figure, for it is not comparable with others'.

    Raises DataError where its 2 MB cannot be had.
    """
    images = _idx("mnist", "t10k")
    parts = hold_out(images.y, 100, 100)
    return Splits(*(Images(images.x[part], images.y[part]) for part in parts))


def fashion_mnist() -> Splits[Images]:
    """Return Fashion-MNIST, split and shaped as `mnist`: ten kinds of clothes.

    y: 0 T-shirt, 1 trousers, 2 pullover, 3 dress, 4 coat, 5 sandal, 6 shirt, 7 sneaker, 8 bag, 9 ankle boot.

    Raises DataError where its 31 MB cannot be had.

    Source: H. Xiao, K. Rasul, R. Vollgraf 2017, arXiv:1708.07747.
    """
    return _idx_splits("fashion_mnist")


def cifar10() -> Splits[Images]:
    """Return CIFAR-10: train 45,000, validation 5,000 (500 of each class), test the usual 10,000.

    Each x is float32 (N, 3, 32, 32), whole 255ths, 740 MB together.
    y: 0 airplane, 1 automobile, 2 bird, 3 cat, 4 deer, 5 dog, 6 frog, 7 horse, 8 ship, 9 truck.

    Raises DataError where its 170 MB cannot be had.

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """
    path = fetch("cifar10", "cifar-10-binary.tar.gz")
    try:
        with tarfile.open(path, "r:gz") as archive:
            training = [_batch(archive, f"data_batch_{k}") for k in range(1, 6)]
            test = _batch(archive, "test_batch")
    except (OSError, EOFError, tarfile.TarError, KeyError, ValueError) as error:
        raise damaged(path, str(error)) from None
    x, y = (np.concatenate(arrays) for arrays in zip(*training, strict=True))
    return _with_validation(Images(x, y), test)


def tiny_shakespeare() -> Splits[str]:
    """Return the text of plays: the first 90 % (1,003,854 characters) to train, then 55,770, then 55,770.

    All characters are ASCII, 65 different ones.

    Raises DataError where its 1 MB cannot be had.

    Source: A. Karpathy, github.com/karpathy/char-rnn.
    """
    text = fetch("tinyshakespeare", "input.txt").read_text(encoding="ascii")
    first, second = len(text) * 90 // 100, len(text) * 95 // 100
    return Splits(text[:first], text[first:second], text[second:])


def spoken_digits() -> Splits[Speech]:
    """Return 3,000 recordings of digits by six speakers, 8 kHz, cut or filled with zeros to one second.

    Train 2,400, validation 300 and test 300; each has all speakers and digits equally often. Test has the
    recordings numbered 0 to 4, as its makers say, validation 5 to 9. 20 recordings are longer than a second.

    Raises DataError where its 16 MB cannot be had.

    Source: Z. Jackson and others, github.com/Jakobovski/free-spoken-digit-dataset, version 1.0.10.
    """
    path = fetch("fsdd", "recordings.zip")
    parts: dict[int, list[tuple[bytes, int, str]]] = {0: [], 1: [], 2: []}
    for name, content in _recordings(path):
        digit, speaker, number = name.removesuffix(".wav").split("_")
        parts[2 if int(number) < 5 else 1 if int(number) < 10 else 0].append((content, int(digit), speaker))
    return Splits(*(_speech(parts[k]) for k in range(3)))


def _idx_splits(name: str) -> Splits[Images]:
    return _with_validation(_idx(name, "train"), _idx(name, "t10k"))


def _with_validation(training: Images, test: Images) -> Splits[Images]:
    """Return the splits whose validation is 500 training images of each class, the same ones always."""
    train, validation = (Images(training.x[part], training.y[part]) for part in hold_out(training.y, 500))
    return Splits(train, validation, test)


def _unit(levels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return levels from 0 to 255 as numbers from 0 to 1."""
    return np.divide(levels, 255, dtype=np.float32)


def _idx(name: str, part: str) -> Images:
    """Return the images and labels of a part in the format of MNIST's makers."""
    images = _idx_array(fetch(name, f"{part}-images-idx3-ubyte.gz"), 16)
    labels = _idx_array(fetch(name, f"{part}-labels-idx1-ubyte.gz"), 8)
    return Images(_unit(images.reshape(-1, 1, 28, 28)), labels.astype(np.int64))


def _idx_array(path: Path, header: int) -> npt.NDArray[np.uint8]:
    """Return what follows the header of so many bytes, which the file's checksum has already checked."""
    try:
        return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)
    except (OSError, EOFError, ValueError) as error:
        raise damaged(path, str(error)) from None


def _batch(archive: tarfile.TarFile, name: str) -> Images:
    """Return 10,000 images: each a byte for the class, then the red, green and blue planes, row by row."""
    file = archive.extractfile(f"cifar-10-batches-bin/{name}.bin")
    records = np.frombuffer(file.read() if file else b"", np.uint8).reshape(10_000, 3073)
    return Images(_unit(records[:, 1:].reshape(-1, 3, 32, 32)), records[:, 0].astype(np.int64))


def _recordings(path: Path) -> list[tuple[str, bytes]]:
    """Return name and content of every recording in the archive, in the names' order, after a check of all.

    Nothing is extracted to disk, and members that are no recordings are never read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            named = {m[1]: info for info in archive.infolist() if (m := _RECORDING.fullmatch(info.filename))}
            found = [(name, _member(archive, info)) for name, info in sorted(named.items())]
    except (
        OSError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        ValueError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise damaged(path, str(error)) from None
    digest = hashlib.sha256()
    for name, content in found:
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    (entry,) = registry()["fsdd"]["files"]
    if digest.hexdigest() != entry["recordings_sha256"]:
        raise damaged(path, "its recordings are not those of version 1.0.10")
    return found


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Return a member's content; raise ValueError where it is longer than a recording can be."""
    with archive.open(info) as file:
        content = file.read(RECORDING_BYTES + 1)
    if len(content) > RECORDING_BYTES:
        raise ValueError(f"{info.filename} has more than {RECORDING_BYTES} bytes")
    return content


def _speech(in_order: list[tuple[bytes, int, str]]) -> Speech:
    """Return the recordings in mixed order; the order of their names is that of the digits."""
    recordings = [in_order[i] for i in np.random.RandomState(0).permutation(len(in_order))]
    x = np.zeros((len(recordings), RATE), np.float32)
    length = np.zeros(len(recordings), np.int64)
    for row, (content, _, _) in enumerate(recordings):
        with wave.open(io.BytesIO(content)) as file:
            sound = np.frombuffer(file.readframes(RATE), "<i2")
        x[row, : len(sound)] = sound / 32768
        length[row] = len(sound)
    y = np.array([digit for _, digit, _ in recordings], np.int64)
    return Speech(x, length, y, [speaker for _, _, speaker in recordings])
