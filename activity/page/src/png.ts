// The picture as a file: the view as it stands with its names, and below it what it shows, so that it can be put in a report.

import type { Canvas } from "./canvas";
import { drawLabels } from "./labels";

const SCALE = 2;
const LINE = 17;

/** Of the legend: what a node or an edge of this colour is. */
export interface Entry { name: string; color: string; isEdge: boolean }

export async function png(canvas: Canvas, entries: Entry[], lines: [string, string]): Promise<Blob> {
  const { cy } = canvas;
  const [width, height] = [cy.width(), cy.height()];
  const ink = canvas.ink();
  const paper = document.createElement("canvas");
  const context = paper.getContext("2d");
  if (!context) throw new Error("The picture cannot be drawn.");
  const font = '12px system-ui, "DejaVu Sans", sans-serif';
  context.font = font;
  const legend = places(entries, width, (text) => context.measureText(text).width);
  const rows = (legend.at(-1)?.row ?? 0) + 1;
  paper.width = width * SCALE;
  paper.height = (height + 8 + (rows + lines.length) * LINE) * SCALE;
  context.fillStyle = getComputedStyle(document.getElementById("stage")!).backgroundColor;
  context.fillRect(0, 0, paper.width, paper.height);
  context.drawImage(await canvas.drawing(SCALE), 0, 0, width * SCALE, height * SCALE);
  drawLabels(cy, context, SCALE, ink);

  context.scale(SCALE, SCALE);
  context.font = font;
  for (const { entry, x, row } of legend) {
    context.fillStyle = entry.color;
    context.beginPath();
    if (entry.isEdge) context.rect(x, height + 5 + row * LINE, 10, 6);
    else context.arc(x + 5, height + 8 + row * LINE, 5, 0, 2 * Math.PI);
    context.fill();
    context.fillStyle = ink.text;
    context.fillText(entry.name, x + 14, height + 12 + row * LINE);
  }
  context.fillStyle = ink.text;
  lines.forEach((line, row) => context.fillText(line, 12, height + 12 + (rows + row) * LINE, width - 24));
  return new Promise((resolve, reject) => paper.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("The picture cannot be drawn."))), "image/png"));
}

/** Side by side, and in another row where there is no room. */
function places(entries: Entry[], width: number, measure: (text: string) => number): { entry: Entry; x: number; row: number }[] {
  let [x, row] = [12, 0];
  return entries.map((entry) => {
    const wide = measure(entry.name) + 30;
    if (x > 12 && x + wide > width) [x, row] = [12, row + 1];
    const place = { entry, x, row };
    x += wide;
    return place;
  });
}
