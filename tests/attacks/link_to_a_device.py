"""Hands in a link to /dev/zero, which has no end, and one to a terminal."""


def files(folder):
    (folder / "endless").symlink_to("/dev/zero")
    (folder / "terminal").symlink_to("/dev/tty")
