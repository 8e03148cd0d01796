"""A cluster's address: a scheduler's, by TLS or on this machine, or `local:N` for workers made for it."""

import importlib.util
import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from autograde.errors import CourseError, UsageError

LOCAL = re.compile(r"local:([1-9]\d{0,2})")
FORMS = "--cluster takes tls://HOST:PORT, or local:N for N workers on this machine"
PLAIN = "hidden tests would travel in the open: start scheduler and workers with --protocol tls (CLUSTER.md)"


@dataclass(frozen=True)
class Address:
    """Where a cluster is. workers: how many to make here; 0 for a scheduler that runs already, at `url`."""

    url: str
    workers: int = 0


def read(text: str) -> Address:
    """The address that was given. Raises UsageError, and CourseError where there is no Dask."""
    if importlib.util.find_spec("distributed") is None:
        raise CourseError("--cluster needs Dask: pip install 'genmap-autograde[cluster]'.")
    if local := LOCAL.fullmatch(text):
        return Address(text, int(local[1]))
    try:
        given = urlsplit(text)
        good = given.scheme in ("tls", "tcp") and bool(given.hostname) and bool(given.port)
    except ValueError:
        good = False
    if not good:
        raise UsageError(f"{FORMS}, not {text!r}.")
    if not is_safe(text):
        raise UsageError(f"{text} is plain TCP to another machine: {PLAIN}.")
    return Address(text)


def is_safe(url: str) -> bool:
    """Whether what goes there is encrypted, or stays on this machine."""
    given = urlsplit(url)
    return given.scheme == "tls" or (given.scheme == "tcp" and _is_loopback(given.hostname or ""))


def _is_loopback(host: str) -> bool:
    try:
        found = {str(each[4][0]) for each in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return bool(found) and all(ipaddress.ip_address(each).is_loopback for each in found)
