"""Publishes outputs, and replies before the true one, whose JSON is nested deeper than Python follows."""

EXTRA = [
    """
kernel = get_ipython().kernel
session, send = kernel.session, kernel.session.send
deep = b"[" * 50000 + b"]" * 50000


def parts(kind, parent, content):
    header = session.pack(session.msg_header(kind))
    made = [header, session.pack(parent["header"]), b"{}", content]
    return [b"<IDS|MSG>", session.sign(made), *made]


def deeper(stream, kind, content=None, parent=None, ident=None, **rest):
    if kind == "execute_reply" and parent and parent["content"].get("code", "").startswith("nested"):
        stream.send_multipart([*(ident or []), *parts(kind, parent, b'{"status": ' + deep + b"}")])
    return send(stream, kind, content, parent, ident=ident, **rest)


session.send = deeper
""",
    """
shown = b'{"data": {"x/y": ' + deep + b'}, "metadata": {}, "transient": {}}'
for _ in range(5):
    kernel.iopub_socket.send_multipart([b"x", *parts("display_data", kernel.get_parent("shell"), shown)])
""",
    "nested = 1",
    """
import sys

runtime = sys.modules["_autograde_runtime"]
answer = runtime.answer


def forged(request):
    return '{"ok": %s}' % deep.decode() if "weighted_mean" in request else answer(request)


runtime.answer = forged
""",
]
