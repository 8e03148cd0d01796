"""A class over a cluster: what is to be judged goes there, and what came back is recorded by forks here."""

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autograde.grading.cluster.connection import Cluster
from autograde.grading.judged import SUBMISSION_SECONDS
from autograde.grading.work import Row, Work, row_of
from autograde.sandbox.workers import forked_map


@dataclass
class Run:
    """The way of submissions to a cluster and back; `ended` hears of each row.

    jobs: how many forks at a time look and record here. most: how many submissions may be on their way.
    """

    cluster: Cluster
    work: Work
    ended: Callable[[Row], None]
    jobs: int
    most: int
    sent: dict[int, tuple[Path, str, str]] = field(default_factory=dict)  # folder, file and stamp, by number

    def grade(self, folders: Sequence[Path]) -> None:
        """All of them. Raises CourseError where the cluster is lost: what was recorded stays."""
        waiting, number = list(folders)[::-1], 0
        while waiting or self.sent:
            room = self.cluster.room(self.most) - len(self.sent)
            chosen = [waiting.pop() for _ in range(min(room, len(waiting)))]
            self.look(chosen, number)
            number += len(chosen)
            self.record(self.cluster.back(wait=bool(self.sent) and not (chosen and waiting)))

    def look(self, folders: Sequence[Path], number: int) -> None:
        """See what is to be judged, and send it."""
        for index, outcome in self.forks(self.work.look, folders):
            if isinstance(outcome, dict) and "file" in outcome:
                self.sent[number + index] = folders[index], outcome["file"], outcome["stamp"]
                self.cluster.send(number + index, outcome["file"])
            else:
                self.ended(row_of(folders[index].parent.name, outcome))

    def record(self, found: Sequence[dict[str, Any]]) -> None:
        """Record what came back, each once, whoever judged it; of what did not, say why."""
        back = [(self.sent.pop(each["index"]), each) for each in found if each["index"] in self.sent]
        judged = [given for given, each in back if "error" not in each]
        for (folder, _, _), each in back:
            if "error" in each:
                self.ended(Row(folder.parent.name, "failed", reason=each["error"]))
        for index, outcome in self.forks(self.work.record, judged):
            self.ended(row_of(judged[index][0].parent.name, outcome))
        for (_, file, _), _ in back:
            with contextlib.suppress(OSError):
                os.unlink(file)

    def forks(self, step: Callable[[Any], Any], items: Sequence[Any]) -> Any:
        """The outcomes of a step, by number."""
        return forked_map(step, items, 2 * SUBMISSION_SECONDS, self.jobs, pinned=True)
