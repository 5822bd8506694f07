"""The plots of docs/images, as SVG: cost over the number of connections, and the cases beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.figures import median
from benchmarks.rows import CURVES, ROWS, Row
from benchmarks.servers import LIMIT, OURS, REFERENCE, SERVERS
from benchmarks.tables import number

# One colour per server in every plot; ours stands out.
COLOURS = {
    OURS: "#0b6e4f",
    "lws-gevent-greenlet": "#5fb49c",
    REFERENCE: "#d1495b",
    "picows": "#edae49",
    "socketify": "#30638e",
    "gevent-websocket": "#8d6a9f",
    "websockets": "#b08968",
    "aiohttp": "#7f8c8d",
    LIMIT: "#222222",
}
BAR_ROWS = ("echo-1", "echo-64", "connect", "idle")


def draw(results: dict[str, Any], directory: Path) -> None:
    """Draws what there are figures for.

    Raises:
        ImportError: without matplotlib.
    """
    import matplotlib

    matplotlib.use("Agg")
    # The same figures give the same file, and text stays text.
    matplotlib.rcParams.update({"svg.hashsalt": "lws_gevent", "svg.fonttype": "none", "font.size": 10})
    directory.mkdir(parents=True, exist_ok=True)
    _curve(results, "cpu", "CPU time per message (us), 20 B, 1 in flight", directory / "cpu-per-message.svg")
    _curve(results, "memory", "private memory per idle connection (bytes)", directory / "memory-per-connection.svg")
    _bars(results, directory / "cases.svg")


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")


def _curve(results: dict[str, Any], curve: str, label: str, path: Path) -> None:
    from matplotlib import pyplot

    rows: list[Row] = [row for row in CURVES if row.curve == curve and row.name in results["rows"]]
    if len(rows) < 2:
        return
    figure, axes = pyplot.subplots(figsize=(7.5, 4.5))
    for name in SERVERS:
        points = [(row.connections, median(results["rows"][row.name], name)) for row in rows]
        known = [(x, y) for x, y in points if y]
        if known:
            axes.plot(
                [x for x, _ in known],
                [y for _, y in known],
                marker="o",
                markersize=4,
                linewidth=2.5 if name == OURS else 1.5,
                linestyle="--" if name == LIMIT else "-",
                color=COLOURS.get(name),
                label=SERVERS[name].title,
            )
    axes.set(xscale="log", yscale="log" if curve == "memory" else "linear", xlabel="connections", ylabel=label)
    if curve == "cpu":
        axes.set_ylim(bottom=0)
    axes.set_xticks([row.connections for row in rows], [f"{row.connections:,}" for row in rows])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: number(value))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    _save(figure, path)
    pyplot.close(figure)


def _bars(results: dict[str, Any], path: Path) -> None:
    from matplotlib import pyplot

    names = [name for name in BAR_ROWS if name in results["rows"]]
    if not names:
        return
    figure, grid = pyplot.subplots(1, len(names), figsize=(3.6 * len(names), 3.2), squeeze=False)
    for axes, name in zip(grid[0], names, strict=True):
        measured = results["rows"][name]
        known = [(server, value) for server in SERVERS if (value := median(measured, server))]
        known.reverse()
        bars = axes.barh(
            range(len(known)),
            [value for _, value in known],
            color=[COLOURS.get(server, "#999999") for server, _ in known],
        )
        axes.set_yticks(range(len(known)), [SERVERS[server].name for server, _ in known], fontsize=8)
        axes.bar_label(bars, [number(value) for _, value in known], fontsize=8, padding=2)
        axes.set_xlim(0, max(value for _, value in known) * 1.2)  # room for the label of the longest
        axes.set_title(f"{ROWS[name].title} ({ROWS[name].quantity.value})", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    _save(figure, path)
    pyplot.close(figure)
