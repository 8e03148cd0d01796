"""The formgrader's pages, made safe for submissions nobody has read, where nbgrader has no setting for it.

The pages lie on the Jupyter server's own address: whatever ran there could start a kernel with the grader's
rights. nbgrader serves the files of a submission there as they are, and `/formgrader?path=FOLDER` runs a
nbgrader_config.py of any folder, so of a submission too: a link would be enough.
"""

import base64
import hashlib
import sys
from typing import Any

PAGES = "nbgrader.server_extensions.formgrader"
CDN = "https://cdnjs.cloudflare.com"  # MathJax
# nbgrader's pages have scripts of their own, so inline scripts stay allowed; of handlers, only its own three.
HANDLERS = ("toggle_name(true);", "toggle_name(false);", "toggleAllNames()")


def protect() -> None:
    """Give the formgrader's pages a Content-Security-Policy; does nothing outside a Jupyter server."""
    if (handlers := sys.modules.get(f"{PAGES}.handlers")) is None:
        return
    handlers.BaseHandler.content_security_policy = policy()
    handlers.SubmissionFilesHandler.content_security_policy = f"{policy()}; sandbox"
    handlers.FormgraderHandler.get_argument = _no_path


def policy() -> str:
    """What a page of the formgrader may load and run, as the header's value."""
    digests = [base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in HANDLERS]
    rules = {
        "default-src": "'self'",
        "script-src": f"'self' 'unsafe-inline' 'unsafe-eval' {CDN}",
        "script-src-attr": " ".join(["'unsafe-hashes'", *(f"'sha256-{digest}'" for digest in digests)]),
        "style-src": f"'self' 'unsafe-inline' {CDN}",
        "font-src": f"'self' data: {CDN}",
        "img-src": "'self' data:",
        **dict.fromkeys(("object-src", "base-uri", "frame-src"), "'none'"),
        **dict.fromkeys(("form-action", "frame-ancestors"), "'self'"),
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _no_path(handler: Any, name: str, default: str = "", strip: bool = True) -> str:
    """For the handler that would load the configuration of the folder in `path`: there is none."""
    return default
