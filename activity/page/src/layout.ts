// Where nodes stand: forces pull neighbours together and all else apart. Nodes that were there keep their place, so that a
// filter changes what is seen and not where it is.

import { forceCollide, forceLink, forceManyBody, forceSimulation, forceX, forceY, type Simulation } from "d3-force";

export interface Body { key: string; radius: number; x: number; y: number; vx?: number; vy?: number }
interface Link { source: string; target: string; strength: number; distance: number }

/** Between two pictures on the way: at least so long, and as long as drawing the last one took, in milliseconds. */
const FRAME = 14;
const LONGEST_FRAME = 250;

export class Layout {
  private simulation: Simulation<Body, undefined> = forceSimulation<Body>([]).stop();
  private bodies = new Map<string, Body>();
  private frame = 0;

  /** Fills a view of this shape (width by height). Calls `moved` with every picture on the way, and `done` with the last. */
  start(nodes: { key: string; radius: number }[], edges: { from: string; to: string }[], shape: number, moved: (bodies: Body[]) => void, done: () => void): void {
    cancelAnimationFrame(this.frame);
    const degree = new Map<string, number>();
    for (const { from, to } of edges) for (const key of [from, to]) degree.set(key, (degree.get(key) ?? 0) + 1);
    const before = this.bodies;
    const bodies = nodes.map(({ key, radius }) => this.placed(key, radius, edges, before));
    this.bodies = new Map(bodies.map((body) => [body.key, body]));
    const kept = bodies.filter((body) => before.has(body.key)).length;

    // Few have room for their names; many edges between few need it.
    const [few, dense] = [Math.sqrt(220 / Math.max(1, nodes.length)), edges.length / Math.max(1, nodes.length) / 1.6];
    const room = Math.min(2, Math.max(1, few, dense));
    const links: Link[] = edges.map(({ from, to }) => {
      const fewer = Math.min(degree.get(from) ?? 1, degree.get(to) ?? 1);
      return { source: from, target: to, strength: 1 / Math.sqrt(fewer) * 0.7, distance: room * (30 + 26 * Math.sqrt(fewer)) };
    });
    this.simulation = forceSimulation(bodies).stop()
      .force("link", forceLink<Body, Link>(links).id((body) => body.key).distance((link) => link.distance).strength((link) => link.strength))
      .force("charge", forceManyBody<Body>().strength((body) => -room * (20 + 0.55 * body.radius ** 2)).distanceMax(700).theta(1))
      .force("collide", forceCollide<Body>((body) => body.radius + (few > 1 ? 5 * room ** 2 : 5)).iterations(2))
      .force("x", forceX(0).strength(Math.min(0.09, 0.06 / shape)))
      .force("y", forceY(0).strength(Math.min(0.09, 0.06 * shape)))
      .alpha(kept > bodies.length / 2 ? 0.5 : 1)
      .alphaDecay(1 - 0.001 ** (1 / (bodies.length > 500 ? 160 : 260)));
    const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
    let drawn = performance.now();
    const step = () => {
      const now = performance.now();
      const end = isStill ? Infinity : now + Math.min(LONGEST_FRAME, Math.max(FRAME, now - drawn));
      while (this.simulation.alpha() > this.simulation.alphaMin() && performance.now() < end) this.simulation.tick();
      drawn = performance.now();
      moved(bodies);
      if (this.simulation.alpha() > this.simulation.alphaMin()) this.frame = requestAnimationFrame(step);
      else done();
    };
    step();
  }

  /** Where it was; else beside a neighbour that was there; else where the library puts it. */
  private placed(key: string, radius: number, edges: { from: string; to: string }[], before: Map<string, Body>): Body {
    const old = before.get(key);
    if (old) return { key, radius, x: old.x, y: old.y };
    if (before.size === 0) return { key, radius, x: NaN, y: NaN };
    const edge = edges.find(({ from, to }) => (from === key && before.has(to)) || (to === key && before.has(from)));
    const near = edge && before.get(edge.from === key ? edge.to : edge.from);
    const angle = [...key].reduce((sum, char) => (sum * 31 + char.charCodeAt(0)) % 6283, 7) / 1000;
    const distance = near ? 40 : 400;
    return { key, radius, x: (near?.x ?? 0) + distance * Math.cos(angle), y: (near?.y ?? 0) + distance * Math.sin(angle) };
  }

  /** What they cover. */
  extent(): { left: number; top: number; right: number; bottom: number } {
    const extent = { left: 0, top: 0, right: 0, bottom: 0 };
    for (const { x, y, radius } of this.bodies.values()) {
      extent.left = Math.min(extent.left, x - radius);
      extent.right = Math.max(extent.right, x + radius);
      extent.top = Math.min(extent.top, y - radius);
      extent.bottom = Math.max(extent.bottom, y + radius + 14);
    }
    return extent;
  }

  /** A person moved it. */
  move(key: string, x: number, y: number): void {
    const body = this.bodies.get(key);
    if (body) Object.assign(body, { x, y });
  }
}
