"""Sends replies out of order, to parents of its own invention, malformed, unsigned, before the true one."""

EXTRA = [
    """
kernel = get_ipython().kernel
send = kernel.session.send


def flood(stream, kind, content=None, parent=None, ident=None, **rest):
    if kind == "execute_reply" and parent and parent["content"].get("silent"):
        for changed in ({}, {"msg_id": None}, {"msg_id": "x_99"}, {"msg_id": ["a"]}):
            header = {**parent["header"], **changed} if changed else {}
            send(stream, kind, {"status": "ok"}, {**parent, "header": header}, ident=ident)
        stream.send_multipart([*(ident or []), b"<IDS|MSG>", b"no", b"signature"])
        stream.send_multipart([*(ident or []), b"[" * 100000])
    return send(stream, kind, content, parent, ident=ident, **rest)


kernel.session.send = flood
""",
]
