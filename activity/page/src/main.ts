// The page: what the person chooses goes to the server, what it answers is drawn and told.

import * as api from "./api";
import type { Finding, Level, Picture, Summary } from "./api";
import { Canvas, type Selection } from "./canvas";
import { Details } from "./details";
import { at, count, counted, download, el, icon } from "./dom";
import { everything, fromAddress, hasType, toAddress, toQuery, TOPS, type Filter } from "./filter";
import { fullName, kindOf, nameOf, shortName, tellApart, TYPES, typeOf } from "./kinds";
import { colorOf, isSevere } from "./levels";
import { png } from "./png";
import { searchBox } from "./search";
import { themeSwitch } from "./theme";
import { Timeline } from "./timeline";

let filter: Filter = fromAddress(location.hash);
let summary: Summary;
let picture: Picture = { nodes: [], edges: [], left_out: { edges: 0, nodes: 0 }, below_least: 0, records: 0, bars: { from: null, seconds: 0, counts: [] } };
let findings: Finding[] = [];
let selection: Selection = null;
let asking = new AbortController();

const details = new Details({
  select: (wanted) => point(wanted, true),
  around: (node) => change({ node, hops: 1 }),
  ofUser: (user) => change({ user }),
  onlyFinding: ({ account, rule }) => change({ account, rule }),
  pathFrom: (pathFrom) => change({ pathFrom, pathTo: "" }),
  pathTo: (pathTo) => {
    selection = null;
    change({ pathTo, node: "", hops: 1 });
  },
  path: () => ({ from: filter.pathFrom, to: filter.pathTo }),
  query: () => toQuery(filter, summary),
});
const canvas = new Canvas((wanted) => point(wanted, true), () => details.focus());
const timeline = new Timeline((from, to) => change({ from, to }));

/** Points something out, or nothing. */
function point(wanted: Selection, isRevealed = false): void {
  selection = wanted;
  canvas.mark(selection);
  if (selection && "finding" in selection) void light(selection.finding);
  if (isRevealed && selection && "node" in selection) canvas.reveal(selection.node);
  details.show(picture, findings, selection);
}

/** Lights up the edges of the records on which a rule found something. */
async function light(finding: Finding): Promise<void> {
  const query = toQuery(filter, summary);
  query.set("rule", finding.rule);
  query.set("account", finding.account);
  const its = await api.picture(query, asking.signal).catch(() => null);
  if (!its || !selection || !("finding" in selection) || selection.finding !== finding) return;
  canvas.light(its.edges.map(({ from, to }) => ({ from: its.nodes[from]!.key, to: its.nodes[to]!.key })));
}

function change(part: Partial<Filter>): void {
  filter = { ...filter, ...part };
  history.replaceState(null, "", `#${toAddress(filter)}`);
  void draw();
}

async function draw(): Promise<void> {
  asking.abort();
  asking = new AbortController();
  fill();
  try {
    const query = toQuery(filter, summary);
    [picture, findings] = await Promise.all([api.picture(query, asking.signal), api.findings(query, asking.signal)]);
  } catch (error) {
    if ((error as Error).name !== "AbortError") trouble(error as Error);
    return;
  }
  tellApart(picture.nodes.map((node) => node.key));
  narrowed();
  canvas.show(picture);
  timeline.show(picture.bars, filter.from, filter.to);
  status();
  legend();
  if (selection && "finding" in selection) selection = null;
  const isShown = !selection || !("node" in selection) || picture.nodes.some((node) => node.key === (selection as { node: string }).node);
  point(isShown ? selection : null);
}

function trouble(error: Error): void {
  at("status").replaceChildren(el("span", { class: "error" }, error.message));
}

/** What is seen, and what is not. */
function status(): void {
  const { left_out, below_least, edges, nodes, records } = picture;
  const parts: (Node | string)[] = [el("strong", {}, `${counted(edges.length, "edge")} between ${counted(nodes.length, "node")}`), ` of ${counted(records, "record")}.`];
  const more = TOPS.find((top) => top > filter.top);
  if (left_out.edges) {
    parts.push(` Left out: ${counted(left_out.edges, "edge")}, ${counted(left_out.nodes, "node")}; of each kind the first stay.`);
    if (more) parts.push(el("button", { on: { click: () => change({ top: more }) } }, `Show ${count(more)}`));
  }
  if (below_least) parts.push(` ${counted(below_least, "edge")} below ${count(filter.least)} records.`);
  if (summary.is_cut) parts.push(" Not all records were read: the server was started with a limit.");
  if (!edges.length) parts.push(summary.edges ? " Nothing passes these filters." : " The records in the database have no edges.");
  at("status").replaceChildren(el("span", {}, ...parts));
}

