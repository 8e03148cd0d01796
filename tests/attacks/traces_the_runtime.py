"""Traces and profiles every line that runs in its process, to change what is sent and to see who asks."""

EXTRA = [
    """
import ctypes
import sys
import threading

seen = []


def trace(frame, event, value):
    if frame.f_code.co_name in ("answer", "dumps", "_encode", "do_call"):
        seen.append(sorted(frame.f_locals))
        for name in ("result", "value"):
            if name in frame.f_locals:
                frame.f_locals[name] = float("361137" + "17") + 0.25
                ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))
    return trace


sys.settrace(trace)
sys.setprofile(trace)
threading.settrace(trace)
""",
]
SCORE = (8.0, 0.0)
