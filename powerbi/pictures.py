"""Draws the report's pages without Power BI, from the same list and the same data: what the project's own queries and M make of
a simulated tenant's records. The graphs are drawn by the Vega specification that Deneb has; the other visuals are likenesses.

    target/powerbi/bin/python powerbi/pictures.py     writes docs/powerbi/*.svg (.ci/powerbi makes that Python)
"""

import re
import tempfile
from collections import Counter, defaultdict
from datetime import date, datetime
from html import escape

import vl_convert
from cosmos import ROOT, collected
from generate import vega
from offline import Database, Model, draw
from project import LIST, LOADED, MEASURES, field, fields, pages, top_by

FOLDER = ROOT / "docs" / "powerbi"
CAPTION = "Drawn by powerbi/pictures.py from the records of a simulated tenant; Power BI draws its own."
FONT = "font-family='DejaVu Sans, Segoe UI, sans-serif'"
LEVELS = ["informational", "low", "medium", "high", "critical"]
BLUE, INK, PALE = "#2a6fdb", "#20262e", "#6b7480"


class Data:
    """The model's rows, and what a visual shows of them."""

    def __init__(self, tables: dict[str, list[dict]]) -> None:
        self.tables = tables
        self.listed = {"AdminList": {row["User"] for row in tables["AdminList"]}, "WatchList": {row["Item"] for row in tables["WatchList"]}}

    def rows(self, visual: dict, where: dict) -> list[dict]:
        """One row for each combination of the visual's columns, by its first N, with its measures."""
        texts = fields(visual)
        columns, measures = [t for t in texts if not field(t)[2]], [t for t in texts if field(t)[2]]
        table = field(measures[0])[0] if measures else field(columns[0])[0]
        rows = [row for row in self.tables[table] if all(self.value(row, text) in values for text, values in where.items())]
        if "top" in visual:
            by = top_by(visual)
            rows = self.first(
                [row for row in rows if self.value(row, by) not in (None, "") or "present" not in visual],
                by,
                measures[0],
                visual["top"],
            )
        return [
            dict(zip(columns, key, strict=True)) | {text: self.measure(text, part) for text in measures}
            for key, part in grouped(rows, lambda row: tuple(self.value(row, text) for text in columns))
            if measures and self.measure(measures[0], part)
        ]

    def first(self, rows: list[dict], by: str, measure: str, count: int) -> list[dict]:
        sizes = {key: self.measure(measure, part) or 0 for key, part in grouped(rows, lambda row: self.value(row, by))}
        kept = {key for key, _ in sorted(sizes.items(), key=lambda size: (-size[1], str(size[0])))[:count]}
        return [row for row in rows if self.value(row, by) in kept]

    def value(self, row: dict, text: str):
        """A column of the row, or of the table that it is joined to."""
        return row.get(field(text)[1])

    def measure(self, text: str, rows: list[dict]):
        """What DAX would answer over these rows."""
        measure = MEASURES[field(text)[1]]
        if "like" in measure:
            return self.measure(f"[{measure['like']}]", rows)
        for columns in measure.get("where", {}).values():
            rows = [row for row in rows if all(row[name] in values for name, values in columns.items())]
        if "known" in measure:
            listed = measure["known"].split(".")[0]
            join = {end.split(".")[1] for end, one in LIST["relationships"].items() if one == measure["known"]}
            rows = [row for row in rows if any(str(row.get(name)).lower() in self.listed[listed] for name in join)]
        values = [row[measure["of"]] for row in rows if row[measure["of"]] is not None] if "of" in measure else rows
        return (
            {"rows": len, "distinct": lambda v: len(set(v)), "sum": sum, "min": min, "max": max}[measure["how"]](values)
            if values
            else 0 if measure.get("zero") else None
        )


def grouped(rows: list[dict], key) -> list[tuple]:
    groups = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return list(groups.items())


def page_svg(page: dict, data: Data) -> str:
    parts = [visual_svg(visual, data, page.get("where", {}), chosen=page.get("chosen")) for visual in page["visual"]]
    caption = text_svg(16, 733, f"{page['title']}. {CAPTION}", 12, PALE)
    body = "".join(parts)
    ground = "<rect width='1280' height='744' fill='#eef0f3'/>"
    return f"<svg xmlns='http://www.w3.org/2000/svg' width='1280' height='744'>{ground}{body}{caption}</svg>"


