// The levels of findings: their order, and how they look.

import type { Level } from "./api";
import { el } from "./dom";

const LEVELS: Level[] = ["informational", "low", "medium", "high", "critical"];
const COLORS: Partial<Record<Level, string>> = { medium: "#f5a623", high: "#ff3b30", critical: "#d0107f" };

/** At which somebody must look; edges of such records are marked. */
export function isSevere(level: Level | null): level is Level {
  return level !== null && LEVELS.indexOf(level) >= LEVELS.indexOf("medium");
}

/** What an edge is marked with. */
export function colorOf(level: Level): string {
  return COLORS[level] ?? "#808080";
}

export function badge(level: Level): HTMLElement {
  return el("span", { class: `level ${LEVELS.includes(level) ? level : ""}` }, level);
}
