"""Writes the Power BI project from the source list: the semantic model as TMDL, the report as PBIR.

    python3 powerbi/generate.py            writes what differs, and removes what is no longer generated
    python3 powerbi/generate.py --check    only says what differs, and fails if anything does

TMDL: https://learn.microsoft.com/analysis-services/tmdl/tmdl-overview
PBIR: https://learn.microsoft.com/power-bi/developer/projects/projects-report
"""

import json
import re
import sys
import uuid
from pathlib import Path

from project import (
    CALCULATED, EXPRESSIONS, HERE, LIST, LOADED, MEASURES, NAME, SORTED_BY, SOURCE, TABLES,
    Column, dax, dax_table, field, fields, m_source, pages, top_by,
)  # fmt: skip

SCHEMAS = "https://developer.microsoft.com/json-schemas/fabric"
MODEL, REPORT = f"{NAME}.SemanticModel", f"{NAME}.Report"
TMDL_TYPES = {"date": "dateTime"}  # all others are named alike
FORMATS = {"date": "yyyy-mm-dd", "dateTime": "yyyy-mm-dd hh:nn:ss", "int64": "0"}


def project() -> dict[str, str]:
    """Every generated file: its path below powerbi/, and its text."""
    texts = {f"{NAME}.pbip": _json(_pbip())}
    texts |= {f"{MODEL}/{path}": text for path, text in _model().items()}
    texts |= {f"{REPORT}/{path}": _json(value) for path, value in _report().items()}
    return texts


# --- The semantic model ---


def _model() -> dict[str, str]:
    tables = LOADED + CALCULATED
    return {
        ".platform": _json(_platform("SemanticModel")),
        "definition.pbism": _json(
            {"$schema": f"{SCHEMAS}/item/semanticModel/definitionProperties/1.0.0/schema.json", "version": "4.2"}
        ),
        "definition/database.tmdl": "database\n\tcompatibilityLevel: 1600\n",
        "definition/model.tmdl": _model_tmdl(tables),
        "definition/expressions.tmdl": "\n".join([*map(_parameter, LIST["parameter"]), *map(_expression, EXPRESSIONS)]),
        "definition/relationships.tmdl": "\n".join(
            [_relationship(*ends) for ends in LIST["relationships"].items()]
            + [_relationship(*ends, filters="bothDirections") for ends in LIST["relationships_both"].items()]
        ),
    } | {f"definition/tables/{table}.tmdl": _table(table) for table in tables}


def _model_tmdl(tables: list[str]) -> str:
    head = ["model Model", "\tculture: en-US", "\tdefaultPowerBIDataSourceVersion: powerBI_V3", "\tsourceQueryCulture: en-US"]
    access = ["\tdataAccessOptions", "\t\tlegacyRedirects", "\t\treturnErrorValuesAsNull", ""]
    # Without this, Power BI hides a date table of its own behind each date.
    return "\n".join(
        [*head, *access, "annotation __PBI_TimeIntelligenceEnabled = 0", "", *(f"ref table {table}" for table in tables), ""]
    )


def _parameter(parameter: dict) -> str:
    kind, required = parameter["type"], str(parameter.get("required", True)).lower()
    meta = f'meta [IsParameterQuery=true, Type="{kind}", IsParameterQueryRequired={required}]'
    return (
        f"/// {parameter['about']}\nexpression {parameter['name']} = {m_literal(parameter['value'])} {meta}\n"
        f"\tlineageTag: {_guid(parameter['name'])}\n\n\tannotation PBI_ResultType = {kind}\n"
    )


def m_literal(value) -> str:
    """A value of the list as M has it."""
    if isinstance(value, bool | int):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace('"', '""') + '"'
    return f"#datetime({value.year}, {value.month}, {value.day}, {value.hour}, {value.minute}, {value.second})"


def _expression(name: str) -> str:
    kind = {"UtcNow": "DateTime", "CosmosText": "Function", "Words": "Record"}.get(name, "Text")
    return (
        f"expression {name} =\n{_indent(m_source(name), 2)}\n\tlineageTag: {_guid(name)}\n\n\tannotation PBI_ResultType = {kind}\n"
    )


