"""What tests of data sets share: an error of one line, and made files in the place of real ones."""

import hashlib

import pytest

from genmap import data
from genmap.data import download


def fails(call, *says):
    """Check that `call` ends in a DataError of one line that says all this."""
    with pytest.raises(data.DataError) as caught:
        call()
    assert "\n" not in str(caught.value)
    for text in says:
        assert text in str(caught.value)


def given(monkeypatch, folder, name, files):
    """Put files into GENMAP_DATA, and let the registry hold their checksums."""
    (folder / name).mkdir()
    entries = []
    for file, content in files.items():
        (folder / name / file).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        entries.append({"name": file, "bytes": len(content), "sha256": digest})
    monkeypatch.setattr(download, "registry", lambda: {name: {"files": entries}})
    monkeypatch.setenv("GENMAP_DATA", str(folder))
