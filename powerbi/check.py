"""Holds the Power BI project against itself, against Microsoft's M parser, and against the documents of a database: the
stand-ins collect a simulated tenant, the project's own queries are asked there, and its M runs on the answers. What only Power BI
Desktop can show (DAX, the connector, the visuals) is no part of it; docs/POWERBI.md lists that.

    python3 powerbi/check.py [-v]

Optional: POWERBI_SCHEMAS, a folder with Microsoft's JSON schemas (the folder `fabric` of github.com/microsoft/json-schemas; pip
jsonschema reads them), and POWERBI_TOM, the path of Microsoft's powerbi-modeling-mcp (npm), whose parser then reads the TMDL.
"""

import json
import os
import re
import subprocess
import tempfile
import unittest
from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path
from urllib.error import HTTPError

import generate
import pqtools
from cosmos import ROOT, collected
from offline import MODEL, REPORT, Database, Model, draw
from project import EXPRESSIONS, LIST, LOADED, SORTED_BY, TABLES, words

FORCE_GRAPH, DENEB = "ForceGraph1449359463895", "deneb7E15AEF80B9E4D4F8E12924291ECE89A"
# The wells of each visual (True: it is empty without), and how many rows it takes.
# https://github.com/microsoft/PowerBI-visuals-ForceGraph/blob/master/capabilities.json
ROLES = {
    "slicer": {"Values": True},
    "card": {"Values": True},
    "tableEx": {"Values": True},
    "barChart": {"Category": True, "Y": True, "Series": False},
    "columnChart": {"Category": True, "Y": True, "Series": False},
    "lineChart": {"Category": True, "Y": True, "Series": False},
    FORCE_GRAPH: {"Source": True, "Target": True, "Weight": False, "LinkType": False, "SourceType": False, "TargetType": False},
    DENEB: {"dataset": True},
}
MOST_ROWS = {FORCE_GRAPH: 2_000, DENEB: 30_000}
ONE_FIELD_EACH = {FORCE_GRAPH}
# The types as the handler has them.
NODE_TYPES = set(re.findall(r'Self::\w+ => "(\w+)"', (ROOT / "src/document/edges/nodes.rs").read_text()))
# What would be SQL if it were not written as a value.
HOSTILE = [
    "' OR true OR c.id = '",
    '" OR true OR c.id = "',
    "\\",
    "\\' OR true --",
    "x\\",
    "'",
    "''",
    "') OR (true",
    "/* ' */",
    "a\r\n' OR true",
]


model = Model()


def visuals() -> list[tuple[str, dict]]:
    """Every visual of the report, with its place."""
    files = sorted(REPORT.glob("definition/pages/*/visuals/*/visual.json"))
    return [(str(file.parent.relative_to(REPORT / "definition/pages")), json.loads(file.read_text())) for file in files]


def entities(node, entity: str | None = None) -> list[tuple[str, str, str]]:
    """Every field that is named anywhere in a part of the report: Column or Measure, table, name."""
    if isinstance(node, list):
        return [found for part in node for found in entities(part, entity)]
    if not isinstance(node, dict):
        return []
    sources = {origin["Name"]: origin["Entity"] for origin in node.get("From", []) if "Entity" in origin}
    entity = next(iter(sources.values()), entity)
    found = []
    for kind in ("Column", "Measure"):
        if isinstance(node.get(kind), dict) and "Property" in node[kind]:
            reference = node[kind]["Expression"]["SourceRef"]
            found.append((kind, reference.get("Entity", entity), node[kind]["Property"]))
    return found + [one for part in node.values() for one in entities(part, entity)]


