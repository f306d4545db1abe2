// What the server is asked, and what it answers. The same shapes as in the server's edges.rs.

export type Tally = [name: string, count: number];
/** Sigma's words: the need for a person to look. */
export type Level = "informational" | "low" | "medium" | "high" | "critical";

export interface Summary {
  records: number;
  records_with_edges: number;
  edges: number;
  nodes: number;
  from: string | null;
  to: string | null;
  workloads: Tally[];
  kinds: Tally[];
  operations: Tally[];
  users: Tally[];
  labels: Tally[];
  findings: [level: Level, count: number][];
  sessions: number;
  is_cut: boolean;
}

export interface PictureNode { key: string; edges: number; records: number }

export interface PictureEdge {
  from: number;
  to: number;
  records: number;
  first: string | null;
  last: string | null;
  operations: Tally[];
  more_operations: number;
  level: Level | null;
}

export interface Picture {
  nodes: PictureNode[];
  edges: PictureEdge[];
  left_out: { edges: number; nodes: number };
  below_least: number;
  records: number;
  bars: { from: string | null; seconds: number; counts: number[] };
}

export interface Listed { id: string; pk: string; at: string | null; workload: string; user: string; operation: string; findings: { title: string; level: Level }[] }
export interface Listing { total: number; records: Listed[] }
/** What a rule found about an account, or about what the records of several have in common. */
export interface Finding { account: string; rule: string; title: string; level: Level; records: number; first: string | null; last: string | null }
/** From here to there, along an edge of a record. */
export interface Step { here: string; there: string; from: string; to: string; label: string; record: Listed }
export interface Found { key: string; records: number }

async function ask(path: string, options?: RequestInit): Promise<Response> {
  const response = await fetch(`api/${path}`, options);
  if (!response.ok) throw new Error((await response.text()).trim() || `The server answers ${response.status}.`);
  return response;
}

async function json<T>(path: string, options?: RequestInit): Promise<T> {
  return (await ask(path, options)).json();
}

export const summary = () => json<Summary>("summary");
export const reload = () => json<Summary>("reload", { method: "POST" });
export const picture = (filter: URLSearchParams, signal: AbortSignal) => json<Picture>(`picture?${filter}`, { signal });
export const findings = (filter: URLSearchParams, signal: AbortSignal) => json<Finding[]>(`findings?${filter}`, { signal });
export const path = (filter: URLSearchParams) => json<Step[] | null>(`path?${filter}`);
export const search = (text: string, signal: AbortSignal) => json<Found[]>(`search?${new URLSearchParams({ q: text })}`, { signal });
export const csv = async (filter: URLSearchParams) => (await ask(`edges.csv?${filter}`)).blob();
export const record = (pk: string, id: string) => json<unknown>(`record?${new URLSearchParams({ pk, id })}`);

/** Of a node, an edge, or all that pass the filter. */
export function records(filter: URLSearchParams, of?: string, and?: string): Promise<Listing> {
  const query = new URLSearchParams(filter);
  if (of) query.set("of", of);
  if (and) query.set("and", and);
  return json(`records?${query}`);
}