/** Types in the data, and labels that are no operation; pressed is shown. Behind them, what marks an edge. */
function legend(): void {
  const counts = new Map<string, number>();
  for (const node of picture.nodes) counts.set(typeOf(node.key), (counts.get(typeOf(node.key)) ?? 0) + 1);
  at("legend").replaceChildren(...types().map((type) => {
    const isShown = !filter.withoutTypes.has(type);
    const number = counts.get(type) ?? 0;
    return el("li", {}, el("button", { attributes: { "aria-pressed": String(isShown) }, on: { click: () => toggle("withoutTypes", type) } },
      icon(type), number === 1 ? kindOf(type).name : kindOf(type).many, el("span", { class: "count" }, count(number))));
  }), ...summary.labels.map(([label, number]) => el("li", {}, el("button",
    { attributes: { "aria-pressed": String(!filter.withoutLabels.has(label)) }, on: { click: () => toggle("withoutLabels", label) } },
    line(label), label || "no label", el("span", { class: "count" }, count(number))))), ...marks().map((level) => {
    const mark = line("mark");
    mark.style.borderColor = colorOf(level);
    return el("li", { class: "mark" }, mark, `edge of a ${level} finding`);
  }));
}

/** Levels of the findings that mark edges. */
function marks(): Level[] {
  return [...new Set(picture.edges.map(({ level }) => level).filter(isSevere))];
}

/** A piece of an edge, as it is drawn. */
function line(kind: string): HTMLElement {
  return el("span", { class: `line ${kind.replace(" ", "-")}`, attributes: { "aria-hidden": "true" } });
}

function types(): string[] {
  const all = new Set(summary.kinds.flatMap(([kind]) => kind.split("-")));
  return [...TYPES.filter((type) => all.has(type)), ...[...all].filter((type) => !TYPES.includes(type)).sort()];
}

function toggle(name: "withoutWorkloads" | "withoutKinds" | "withoutTypes" | "withoutLabels", what: string): void {
  const without = new Set(filter[name]);
  without.delete(what) || without.add(what);
  change({ [name]: without });
}

/** Puts what is chosen into the fields. */
function fill(): void {
  for (const name of ["from", "to", "user", "operation"] as const) at<HTMLInputElement>(name).value = filter[name];
  at<HTMLSelectElement>("order").value = filter.order;
  at<HTMLSelectElement>("level").value = filter.level;
  at<HTMLInputElement>("sessions").checked = filter.sessions === "several";
  at<HTMLInputElement>("sessions").disabled = !summary.sessions && !filter.sessions;
  at("several").textContent = count(summary.sessions);
  at<HTMLInputElement>("least").value = String(filter.least);
  const tops = TOPS.includes(filter.top) ? TOPS : [...TOPS, filter.top].sort((a, b) => a - b);
  at("top").replaceChildren(...tops.map((top) => new Option(`${count(top)} edges`, String(top), false, top === filter.top)));
  at("workloads").replaceChildren(...summary.workloads.map(([name, number]) => check("withoutWorkloads", name, [name || "none"], number)));
  at("kinds").replaceChildren(...summary.kinds.map(([kind, number]) => {
    const [from = "", to = ""] = kind.split("-");
    const line = check("withoutKinds", kind, [`${kindOf(from).name} → ${kindOf(to).name}`], number);
    if ([...filter.withoutTypes].some((type) => hasType(kind, type))) line.querySelector("input")!.disabled = true;
    return line;
  }));
  narrowed();
}

/** What is looked at by itself, with the way back. */
function narrowed(): void {
  const hops = (number: number) => el("button", { attributes: { "aria-pressed": String(filter.hops === number) }, on: { click: () => change({ hops: number }) } },
    counted(number, "step"));
  const back = (part: Partial<Filter>) => el("button", { on: { click: () => change(part) } }, "All again");
  const rule = findings.find((finding) => finding.rule === filter.rule)?.title ?? filter.rule;
  const parts = [
    filter.node && [el("span", {}, "Only around ", el("strong", {}, nameOf(filter.node))), el("div", { class: "row" }, hops(1), hops(2), hops(3), back({ node: "" }))],
    filter.rule && [el("span", {}, "Only records of the finding ", el("strong", {}, rule)), el("div", { class: "row" }, back({ rule: "", account: "" }))],
    filter.pathFrom && [el("span", {}, "How could it get from ", el("strong", {}, shortName(filter.pathFrom)),
      ...(filter.pathTo ? [" to ", el("strong", {}, shortName(filter.pathTo)), "?"] : [" to …? Press or search the other node, and then “… to here”."])),
      el("div", { class: "row" }, back({ pathFrom: "", pathTo: "" }))],
  ].filter(Boolean) as HTMLElement[][];
  at("around").hidden = !parts.length;
  at("around").replaceChildren(...parts.flat());
}

function check(name: "withoutWorkloads" | "withoutKinds", value: string, words: string[], number: number): HTMLElement {
  const box = el("input", { attributes: { type: "checkbox" }, on: { change: () => toggle(name, value) } });
  box.checked = !filter[name].has(value);
  return el("label", { class: "check" }, box, el("span", {}, ...words), el("span", { class: "count" }, count(number)));
}