class Project(unittest.TestCase):
    """The files, held against each other."""

    def test_the_project_is_what_its_source_list_says(self):
        self.assertEqual([], [str(path) for path, _ in generate.differences()], "run python3 powerbi/generate.py")

    def test_the_model_names_each_table_once(self):
        self.assertEqual(sorted(model.columns), sorted(model.named))

    def test_relationships_join_columns_that_exist(self):
        for end in (end for ends in model.relationships for end in ends):
            table, column = end.split(".")
            self.assertIn(column, model.columns[table], end)

    def test_dax_names_columns_and_measures_that_exist(self):
        texts = {name: text for name, (_, text) in model.measures.items()} | model.dax
        for name, text in texts.items():
            for table, column in re.findall(r"(\w+)\[([^\]]+)\]", text):
                self.assertIn(column, model.columns.get(table, {}), f"{name}: {table}[{column}]")
            for measure in re.findall(r"(?<!\w)\[([^\]]+)\]", text):
                self.assertIn(measure, model.measures, f"{name}: [{measure}]")

    def test_a_calculated_table_makes_the_columns_that_it_has(self):
        for table, text in model.dax.items():
            made = list(dict.fromkeys(re.findall(r'"(\w+)", \w+\[', text)))
            self.assertEqual(made, list(model.columns[table].values()), table)

    def test_a_column_is_sorted_by_one_of_its_own_table(self):
        for column, by in SORTED_BY.items():
            self.assertIn(by, model.columns[column.split(".")[0]], column)

    def test_a_right_click_leads_to_the_records_of_an_activity_an_account_an_address_and_a_finding(self):
        pages = [json.loads(file.read_text()) for file in REPORT.rglob("page.json")]
        [page] = [page for page in pages if page.get("type") == "Drillthrough"]
        filters = {one["name"]: one["field"] for one in page["filterConfig"]["filters"]}
        self.assertEqual(filters, {one["boundFilter"]: one["fieldExpr"] for one in page["pageBinding"]["parameters"]})
        fields = {".".join(field[1:]) for one in filters.values() for field in entities(one)}
        self.assertLessEqual({"Activity.id", "Activity.Operation", "Activity.UserId", "Activity.Address", "Findings.Title"}, fields)

    def test_no_measure_bears_the_name_of_a_column_beside_it(self):
        for measure, (table, _) in model.measures.items():
            self.assertNotIn(measure, model.columns[table], table)

    def test_every_field_that_the_report_names_is_in_the_model(self):
        parts = visuals() + [(str(file), json.loads(file.read_text())) for file in REPORT.rglob("page.json")]
        named = [(place, *field) for place, part in parts for field in entities(part)]
        self.assertGreater(len(named), 100)
        for place, kind, table, name in named:
            if kind == "Column":
                self.assertIn(name, model.columns.get(table, {}), f"{place}: {table}.{name}")
            else:
                self.assertEqual(table, model.measures.get(name, (None,))[0], f"{place}: [{name}] of {table}")

    def test_a_field_is_called_by_its_own_name(self):
        for place, visual in visuals():
            for role in visual["visual"]["query"]["queryState"].values():
                for projection in role["projections"]:
                    [(_, table, name)] = entities(projection["field"])
                    self.assertEqual((f"{table}.{name}", name), (projection["queryRef"], projection["nativeQueryRef"]), place)

    def test_visuals_fill_the_wells_that_they_have(self):
        for place, visual in visuals():
            kind, filled = visual["visual"]["visualType"], visual["visual"]["query"]["queryState"]
            self.assertEqual(set(), filled.keys() - ROLES[kind].keys(), f"{place}: no such well")
            self.assertEqual(
                set(), {role for role, needed in ROLES[kind].items() if needed} - filled.keys(), f"{place}: left empty"
            )
            if kind in ONE_FIELD_EACH:
                self.assertEqual({1}, {len(role["projections"]) for role in filled.values()}, place)

    def test_the_force_directed_graph_has_all_six_roles(self):
        graphs = [visual for _, visual in visuals() if visual["visual"]["visualType"] == FORCE_GRAPH]
        self.assertTrue(graphs)
        for graph in graphs:
            self.assertEqual(ROLES[FORCE_GRAPH].keys(), graph["visual"]["query"]["queryState"].keys())

    def test_edges_are_never_more_than_their_visual_takes(self):
        for place, visual in visuals():
            kind = visual["visual"]["visualType"]
            shows_edges = ("Column", "Edges", "Source") in entities(visual["visual"]["query"]["queryState"])
            if not shows_edges or kind == "slicer":
                continue
            [restriction] = [one for one in visual["filterConfig"]["filters"] if one["type"] == "TopN"]
            top = restriction["filter"]["From"][0]["Expression"]["Subquery"]["Query"]["Top"]
            self.assertLessEqual(top, MOST_ROWS.get(kind, 30_000), place)

    def test_custom_visuals_are_named_in_the_report(self):
        report = json.loads((REPORT / "definition/report.json").read_text())
        used = {visual["visual"]["visualType"] for _, visual in visuals()} & MOST_ROWS.keys()
        self.assertEqual(used, set(report["publicCustomVisuals"]))

    def test_pages_are_listed_and_their_visuals_lie_side_by_side(self):
        pages = json.loads((REPORT / "definition/pages/pages.json").read_text())
        folders = {file.parent.name for file in REPORT.rglob("page.json")}
        self.assertEqual(folders, set(pages["pageOrder"]))
        for page in folders:
            boxes = [visual["position"] for place, visual in visuals() if place.startswith(f"{page}/")]
            for number, box in enumerate(boxes):
                self.assertTrue(box["x"] + box["width"] <= 1280 and box["y"] + box["height"] <= 720, page)
                for other in boxes[:number]:
                    apart_x = box["x"] >= other["x"] + other["width"] or other["x"] >= box["x"] + box["width"]
                    apart_y = box["y"] >= other["y"] + other["height"] or other["y"] >= box["y"] + box["height"]
                    self.assertTrue(apart_x or apart_y, f"{page}: {box} over {other}")

    def test_json_fits_the_published_schemas(self):
        folder = os.environ.get("POWERBI_SCHEMAS")
        if not folder:
            self.skipTest("POWERBI_SCHEMAS names no folder with Microsoft's JSON schemas")
        from jsonschema import Draft7Validator
        from referencing import Registry
        from referencing.jsonschema import DRAFT7

        root = "https://developer.microsoft.com/json-schemas/fabric"
        schemas = [
            (f"{root}/{file.relative_to(folder)}", json.loads(file.read_text())) for file in Path(folder).rglob("schema*.json")
        ]
        registry = Registry().with_resources((uri, DRAFT7.create_resource(schema)) for uri, schema in schemas)
        for path, text in generate.project().items():
            if not path.endswith(".tmdl"):
                value = json.loads(text)
                validator = Draft7Validator(registry.contents(value["$schema"]) | {"$id": value["$schema"]}, registry=registry)
                self.assertEqual([], [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)], path)

    def test_tmdl_loads_in_the_tabular_object_model(self):
        server = os.environ.get("POWERBI_TOM")
        if not server:
            self.skipTest("POWERBI_TOM names no powerbi-modeling-mcp")
        call = {"operation": "ConnectFolder", "folderPath": str(MODEL / "definition")}
        start = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "check", "version": "1"}}
        messages = [
            {"id": 1, "method": "initialize", "params": start},
            {"method": "notifications/initialized"},
            {"id": 2, "method": "tools/call", "params": {"name": "connection_operations", "arguments": {"request": call}}},
        ]
        with subprocess.Popen(
            [server, "--start"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            for message in messages:
                print(json.dumps({"jsonrpc": "2.0"} | message), file=process.stdin, flush=True)
            answer = next(answer for answer in map(json.loads, process.stdout) if answer.get("id") == 2)
            process.kill()
        self.assertFalse(answer["result"]["isError"], answer)
        loaded = json.loads(answer["result"]["content"][0]["text"])["data"]
        self.assertEqual((len(model.columns), len(model.measures)), (loaded["tablesLoaded"], loaded["measuresLoaded"]))


class M(unittest.TestCase):
    """The M, parsed by Microsoft's parser and run on what the database answers."""

    @classmethod
    def setUpClass(cls) -> None:
        global database
        database = Database(cls.enterClassContext(collected(1_200)), model)
        cls.activity = database.table("Activity", DaysBack=30)

    def test_all_of_it_parses(self):
        self.assertEqual(len(LIST["parameter"]) + len(EXPRESSIONS) + len(LOADED), len(model.m))
        for name, text in model.m.items():
            with self.subTest(name):
                pqtools.parse(text)

    def test_every_parameter_is_used(self):
        texts = [model.m[name] for name in model.m if name not in database.parameters]
        for name in database.parameters:
            self.assertTrue(any(re.search(rf"\b{name}\b", text) for text in texts), name)

    def test_activity_holds_each_document_once_with_its_own_values(self):
        self.assertEqual(list(model.columns["Activity"].values()), list(self.activity[0]))
        documents = {document["id"]: document for document in database.documents}
        self.assertEqual(sorted(documents), sorted(row["id"] for row in self.activity))
        for row in self.activity:
            self.assertEqual(expected(documents[row["id"]]), {name: value for name, value in row.items() if name != "Address"})

    def test_an_address_is_the_first_of_the_edges(self):
        first = {
            document["id"]: next((edge["to"] for edge in document["edges"] if edge["toType"] == "ip"), None)
            for document in database.documents
        }
        self.assertGreater(len(set(first.values())), 10)
        self.assertEqual(first, {row["id"]: row["Address"] for row in self.activity})

    def test_numbers_of_records_stand_in_words_beside_them(self):
        self.assertEqual({"RecordType": 249, "UserType": 11, "LogonType": 7}, {of: len(numbers) for of, numbers in words().items()})
        forms = [(6, "SharePointFileOperation"), ("15", "AzureActiveDirectoryStsLogon"), (987654, None), ("x", None), (None, None)]
        rows = database.evaluate(model.m["Activity"], {"Source": [{"Document": {"RecordType": form}} for form, _ in forms]})
        self.assertEqual([word for _, word in forms], [row["RecordTypeName"] for row in rows])
        self.assertIn("Regular", {row["UserTypeName"] for row in self.activity})
        self.assertIn("Owner", {row["LogonTypeName"] for row in self.activity})

    def test_findings_are_those_of_the_documents_one_line_an_account_and_rule(self):
        rows = database.table("Findings", DaysBack=30)
        self.assertEqual(list(model.columns["Findings"].values()), list(rows[0]))
        wanted = [
            (document["id"], finding["rule"], finding["title"], finding["level"], document["Workload"], document["UserId"].lower())
            for document in database.documents
            for finding in document.get("findings", [])
        ]
        self.assertGreater(len(wanted), 10)
        names = ("Record", "Rule", "Title", "Level", "Workload", "Account")
        self.assertEqual(sorted(wanted), sorted(tuple(row[name] for name in names) for row in rows))
        lines = {(account, rule) for _, rule, _, _, _, account in wanted}
        self.assertEqual(len(lines), len({row["Line"] for row in rows}))
        levels = ["", "informational", "low", "medium", "high", "critical"]
        self.assertEqual([row["Level"] for row in rows], [levels[row["LevelOrder"]] for row in rows])

    def test_a_finding_of_the_wrong_form_is_no_error(self):
        odd = [{"Rule": 7, "Level": "grave", "CreationTime": "once"}, {"Rule": None, "Level": None, "UserId": ["a"]}, {}]
        rows = database.evaluate(model.m["Findings"], {"Source": [{"Document": document} for document in odd]})
        self.assertEqual([("7", 0, None), (None, 0, None), (None, 0, None)], [(row["Rule"], row["LevelOrder"], row["CreationTime"]) for row in rows])

    def test_findings_over_time_come_from_the_commands_file_and_none_comes_twice(self):
        stored = database.table("Findings", DaysBack=30)
        known, now = stored[0], database.now.isoformat() + "Z"
        row = lambda rule, account, last: {  # noqa: E731
            "rule": rule, "title": "Spray", "level": "medium", "account": account, "count": 24, "first": last, "last": last,
            "workload": "AzureActiveDirectory", "document": {"pk": "2026-11-20-0", "id": known["Record"]},
        }  # fmt: skip
        told = [row("spray", "192.0.2.9", now), row(known["Rule"], known["Account"], now), row("old", "192.0.2.9", "2001-01-01T00:00:00Z")]
        told.append(row("timeless", "192.0.2.9", None))
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(told, file)
            file.flush()
            rows = database.table("Findings", DaysBack=30, FindingsPath=file.name)
        self.assertEqual([("spray", "192.0.2.9", 24, known["Record"])], [
            (one["Rule"], one["Account"], one["Count"], one["Record"]) for one in rows if one["Title"] == "Spray"
        ])  # fmt: skip
        self.assertEqual(len(stored) + 1, len(rows))
        self.assertEqual({1}, {one["Count"] for one in stored})

    def test_the_watch_list_has_each_item_once_as_edges_name_it(self):
        self.assertEqual([], database.table("WatchList"))
        address = next(row["Address"] for row in self.activity if row["Address"])
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
            file.write(f'Item,Note\n {address} ,the spray\nhttps://Contoso.sharepoint.com/a b.docx,"bait, one"\n{address},seen again\n,nothing\n')
            file.flush()
            rows = database.table("WatchList", WatchListPath=file.name)
        expected = [{"Item": address, "Note": "the spray, seen again"}, {"Item": "https://contoso.sharepoint.com/a b.docx", "Note": "bait, one"}]
        self.assertEqual(expected, rows)
        self.assertEqual(list(model.columns["WatchList"].values()), list(rows[0]))

    def test_a_document_without_edges_has_no_address(self):
        file = {"from": "a", "fromType": "user", "to": "b", "toType": "file", "label": "x"}
        odd = [{"id": "a"}, {"id": "b", "edges": "none"}, {"id": "c", "edges": []}, {"id": "d", "edges": [file]}, {"id": "e", "edges": None}]
        rows = database.evaluate(model.m["Activity"], {"Source": [{"Document": document} for document in odd]})
        self.assertEqual([None] * 5, [row["Address"] for row in rows])

    def test_every_column_is_a_field_of_some_document(self):
        empty = {column.name for column in TABLES["Activity"] if all(row[column.name] is None for row in self.activity)}
        self.assertEqual({column.name for column in TABLES["Activity"] if column.unseen}, empty)

    def test_a_value_of_the_wrong_type_is_no_error(self):
        odd = {"id": 7, "UserId": ["a"], "RecordType": "many", "CreationTime": "once", "ExternalAccess": {}, "ResultStatus": True}
        [row] = database.evaluate(model.m["Activity"], {"Source": [{"Document": odd}]})
        got = [row[name] for name in ("id", "UserId", "RecordType", "CreationTime", "ExternalAccess", "Date", "Hour")]
        self.assertEqual(["7", '["a"]', None, None, None, None, None], got)

    def test_times_are_utc_whatever_follows_them(self):
        odd = [{"CreationTime": text} for text in ("2026-11-20T23:30:00", "2026-11-20T23:30:00Z", "2026-11-20T23:30:00.1234567Z")]
        rows = database.evaluate(model.m["Activity"], {"Source": [{"Document": document} for document in odd]})
        self.assertEqual(
            {(datetime(2026, 11, 20, 23, 30), date(2026, 11, 20), 23)}, {(r["CreationTime"], r["Date"], r["Hour"]) for r in rows}
        )

    def test_edges_are_those_of_the_documents_counted(self):
        rows = database.table("Edges", DaysBack=30)
        self.assertEqual(list(model.columns["Edges"].values()), list(rows[0]))
        keys = lambda row: tuple(
            row[name] for name in ("Source", "SourceType", "Target", "TargetType", "LinkType", "Workload", "Date")
        )  # noqa: E731
        counted = Counter()
        for row in rows:
            counted[keys(row)] += row["EventCount"]
        wanted, times = Counter(), {}
        for document in database.documents:
            for edge in document["edges"]:
                ends = (edge["from"], edge["fromType"], edge["to"], edge["toType"], edge["label"])
                key = (*ends, document["Workload"], date.fromisoformat(document["CreationTime"][:10]))
                wanted[key] += 1
                times.setdefault(key, []).append(datetime.fromisoformat(document["CreationTime"]))
        self.assertEqual(wanted, counted)
        for row in rows:
            self.assertTrue(min(times[keys(row)]) <= row["FirstSeen"] <= row["LastSeen"] <= max(times[keys(row)]))
            self.assertLessEqual({row["SourceType"], row["TargetType"]}, NODE_TYPES)

    def test_the_question_is_that_of_the_queries_by_partition(self):
        """queries/edges-counted.sql and the project ask the same, but for the partition key."""
        asked = clauses(database.sql("EdgesQuery"))
        written = clauses((ROOT / "queries/edges-counted.sql").read_text())
        for clause, more in [("select", {"c.pk"}), ("from", set()), ("where", set()), ("group by", {"c.pk"})]:
            self.assertEqual(written[clause] | more, asked[clause], clause)

    def test_edges_are_the_same_whoever_counts_them(self):
        # A small part: the evaluator is slow at grouping.
        user = busiest()
        of_server, of_power_query = (
            database.table("Edges", DaysBack=30, UserFilter=user, CountAtServer=who) for who in (True, False)
        )
        self.assertGreater(len(of_server), 20)
        order = lambda rows: sorted(rows, key=str)  # noqa: E731
        self.assertEqual(order(of_server), order(of_power_query))

    def test_filters_keep_what_begins_with_them_in_either_case(self):
        user = busiest()
        site = next(document["SiteUrl"] for document in database.documents if "SiteUrl" in document)
        begins = lambda document, name, text: str(document.get(name, "")).lower().startswith(text.lower())  # noqa: E731
        for filters, keeps in [
            ({"UserFilter": user.upper()}, lambda document: begins(document, "UserId", user)),
            (
                {"SiteFilter": site.upper()},
                lambda document: begins(document, "SiteUrl", site) or begins(document, "ObjectId", site),
            ),
            ({"UserFilter": "  ", "SiteFilter": None}, lambda document: True),
        ]:
            wanted = {document["id"] for document in database.documents if keeps(document)}
            self.assertTrue(wanted)
            rows = self.ids(DaysBack=30, **filters)
            self.assertEqual(sorted(wanted), sorted(rows), filters)

    def test_what_a_person_types_stays_a_value(self):
        for parameter in ("UserFilter", "SiteFilter"):
            for typed in HOSTILE:
                with self.subTest(parameter=parameter, typed=typed):
                    typed = {"DaysBack": 30, parameter: typed}
                    sql = database.sql("ActivityQuery", **typed)
                    self.assertEqual([], self.answers(sql))
                    # The emulator knows no backslash escapes, the service does: nothing that either could end a literal with.
                    for literal in re.findall(r"STARTSWITH\(c\.\w+, '(.*?)', true\)", sql, re.S):
                        self.assertNotRegex(literal, r"'|\\(?!u0027|u005c)|[\x00-\x1f]")
                    for query in ("EdgesQuery", "FindingsQuery"):
                        self.assertIn(sql.partition(" WHERE ")[2], database.sql(query, **typed))

    def test_a_range_takes_up_where_the_last_one_ended(self):
        times = sorted(document["CreationTime"] for document in database.documents)
        cut = datetime.fromisoformat(times[len(times) // 2][:19])  # at the very second of a record
        all_of_it = self.ids(DaysBack=30)
        before, after = self.ids(DaysBack=30, RangeEnd=cut), self.ids(DaysBack=30, RangeStart=cut)
        self.assertTrue(before and after)
        self.assertEqual(sorted(all_of_it), sorted(before + after))

    def test_days_back_bounds_what_is_read(self):
        since = (database.now - timedelta(days=2)).isoformat()
        wanted = [document["id"] for document in database.documents if document["CreationTime"] >= since]
        self.assertEqual(sorted(wanted), sorted(self.ids(DaysBack=2)))
        self.assertLess(len(wanted), len(database.documents))

    def test_the_date_table_has_every_day_that_is_asked_for(self):
        rows = database.table("Date", DaysBack=3)
        self.assertEqual(list(model.columns["Date"].values()), list(rows[0]))
        today = database.now.date()
        self.assertEqual([today - timedelta(days=days) for days in (3, 2, 1, 0)], [row["Date"] for row in rows])

    def test_the_admin_list_has_each_user_once(self):
        self.assertEqual([], database.table("AdminList"))
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
            file.write('User,Role\nMegan@Contoso.com ,Global Administrator\nmegan@contoso.com,"Exchange, all of it"\n,Nobody\n')
            file.flush()
            rows = database.table("AdminList", AdminListPath=file.name)
        self.assertEqual([{"User": "megan@contoso.com", "Role": "Global Administrator, Exchange, all of it"}], rows)
        self.assertEqual(list(model.columns["AdminList"].values()), list(rows[0]))

    def ids(self, **parameters) -> list[str]:
        return [row["id"] for row in self.answers(database.sql("ActivityQuery", **parameters))]

    def answers(self, sql: str) -> list[dict]:
        try:
            return database.container.ask(sql)
        except HTTPError as error:
            self.fail(f"{error}: {sql}")


class Deneb(unittest.TestCase):
    """The Vega specification, drawn."""

    def test_the_specification_draws_a_mark_for_each_node_and_edge(self):
        [graph] = [visual["visual"] for _, visual in visuals() if visual["visual"]["visualType"] == DENEB]
        literal = graph["objects"]["vega"][0]["properties"]["jsonSpec"]["expr"]["Literal"]["Value"]
        specification = json.loads(literal[1:-1].replace("''", "'"))
        kinds = next(scale for scale in specification["scales"] if scale["name"] == "kind")
        self.assertEqual((NODE_TYPES, len(NODE_TYPES)), (set(kinds["domain"]), len(set(kinds["range"]))))
        names = [projection["nativeQueryRef"] for projection in graph["query"]["queryState"]["dataset"]["projections"]]
        rows = [
            dict(zip(names, ["a", "user", "Op", end, kind, 2], strict=True))
            for end, kind in [("b", "ip"), ("c", "file"), ("c", "site")]
        ]
        namesake = rows[0] | {"SourceType": "system"}
        drawn = draw(specification, [*rows, rows[0], namesake], 984, 688)
        self.assertNotIn("NaN", drawn)
        nodes, edges = (
            re.search(rf'class="mark-{marks}.*?</g>', drawn)[0].count("<path") for marks in ("symbol role-mark nodes", "path")
        )
        self.assertEqual((5, 4), (nodes, edges))
        self.assertEqual(["a", "a", "b", "c", "c"], sorted(re.findall(r">([abc])</text>", drawn)))


def busiest() -> str:
    """The person with most records."""
    return Counter(document["UserId"] for document in database.documents if document["UserType"] == 0).most_common(1)[0][0]


def clauses(sql: str) -> dict[str, set[str]]:
    """What a query selects, ranges over, bounds and groups by, without names and values."""
    sql = re.sub(r"^--.*\n", "", sql, flags=re.M)
    found = re.match(r"SELECT (.*?)\s+FROM (.*?)\s+WHERE (.*?)\s+GROUP BY (.*?)\s*$", sql, re.S).groups()
    parts = [re.split(r",\s*|\sAND\s", re.sub(r"\s+AS \w+|(?<=[<>=] )('[^']*'|@\w+)", "", clause)) for clause in found]
    return {
        name: {part.strip() for part in part} for name, part in zip(("select", "from", "where", "group by"), parts, strict=True)
    }


def expected(document: dict) -> dict:
    """The row of Activity for a document, by rules of its own."""
    row = {}
    for column in TABLES["Activity"]:
        if not column.path:
            continue
        value = document
        for name in column.path.split(".")[1:]:
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None and column.type == "string":
            value = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        elif value is not None and column.type == "dateTime":
            value = datetime.fromisoformat(value[:19])
        row[column.name] = value
    row |= {"Date": row["CreationTime"].date(), "Hour": row["CreationTime"].hour}
    return row | {f"{of}Name": numbers.get(row[of]) for of, numbers in words().items()}


if __name__ == "__main__":
    unittest.main()
