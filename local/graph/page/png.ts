// The picture as a file: the view as it stands with its names, and below it what it shows, so that it can be put in a report.

import type { Canvas } from "./canvas";
import { kindOf } from "./kinds";
import { drawLabels } from "./labels";

const SCALE = 2;
const FOOT = 54;

export async function png(canvas: Canvas, types: string[], lines: [string, string]): Promise<Blob> {
  const { cy } = canvas;
  const [width, height] = [cy.width(), cy.height()];
  const ink = canvas.ink();
  const paper = document.createElement("canvas");
  paper.width = width * SCALE;
  paper.height = (height + FOOT) * SCALE;
  const context = paper.getContext("2d");
  if (!context) throw new Error("The picture cannot be drawn.");
  context.fillStyle = ink.halo === "rgba(0, 0, 0, 0)" ? "white" : background();
  context.fillRect(0, 0, paper.width, paper.height);
  context.drawImage(await canvas.drawing(SCALE), 0, 0, width * SCALE, height * SCALE);
  drawLabels(cy, context, SCALE, ink);

  context.scale(SCALE, SCALE);
  context.font = '12px system-ui, "DejaVu Sans", sans-serif';
  let x = 12;
  for (const type of types) {
    context.fillStyle = kindOf(type).color;
    context.beginPath();
    context.arc(x + 5, height + 12, 5, 0, 2 * Math.PI);
    context.fill();
    context.fillStyle = ink.text;
    context.fillText(kindOf(type).name, x + 14, height + 16);
    x += context.measureText(kindOf(type).name).width + 30;
  }
  lines.forEach((line, row) => context.fillText(line, 12, height + 33 + 16 * row, width - 24));
  return new Promise((resolve, reject) => paper.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("The picture cannot be drawn."))), "image/png"));
}

function background(): string {
  return getComputedStyle(document.getElementById("stage")!).backgroundColor;
}
