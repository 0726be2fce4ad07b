"""Check the relative links and anchors of the Markdown files: `python scripts/check_docs_links.py [ROOT]`.

Each problem is one line, `file:line: what`; the exit code is 1 when there is one. Links with a scheme are not followed.
An anchor is what GitHub makes of a heading.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Folders whose files are not ours or not written by hand.
SKIPPED = {".git", ".venv", ".venv-peers", ".penstock", "demo-report", "node_modules", "build", "dist"}

_LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_REFERENCE = re.compile(r"^\s{0,3}\[[^\]]+\]:\s+<?(\S+?)>?(?:\s|$)")
_HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_EXPLICIT = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")
_CODE = re.compile(r"(`+)(.+?)\1")


def prose(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a Markdown text, with their numbers from 1, without fenced blocks."""
    fence = ""
    for number, line in enumerate(text.splitlines(), 1):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and line.strip() == mark[1]:
            fence = ""
        elif not fence:
            yield number, line


def slug(heading: str) -> str:
    """The anchor GitHub gives a heading, but for the number it adds to a repeated one."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


@cache
def anchors(path: Path) -> frozenset[str]:
    """All anchors of a Markdown file."""
    found: set[str] = set()
    seen: dict[str, int] = {}
    for _, line in prose(path.read_text(encoding="utf-8")):
        found.update(_EXPLICIT.findall(line))
        if heading := _HEADING.match(line):
            name = slug(heading[1])
            count = seen.get(name, 0)
            seen[name] = count + 1
            found.add(f"{name}-{count}" if count else name)
    return frozenset(found)


def targets(line: str) -> list[str]:
    """What a line of prose links to."""
    bare = _CODE.sub("", line)
    reference = _REFERENCE.match(bare)
    return _LINK.findall(bare) + ([reference[1]] if reference else [])


def problems(root: Path) -> Iterator[str]:
    """What is wrong below `root`, one line each."""
    for path in sorted(root.rglob("*.md")):
        if SKIPPED & set(path.relative_to(root).parts):
            continue
        for number, line in prose(path.read_text(encoding="utf-8")):
            for target in targets(line):
                if what := problem(path, target):
                    yield f"{path.relative_to(root)}:{number}: {what}"


def problem(path: Path, target: str) -> str | None:
    """What is wrong with a link from a file; None = nothing."""
    if re.match(r"[a-z][a-z0-9+.-]*:", target, re.IGNORECASE) or target.startswith("//"):
        return None
    if target.startswith("/"):
        return f"{target}: absolute paths do not work in a checkout; write it relative to this file"
    place, _, anchor = target.partition("#")
    file = (path.parent / unquote(place)).resolve() if place else path
    if not file.exists():
        return f"{target}: no such file"
    if anchor and file.suffix == ".md" and unquote(anchor) not in anchors(file):
        return f"{target}: {file.name} has no heading with the anchor #{anchor}"
    return None


def main(root: Path) -> int:
    """Print the problems; the exit code says whether there are any."""
    found = list(problems(root.resolve()))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent))
