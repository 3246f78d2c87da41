"""The audit processes take what processor time others leave: a training step must not wait for them.

Nice 10 and the batch class: beside one busy process that leaves a tenth of a core, which is enough to end.
Nice 19 and the idle class leave next to nothing while a trainer keeps every core busy, and an audit that
runs into its time limit counts against the artifact. Where the kernel groups by session (autogroup), nice
counts inside the session only, so the worker has one of its own and lowers that too; in a cgroup its
weight decides.
"""

from __future__ import annotations

import os
from pathlib import Path

NICE = 10
_AUTOGROUP = Path("/proc/self/autogroup")


def give_way() -> str:
    """Lower the priority of this process and all that it starts; return a word for the report.

    Expects to lead a session of its own. Call it before files are taken away.
    """
    try:
        nice = max(NICE, os.getpriority(os.PRIO_PROCESS, 0))
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except OSError as error:
        return f"normal ({error.strerror})"
    done = [f"nice {nice}"]
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        done.append("batch")
    except OSError:  # containers may forbid it; nice is what counts
        pass
    try:
        _AUTOGROUP.write_text(str(nice), encoding="ascii")
        done.append("autogroup")
    except OSError:  # a kernel without it
        pass
    return ", ".join(done)