def _relationship(many: str, one: str, filters: str | None = None) -> str:
    behaviour = f"\tcrossFilteringBehavior: {filters}\n" if filters else ""
    return f"relationship {_guid(f'{many} {one}')}\n{behaviour}\tfromColumn: {many}\n\ttoColumn: {one}\n"


def _table(table: str) -> str:
    parts = [f"table {_name(table)}", f"\tlineageTag: {_guid(table)}"]
    if table == "Date":
        parts.append("\tdataCategory: Time")
    parts.append("")
    parts += [_measure(measure) for measure in MEASURES.values() if measure["table"] == table]
    parts += [_column(table, column) for column in TABLES[table]]
    calculated = table in CALCULATED
    source = dax_table(table) if calculated else m_source(table)
    parts.append(
        f"\tpartition {_name(table)} = {'calculated' if calculated else 'm'}\n\t\tmode: import\n\t\tsource =\n{_indent(source, 4)}\n"
    )
    return "\n".join(parts)


def _measure(measure: dict) -> str:
    expression = dax(measure)
    value = f" {expression}" if "\n" not in expression else f"\n{_indent(expression, 3)}"
    head = f"\tmeasure {_name(measure['name'])} ={value}"
    return f"{head}\n\t\tformatString: {measure.get('format', '#,0')}\n\t\tlineageTag: {_guid('measure ' + measure['name'])}\n"


def _column(table: str, column: Column) -> str:
    lines = [f"\tcolumn {_name(column.name)}", f"\t\tdataType: {TMDL_TYPES.get(column.type, column.type)}"]
    if column.type in FORMATS:
        lines.append(f"\t\tformatString: {FORMATS[column.type]}")
    if (table, column.name) == ("Date", "Date"):
        lines.append("\t\tisKey")
    calculated = table in CALCULATED
    lines += [f"\t\tlineageTag: {_guid(f'{table} {column.name}')}", "\t\tsummarizeBy: none"]
    lines += ["\t\tisNameInferred"] if calculated else []
    lines.append(f"\t\tsourceColumn: {f'[{column.name}]' if calculated else column.name}")
    if by := SORTED_BY.get(f"{table}.{column.name}"):
        lines.append(f"\t\tsortByColumn: {_name(by)}")
    if column.type == "date":
        lines += ["", "\t\tannotation UnderlyingDateTimeDataType = Date"]
    return "\n".join([*lines, ""])


def _name(name: str) -> str:
    return name if re.fullmatch(r"\w+", name) else "'" + name.replace("'", "''") + "'"


def _indent(text: str, tabs: int) -> str:
    return "\n".join("\t" * tabs + line if line else "" for line in text.split("\n"))


# --- The report ---


def _report() -> dict[str, dict]:
    definition = f"{SCHEMAS}/item/report/definition"
    custom = {visual["type"] for page in pages() for visual in page["visual"] if re.search("[0-9]", visual["type"])}
    files = {
        ".platform": _platform("Report"),
        "definition.pbir": {
            "$schema": f"{SCHEMAS}/item/report/definitionProperties/2.0.0/schema.json",
            "version": "4.0",
            "datasetReference": {"byPath": {"path": f"../{MODEL}"}},
        },
        "definition/version.json": {"$schema": f"{definition}/versionMetadata/1.0.0/schema.json", "version": "2.0.0"},
        "definition/report.json": {
            "$schema": f"{definition}/report/3.3.0/schema.json",
            "themeCollection": {},
            "publicCustomVisuals": sorted(custom),
        },
        "definition/pages/pages.json": {
            "$schema": f"{definition}/pagesMetadata/1.1.0/schema.json",
            "pageOrder": [page["name"] for page in pages()],
            "activePageName": pages()[0]["name"],
        },
    }
    for page in pages():
        folder = f"definition/pages/{page['name']}"
        files[f"{folder}/page.json"] = _page(page, definition)
        for number, visual in enumerate(page["visual"], 1):
            name = visual_name(number, visual)
            files[f"{folder}/visuals/{name}/visual.json"] = _visual(name, number, visual, definition)
    return files


def visual_name(number: int, visual: dict) -> str:
    """A visual's name within its page."""
    return f"v{number:02}_{re.match('[A-Za-z]+', visual['type'])[0]}"


