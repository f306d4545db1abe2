"""Checks Bicep files against the Azure resource types that `azmcp bicepschema` embeds, without a network.

A file must parse, and its modules get the parameters that they take. Of each resource, the API version is the embedded one
or the youngest that versions.tsv knows, and at most two years old where there is a younger one; every property exists and is
not read-only, required ones are there, and literals are of the declared type or among the declared values. A version that is
not embedded has its properties checked against those of the embedded one, and is named. What an expression evaluates to, and
whether Azure then agrees, is not checked here: that takes Bicep's own compiler and a subscription.

    azure_types.py AZMCP FILE.bicep... [FILE.bicepparam]
"""

import json
import os
import re
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

from pycep import BicepParser

# How old an API version may be when there is a younger one, and how long ago that may have been looked up.
MAX_AGE = timedelta(days=730)
# Types that azmcp does not embed: their properties are checked by nobody before the deployment.
NOT_EMBEDDED = {
    "Microsoft.Authorization/locks",
    "Microsoft.Insights/actionGroups",
    "Microsoft.Insights/diagnosticSettings",
    "Microsoft.Insights/metricAlerts",
    "Microsoft.Insights/scheduledQueryRules",
    "Microsoft.Network/privateDnsZones",
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks",
}
# What a resource may say beside its type's own properties.
META = {"parent", "scope", "dependsOn"}


class Checker:
    """Holds the types' schemas and gathers what is wrong, one line each."""

    def __init__(self, schemas, youngest):
        self.schemas = schemas
        self.youngest = youngest
        self.faults = []
        self.notes = set()

    def file(self, path, parsed):
        # The parser gives 'x' and x alike, so a word that names something in the file is no literal.
        self.names = {name for kind in ("parameters", "variables", "resources") for name in parsed.get(kind) or {}}
        self.names |= set(re.findall(r"\[for \(?(\w+)", path.read_text()))
        for name, resource in (parsed.get("resources") or {}).items():
            schema = self.schemas.get(resource["type"])
            if resource["existing"]:
                continue
            where = f"{path.name}: {name}"
            self.version(where, resource["type"], resource["api_version"], schema and schema["version"])
            if schema is None:
                continue
            body = unwrapped(resource["config"])
            self.object(where, schema, schema["body"], body, META | ({"name"} if "parent" in body else set()))

    def version(self, where, kind, version, embedded):
        youngest, read = self.youngest.get(kind, (None, None))
        if youngest is None:
            self.faults.append(f"{where}: {kind} is not in versions.tsv")
        elif version not in (youngest, embedded):
            self.faults.append(f"{where}: API version {version} is neither the youngest, {youngest}, nor the one that is embedded, {embedded}")
        elif version != youngest and read - date.fromisoformat(version[:10]) > MAX_AGE:
            self.faults.append(f"{where}: API version {version} is more than two years old, and there is {youngest}")
        elif embedded and version != embedded:
            self.notes.add(f"{kind}@{version}: properties checked as of {embedded}")

    def object(self, where, schema, declared, value, extra=frozenset()):
        if declared["$type"] == "DiscriminatedObject":
            declared = chosen(declared, value)
        known = {p["name"]: p for p in declared["properties"]}
        free = declared.get("additionalPropertiesType")
        for name, member in value.items():
            name = name.strip("'")
            if name in known:
                if "ReadOnly" in known[name].get("flags", ""):
                    self.faults.append(f"{where}.{name}: is read-only")
                self.value(f"{where}.{name}", schema, known[name]["type"], member)
            elif name not in extra and not free and "${" not in name:
                self.faults.append(f"{where}.{name}: there is no such property of {declared.get('name', 'the resource')}")
        for name, declaration in known.items():
            required = "Required" in declaration.get("flags", "") and "ReadOnly" not in declaration["flags"]
            if required and name not in value:
                self.faults.append(f"{where}: {name} is missing")

    def value(self, where, schema, kind, value):
        if isinstance(value, dict) and "operator" in value:
            operator = value["operator"]
            if operator["type"] == "conditional":
                for branch in ("true_value", "false_value"):
                    self.value(where, schema, kind, operator["operands"][branch])
        elif value is None or isinstance(value, dict) and ("function" in value):
            return
        elif isinstance(value, dict) and "loop_type" in value:
            self.value(where, schema, kind.removesuffix("[]"), value["config"])
        elif kind.endswith("[]"):
            if isinstance(value, list):
                for at, member in enumerate(value):
                    self.value(f"{where}[{at}]", schema, kind.removesuffix("[]"), member)
            elif not self.is_name(value):
                self.faults.append(f"{where}: is no array")
        elif kind in schema["objects"]:
            if isinstance(value, dict):
                self.object(where, schema, schema["objects"][kind], value)
            elif not self.is_name(value):
                self.faults.append(f"{where}: is no object")
        else:
            self.literal(where, kind, value)

    def literal(self, where, kind, value):
        if isinstance(value, bool):
            right = kind in ("bool", "any")
        elif isinstance(value, int):
            right = kind in ("int", "any") or str(value) in kind.split(" | ")
        elif isinstance(value, str) and not self.is_name(value):
            # An open list of values is taken for a closed one: a misspelt value is what it would hide.
            values = [choice for choice in kind.split(" | ") if choice != "string"]
            right = kind in ("string", "any") or value in values
        else:
            right = isinstance(value, str) or kind == "any"
        if not right:
            self.faults.append(f"{where}: {value!r} is not {kind}")

    def is_name(self, value):
        return isinstance(value, str) and ("${" in value or value.split(".")[0] in self.names)


