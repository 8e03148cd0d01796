"""A cell's outputs from what a kernel sends, by nbclient's rules, and bounded."""

import contextlib
import json
from typing import Any

from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_output

from autograde.sandbox.limits import Limits

LOST = {"ename": "Error", "evalue": "its text was too long", "traceback": ["[too long]"]}
ERROR = '{"msg_type": "error"'  # what an error's message begins with (cell_executor.py)
CUT = "\n[output cut off here]\n"


class Flood(Exception):
    """A cell's output is far too long."""


class Outputs(NotebookClient):
    """nbclient's client, which is given the messages; it has no kernel of its own."""

    limits: Limits
    received = allowed = 0
    failed = False

    def begin(self, cell: NotebookNode, allowed: int) -> None:
        """Expect the messages of a cell; what is longer than `allowed` characters in all is cut off."""
        self.received, self.allowed, self.failed = 0, allowed, False
        self.nb.cells = [cell]
        self.clear_before_next_output = False
        self.reset_execution_trackers()  # of the cell before, which is not in this notebook of one

    def take(self, text: str) -> None:
        """Put a message's output into the cell; what is no output is left out. Raises Flood."""
        self.received += len(text)
        if self.received > self.limits.flood_bytes:
            raise Flood
        if self.received <= self.allowed:
            with contextlib.suppress(Exception):  # a message that anything may have written
                given = json.loads(text)
                self.received += len(text) * self._more_places(given["content"])
                if self.received <= self.allowed:
                    self._put(given["msg_type"], given["content"])
        elif text.startswith(ERROR) and not self.failed:
            self.failed = True
            self._put("error", LOST)

    def _more_places(self, content: dict[str, Any]) -> int:
        """In how many places that are there already the output is to be shown: each counts as one more."""
        shown = content.get("transient", {}).get("display_id")
        return sum(map(len, self._display_id_map.get(shown, {}).values()))

    def _put(self, kind: str, content: dict[str, Any]) -> None:
        message = {"msg_type": kind, "header": {"msg_type": kind}, "parent_header": {}, "content": content}
        if kind != "status":  # which would end the cell
            self.process_message(message, self.nb.cells[0], 0)

    def end(self) -> None:
        """The cell has ended: say so in it where its output was cut off."""
        if self.received > self.allowed:
            self.nb.cells[0].outputs.append(new_output("stream", name="stdout", text=CUT))

    def handle_comm_msg(self, outs: list[NotebookNode], msg: dict[str, Any], cell_index: int) -> None:
        """Widgets have nobody to talk to here; nor is there a kernel to ask."""
