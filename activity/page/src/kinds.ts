// The types of node: what each is called, its colour, and its sign. Nothing else in the page names a type.

import { APPS } from "./apps";
import { visible } from "./visible";

export interface Kind {
  name: string;
  many: string;
  color: string;
  /** Strokes on a field of 24 by 24. */
  sign: string;
}

const KINDS: Record<string, Kind> = {
  user: { name: "user", many: "users", color: "#3f76ea", sign: "M12 4a4 4 0 1 0 0 8a4 4 0 1 0 0-8M4.5 20.5c0-4 3.4-6 7.5-6s7.5 2 7.5 6" },
  guest: { name: "guest", many: "guests", color: "#ee6a3c", sign: "M9.5 4a4 4 0 1 0 0 8a4 4 0 1 0 0-8M2.5 20.5c0-4 3-6 7-6c1.6 0 3 .3 4 .9M14.5 19h7M18.5 15.5l3.5 3.5-3.5 3.5" },
  address: { name: "mail address", many: "mail addresses", color: "#df3f50", sign: "M12 8.4a3.6 3.6 0 1 0 0 7.2a3.6 3.6 0 1 0 0-7.2M15.6 8.5v5a2.5 2.5 0 0 0 5 0V12a8.6 8.6 0 1 0-3.5 6.9" },
  ip: { name: "IP address", many: "IP addresses", color: "#d98a12", sign: "M12 3.5a8.5 8.5 0 1 0 0 17a8.5 8.5 0 1 0 0-17M3.5 12h17M12 3.5c3.6 3 3.6 14 0 17M12 3.5c-3.6 3-3.6 14 0 17" },
  session: { name: "session", many: "sessions", color: "#8a3f6b", sign: "M12 3.5a8.5 8.5 0 1 0 0 17a8.5 8.5 0 1 0 0-17M12 7.5V12l3.2 2" },
  mailbox: { name: "mailbox", many: "mailboxes", color: "#cf559b", sign: "M3.5 6h17v12.5h-17zM3.5 7l8.5 6.5L20.5 7" },
  file: { name: "file", many: "files", color: "#2c9e70", sign: "M6.5 3.5h7l4.5 4.5v12.5H6.5zM13.5 3.5V8H18M9.5 12.5h5M9.5 16h5" },
  site: { name: "site", many: "sites", color: "#128f9c", sign: "M3.5 6h6l2 2.5h9V19h-17z" },
  app: { name: "application", many: "applications", color: "#8d5be0", sign: "M4.5 4.5h6v6h-6zM13.5 4.5h6v6h-6zM4.5 13.5h6v6h-6zM13.5 13.5h6v6h-6z" },
  agent: { name: "agent", many: "agents", color: "#6f9a14", sign: "M12 3.5v4M6 7.5h12v9.5H6zM9.7 11.3v1.8M14.3 11.3v1.8M9 20.5h6" },
  group: { name: "group", many: "groups", color: "#4a9bd0", sign: "M9 5a3.3 3.3 0 1 0 0 6.6A3.3 3.3 0 1 0 9 5M2.8 19.5c0-3.7 2.8-5.3 6.2-5.3s6.2 1.6 6.2 5.3M15.5 5.2a3.3 3.3 0 0 1 0 6.2M17.5 14.6c2.4.6 3.8 2.1 3.8 4.9" },
  object: { name: "object", many: "objects", color: "#96805f", sign: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9" },
  policy: { name: "policy", many: "policies", color: "#a8901a", sign: "M12 3l7.5 2.8v6c0 4.7-3.2 7.7-7.5 9.2-4.3-1.5-7.5-4.5-7.5-9.2v-6zM8.8 12l2.4 2.4 4.2-4.6" },
  system: { name: "system", many: "systems", color: "#75819a", sign: "M3.5 5h17v14h-17zM7 9.5l3 2.5-3 2.5M12 15h5" },
};

export const TYPES = Object.keys(KINDS);

export function kindOf(type: string): Kind {
  return KINDS[type] ?? { name: type, many: type, color: "#808080", sign: "M6 12h12" };
}

/** `type:name`; a type has no colon, a name may. */
export function typeOf(key: string): string {
  return key.slice(0, key.indexOf(":"));
}

export function nameOf(key: string): string {
  return key.slice(key.indexOf(":") + 1);
}

const GUID = /^(serviceprincipal_)?([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Whether a node has no better name than a number. */
export function isGuid(key: string): boolean {
  return GUID.test(nameOf(key)) && !APPS[nameOf(key)];
}

/** With the application's name before its id, where it is known. */
export function fullName(key: string): string {
  const name = visible(nameOf(key));
  return APPS[name] ? `${APPS[name]} (${name})` : name;
}

/** Accounts by the part of their name before the @; where there are several of one, each is shown with its domain. */
const namesakes = new Map<string, Set<string>>();

/** Tells of the nodes that are shown, so that no two people look like one. */
export function tellApart(keys: string[]): void {
  namesakes.clear();
  for (const name of keys.map(nameOf).filter((name) => name.includes("@"))) {
    const local = beforeAt(name);
    namesakes.set(local, (namesakes.get(local) ?? new Set()).add(name));
  }
}

function beforeAt(name: string): string {
  return name.split("@")[0] || name;
}

function hasNamesake(name: string): boolean {
  return (namesakes.get(beforeAt(name))?.size ?? 0) > 1;
}

/** As much of a name as tells it from others at a glance. */
export function shortName(key: string): string {
  const name = nameOf(key);
  if (APPS[name]) return APPS[name];
  if (["user", "mailbox"].includes(typeOf(key)) && hasNamesake(name)) return visible(name);
  const guid = GUID.exec(name);
  if (guid) return `${guid[1] ? "service principal " : ""}${guid[2]}…`;
  const last = (text: string) => text.split(/[/\\]/).filter(Boolean).pop() ?? text;
  const short = { user: beforeAt(name), mailbox: beforeAt(name), file: last(name), site: last(name), object: last(name),
    system: name.replace(/^NT AUTHORITY\\SYSTEM \((.*)\)$/i, "$1") }[typeOf(key)] ?? name;
  return visible(short.length > 30 ? `${short.slice(0, 18)}…${short.slice(-10)}` : short);
}

/** The sign in white, as an image's address. */
export function signImage(type: string): string {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="48" height="48"><path d="${kindOf(type).sign}" fill="none" stroke="white" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"/></svg>`;
  return `data:image/svg+xml;utf8,${encodeURIComponent(svg)}`;
}
