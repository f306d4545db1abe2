// Names over the nodes, of one size at every zoom, as many as fit without touching: the most important first.

import type { Core, NodeSingular } from "cytoscape";
import { isGuid, shortName } from "./kinds";

const SIZE = 12;
/** Of a node on the screen that is worth a name, in pixels. */
const SMALLEST = 7;

export interface Ink { text: string; halo: string }

/** Draws on a canvas of the view's size; `scale` is how many of its points make a pixel of the view. */
export function drawLabels(cy: Core, context: CanvasRenderingContext2D, scale: number, ink: Ink): void {
  const [width, height] = [cy.width(), cy.height()];
  const taken: [number, number, number, number][] = [];
  const isFree = (box: [number, number, number, number]) => taken.every(([l, t, r, b]) => box[2] < l || box[0] > r || box[3] < t || box[1] > b);
  context.save();
  context.scale(scale, scale);
  context.textAlign = "center";
  context.lineJoin = "round";
  for (const node of cy.nodes().toArray().sort((a, b) => rank(b) - rank(a)) as NodeSingular[]) {
    const { x, y } = node.renderedPosition();
    const radius = node.renderedOuterWidth() / 2;
    const isChosen = node.hasClass("chosen");
    const isLit = node.hasClass("lit");
    if (node.hasClass("faded") || (radius * 2 < SMALLEST && !isLit) || x < 0 || y < 0 || x > width || y > height) continue;
    context.font = `${isChosen || node.data("isHub") ? 600 : 400} ${SIZE}px system-ui, "DejaVu Sans", sans-serif`;
    const name = shortName(node.id());
    const half = widthOf(context, name) / 2 + 2;
    const middle = Math.min(Math.max(x, half + 4), width - half - 4);
    const top = y + radius + 2;
    const box: [number, number, number, number] = [middle - half, top, middle + half, top + SIZE + 2];
    if (!isChosen && !isFree(box)) continue;
    taken.push(box, [x - radius, y - radius, x + radius, y + radius]);
    context.strokeStyle = ink.halo;
    context.lineWidth = 3.5;
    context.strokeText(name, middle, top + SIZE - 1);
    context.fillStyle = ink.text;
    context.fillText(name, middle, top + SIZE - 1);
  }
  context.restore();
}

const widths = new Map<string, number>();

/** Measuring is slow, and names come again with every picture. */
function widthOf(context: CanvasRenderingContext2D, name: string): number {
  const key = context.font + name;
  let width = widths.get(key);
  if (width === undefined) widths.set(key, (width = context.measureText(name).width));
  return width;
}

/** What is pointed out comes first, numbers that tell nobody anything last. */
function rank(node: NodeSingular): number {
  return (node.hasClass("chosen") ? 1e9 : 0) + (node.hasClass("lit") ? 1e6 : 0) + node.data("size") - (isGuid(node.id()) ? 1e3 : 0);
}