def _page(page: dict, definition: str) -> dict:
    value = {
        "$schema": f"{definition}/page/2.1.0/schema.json",
        "name": page["name"],
        "displayName": page["title"],
        "displayOption": "FitToPage",
        "height": 720,
        "width": 1280,
    }
    if "where" in page:
        value["filterConfig"] = {"filters": [_one_of(page["name"], *where) for where in page["where"].items()]}
    if "drill" in page:
        value |= _drill(page["name"], page["drill"])
    return value


def _drill(name: str, texts: list[str]) -> dict:
    """What makes a page one to which a right-click on these fields leads; it has no tab of its own for readers."""
    filters = [
        {"name": f"{name}_{number}", "field": _field(text), "type": "Categorical", "howCreated": "Drillthrough"}
        for number, text in enumerate(texts)
    ]
    parameters = [
        {"name": f"{one['name']}_parameter", "boundFilter": one["name"], "fieldExpr": one["field"]} for one in filters
    ]
    binding = {"name": f"{name}_drill", "type": "Drillthrough", "referenceScope": "Default", "parameters": parameters}
    return {"filterConfig": {"filters": filters}, "pageBinding": binding, "type": "Drillthrough", "visibility": "HiddenInViewMode"}


def _visual(name: str, number: int, visual: dict, definition: str) -> dict:
    x, y, width, height = visual["at"]
    query = {
        "queryState": {role: {"projections": [_projection(text) for text in texts]} for role, texts in visual["roles"].items()}
    }
    if sort := _sort(visual):
        query["sortDefinition"] = sort
    body = {"visualType": visual["type"], "query": query}
    if objects := _objects(visual):
        body["objects"] = objects
    if "title" in visual:
        body["visualContainerObjects"] = {"title": [{"properties": {"show": _literal(True), "text": _literal(visual["title"])}}]}
    value = {
        "$schema": f"{definition}/visualContainer/2.9.0/schema.json",
        "name": name,
        "position": {"x": x, "y": y, "z": number * 1000, "height": height, "width": width, "tabOrder": number * 1000},
        "visual": body | {"drillFilterOtherVisuals": True},
    }
    filters = ([_first(name, visual)] if "top" in visual else []) + ([_present(name, visual)] if "present" in visual else [])
    if filters:
        value["filterConfig"] = {"filters": filters}
    return value


def _sort(visual: dict) -> dict | None:
    """Largest first, unless the axis is time."""
    texts = fields(visual)
    time = [text for text in texts if text in ("Date.Date", "Activity.Hour")]
    measures = [text for text in texts if field(text)[2]]
    if visual["type"] == "slicer" or not measures or len(texts) == 1:
        return None
    by = visual.get("sort") or (time or measures)[0]
    return {"sort": [{"field": _field(by), "direction": "Ascending" if time else "Descending"}]}


def _objects(visual: dict) -> dict:
    if visual["type"] == "slicer":
        objects = {"data": [{"properties": {"mode": _literal(visual.get("mode", "Dropdown"))}}]}
        if visual.get("single"):
            objects["selection"] = [{"properties": {"singleSelect": _literal(True)}}]
        if visual.get("search"):
            objects["general"] = [{"properties": {"selfFilterEnabled": _literal(True)}}]
        return objects
    if "spec" in visual:
        spec = {name: value for name, value in vega(visual["spec"]).items() if name != "$schema"}
        properties = {
            "provider": "vega",
            "jsonSpec": json.dumps(spec, ensure_ascii=False, separators=(",", ":")),
            "jsonConfig": "{}",
            "renderMode": "svg",
            "enableTooltips": True,
            "enableContextMenu": True,
        }
        return {"vega": [{"properties": {name: _literal(value) for name, value in properties.items()}}]}
    return {}


def vega(name: str) -> dict:
    """A Vega specification of source/."""
    return json.loads((SOURCE / name).read_text())


def _projection(text: str) -> dict:
    table, name, _ = field(text)
    return {"field": _field(text), "queryRef": f"{table}.{name}", "nativeQueryRef": name}


def _field(text: str, **source: str) -> dict:
    table, name, is_measure = field(text)
    reference = {"Expression": {"SourceRef": source or {"Entity": table}}, "Property": name}
    return {"Measure" if is_measure else "Column": reference}


