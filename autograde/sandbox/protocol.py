"""The kinds of messages on the lines of grading: grader and kernel, judge and grader.

A message is the letter of its kind and a body; what the judge asks is passed on to the kernel as it is.
Nothing that comes from a kernel is trusted; the kind of a message is a letter that anything may have written.
"""

from enum import StrEnum


class KernelMessage(StrEnum):
    """Between grader and kernel, framed by framing.py; the body is JSON in ASCII."""

    CELL = "X"  # to the kernel: run this source
    QUESTION = "Q"  # to the kernel: a call, read by call_server.py
    OUTPUT = "M"  # from the kernel: one of Jupyter's output messages, its type and content
    ENDED = "E"  # from the kernel: the cell has ended (its execution count); first of all, that it is ready
    ANSWER = "A"  # from the kernel: what call_server.py answers


class JudgeMessage(StrEnum):
    """Between judge and grader, framed by multiprocessing's Connection; the body is text in UTF-8.

    Questions, as they are, and answers have a line of their own, which ends when all are asked; the verdict
    has another.
    """

    VERDICT = "V"  # from the judge, last: its verdict in JSON
    FAULT = "F"  # from the judge, last: why the hidden tests could not be run
    ANSWER = "A"  # to the judge: the kernel's answer
    DIED = "D"  # to the judge, in place of an answer: errors.Died, TimedOut, OutOfTime, Unusable
    TIMED_OUT = "T"
    OUT_OF_TIME = "O"
    UNUSABLE = "U"
