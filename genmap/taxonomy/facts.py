"""The map as data: what is in data/map.toml.

It is parsed when this module is imported, so that a process that imports it and then forks parses it once.
"""

import tomllib
from importlib.resources import files

from genmap.taxonomy.schema import parse

ATLAS = parse(tomllib.loads(files("genmap.facts").joinpath("map.toml").read_text(encoding="utf-8")))
