"""Replies with contents that are no contents: a list, a number as text, another state with a wish to quit."""

EXTRA = [
    """
kernel = get_ipython().kernel
send = kernel.session.send
odd = {
    "list": [],
    "number": {"status": 12, "execution_count": "12"},
    "state": {"status": "aborted", "user_expressions": [], "payload": [{"source": "ask_exit"}]},
}


def strange(stream, kind, content=None, parent=None, **rest):
    code = parent["content"].get("code", "") if kind == "execute_reply" and parent else ""
    if code.startswith("odd = "):
        content = kernel.session.pack(odd[code.removeprefix("odd = ").strip("'")])
    return send(stream, kind, content, parent, **rest)


kernel.session.send = strange
""",
    "odd = 'list'",
    "odd = 'number'",
    "odd = 'state'",
    """
import sys

runtime = sys.modules["_autograde_runtime"]
answer = runtime.answer


def forged(request):
    if "weighted_mean" not in request:
        return answer(request)
    return '"12"' if '"raw"' in request else "[]"


runtime.answer = forged
""",
]
LIMITS = {"restarts": 4, "cell": 2}
