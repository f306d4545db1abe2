"""The source list of the Power BI project (source/), read: tables, columns, measures, M and pages, as generator, check and
pictures all see them. Knows no file format of Power BI."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = HERE / "source"
LIST = tomllib.loads((SOURCE / "project.toml").read_text())
NAME = LIST["name"]

# What a column's type is in M, and which function of Activity.pq makes a value of it.
M_TYPES = {
    "string": "type text",
    "int64": "Int64.Type",
    "dateTime": "type datetime",
    "date": "type date",
    "boolean": "type logical",
}
M_CONVERSIONS = {"string": "AsText", "int64": "AsNumber", "dateTime": "AsTime", "boolean": "AsLogical"}
# M expressions that are no table, in the order in which they build on each other.
EXPRESSIONS = ["UtcNow", "CosmosText", "Condition", "ActivityQuery", "EdgesQuery", "FindingsQuery", "Words"]
# Tables that M loads, and tables that DAX makes of them at no cost to the database.
LOADED = ["Activity", "Edges", "Findings", "AdminList", "WatchList", "Date"]
CALCULATED = ["OfficeActivity", "Nodes"]


@dataclass(frozen=True)
class Column:
    """A column of the model. `path` leads to its value in what the query ranges over, `word` names the field whose number it
    puts in words; `unseen` as in the list."""

    name: str
    type: str
    path: str | None = None
    office: str | None = None
    unseen: bool = False
    word: str | None = None


def _documented(entry: dict) -> Column:
    name = entry.get("name", entry["field"])
    office = name if entry.get("office") == "same" else entry.get("office")
    return Column(name, entry.get("type", "string"), f"c.{entry['field']}", office, entry.get("unseen", False))


def _derived(table: str) -> list[Column]:
    entries = {name: {"type": entry} if isinstance(entry, str) else entry for name, entry in LIST["derived"].get(table, {}).items()}
    return [Column(name, entry["type"], None, entry.get("office"), word=entry.get("word")) for name, entry in entries.items()]


def _selection(name: str) -> list[Column]:
    return [Column(entry["name"], entry.get("type", "string"), entry["from"]) for entry in LIST[name]]


ACTIVITY = [_documented(entry) for entry in LIST["columns"]]
EDGE_KEYS = _selection("edges")
FINDINGS = _selection("findings")
WORDED = [column for column in _derived("Activity") if column.word]
TABLES: dict[str, list[Column]] = {
    "Activity": ACTIVITY + _derived("Activity"),
    "Edges": EDGE_KEYS + _derived("Edges"),
    "Findings": FINDINGS + _derived("Findings"),
    "WatchList": _derived("WatchList"),
    "AdminList": _derived("AdminList"),
    "Date": _derived("Date"),
    "OfficeActivity": [Column(column.office, column.type) for column in ACTIVITY + WORDED if column.office],
    "Nodes": _derived("Nodes"),
}
SORTED_BY: dict[str, str] = LIST["sort"]
MEASURES: dict[str, dict] = {measure["name"]: measure for measure in LIST["measure"]}


def words() -> dict[str, dict[int, str]]:
    """By field, its numbers in words."""
    found: dict[str, dict[int, str]] = {}
    for line in (SOURCE / "words.tsv").read_text().splitlines():
        if not line.startswith("#"):
            of, number, word = line.split("\t")
            found.setdefault(of, {})[int(number)] = word
    return found


def m_source(name: str) -> str:
    """The M of a table or expression: the file of that name, with the lists it leaves open."""
    text = (SOURCE / f"{name}.pq").read_text().rstrip("\n")
    loaded = {"Activity": ACTIVITY, "Edges": EDGE_KEYS + _typed_in_m("Edges"), "Findings": FINDINGS}.get(name, TABLES.get(name, []))
    selected = {"EdgesQuery": EDGE_KEYS, "FindingsQuery": FINDINGS, "Findings": FINDINGS}.get(name, ACTIVITY)
    steps = ["Timed", *(column.word for column in WORDED)]
    lists = {
        "select": ", ".join(_selected(column) for column in selected),
        "group": ", ".join(column.path for column in selected),
        "names": ", ".join(f'"{column.name}"' for column in selected),
        "keys": ", ".join(f'"{column.name}"' for column in EDGE_KEYS),
        "convert": ",\n        ".join(f'{{"{column.name}", {M_CONVERSIONS[column.type]}}}' for column in selected),
        "types": ",\n        ".join(f'{{"{column.name}", {M_TYPES[column.type]}}}' for column in loaded),
        "words": _m_record({of: _m_record({f'#"{n}"': f'"{word}"' for n, word in numbers.items()}) for of, numbers in words().items()}),
        "worded": "\n".join(
            f'    {column.word} = Table.AddColumn({before}, "{column.name}", each Word("{column.word}", [{column.word}]), type text),'
            for before, column in zip(steps, WORDED, strict=False)
        ),
        "last": steps[-1],
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: lists[found[1]], text)


def _selected(column: Column) -> str:
    return column.path if column.path == f"c.{column.name}" else f"{column.path} AS {column.name}"


def _m_record(members: dict[str, str]) -> str:
    return "[" + ", ".join(f"{name} = {value}" for name, value in members.items()) + "]"


def _typed_in_m(table: str) -> list[Column]:
    """What a query answers beside the keys; a day and a name are added afterwards."""
    return [column for column in _derived(table) if column.name not in ("Date", "Edge")]


def dax(measure: dict) -> str:
    """The measure in DAX."""
    if "dax" in measure:
        return measure["dax"].strip("\n")
    table = measure["table"]
    column = f"{table}[{measure.get('of')}]"
    expression = {
        "rows": f"COUNTROWS ( {table} )",
        "distinct": f"DISTINCTCOUNTNOBLANK ( {column} )",
        "sum": f"SUM ( {column} )",
        "min": f"MIN ( {column} )",
        "max": f"MAX ( {column} )",
    }[measure["how"]]
    filters = [
        f"{of}[{name}] IN {{ {', '.join(_dax_literal(value) for value in values)} }}"
        for of, columns in measure.get("where", {}).items()
        for name, values in columns.items()
    ]
    if "known" in measure:
        filters.append("NOT ISBLANK ( {}[{}] )".format(*measure["known"].split(".")))
    expression = f"CALCULATE ( {expression}, {', '.join(filters)} )" if filters else expression
    return f"{expression} + 0" if measure.get("zero") else expression


def dax_table(name: str) -> str:
    """A table that DAX makes of the loaded ones."""
    if name == "OfficeActivity":
        pairs = [f'"{column.office}", Activity[{column.name}]' for column in ACTIVITY + WORDED if column.office]
        return "SELECTCOLUMNS (\n\tActivity,\n\t" + ",\n\t".join(pairs) + "\n)"
    ends = [f'SELECTCOLUMNS ( Edges, "Node", Edges[{end}], "NodeType", Edges[{end}Type] )' for end in ("Source", "Target")]
    return "DISTINCT (\n\tUNION (\n\t\t" + ",\n\t\t".join(ends) + "\n\t)\n)"


def _dax_literal(value: str | int) -> str:
    return str(value) if isinstance(value, int) else '"' + value.replace('"', '""') + '"'


def pages() -> list[dict]:
    """The pages, each with the visuals of the panel that it names before its own."""
    return [page | {"visual": LIST["panel"].get(page.get("panel"), []) + page["visual"]} for page in LIST["page"]]


def field(text: str) -> tuple[str, str, bool]:
    """`Table.Column` or `[Measure]`: table, name, and whether it is a measure."""
    if text.startswith("["):
        return MEASURES[text[1:-1]]["table"], text[1:-1], True
    table, name = text.split(".", 1)
    return table, name, False


def fields(visual: dict) -> list[str]:
    """Everything in the wells of a visual, in order."""
    return [text for texts in visual["roles"].values() for text in texts]


def top_by(visual: dict) -> str:
    """The column of which a visual keeps the first N: the one that the list names, or the visual's first."""
    return visual.get("by") or next(text for text in fields(visual) if not field(text)[2])
