"""Writes what was measured into the documentation: tables, plots, the handler's source."""

from __future__ import annotations

import re
import sys

from benchmarks import plots
from benchmarks.figures import Results
from benchmarks.processes import ROOT
from benchmarks.tables import (
    blocked_text,
    latency_table,
    machine_text,
    readme_table,
    servers_table,
    targets_table,
    wsgi_table,
)

DOCUMENT = ROOT / "docs" / "performance.md"
README = ROOT / "README.md"
IMAGES = ROOT / "docs" / "images"


def replace_section(document: str, name: str, content: str) -> str:
    """`document` with what stands between `<!-- benchmarks: NAME -->` and `<!-- end -->` replaced.

    Without the two markers it is returned as it is.
    """
    pattern = re.compile(rf"(<!-- benchmarks: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    return pattern.sub(lambda found: f"{found[1]}\n{content}\n\n{found[2]}", document)


def publish(results: Results) -> None:
    """Writes the marked sections of docs/performance.md and of the README, and the plots."""
    try:
        plots.draw(results, IMAGES)
    except ImportError as error:
        print(f"no plots: {error}", file=sys.stderr)
    sections = {
        "machine": machine_text(results),
        "targets": targets_table(results),
        "wsgi": wsgi_table(results),
        "servers": servers_table(results),
        "latency": latency_table(results),
        "blocked": blocked_text(results),
        "handler": f"```python\n{results['handler'].rstrip()}\n```",
        "readme": readme_table(results),
    }
    for path in (DOCUMENT, README):
        if path.exists():
            document = path.read_text()
            for name, content in sections.items():
                document = replace_section(document, name, content)
            path.write_text(document)
