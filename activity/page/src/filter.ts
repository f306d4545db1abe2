// What the person chose. It stands in the address, so that a reload keeps it, and goes to the server as it stands there.

import type { Summary } from "./api";

export interface Filter {
  from: string;
  to: string;
  user: string;
  operation: string;
  least: number;
  top: number;
  /** Which edges come first among their kind: a word of the server's. */
  order: string;
  node: string;
  hops: number;
  /** Only records with findings of this level or above. */
  level: string;
  /** Only records with a finding of this rule. */
  rule: string;
  /** … that is about this account. */
  account: string;
  /** `several`: only records of sessions seen at more than one address. */
  sessions: string;
  /** Only the shortest way in time between two nodes. */
  pathFrom: string;
  pathTo: string;
  /** What is taken away, rather than what is left: what comes new is shown. */
  withoutWorkloads: Set<string>;
  withoutKinds: Set<string>;
  withoutTypes: Set<string>;
  withoutLabels: Set<string>;
}

export const TOPS = [50, 100, 250, 500, 1000, 2000, 5000];

export function everything(): Filter {
  return { from: "", to: "", user: "", operation: "", least: 1, top: 500, order: "often", node: "", hops: 1, level: "", rule: "", account: "", sessions: "", pathFrom: "", pathTo: "",
    withoutWorkloads: new Set(), withoutKinds: new Set(), withoutTypes: new Set(), withoutLabels: new Set() };
}

const TEXTS = ["from", "to", "user", "operation", "node", "order", "level", "rule", "account", "sessions", "pathFrom", "pathTo"] as const;
const NUMBERS = ["least", "top", "hops"] as const;
const SETS = ["withoutWorkloads", "withoutKinds", "withoutTypes", "withoutLabels"] as const;

export function fromAddress(hash: string): Filter {
  const filter = everything();
  const query = new URLSearchParams(hash.replace(/^#/, ""));
  for (const name of TEXTS) filter[name] = query.get(name) ?? filter[name];
  for (const name of NUMBERS) filter[name] = Math.trunc(Math.max(0, Number(query.get(name)))) || filter[name];
  for (const name of SETS) filter[name] = new Set((query.get(name) ?? "").split(",").filter(Boolean));
  return filter;
}

export function toAddress(filter: Filter): string {
  const usual = everything();
  const query = new URLSearchParams();
  for (const name of TEXTS) if (filter[name] !== usual[name]) query.set(name, filter[name]);
  for (const name of NUMBERS) if (filter[name] !== usual[name]) query.set(name, String(filter[name]));
  for (const name of SETS) if (filter[name].size) query.set(name, [...filter[name]].join(","));
  return query.toString();
}

export function hasType(kind: string, type: string): boolean {
  return kind.split("-").includes(type);
}

/** The server's own words for it. */
export function toQuery(filter: Filter, summary: Summary): URLSearchParams {
  const query = new URLSearchParams({ top: String(filter.top), least: String(filter.least), order: filter.order });
  for (const name of ["from", "to", "user", "operation", "level", "rule", "account", "sessions"] as const) if (filter[name]) query.set(name, filter[name]);
  if (filter.node) {
    query.set("node", filter.node);
    query.set("hops", String(filter.hops));
  }
  if (filter.pathFrom && filter.pathTo) {
    query.set("path_from", filter.pathFrom);
    query.set("path_to", filter.pathTo);
  }
  if (filter.withoutLabels.size) query.set("without", [...filter.withoutLabels].join(","));
  if (filter.withoutWorkloads.size) {
    query.set("workload", summary.workloads.map(([name]) => name).filter((name) => !filter.withoutWorkloads.has(name)).join(","));
  }
  if (filter.withoutKinds.size || filter.withoutTypes.size) {
    const isWanted = (kind: string) => !filter.withoutKinds.has(kind) && ![...filter.withoutTypes].some((type) => hasType(kind, type));
    query.set("kind", summary.kinds.map(([name]) => name).filter(isWanted).join(","));
  }
  return query;
}
