// The pane beside the graph: the picture as lists, and what is known of the node or edge that is pointed out, down to its
// records as they stand in the database.

import * as api from "./api";
import type { Finding, Listed, Picture, PictureEdge, Step } from "./api";
import type { Selection } from "./canvas";
import { at, count, counted, el, icon, time } from "./dom";
import { fullName, kindOf, nameOf, shortName, typeOf } from "./kinds";
import { badge, isSevere } from "./levels";
import { visible } from "./visible";

/** Lines of a list before it is cut; the CSV has all. */
const MOST_LINES = 100;

export interface Actions {
  select(selection: Selection): void;
  around(key: string): void;
  ofUser(name: string): void;
  /** Shows only what a rule found on an account's records. */
  onlyFinding(finding: Finding): void;
  /** Asks how something could get from here, or to here. */
  pathFrom(key: string): void;
  pathTo(key: string): void;
  /** The two ends of the way that is asked for, as far as they are chosen. */
  path(): { from: string; to: string };
  /** What the server is asked with. */
  query(): URLSearchParams;
}

export class Details {
  private pane = at("details");
  private turn = 0;
  private isAllShown = false;

  constructor(private actions: Actions) {}

  focus(): void {
    this.pane.focus();
  }

  show(picture: Picture, findings: Finding[], selection: Selection): void {
    this.turn += 1;
    if (!selection) return this.actions.path().to ? this.path() : this.overview(picture, findings);
    if ("node" in selection) return this.node(picture, selection.node);
    if ("finding" in selection) return this.finding(picture, selection.finding);
    this.edge(picture, selection.from, selection.to);
  }

  private overview(picture: Picture, findings: Finding[]): void {
    const nodes = byRecords(picture.nodes);
    this.pane.replaceChildren(
      ...this.first(picture, findings),
      el("h2", {}, "What the picture shows"),
      el("p", { class: "note" }, "Press a node or an edge, here or in the graph, to read its records."),
      el("h3", {}, `Nodes, most records first (${count(nodes.length)})`),
      this.list(nodes, (node) => this.nodeLine(node.key, counted(node.records, "record"))),
      el("h3", {}, `Edges, most records first (${count(picture.edges.length)})`),
      this.list(byRecords(picture.edges), (edge) => this.edgeLine(picture, edge)),
    );
  }

  /** What rules found, by account; one line a rule, however many records it is. */
  private first(picture: Picture, findings: Finding[]): HTMLElement[] {
    const shown = this.isAllShown ? findings : findings.filter(({ level }) => isSevere(level));
    const rest = findings.length - shown.length;
    const again = (isAll: boolean) => () => {
      this.isAllShown = isAll;
      this.show(picture, findings, null);
    };
    const accounts = [...new Set(shown.slice(0, MOST_LINES).map(({ account }) => account))];
    const lines = (account: string) => shown.slice(0, MOST_LINES).filter((finding) => finding.account === account);
    return [
      el("h2", { attributes: { id: "first" } }, "What to look at first"),
      ...(shown.length ? [] : [el("p", { class: "note" }, rest ? "Rules found nothing of level medium or above." : "Rules found nothing in these records.")]),
      ...accounts.flatMap((account) => [el("h3", { class: "account" }, account || "nobody"), el("ul", { class: "list" }, ...lines(account).map((finding) => el("li", {}, this.findingLine(finding))))]),
      ...(shown.length > MOST_LINES ? [el("p", { class: "note" }, `${count(shown.length - MOST_LINES)} more: choose a user or a time.`)] : []),
      ...(rest ? [el("button", { on: { click: again(true) } }, `Also ${counted(rest, "line")} of low level`)] : []),
      ...(this.isAllShown && findings.some(({ level }) => !isSevere(level)) ? [el("button", { on: { click: again(false) } }, "Without those of low level")] : []),
      el("hr", {}),
    ];
  }

  private findingLine(finding: Finding): HTMLElement {
    return el("button", { class: "item", title: finding.title, on: { click: () => this.actions.select({ finding }) } },
      badge(finding.level), el("span", { class: "text whole" }, finding.title, el("small", {}, time(finding.first))), el("span", { class: "count" }, counted(finding.records, "record")));
  }

  private finding(picture: Picture, finding: Finding): void {
    const query = this.actions.query();
    query.set("rule", finding.rule);
    query.set("account", finding.account);
    const about = picture.nodes.filter(({ key }) => nameOf(key) === finding.account && ["user", "guest", "system", "app", "ip"].includes(typeOf(key)));
    this.pane.replaceChildren(
      el("h2", {}, finding.title),
      facts([["About", finding.account || "nobody"], ["Records", count(finding.records)], ["First", time(finding.first)], ["Last", time(finding.last)]]),
      el("p", {}, badge(finding.level)),
      ...(about.length ? [el("ul", { class: "list" }, ...about.map(({ key, records }) => el("li", {}, this.nodeLine(key, counted(records, "record")))))] : []),
      el("div", { class: "row" },
        el("button", { on: { click: () => this.actions.onlyFinding(finding) } }, "Only its edges"),
        el("button", { on: { click: () => this.actions.select(null) } }, "Back to the list")),
      this.records(query),
      el("p", { class: "note" }, "A finding of a rule over time counts many records and opens the one that completes it."),
    );
  }

