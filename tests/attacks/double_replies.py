"""Answers every request twice, first with a forged result, in the name of the same request."""

EXTRA = [
    """
kernel = get_ipython().kernel
send = kernel.session.send
reply = {"status": "ok", "data": {"text/plain": repr('{"d": [["ok", {"f": "0x1p+3"}]]}')}, "metadata": {}}


def twice(stream, kind, content=None, parent=None, ident=None, **rest):
    if kind == "execute_reply":
        forged = {"status": "ok", "execution_count": 1, "user_expressions": {"reply": reply}}
        send(stream, kind, forged, parent, ident=ident, **rest)
    return send(stream, kind, content, parent, ident=ident, **rest)


kernel.session.send = twice
""",
]
SCORE = 0.0
