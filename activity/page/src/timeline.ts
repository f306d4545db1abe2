// Records in time, as bars. Dragging over them chooses a span; the two fields of the filter do the same by keyboard.

import type { Picture } from "./api";
import { at, count, counted, time } from "./dom";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 100;

export class Timeline {
  private svg = document.getElementById("bars") as unknown as SVGSVGElement;
  private bars: Picture["bars"] = { from: null, seconds: 0, counts: [] };
  private begin: number | null = null;

  /** `choose` is given UTC times, or nothing for all. */
  constructor(private choose: (from: string, to: string) => void) {
    this.svg.addEventListener("pointerdown", (event) => {
      if (!this.bars.counts.length) return;
      this.begin = this.bar(event);
      this.svg.setPointerCapture(event.pointerId);
      this.brush(this.begin, this.begin);
    });
    this.svg.addEventListener("pointermove", (event) => {
      const bar = this.bar(event);
      if (this.begin !== null) this.brush(this.begin, bar);
      const number = this.bars.counts[bar];
      at("range").textContent = number === undefined ? "" : `${time(this.utc(bar))}: ${counted(number, "record")}`;
    });
    this.svg.addEventListener("pointerup", (event) => {
      if (this.begin === null) return;
      const [first, last] = [this.begin, this.bar(event)].sort((a, b) => a - b) as [number, number];
      this.begin = null;
      this.choose(this.utc(first), this.utc(last + 1));
    });
    at("always").addEventListener("click", () => this.choose("", ""));
  }

  show(bars: Picture["bars"], from: string, to: string): void {
    this.bars = bars;
    const most = Math.max(1, ...bars.counts);
    const width = Math.max(1, bars.counts.length);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.svg.replaceChildren(...bars.counts.map((number, bar) => {
      const tall = number ? Math.max(5, HEIGHT * Math.sqrt(number / most)) : 0;
      return rect(bar + 0.08, HEIGHT - tall, 0.84, tall, this.isIn(bar, from, to) ? "in" : "");
    }));
    const end = bars.counts.length ? this.utc(bars.counts.length) : null;
    const all = bars.counts.reduce((sum, number) => sum + number, 0);
    this.svg.setAttribute("aria-label", `${count(all)} records from ${time(bars.from)} to ${time(end)}`);
    at("begin").textContent = bars.from ? time(bars.from) : "";
    at("end").textContent = end ? `${time(end)} UTC` : "";
    at("range").textContent = from || to ? `${from ? time(from) : "…"} to ${to ? time(to) : "…"}` : "Drag over the bars to choose a time";
    at("always").hidden = !from && !to;
  }

  private isIn(bar: number, from: string, to: string): boolean {
    return (!to || this.utc(bar) < to) && (!from || this.utc(bar + 1) > from);
  }

  private utc(bar: number): string {
    const begin = Date.parse(`${this.bars.from}Z`);
    return new Date(begin + bar * this.bars.seconds * 1000).toISOString().slice(0, 19);
  }

  private bar(event: PointerEvent): number {
    const { left, width } = this.svg.getBoundingClientRect();
    const bar = Math.floor(((event.clientX - left) / width) * this.bars.counts.length);
    return Math.min(Math.max(0, bar), this.bars.counts.length - 1);
  }

  private brush(a: number, b: number): void {
    this.svg.querySelector(".brush")?.remove();
    this.svg.append(rect(Math.min(a, b), 0, Math.abs(a - b) + 1, HEIGHT, "brush"));
  }
}

function rect(x: number, y: number, width: number, height: number, name: string): SVGRectElement {
  const rect = document.createElementNS(SVG, "rect");
  for (const [key, value] of Object.entries({ x, y, width, height })) rect.setAttribute(key, String(value));
  rect.setAttribute("class", name);
  return rect;
}