def _first(name: str, visual: dict) -> dict:
    """The filter that keeps the first N of a column by the visual's first measure."""
    by = top_by(visual)
    measure = next(text for text in fields(visual) if field(text)[2])
    table = field(by)[0]
    assert table == field(measure)[0], f"{name}: column and measure of a top N are of one table"
    origin = [{"Name": "t", "Entity": table, "Type": 0}]
    query = {
        "Version": 2,
        "From": origin,
        "Select": [_field(by, Source="t") | {"Name": "field"}],
        "OrderBy": [{"Direction": 2, "Expression": _field(measure, Source="t")}],
        "Top": visual["top"],
    }
    subquery = {"Name": "subquery", "Expression": {"Subquery": {"Query": query}}, "Type": 2}
    kept = {"In": {"Expressions": [_field(by, Source="t")], "Table": {"SourceRef": {"Source": "subquery"}}}}
    restriction = {"Version": 2, "From": [subquery, *origin], "Where": [{"Condition": kept}]}
    return {"name": f"{name}_top", "field": _field(by), "type": "TopN", "filter": restriction}


def _present(name: str, visual: dict) -> dict:
    """The filter that leaves out what is blank in the column of the top N."""
    by = top_by(visual)
    blank = {"Comparison": {"ComparisonKind": 0, "Left": _field(by, Source="t"), "Right": {"Literal": {"Value": "null"}}}}
    origin = [{"Name": "t", "Entity": field(by)[0], "Type": 0}]
    restriction = {"Version": 2, "From": origin, "Where": [{"Condition": {"Not": {"Expression": blank}}}]}
    return {"name": f"{name}_present", "field": _field(by), "type": "Advanced", "filter": restriction}


def _one_of(name: str, text: str, values: list[str]) -> dict:
    """The filter that keeps some values of a column."""
    kept = {"In": {"Expressions": [_field(text, Source="t")], "Values": [[_literal(value)["expr"]] for value in values]}}
    origin = [{"Name": "t", "Entity": field(text)[0], "Type": 0}]
    return {
        "name": f"{name}_where",
        "field": _field(text),
        "type": "Categorical",
        "filter": {"Version": 2, "From": origin, "Where": [{"Condition": kept}]},
    }


def _literal(value: str | bool) -> dict:
    text = str(value).lower() if isinstance(value, bool) else "'" + value.replace("'", "''") + "'"
    return {"expr": {"Literal": {"Value": text}}}


# --- Both ---


def _pbip() -> dict:
    return {
        "$schema": f"{SCHEMAS}/pbip/pbipProperties/1.0.0/schema.json",
        "version": "1.0",
        "artifacts": [{"report": {"path": REPORT}}],
        "settings": {"enableAutoRecovery": True},
    }


def _platform(kind: str) -> dict:
    return {
        "$schema": f"{SCHEMAS}/gitIntegration/platformProperties/2.1.0/schema.json",
        "metadata": {"type": kind, "displayName": NAME},
        "config": {"version": "2.0", "logicalId": _guid(kind)},
    }


def _guid(name: str) -> str:
    """The same at every run, so that nothing changes that did not change."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://powerbi/{NAME}/{name}"))


def _json(value: dict) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def differences() -> list[tuple[Path, str | None]]:
    """What to write, and what (None) to remove, so that the project is what the list says."""
    wanted = {HERE / path: text for path, text in project().items()}
    # What Power BI Desktop keeps beside a project is its own (.pbi/).
    there = {
        path for folder in (MODEL, REPORT) for path in (HERE / folder).rglob("*") if path.is_file() and ".pbi" not in path.parts
    }
    written = [(path, text) for path, text in wanted.items() if not path.is_file() or path.read_text() != text]
    return written + [(path, None) for path in sorted(there - wanted.keys())]


def main() -> int:
    found = differences()
    for path, text in found:
        print(f"{'remove' if text is None else 'write '} {path.relative_to(HERE.parent)}")
        if "--check" in sys.argv:
            continue
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if "--check" in sys.argv and found:
        print("The Power BI project is not what its source list says: run python3 powerbi/generate.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