def read_versions(path):
    """The youngest API version of each type and when that was looked up."""
    rows = [line.split("\t") for line in path.read_text().splitlines() if line and not line.startswith("#")][1:]
    return {kind: (version, date.fromisoformat(read)) for kind, version, read, _ in rows}


def unwrapped(config):
    """A resource's own body, out of its condition or loop."""
    while isinstance(config, dict) and "config" in config and ("condition" in config or "loop_type" in config):
        config = config["config"]
    return config


def chosen(declared, value):
    """The variant that the value's discriminator names; all of them together where it names none that is known."""
    common = declared.get("baseProperties", [])
    names = value.get(declared["discriminator"])
    for variant in declared["elements"]:
        words = [p["type"] for p in variant["properties"] if p["name"] == declared["discriminator"]]
        if names in words:
            return {**variant, "properties": common + variant["properties"]}
    every = {p["name"]: p for variant in declared["elements"] for p in variant["properties"]}
    return {"$type": "Object", "name": declared.get("name"), "properties": common + list(every.values())}


class Schemas:
    """The embedded types, asked of one azmcp process as its protocol has it: JSON-RPC, one message a line."""

    def __init__(self, azmcp):
        # Nothing it could report leaves the machine.
        environment = {**os.environ, "AZURE_MCP_COLLECT_TELEMETRY": "false"}
        command = [azmcp, "server", "start", "--namespace", "bicepschema", "--mode", "all"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, text=True, env=environment, **pipes)
        client = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "checks", "version": "1"}}
        self.ask("initialize", client)

    def ask(self, method, params):
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())["result"]

    def get(self, resource_type):
        """A type's schema; none where it is not embedded."""
        answer = self.ask("tools/call", {"name": "bicepschema_get", "arguments": {"resource-type": resource_type}})
        try:
            parts = json.loads(answer["content"][0]["text"])["results"]["BicepSchemaResult"]
        except (ValueError, KeyError, TypeError):
            return None
        resource = next(part for part in parts if part["$type"] == "Resource")
        objects = {part["name"]: part for part in parts if part["$type"] in ("Object", "DiscriminatedObject")}
        return {"body": resource["bodyType"], "objects": objects, "version": resource["name"].partition("@")[2]}

    def close(self):
        self.process.terminate()
        self.process.wait()


def module_faults(path, modules):
    """What a file passes to its modules is what they take, and what it reads of them they give."""
    text, faults = path.read_text(), []
    for name, module in (modules[path.resolve()].get("modules") or {}).items():
        target = modules.get((path.parent / module["detail"]["path"]).resolve())
        if target is None:
            faults.append(f"{path.name}: {name} is a file that was not checked")
            continue
        given, taken = set(unwrapped(module["config"])["params"]), target["parameters"] or {}
        needed = {parameter for parameter, declared in taken.items() if declared["default"] is None}
        read = set(re.findall(rf"\b{name}\.outputs\.(\w+)", text))
        faults += [f"{path.name}: {name} takes no {parameter}" for parameter in sorted(given - set(taken))]
        faults += [f"{path.name}: {name} needs {parameter}" for parameter in sorted(needed - given)]
        faults += [f"{path.name}: {name} gives no {output}" for output in sorted(read - set(target.get("outputs") or {}))]
    return faults


def parameters_faults(path, modules):
    """A .bicepparam sets what its template has, and all that has no default."""
    text = re.sub(r"^\s*//.*$", "", path.read_text(), flags=re.M)
    using = re.search(r"^using '(.+)'$", text, re.M)
    template = modules.get((path.parent / using[1]).resolve()) if using else None
    if template is None:
        return [f"{path}: uses no template that was checked"]
    declared = template["parameters"]
    given = set(re.findall(r"^param (\w+) = .", text, re.M))
    faults = [f"{path}: {name} is no parameter of the template" for name in sorted(given - set(declared))]
    missing = {name for name, parameter in declared.items() if parameter["default"] is None} - given
    return faults + [f"{path}: {name} has no default and is not set" for name in sorted(missing)]


def main():
    azmcp, files = sys.argv[1], [Path(name) for name in sys.argv[2:]]
    modules = {}
    for path in (path for path in files if path.suffix == ".bicep"):
        try:
            modules[path.resolve()] = BicepParser().parse(text=path.read_text())
        except Exception as error:  # the parser raises what it likes
            sys.exit(f"{path}: does not parse: {error}")
    types = sorted({resource["type"] for module in modules.values() for resource in (module.get("resources") or {}).values()})
    library = Schemas(azmcp)
    schemas = {name: library.get(name) for name in types}
    library.close()

    unknown = {name for name, schema in schemas.items() if schema is None}
    youngest = read_versions(Path(__file__).with_name("versions.tsv"))
    old = [f"versions.tsv: {kind} was looked up on {read}, more than two years ago" for kind, (_, read) in youngest.items() if date.today() - read > MAX_AGE]
    checker = Checker(schemas, youngest)
    for path, module in modules.items():
        checker.file(path, module)
        checker.faults += module_faults(path, modules)
    faults = old + checker.faults + [f"{name}: no such type is embedded" for name in sorted(unknown - NOT_EMBEDDED)]
    for path in (path for path in files if path.suffix == ".bicepparam"):
        faults += parameters_faults(path, modules)
    resources = sum(len(module.get("resources") or {}) for module in modules.values())
    print(f"{resources} resources in {len(modules)} files, {len(types) - len(unknown)} types checked")
    print("not embedded, so not checked: " + ", ".join(sorted(unknown)))
    print("\n".join(sorted(checker.notes)))
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