def visual_svg(visual: dict, data: Data, where: dict, chosen: str | None) -> str:
    x, y, width, height = visual["at"]
    title = visual.get("title") or field(fields(visual)[0])[1]
    box = f"<rect x='{x}' y='{y}' width='{width}' height='{height}' rx='4' fill='white' stroke='#dfe3e8'/>"
    head = text_svg(x + 10, y + 20, fitted(title, width - 20, 12), 12, INK, bold=True)
    room = (x + 8, y + 30, width - 16, height - 38)
    if visual["type"] == "slicer":
        picked = chosen if chosen and visual.get("single") else "All"
        return (
            box
            + head
            + text_svg(x + 10, y + 44, fitted(picked, width - 40, 12), 12, PALE)
            + text_svg(x + width - 22, y + 44, "▾", 12, PALE)
        )
    rows = data.rows(visual, where)
    if visual["type"] == "card":
        return box + head + card_svg(visual, rows, room)
    if visual["type"] == "tableEx":
        return box + head + table_svg(visual, rows, room)
    if visual["type"] in ("barChart", "columnChart", "lineChart"):
        picture = vl_convert.vegalite_to_svg(chart(visual, rows, room))
    else:
        named = [{field(text)[1]: value for text, value in row.items()} | {"Events": row[measure_of(visual)]} for row in rows]
        picture = draw(vega("graph.vega.json"), named, room[2], room[3])
    return box + head + nested(picture, room)


def measure_of(visual: dict) -> str:
    return next(text for text in fields(visual) if field(text)[2])


def chart(visual: dict, rows: list[dict], room: tuple) -> dict:
    """A Vega-Lite chart of Category (and Series) by each measure."""
    category, measures = visual["roles"]["Category"][0], visual["roles"]["Y"]
    series = visual["roles"].get("Series", [None])[0]
    values = [
        {"at": shown(row[category]), "of": row[series] if series else field(measure)[1], "n": row[measure] or 0}
        for row in rows
        for measure in measures
    ]
    many = series or len(measures) > 1
    along = {"field": "at", "type": "ordinal", "title": None, "axis": {"labelLimit": 190, "labelAngle": 0}}
    if visual["type"] == "barChart":
        along["sort"] = "-x"
    elif category == "Activity.Hour":
        along |= {
            "type": "ordinal",
            "sort": [str(hour) for hour in range(24)],
            "scale": {"domain": [str(hour) for hour in range(24)]},
        }
    size = {"field": "n", "type": "quantitative", "title": None}
    horizontal = visual["type"] == "barChart"
    encoding = {"y" if horizontal else "x": along, "x" if horizontal else "y": size}
    if many:
        encoding["color"] = {"field": "of", "type": "nominal", "title": None, "legend": {"orient": "top"}}
    return {
        "width": room[2],
        "height": room[3],
        "autosize": {"type": "fit", "contains": "padding"},
        "background": None,
        "data": {"values": values},
        "mark": {"type": "line", "point": True} if visual["type"] == "lineChart" else {"type": "bar"},
        "encoding": encoding,
        "config": {
            "view": {"stroke": None},
            "mark": {"color": BLUE},
            "axis": {"labelFontSize": 10, "gridColor": "#edf0f3", "domain": False},
        },
    }


def shown(value) -> str:
    """A value as text, as short as a picture needs it."""
    if isinstance(value, datetime):
        return f"{value:%m-%d %H:%M}"
    if isinstance(value, date):
        return f"{value:%m-%d}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else value


def card_svg(visual: dict, rows: list[dict], room: tuple) -> str:
    value = next(iter(rows[0].values())) if rows else "0" if MEASURES[field(fields(visual)[0])[1]].get("zero") else "(blank)"
    return text_svg(room[0] + 4, room[1] + room[3] / 2 + 12, shown(value), 26, BLUE)


