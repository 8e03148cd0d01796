"""Replies with contents that are no contents: a list, a number as text, another state with a wish to quit."""

EXTRA = [
    """
kernel = get_ipython().kernel
send = kernel.session.send
odd = [
    [],
    {"status": "ok", "user_expressions": {"reply": {"status": "ok", "data": {"text/plain": 12}}}},
    {"status": "aborted", "user_expressions": [], "payload": [{"source": "ask_exit"}]},
]
turn = [0]


def strange(stream, kind, content=None, parent=None, **rest):
    if kind == "execute_reply" and "weighted_mean" in str(parent["content"].get("user_expressions")):
        content = kernel.session.pack(odd[turn[0] % len(odd)])
        turn[0] += 1
    return send(stream, kind, content, parent, **rest)


kernel.session.send = strange
""",
]
