"""Shows pictures that unpack to gigabytes, endless SVG entities and pictures that are none."""

import base64
import struct
import zlib

from nbformat.v4 import new_markdown_cell

SIDE = 40_000


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb():
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + SIDE // 8)) for _ in range(SIDE)) + packer.flush()
    head = struct.pack(">IIBBBBB", SIDE, SIDE, 1, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return base64.b64encode(png).decode()


LAUGHS = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
LAUGHS += ']><svg xmlns="http://www.w3.org/2000/svg"><text>&i;</text></svg>'
EXTRA = [
    f"""
from IPython.display import publish_display_data as show
show({{"image/png": {bomb()!r}}})
show({{"image/svg+xml": {LAUGHS!r}}})
show({{"image/jpeg": "no" * 1000}})
show({{"image/gif": 7, "image/png": ["x"], "text/plain": ""}})
""",
]


def notebook(nb):
    picture = new_markdown_cell("![a](attachment:a.png)", attachments={"a.png": {"image/png": bomb()}})
    nb.cells.append(picture)