def table_svg(visual: dict, rows: list[dict], room: tuple) -> str:
    x, y, width, height = room
    texts = fields(visual)
    by = visual.get("sort") or measure_of(visual)
    order = LEVELS.index if by == "Findings.Level" else lambda value: value
    rows = sorted(rows, key=lambda row: (row[by] is not None, order(row[by])), reverse=True)[: int(height / 17) - 1]
    # What is long gets the room that is left.
    wide = [max(len(shown(value)) for value in [field(text)[1], *(row[text] for row in rows)]) for text in texts]
    wide = [max(min(length, 30), 11) for length in wide]
    parts, left = [], x
    for text, length in zip(texts, wide, strict=True):
        room_here = width * length / sum(wide)
        for line, value in enumerate([field(text)[1], *(row[text] for row in rows)]):
            colour = INK if line else PALE
            parts.append(
                text_svg(left + 4, y + 13 + line * 17, fitted(shown(value), room_here - 6, 10.5), 10.5, colour, bold=not line)
            )
        left += room_here
    return "".join(parts)


def fitted(text: str, width: float, size: float) -> str:
    most = max(int(width / (size * 0.6)), 2)
    return text if len(text) <= most else text[: most - 1] + "…"


def text_svg(x: float, y: float, text: str, size: float, colour: str, bold: bool = False) -> str:
    weight = " font-weight='bold'" if bold else ""
    return f"<text x='{x:.0f}' y='{y:.0f}' font-size='{size}'{weight} fill='{colour}' {FONT}>{escape(text)}</text>"


def nested(svg: str, room: tuple) -> str:
    """A drawn picture in its place on the page."""
    x, y, width, height = room
    inner = re.sub(
        r"^.*?<svg[^>]*?viewBox=\"([^\"]*)\"[^>]*>",
        rf"<svg x='{x}' y='{y}' width='{width}' height='{height}' viewBox='\1'>",
        svg,
        count=1,
        flags=re.S,
    )
    return inner.replace("clip", f"clip{x}_{y}_")


def suspect(activity: list[dict]) -> str | None:
    """Whoever reads other people's mailboxes most."""
    others = Counter(row["UserId"].lower() for row in activity if row["LogonType"] in (1, 2) and row["UserType"] == 0)
    return others.most_common(1)[0][0] if others else None


def main() -> None:
    model = Model()
    listed = [tempfile.NamedTemporaryFile("w", suffix=".csv") for _ in range(2)]
    with collected(8_000) as container, listed[0] as admins, listed[1] as watched:
        database = Database(container, model)
        active = [
            user
            for user, _ in Counter(document["UserId"] for document in database.documents if document["UserType"] == 0).most_common(
                12
            )
        ]
        admins.write("User,Role\n" + "".join(f"{user},Helpdesk Administrator\n" for user in active[3:6]))
        admins.flush()
        worst = [row for row in database.table("Findings") if row["Level"] in ("high", "critical")]
        addresses = {row["id"]: row["Address"] for row in database.table("Activity")}
        bait = [addresses[row["Record"]] for row in worst if addresses.get(row["Record"])]
        watched.write("Item,Note\n" + "".join(f"{address},address of a high finding\n" for address in sorted(set(bait))))
        watched.flush()
        tables = {table: database.table(table, AdminListPath=admins.name, WatchListPath=watched.name) for table in LOADED}
        for row in tables["Findings"]:
            row["Date"] = row["CreationTime"].date()  # which the model has of the record
    FOLDER.mkdir(parents=True, exist_ok=True)
    for page in pages():
        if page["name"] == "graph":  # the panel of graph_deneb, and a picture that only Microsoft's visual draws
            continue
        data = Data(tables)
        if "drill" in page:
            records = {row["Record"] for row in worst}
            own = [row for row in tables["Activity"] if row["id"] in records]
            data = Data(tables | {"Activity": own, "Findings": [row for row in tables["Findings"] if row["Record"] in records]})
        if page["name"] == "watchlist":
            data = Data(tables | {"Edges": [row for row in tables["Edges"] if row["Target"] in data.listed["WatchList"]]})
        if page["name"] == "investigate":
            chosen = suspect(tables["Activity"]) or active[0].lower()
            touching = [row for row in tables["Edges"] if chosen in (row["Source"], row["Target"])]
            own = [row for row in tables["Activity"] if str(row["UserId"]).lower() == chosen]
            data, page = Data(tables | {"Edges": touching, "Activity": own}), page | {"chosen": chosen}
        (FOLDER / f"{page['name']}.svg").write_text(page_svg(page, data))


if __name__ == "__main__":
    main()
