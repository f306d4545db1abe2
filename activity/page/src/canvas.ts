// The picture: nodes and edges on a canvas, what the pointer and the keyboard do there, and what is lit up. What is in the
// picture, and what is told of it beside, is decided by others.

import cytoscape, { type Core, type EdgeSingular, type NodeSingular } from "cytoscape";
import type { Finding, Picture, PictureEdge, PictureNode } from "./api";
import { at, counted } from "./dom";
import { fullName, kindOf, shortName, signImage, typeOf } from "./kinds";
import { drawLabels, type Ink } from "./labels";
import { Layout } from "./layout";
import { colorOf, isSevere } from "./levels";
import { visible } from "./visible";

export type Selection = { node: string } | { from: string; to: string } | { finding: Finding } | null;

const ARROWS: Record<string, [number, number]> = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

/** Below it, a node that is pointed out is too small to be seen. */
const SMALLEST_ZOOM = 0.35;

export class Canvas {
  readonly cy: Core;
  private layout = new Layout();
  private container = at("graph");
  private labels = at<HTMLCanvasElement>("labels");
  private isFitting = true;

  /** `select` is told what the person points out; `open`, that they want to read about it. */
  constructor(private select: (selection: Selection) => void, private open: () => void) {
    this.cy = cytoscape({ container: this.container, minZoom: 0.02, maxZoom: 5, boxSelectionEnabled: false, selectionType: "single", autounselectify: true });
    this.restyle();
    this.cy.on("tap", (event) => {
      if (event.target === this.cy) this.select(null);
      else this.select(event.target.isNode() ? { node: event.target.id() } : { from: event.target.source().id(), to: event.target.target().id() });
    });
    this.cy.on("dbltap", "node", () => this.open());
    this.cy.on("mouseover", "node, edge", (event) => this.hover(event.target));
    this.cy.on("mouseout", "node, edge", () => this.hover(null));
    this.cy.on("dragfree", "node", (event) => this.layout.move(event.target.id(), event.target.position("x"), event.target.position("y")));
    this.cy.on("scrollzoom pinchzoom dragpan", () => (this.isFitting = false));
    this.cy.on("render", () => this.name());
    this.container.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => {
      this.cy.resize();
      if (this.isFitting) this.fit();
    }).observe(this.container);
  }

  /** Draws another picture; nodes that stay keep their place. */
  show(picture: Picture): void {
    this.container.dataset.state = "moving";
    const most = Math.max(1, ...picture.edges.map((edge) => edge.records));
    const degrees = new Array<number>(picture.nodes.length).fill(0);
    for (const edge of picture.edges) for (const place of [edge.from, edge.to]) degrees[place]! += 1;
    const nodes = picture.nodes.map((node, place) => ({ group: "nodes" as const, data: nodeData(node, degrees[place]!) }));
    const edges = picture.edges.map((edge) => ({ group: "edges" as const, data: edgeData(edge, picture.nodes, most) }));
    this.cy.batch(() => {
      this.cy.elements().remove();
      this.cy.add([...nodes, ...edges]);
    });
    this.container.setAttribute("aria-label", `${counted(nodes.length, "node")} and ${counted(edges.length, "edge")}`);
    this.isFitting = true;
    this.layout.start(
      nodes.map(({ data }) => ({ key: data.id, radius: data.size / 2 })),
      edges.map(({ data }) => ({ from: data.source, to: data.target })),
      this.cy.width() / Math.max(1, this.cy.height()),
      (bodies) => {
        this.cy.batch(() => bodies.forEach(({ key, x, y }) => this.cy.getElementById(key).position({ x, y })));
        if (this.isFitting) this.fit();
      },
      () => (this.container.dataset.state = "still"),
    );
  }

  /** Lights up what is pointed out, with what it touches. */
  mark(selection: Selection): void {
    this.cy.batch(() => {
      this.cy.elements().removeClass("chosen lit faded");
      this.cy.nodes().forEach((node) => void node.data("isChosen", 0));
      const chosen = this.find(selection);
      if (!chosen || chosen.empty()) return;
      const near = chosen.isNode() ? chosen.closedNeighborhood() : chosen.union(chosen.connectedNodes());
      this.cy.elements().not(near).addClass("faded");
      near.addClass("lit");
      chosen.addClass("chosen");
    });
  }

  /** Lights up edges, as far as they are drawn, and what they join. */
  light(edges: { from: string; to: string }[]): void {
    this.cy.batch(() => {
      const lit = edges.reduce((all, { from, to }) => all.union(this.cy.getElementById(edgeId(from, to))), this.cy.collection());
      if (lit.empty()) return;
      const near = lit.union(lit.connectedNodes());
      this.cy.elements().not(near).addClass("faded");
      near.addClass("lit");
    });
  }

  /** Brings it into view. */
  reveal(key: string): void {
    const node = this.cy.getElementById(key);
    if (node.empty()) return;
    this.isFitting = false;
    const { x, y } = node.renderedPosition();
    const isInView = x > 40 && y > 40 && x < this.cy.width() - 40 && y < this.cy.height() - 60;
    if (isInView && this.cy.zoom() >= SMALLEST_ZOOM) return;
    const level = Math.max(this.cy.zoom(), SMALLEST_ZOOM);
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
      this.cy.zoom(level);
      this.cy.center(node);
    } else {
      this.cy.animate({ zoom: level, center: { eles: node } }, { duration: 250 });
    }
  }

  /** Everything, in what the notes above and the legend below leave free. */
  fit(): void {
    this.isFitting = true;
    const { left, top, right, bottom } = this.layout.extent();
    const [free, foot] = [{ x: 24, y: 52 }, at("legend").offsetHeight + 30];
    const [width, height] = [Math.max(80, this.cy.width() - 2 * free.x), Math.max(80, this.cy.height() - free.y - foot)];
    const zoom = Math.min(width / Math.max(1, right - left), height / Math.max(1, bottom - top), 1.6);
    this.cy.viewport({ zoom, pan: { x: free.x + width / 2 - (zoom * (left + right)) / 2, y: free.y + height / 2 - (zoom * (top + bottom)) / 2 } });
  }

  zoom(factor: number): void {
    this.isFitting = false;
    this.cy.zoom({ level: this.cy.zoom() * factor, renderedPosition: { x: this.cy.width() / 2, y: this.cy.height() / 2 } });
  }

  /** Colours as the page has them now. */
  restyle(): void {
    const { text, halo } = this.ink();
    this.cy.style([
      { selector: "node", style: {
        width: "data(size)", height: "data(size)", "background-color": "data(color)", "background-image": "data(sign)", "background-fit": "none",
        "background-width": "62%", "background-height": "62%", "border-width": 1.5, "border-color": halo, "overlay-opacity": 0 } },
      { selector: "edge", style: {
        width: "data(width)", "line-color": "data(color)", "target-arrow-color": "data(color)", "target-arrow-shape": "triangle", "arrow-scale": 0.7,
        "curve-style": "straight", opacity: 0.55, "overlay-opacity": 0 } },
      { selector: "edge[label = 'mentions']", style: { "line-style": "dashed", "line-dash-pattern": [5, 5] } },
      { selector: "edge[label = 'acts as']", style: { "line-style": "dotted" } },
      { selector: "edge[mark]", style: { "underlay-color": "data(mark)", "underlay-opacity": 0.5, "underlay-padding": 4, opacity: 0.9 } },
      { selector: "node.lit", style: { "border-color": text } },
      { selector: "edge.lit", style: { opacity: 0.95 } },
      { selector: "node.faded", style: { opacity: 0.13 } },
      { selector: "edge.faded", style: { opacity: 0.05 } },
      { selector: "edge.faded[mark]", style: { "underlay-opacity": 0.1 } },
      { selector: "node.chosen", style: { "border-width": 4, "border-color": text } },
    ] as cytoscape.StylesheetJson);
    this.name();
  }

  /** The view as a picture of its own, twice as fine. */
  drawing(scale: number): Promise<HTMLImageElement> {
    return new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = () => reject(new Error("The picture cannot be drawn."));
      image.src = this.cy.png({ full: false, scale, output: "base64uri" });
    });
  }

  ink(): Ink {
    const style = getComputedStyle(this.labels);
    return { text: style.color, halo: style.borderTopColor };
  }

  private find(selection: Selection): NodeSingular | EdgeSingular | null {
    if (!selection || "finding" in selection) return null;
    if ("node" in selection) return this.cy.getElementById(selection.node);
    return this.cy.getElementById(edgeId(selection.from, selection.to)) as unknown as EdgeSingular;
  }

  /** Names go on a canvas of their own, above. */
  private name(): void {
    const scale = devicePixelRatio || 1;
    const [width, height] = [Math.round(this.cy.width() * scale), Math.round(this.cy.height() * scale)];
    if (this.labels.width !== width || this.labels.height !== height) Object.assign(this.labels, { width, height });
    const context = this.labels.getContext("2d");
    if (!context) return;
    context.clearRect(0, 0, width, height);
    drawLabels(this.cy, context, scale, this.ink());
  }

  private hover(element: NodeSingular | EdgeSingular | null): void {
    const tip = at("tip");
    tip.hidden = !element;
    this.container.style.cursor = element ? "pointer" : "";
    if (!element) return;
    tip.textContent = visible(element.isNode()
      ? `${fullName(element.id())} · ${kindOf(typeOf(element.id())).name} · ${counted(element.data("records"), "record")}`
      : `${shortName(element.source().id())} → ${shortName(element.target().id())} · ${element.data("words")} · ${counted(element.data("records"), "record")}`);
    const { x, y } = element.isNode() ? element.renderedPosition() : element.renderedMidpoint();
    const left = Math.min(Math.max(8, x + 14), this.cy.width() - tip.offsetWidth - 8);
    tip.style.left = `${left}px`;
    tip.style.top = `${Math.min(Math.max(8, y + 14), this.cy.height() - tip.offsetHeight - 8)}px`;
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = ARROWS[event.key];
    if (arrow) this.walk(arrow);
    else if (event.key === "+" || event.key === "=") this.zoom(1.3);
    else if (event.key === "-") this.zoom(1 / 1.3);
    else if (event.key === "0") this.fit();
    else if (event.key === "Enter") this.open();
    else return;
    event.preventDefault();
  }

  /** To the nearest node that way; from none, to the largest. */
  private walk([right, down]: [number, number]): void {
    const here = this.cy.nodes(".chosen");
    if (here.empty()) {
      const largest = this.cy.nodes().max((node) => node.data("size")).ele;
      if (largest) this.select({ node: largest.id() });
      return;
    }
    const { x, y } = here.first().position();
    const onward = (this.cy.nodes().not(here).toArray() as NodeSingular[]).map((node) => {
      const along = (node.position("x") - x) * right + (node.position("y") - y) * down;
      const aside = Math.abs((node.position("x") - x) * down) + Math.abs((node.position("y") - y) * right);
      return { node, along, cost: along + 2 * aside };
    }).filter(({ along }) => along > 1).sort((a, b) => a.cost - b.cost)[0];
    if (onward) this.select({ node: onward.node.id() });
  }
}

/** By the edges that are drawn, and a little by its records; on a scale that a crowd does not burst. */
function nodeData({ key, records }: PictureNode, degree: number) {
  const size = 13 + Math.min(44, 4.6 * Math.sqrt(Math.max(0, degree - 1)) + 1.2 * Math.log2(1 + records));
  const type = typeOf(key);
  return { id: key, size, isHub: degree > 7, color: kindOf(type).color, sign: signImage(type), records };
}

function edgeData(edge: PictureEdge, nodes: PictureNode[], most: number) {
  const [source, target] = [nodes[edge.from]!.key, nodes[edge.to]!.key];
  const width = 1 + 5 * Math.log(1 + edge.records) / Math.log(1 + most);
  const words = edge.operations.slice(0, 3).map(([name]) => name).join(", ");
  // An edge that is drawn once for several labels looks as a deed does.
  const label = edge.operations.length === 1 ? edge.operations[0]![0] : "";
  const mark = isSevere(edge.level) ? { mark: colorOf(edge.level) } : {};
  return { id: edgeId(source, target), source, target, width, color: kindOf(typeOf(target)).color, records: edge.records, words, label, ...mark };
}

function edgeId(from: string, to: string): string {
  return `${from}\n${to}`;
}
