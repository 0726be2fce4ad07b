"""Runs our worker and samples where its threads spend processor time.

`python -m penstock.bench.sampled PROFILE worker ...` is `python -m penstock worker ...` with a thread beside it that
looks at every thread's stack some hundred times a second and weighs it by the processor time that the thread used since
the last look (Linux tells it for each thread in `/proc`). A tracing profiler would cost more than what it measures. At
the end PROFILE holds, for each thread, its share and the functions that had most of it, and PROFILE.stacks the whole
stacks in the collapsed form that flame-graph tools read.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.__main__ import main

if TYPE_CHECKING:
    from types import FrameType

#: Seconds between two looks.
LOOK_S = 0.004
#: Functions shown a thread.
SHOWN = 25
#: Frames of a stack that are kept, from the innermost.
DEEPEST = 40


class Sampler:
    """Counts nanoseconds by thread and stack."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._spent: dict[str, Counter[tuple[str, ...]]] = {}
        self._used: dict[int, int] = {}
        self._began_s = time.monotonic()

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def finish(self) -> None:
        """Look no more, and write."""
        self._stop.set()
        self._thread.join(5)
        self._path.write_text(self._table(), encoding="utf-8")
        lines = [
            f"{';'.join((name, *stack))} {ns // 1000}"
            for name, stacks in self._spent.items()
            for stack, ns in stacks.items()
        ]
        self._path.with_suffix(".stacks").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            threads = {thread.ident: thread for thread in threading.enumerate()}
            for ident, frame in sys._current_frames().items():  # noqa: SLF001 - the one way to see other threads
                thread = threads.get(ident)
                if thread is None or thread is self._thread or thread.native_id is None:
                    continue
                ns = self._cpu_ns(thread.native_id)
                spent = ns - self._used.get(thread.native_id, ns)
                self._used[thread.native_id] = ns
                if spent > 0:
                    self._spent.setdefault(thread.name, Counter())[_stack(frame)] += spent

    @staticmethod
    def _cpu_ns(native_id: int) -> int:
        try:
            text = Path(f"/proc/self/task/{native_id}/schedstat").read_text(encoding="ascii")
        except OSError:
            return 0
        return int(text.split()[0])

    def _table(self) -> str:
        whole_s = time.monotonic() - self._began_s
        lines = [
            f"{whole_s:.1f} s; seconds are processor time; `own` = in the function itself, `all` = with its callees"
        ]
        for name, stacks in sorted(self._spent.items(), key=lambda item: -sum(item[1].values())):
            total = sum(stacks.values())
            own: Counter[str] = Counter()
            within: Counter[str] = Counter()
            for stack, ns in stacks.items():
                own[stack[-1]] += ns
                for place in set(stack):
                    within[place] += ns
            lines.append(f"\n{name}: {total / 1e9:.2f} s")
            lines.extend(
                f"  own {ns / total:6.1%}  all {within[place] / total:6.1%}  {place}"
                for place, ns in own.most_common(SHOWN)
            )
            lines.append("  with callees:")
            lines.extend(f"  all {ns / total:6.1%}  {place}" for place, ns in within.most_common(SHOWN))
        return "\n".join(lines) + "\n"


def _stack(frame: FrameType | None) -> tuple[str, ...]:
    places: list[str] = []
    while frame is not None and len(places) < DEEPEST:
        code = frame.f_code
        file = "/".join(code.co_filename.split("/")[-2:])
        places.append(f"{file}:{code.co_firstlineno} {code.co_qualname}")
        frame = frame.f_back
    return tuple(reversed(places))


if __name__ == "__main__":
    path = Path(sys.argv.pop(1))
    sampler = Sampler(path)
    sampler.start()
    try:
        code = main()
    finally:
        sampler.finish()
    sys.exit(code)
