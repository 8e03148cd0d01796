"""Publishes messages whose JSON is nested deeper than Python can follow."""

EXTRA = [
    """
kernel = get_ipython().kernel
deep = b"[" * 50000 + b"]" * 50000
parent = kernel.session.pack(kernel.get_parent("shell")["header"])
header = kernel.session.pack(kernel.session.msg_header("display_data"))
parts = [header, parent, b"{}", b'{"data": {"x/y": ' + deep + b"}, \"metadata\": {}, \"transient\": {}}"]
for _ in range(5):
    kernel.iopub_socket.send_multipart([b"x", b"<IDS|MSG>", kernel.session.sign(parts), *parts])
""",
]
SCORE = (8.0, 0.0)
