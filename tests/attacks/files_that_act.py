"""Hands in pages, drawings and programs beside its notebook, to have them handed back with the feedback."""

SCRIPT = "<script>window.ran=1</script>"
NAMES = ("evil.html", "index.html", "evil.svg", "evil.js", "evil.pdf", "picture.png", "x/evil.xhtml")


def files(folder):
    (folder / "x").mkdir()
    for name in NAMES:
        (folder / name).write_text(SCRIPT)


def check(outcome):
    if outcome["back"] - {"90_small.html"}:
        yield f"handed back: {outcome['back']}"
