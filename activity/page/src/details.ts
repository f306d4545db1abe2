// The pane beside the graph: the picture as lists, and what is known of the node or edge that is pointed out, down to its
// records as they stand in the database.

import * as api from "./api";
import type { Listed, Picture, PictureEdge } from "./api";
import type { Selection } from "./canvas";
import { at, count, counted, el, icon, time } from "./dom";
import { fullName, kindOf, nameOf, shortName, typeOf } from "./kinds";
import { visible } from "./visible";

/** Lines of a list before it is cut; the CSV has all. */
const MOST_LINES = 100;

export interface Actions {
  select(selection: Selection): void;
  around(key: string): void;
  ofUser(name: string): void;
  /** What the server is asked with. */
  query(): URLSearchParams;
}

export class Details {
  private pane = at("details");
  private turn = 0;

  constructor(private actions: Actions) {}

  focus(): void {
    this.pane.focus();
  }

  show(picture: Picture, selection: Selection): void {
    this.turn += 1;
    if (!selection) return this.overview(picture);
    if ("node" in selection) return this.node(picture, selection.node);
    this.edge(picture, selection.from, selection.to);
  }

  private overview(picture: Picture): void {
    const nodes = byRecords(picture.nodes);
    this.pane.replaceChildren(
      el("h2", {}, "What the picture shows"),
      el("p", { class: "note" }, "Press a node or an edge, here or in the graph, to read its records."),
      el("h3", {}, `Nodes, most records first (${count(nodes.length)})`),
      this.list(nodes, (node) => this.nodeLine(node.key, counted(node.records, "record"))),
      el("h3", {}, `Edges, most records first (${count(picture.edges.length)})`),
      this.list(byRecords(picture.edges), (edge) => this.edgeLine(picture, edge)),
    );
  }

  private node(picture: Picture, key: string): void {
    const place = picture.nodes.findIndex((node) => node.key === key);
    const node = picture.nodes[place];
    const edges = byRecords(picture.edges.filter((edge) => edge.from === place || edge.to === place));
    const hidden = node ? node.edges - edges.length : 0;
    const records = this.records(key);
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
      this.records(from, to),
    );
  }

  private operations(edge: PictureEdge): HTMLElement[] {
    return [
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
  private records(of: string, and?: string): HTMLElement {
    const turn = this.turn;
    const section = el("section", { attributes: { "aria-label": "Records", "aria-busy": "true" } }, el("h3", {}, "Records"), el("p", { class: "note" }, "Reading…"));
    api.records(this.actions.query(), of, and).then(({ total, records }) => {
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
      el("span", { class: "text" }, record.operation || "no operation", el("small", {}, `${record.user || "nobody"} · ${record.workload}`)),
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
