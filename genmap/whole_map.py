"""The atlas of data/map.toml, parsed at the import of this: who imports it and then forks parses it once."""

import tomllib
from importlib.resources import files

from genmap.taxonomy import parse

ATLAS = parse(tomllib.loads(files("genmap.facts").joinpath("map.toml").read_text(encoding="utf-8")))