  /** The steps of the way, when the server has answered. */
  private path(): void {
    const { from, to } = this.actions.path();
    const turn = this.turn;
    const steps = el("section", { attributes: { "aria-label": "Steps", "aria-busy": "true" } }, el("p", { class: "note" }, "Looking…"));
    this.pane.replaceChildren(
      el("h2", {}, "How could it get there?"),
      el("ul", { class: "list" }, el("li", {}, this.nodeLine(from, "from")), el("li", {}, this.nodeLine(to, "to"))),
      el("p", { class: "note" }, "The fewest steps of which none is earlier than the one before, along edges either way, through no application, system or policy, and nothing that failed. "
        + "It is a way that was open, no proof that it was taken."),
      steps,
    );
    api.path(this.actions.query()).then((found) => {
      if (turn !== this.turn) return;
      if (!found) return steps.replaceChildren(el("p", {}, "There is no such way in these records, under these filters."));
      if (!found.length) return steps.replaceChildren(el("p", {}, "Both are the same node."));
      steps.replaceChildren(el("h3", {}, counted(found.length, "step")), el("ol", { class: "list steps" }, ...found.map((step) => el("li", {}, this.stepLine(step)))));
    }).catch((error: Error) => steps.replaceChildren(el("p", { class: "error" }, error.message)))
      .finally(() => steps.removeAttribute("aria-busy"));
  }

  /** Opens to the record that the step is an edge of. */
  private stepLine({ here, there, label, record }: Step): HTMLElement {
    return el("div", {}, el("p", { class: "step" }, icon(typeOf(here)), ` ${shortName(here)} → `, icon(typeOf(there)), ` ${shortName(there)} `, label === record.operation ? null : el("small", {}, label)), this.recordLine(record));
  }

  private node(picture: Picture, key: string): void {
    const place = picture.nodes.findIndex((node) => node.key === key);
    const node = picture.nodes[place];
    const edges = byRecords(picture.edges.filter((edge) => edge.from === place || edge.to === place));
    const hidden = node ? node.edges - edges.length : 0;
    const records = this.records(this.actions.query(), key);
    const begin = this.actions.path().from;
    this.pane.replaceChildren(
      this.title(typeOf(key), fullName(key), kindOf(typeOf(key)).name),
      facts([
        ["Records", node ? count(node.records) : "0 under these filters"],
        ["Edges", node ? `${count(edges.length)}${hidden > 0 ? ` shown, ${count(hidden)} left out` : ""}` : "none shown"],
        ["First", time(least(edges.map((edge) => edge.first)))],
        ["Last", time(most(edges.map((edge) => edge.last)))],
      ]),
      el("div", { class: "row" },
        el("button", { on: { click: () => this.actions.around(key) } }, "Only what is around it"),
        typeOf(key) === "user" || typeOf(key) === "system" ? el("button", { on: { click: () => this.actions.ofUser(nameOf(key)) } }, "Only what it did") : null,
        el("button", { on: { click: () => this.actions.pathFrom(key) } }, "How could it get from here to …"),
        begin && begin !== key ? el("button", { on: { click: () => this.actions.pathTo(key) } }, `… to here, from ${shortName(begin)}?`) : null,
        el("button", { on: { click: () => void navigator.clipboard?.writeText(nameOf(key)) } }, "Copy name")),
      el("h3", {}, "Edges"),
      this.list(edges, (edge) => this.edgeLine(picture, edge, place)),
      records,
    );
  }

  private edge(picture: Picture, from: string, to: string): void {
    const edge = picture.edges.find((edge) => picture.nodes[edge.from]?.key === from && picture.nodes[edge.to]?.key === to);
    this.pane.replaceChildren(
      el("h2", {}, edge ? operations(edge) : "An edge that is not shown now"),
      el("ul", { class: "list" }, el("li", {}, this.nodeLine(from, "from")), el("li", {}, this.nodeLine(to, "to"))),
      ...(edge ? this.operations(edge) : []),
      this.records(this.actions.query(), from, to),
    );
  }

  private operations(edge: PictureEdge): HTMLElement[] {
    return [
      ...(edge.level ? [el("p", {}, "Worst finding of its records: ", badge(edge.level))] : []),
      facts([["Records", count(edge.records)], ["First", time(edge.first)], ["Last", time(edge.last)]]),
      el("h3", {}, "Operations"),
      this.list(edge.operations, ([name, number]) => el("span", { class: "item" }, el("span", { class: "text" }, name), el("span", { class: "count" }, count(number)))),
      ...(edge.more_operations ? [el("p", { class: "note" }, `and ${counted(edge.more_operations, "more operation")}`)] : []),
    ];
  }

