"""Hands in, in the place of its folder, a link to the folder of another student."""

SCORE = None


def files(folder):
    folder.rename(folder.with_name("aside"))
    folder.symlink_to("../zoe/90_small")
