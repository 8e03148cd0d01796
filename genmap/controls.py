"""Controls of a lesson that compute: while they do, they say so."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipywidgets import interactive

WORKS = "computing …"


def interact(function: Callable[..., Any], **controls: Any) -> interactive:
    """Show controls and what `function` draws or prints for their values; return ipywidgets' own object.

    As `ipywidgets.interact`, with a line above that says while it computes: who waits for a second does not
    take the notebook for a frozen one.

    function: called with the controls' values now and whenever one of them changes.
    controls: for each of its arguments a widget, or what ipywidgets makes one of: a range, a list.
    """
    from IPython.display import display
    from ipywidgets import HTML, VBox, interactive

    line = HTML("&nbsp;")

    def computed(**values: Any) -> Any:
        line.value = f"<i>{WORKS}</i>"
        try:
            return function(**values)
        finally:
            line.value = "&nbsp;"

    shown = interactive(computed, **controls)
    display(VBox([line, shown]))
    shown.update()
    return shown