  private title(type: string, name: string, kind: string): HTMLElement {
    return el("div", { class: "title" }, icon(type), el("div", {}, el("h2", {}, name), el("p", { class: "kind" }, kind)));
  }

  private list<T>(all: T[], line: (one: T) => HTMLElement): HTMLElement {
    const list = el("ul", { class: "list" }, ...all.slice(0, MOST_LINES).map((one) => el("li", {}, line(one))));
    if (all.length === 0) list.append(el("li", { class: "note" }, "none"));
    if (all.length > MOST_LINES) list.append(el("li", { class: "note" }, `${count(all.length - MOST_LINES)} more are not listed here; the CSV has all.`));
    return list;
  }

  private nodeLine(key: string, aside: string): HTMLElement {
    return el("button", { class: "item", title: fullName(key), on: { click: () => this.actions.select({ node: key }) } },
      icon(typeOf(key)), el("span", { class: "text" }, shortName(key), el("span", { class: "hidden" }, `, ${kindOf(typeOf(key)).name}`)),
      el("span", { class: "count" }, aside));
  }

  /** Seen from one end, only the other is named. */
  private edgeLine(picture: Picture, edge: PictureEdge, seenFrom?: number): HTMLElement {
    const [from, to] = [picture.nodes[edge.from]!.key, picture.nodes[edge.to]!.key];
    const other = seenFrom === edge.to ? from : to;
    const words = seenFrom === undefined ? `${shortName(from)} → ${shortName(to)}` : `${seenFrom === edge.to ? "← " : "→ "}${shortName(other)}`;
    return el("button", { class: "item", title: `${fullName(from)} → ${fullName(to)}`, on: { click: () => this.actions.select({ from, to }) } },
      icon(typeOf(other)), el("span", { class: "text" }, words, el("small", {}, operations(edge))), el("span", { class: "count" }, count(edge.records)));
  }

  /** Comes when the server has answered, unless something else was pointed out meanwhile. */
  private records(query: URLSearchParams, of?: string, and?: string): HTMLElement {
    const turn = this.turn;
    const section = el("section", { attributes: { "aria-label": "Records", "aria-busy": "true" } }, el("h3", {}, "Records"), el("p", { class: "note" }, "Reading…"));
    api.records(query, of, and).then(({ total, records }) => {
      if (turn !== this.turn) return;
      const note = total > records.length ? `The newest ${count(records.length)} of ${count(total)}` : counted(total, "record");
      section.replaceChildren(el("h3", {}, `Records, newest first`), el("p", { class: "note" }, note),
        el("ul", { class: "list" }, ...records.map((record) => el("li", {}, this.recordLine(record)))));
    }).catch((error: Error) => section.replaceChildren(el("p", { class: "error" }, error.message)))
      .finally(() => section.removeAttribute("aria-busy"));
    return section;
  }

  /** Opens to the whole record. */
  private recordLine(record: Listed): HTMLElement {
    const whole = el("pre", { attributes: { tabindex: "0" } });
    whole.hidden = true;
    const line = el("button", { class: "item", attributes: { "aria-expanded": "false" } },
      el("span", { class: "text" }, record.operation || "no operation", el("small", {}, `${record.user || "nobody"} · ${record.workload}`),
        ...record.findings.map(({ title, level }) => el("small", {}, badge(level), ` ${title}`))),
      el("span", { class: "count" }, time(record.at)));
    line.addEventListener("click", async () => {
      whole.hidden = !whole.hidden;
      line.setAttribute("aria-expanded", String(!whole.hidden));
      if (whole.textContent) return;
      whole.textContent = "Reading…";
      whole.textContent = await api.record(record.pk, record.id).then(legible, (error: Error) => error.message);
    });
    return el("div", {}, line, whole);
  }
}

/** A document, one field a line; within its lines nothing is hidden. */
function legible(document: unknown): string {
  return JSON.stringify(document, null, 2).split("\n").map(visible).join("\n");
}

function operations(edge: PictureEdge): string {
  const names = edge.operations.slice(0, 3).map(([name]) => name || "no operation");
  const more = edge.operations.length + edge.more_operations - names.length;
  return names.join(", ") + (more > 0 ? ` and ${more} more` : "");
}

function byRecords<T extends { records: number }>(all: T[]): T[] {
  return [...all].sort((a, b) => b.records - a.records);
}

function facts(pairs: [string, string][]): HTMLElement {
  return el("dl", { class: "facts" }, ...pairs.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function least(times: (string | null)[]): string | null {
  return times.reduce((a, b) => (a === null || (b !== null && b < a) ? b : a), null);
}

function most(times: (string | null)[]): string | null {
  return times.reduce((a, b) => (a === null || (b !== null && b > a) ? b : a), null);
}