function choices(): void {
  at("users").replaceChildren(...summary.users.slice(0, 500).map(([name]) => new Option(name)));
  at("operations").replaceChildren(...summary.operations.map(([name]) => new Option(name)));
}

function caption(): [string, string] {
  const { edges, nodes, left_out, records } = picture;
  const parts = [filter.node && `around ${nameOf(filter.node)}`, filter.user && `user ${filter.user}`, filter.operation, filter.level && `findings of ${filter.level} or above`, filter.rule && `finding ${filter.rule}`,
    filter.sessions && "sessions at more than one address", filter.pathTo && `the way from ${nameOf(filter.pathFrom)} to ${nameOf(filter.pathTo)}`, filter.from && `from ${filter.from}`,
    filter.to && `to ${filter.to}`, filter.least > 1 && `at least ${filter.least} records`].filter(Boolean);
  return [`${counted(edges.length, "edge")} between ${counted(nodes.length, "node")} of ${counted(records, "record")}; ${counted(left_out.edges, "edge")} left out.`,
    `${parts.length ? `${parts.join(", ")} · ` : ""}drawn ${new Date().toISOString().slice(0, 19)} UTC`];
}

function listen(): void {
  if (matchMedia("(max-width: 760px)").matches) at("filters").querySelector("details")!.open = false;
  // A browser leaves seconds out where they are none.
  const whole = (text: string) => (/T\d\d:\d\d$/.test(text) ? `${text}:00` : text);
  const text = (name: "from" | "to" | "user" | "operation") =>
    at(name).addEventListener("change", () => change({ [name]: whole(at<HTMLInputElement>(name).value.trim()) }));
  (["from", "to", "user", "operation"] as const).forEach(text);
  at("least").addEventListener("change", () => change({ least: Math.max(1, Math.trunc(at<HTMLInputElement>("least").valueAsNumber) || 1) }));
  at("top").addEventListener("change", () => change({ top: Number(at<HTMLSelectElement>("top").value) }));
  at("level").addEventListener("change", () => change({ level: at<HTMLSelectElement>("level").value }));
  at("sessions").addEventListener("change", () => change({ sessions: at<HTMLInputElement>("sessions").checked ? "several" : "" }));
  at("order").addEventListener("change", () => change({ order: at<HTMLSelectElement>("order").value }));
  at("filters").addEventListener("submit", (event) => event.preventDefault());
  at("reset").addEventListener("click", () => change(everything()));
  at("in").addEventListener("click", () => canvas.zoom(1.4));
  at("out").addEventListener("click", () => canvas.zoom(1 / 1.4));
  at("fit").addEventListener("click", () => canvas.fit());
  at("csv").addEventListener("click", () => api.csv(toQuery(filter, summary)).then((blob) => download("edges.csv", blob)).catch(trouble));
  at("png").addEventListener("click", () => {
    const shown = new Set(picture.nodes.map((node) => typeOf(node.key)));
    const nodes = types().filter((type) => shown.has(type)).map((type) => ({ name: kindOf(type).name, color: kindOf(type).color, isEdge: false }));
    const edges = marks().map((level) => ({ name: `edge of a ${level} finding`, color: colorOf(level), isEdge: true }));
    png(canvas, [...nodes, ...edges], caption()).then((blob) => download("graph.png", blob)).catch(trouble);
  });
  at<HTMLButtonElement>("reload").addEventListener("click", async (event) => {
    const button = event.target as HTMLButtonElement;
    button.disabled = true;
    await api.reload().then((read) => begin(read)).catch(trouble);
    button.disabled = false;
  });
  document.addEventListener("keydown", (event) => {
    const isTyping = (event.target as HTMLElement).matches("input, select, textarea");
    if (event.key === "/" && !isTyping) {
      event.preventDefault();
      at("search").focus();
    }
    if (event.key === "Escape" && !isTyping && selection) {
      point(null);
      at("graph").focus();
    }
  });
  addEventListener("hashchange", () => {
    filter = fromAddress(location.hash);
    void draw();
  });
  searchBox(async (key) => {
    // What the filters hide is looked at by itself.
    if (!picture.nodes.some((node) => node.key === key)) {
      filter = { ...everything(), node: key, pathFrom: filter.pathTo ? "" : filter.pathFrom };
      history.replaceState(null, "", `#${toAddress(filter)}`);
      await draw();
    }
    point({ node: key }, true);
  }, (text) => picture.nodes.filter(({ key }) => fullName(key).toLowerCase().includes(text)));
  themeSwitch(() => canvas.restyle());
}

async function begin(read: Summary): Promise<void> {
  summary = read;
  choices();
  await draw();
}

listen();
api.summary().then(begin).catch(trouble);
