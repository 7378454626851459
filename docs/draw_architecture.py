"""Draws `docs/images/architecture.svg` from the code's own imports: ``python -m docs.draw_architecture``.

A room is a band; what is higher imports from what is lower. Within a room, arrows lead from a folder to those
it imports from; arrows that follow from others are left out.
"""

from collections import Counter
from html import escape
from pathlib import Path
from textwrap import wrap

from docs.architecture import ROOMS, ROOT, Graph, folder, folder_imports, modules, purpose

PICTURE = ROOT / "docs" / "images" / "architecture.svg"
WIDTH, BOX, HEIGHT, GAP, MARGIN, HEAD = 1500, 212, 74, 34, 16, 46
COLOURS = ("#eceff1", "#e3f2fd", "#e8f5e9", "#fff8e1", "#fbe9e7", "#f3e5f5", "#e0f2f1")
_STYLE = (
    "text{font-family:system-ui,sans-serif;fill:#222}.room{font-size:19px;font-weight:600}"
    ".name{font-size:15px;font-weight:600}.small{font-size:11.5px;fill:#444}"
    ".arrow{fill:none;stroke:#555;stroke-width:1.3;marker-end:url(#tip)}"
)


def draw() -> str:
    """Return the picture as SVG text; the same imports give the same text."""
    graph, files = folder_imports(), Counter(map(folder, modules()))
    parts: list[str] = []
    top = MARGIN
    for index in reversed(range(len(ROOMS))):
        band, height = _band(ROOMS[index], graph, files, top, COLOURS[index])
        parts += band
        top += height + MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}">'
        f"<style>{_STYLE}</style><defs><marker id='tip' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' "
        "markerHeight='7' orient='auto'><path d='M0,0 L8,4 L0,8 z' fill='#555'/></marker></defs>"
        f'<rect width="{WIDTH}" height="{top}" fill="white"/>'
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def _band(room: str, graph: Graph, files: Counter[str], top: int, colour: str) -> tuple[list[str], int]:
    """One room: its boxes by level, the lowest at the left, and the arrows between them."""
    inner = {name: graph[name] & set(_folders(room, graph)) for name in _folders(room, graph)}
    columns: dict[int, list[str]] = {}
    for name in sorted(inner):
        columns.setdefault(_level(name, inner), []).append(name)
    rows = max(map(len, columns.values()))
    height = HEAD + rows * (HEIGHT + 14) + 6
    used = sorted({t.partition(".")[0] for name in inner for t in graph[name]} - {room}, key=ROOMS.index)
    below = f"imports {', '.join(used)}" if used else "imports nothing of ours"
    wide = WIDTH - 2 * MARGIN
    parts = [
        f'<rect x="{MARGIN}" y="{top}" width="{wide}" height="{height}" rx="10" fill="{colour}"/>',
        f'<text class="room" x="{MARGIN + 14}" y="{top + 28}">{room}/</text>',
        f'<text class="small" x="{MARGIN + 160}" y="{top + 27}">{escape(purpose(room))} · {below}</text>',
    ]
    place = {
        name: (MARGIN + 14 + level * (BOX + GAP), top + HEAD + row * (HEIGHT + 14))
        for level, names in columns.items()
        for row, name in enumerate(names)
    }
    for name, targets in inner.items():
        implied = {target for other in targets for target in _below(other, inner)}
        parts += [_arrow(place[name], place[target]) for target in sorted(targets - implied)]
    for name, (x, y) in place.items():
        parts += _box(name, room, x, y, files[name])
    return parts, height


def _folders(room: str, graph: Graph) -> list[str]:
    """The folders of a room that hold code, not only data."""
    code = {folder(name) for name in modules() if not name.endswith("__init__")}
    return [name for name in graph if name in code and (name == room or name.startswith(f"{room}."))]


def _below(name: str, graph: Graph) -> set[str]:
    found = set(graph[name])
    for target in graph[name]:
        found |= _below(target, graph)
    return found


def _level(name: str, graph: Graph) -> int:
    return max((1 + _level(target, graph) for target in graph[name]), default=0)


def _box(name: str, room: str, x: int, y: int, n_files: int) -> list[str]:
    title = f"{room}/*.py" if name == room else name.removeprefix(f"{room}.") + "/"
    text = ["What the rooms above use first"] if name == room else wrap(purpose(name).rstrip("."), 31)[:3]
    lines = [
        f'<rect x="{x}" y="{y}" width="{BOX}" height="{HEIGHT}" rx="6" fill="white" stroke="#bbb"/>',
        f'<text class="name" x="{x + 9}" y="{y + 19}">{title}</text>',
        f'<text class="small" x="{x + BOX - 9}" y="{y + 19}" text-anchor="end">{n_files} files</text>',
    ]
    return lines + [
        f'<text class="small" x="{x + 9}" y="{y + 36 + 14 * row}">{escape(line)}</text>'
        for row, line in enumerate(text)
    ]


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    x, y = start[0], start[1] + HEIGHT // 2
    u, v = end[0] + BOX, end[1] + HEIGHT // 2
    bend = max(GAP // 2, (x - u) // 3)
    return f'<path class="arrow" d="M{x},{y} C{x - bend},{y} {u + bend},{v} {u},{v}"/>'


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
    print(f"Written: {Path(PICTURE).relative_to(ROOT)}")
