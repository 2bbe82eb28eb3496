"""The rules that come with lopt: their list and cards. Two files in the folder `shipped` register a rule."""

import html
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lopt.objectives import Drift
from lopt.protocols import LearnedOptimizer, Objective
from lopt.rules.parts import CLASSIFIER, PROGRAM, rebuild
from lopt.rules.rule import Card, load_rule
from lopt.search.program import suggestion

SHIPPED = Path(__file__).parent / "shipped"
"""The folder of the shipped rules."""
HEADER = ("name", "kind", "purpose", "trained on", "headline result", "status", "size", "licence")
COLUMNS = (("name", "kind"), ("purpose",), ("trained on",), ("headline result",), ("status", "size", "licence"))
"""Columns of the table in a terminal; those with several fields have each on a line of its own."""
NARROWEST = 100
"""Smallest width of the table, in characters."""


@dataclass(frozen=True)
class Entry:
    """A shipped rule in the list: what its card says first. `lopt.rules.card(entry.name)` has everything.

    Attributes:
        name: for `lopt.load`.
        kind: "optimizer", "program", "drift", "objective" or "in-context learner".
        purpose: what it is for.
        trained_on: the tasks or environments of its meta-training.
        headline: its first result, with its interval.
        status: how far the results can be relied on.
        size: of both files, in bytes.
        licence: of the files.
    """

    name: str
    kind: str
    purpose: str
    trained_on: str
    headline: str
    status: str
    size: int
    licence: str

    def cells(self) -> tuple[str, ...]:
        """Its row of the table, in the order of `HEADER`."""
        size = f"{self.size / 1000:.1f} kB"
        return (self.name, self.kind, self.purpose, self.trained_on, self.headline, self.status, size, self.licence)


class RuleList(tuple[Entry, ...]):
    """Shipped rules, in the order of their names; a table where it is printed or shown in a notebook."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names, for `lopt.load`."""
        return tuple(entry.name for entry in self)

    def __repr__(self) -> str:
        return _text_table([dict(zip(HEADER, entry.cells(), strict=True)) for entry in self])

    __str__ = __repr__

    def _repr_html_(self) -> str:
        rows = ["".join(f"<th>{name}</th>" for name in HEADER)]
        rows += ["".join(f"<td>{html.escape(cell)}</td>" for cell in entry.cells()) for entry in self]
        return "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


def list_rules() -> RuleList:
    """The shipped rules: name, kind, purpose, what each was trained on, headline result, status, size, licence.

    Example:
        print(lopt.list_rules())
        [rule.name for rule in lopt.list_rules() if rule.kind == "drift"]

    Raises:
        ValueError: a shipped file that is damaged, which is named.
    """
    return RuleList(_entry(name) for name in _names())


def card(name: str | Path) -> Card:
    """The card of a shipped rule, or of a rule file: everything that is known about it. It is text where printed.

    Args:
        name: as in `lopt.load`.

    Raises:
        ValueError: an unknown name (near matches are listed), or a damaged file, which is named.
    """
    return load_rule(find(name)).card


def find(name: str | Path) -> Path:
    """The path of a rule, without its ending: a shipped one by its name, another by its path.

    Raises:
        ValueError: a name that is neither that of a shipped rule nor a path.
    """
    names = _names()
    if str(name) in names:
        return SHIPPED / str(name)
    path = Path(name)
    stem = path.name.removesuffix(".npz").removesuffix(".json")
    if any(path.with_name(stem + ending).is_file() for ending in (".json", ".npz")) or path.parent != Path("."):
        return path.with_name(stem)
    within = [name for name in names if stem.lower() in name]
    near = f"; did you mean {' or '.join(within)}?" if within else suggestion(stem, names)
    raise ValueError(
        f"there is no shipped rule {stem!r} and no such rule file{near} (shipped are "
        f"{', '.join(names)}; another is given by the path of its .npz or .json)"
    )


def kind_of(card: Card) -> str:
    """The kind of a rule: "optimizer", "program", "drift", "objective" or "in-context learner".

    Raises:
        ValueError: another class.
    """
    if card.kind in (PROGRAM, CLASSIFIER):
        return "program" if card.kind == PROGRAM else "in-context learner"
    part = rebuild(card)
    for name, contract in (("optimizer", LearnedOptimizer), ("drift", Drift), ("objective", Objective)):
        if isinstance(part, contract):
            return name
    raise ValueError(f"a {card.kind} is none of: optimizer, program, drift, objective, in-context learner")


def _names() -> list[str]:
    return sorted(path.name.removesuffix(".json") for path in SHIPPED.glob("*.json"))


def _entry(name: str) -> Entry:
    card = load_rule(SHIPPED / name).card
    first = card.results[0] if card.results else None
    return Entry(
        name=name,
        kind=kind_of(card),
        purpose=card.purpose,
        trained_on=card.trained_on,
        headline=f"{first}: {first.measure}" if first else "",
        status=card.status,
        size=sum((SHIPPED / f"{name}{ending}").stat().st_size for ending in (".json", ".npz")),
        licence=card.licence,
    )


def _text_table(rows: Sequence[Mapping[str, str]]) -> str:
    """The table in as many characters as the terminal has; the texts in the middle are wrapped."""
    narrow = [0, len(COLUMNS) - 1]
    short = {i: max(len(row[name]) for row in (*rows, {x: x for x in HEADER}) for name in COLUMNS[i]) for i in narrow}
    width = max(NARROWEST, shutil.get_terminal_size().columns) - sum(short.values()) - 2 * (len(COLUMNS) - 1)
    widths = [short.get(i, width // (len(COLUMNS) - len(narrow))) for i in range(len(COLUMNS))]
    lines = _lines({name: name for name in HEADER}, widths) + ["  ".join("-" * width for width in widths)]
    for row in rows:
        lines += [*_lines(row, widths), ""]
    return "\n".join(lines).rstrip()


def _lines(row: Mapping[str, str], widths: Sequence[int]) -> list[str]:
    """The lines of one row."""
    cells = [
        [line for name in names for line in textwrap.wrap(row[name], width, break_on_hyphens=False)]
        for names, width in zip(COLUMNS, widths, strict=True)
    ]
    columns = list(zip(cells, widths, strict=True))
    return [
        "  ".join((cell[i] if i < len(cell) else "").ljust(width) for cell, width in columns).rstrip()
        for i in range(max(map(len, cells)))
    ]
