"""Sends replies out of order, to parents of its own invention, malformed, unsigned, before the true one."""

EXTRA = [
    """
kernel = get_ipython().kernel
send = kernel.session.send


def flood(stream, kind, content=None, parent=None, ident=None, **rest):
    code = parent["content"].get("code", "") if kind == "execute_reply" and parent else ""
    if code.startswith("invented"):
        for changed in ({}, {"msg_id": None}, {"msg_id": "x_99"}, {"msg_id": ["a"]}):
            header = {**parent["header"], **changed} if changed else {}
            send(stream, kind, {"status": "ok"}, {**parent, "header": header}, ident=ident)
    if code.startswith("unsigned"):
        stream.send_multipart([*(ident or []), b"<IDS|MSG>", b"no", b"signature"])
        stream.send_multipart([*(ident or []), b"[" * 100000])
    return send(stream, kind, content, parent, ident=ident, **rest)


kernel.session.send = flood
""",
    "invented = 1",
    "unsigned = 1",
    """
import sys

runtime = sys.modules["_autograde_runtime"]
answer = runtime.answer


def after_replies_to_cells(request):
    if "weighted_mean" in request:
        parent = kernel.get_parent("shell")
        for n in range(50):
            send(kernel.shell_stream or kernel.shell_socket, "execute_reply", {"status": "ok"}, parent)
    return answer(request)


runtime.answer = after_replies_to_cells
""",
]
