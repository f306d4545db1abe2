// Elements, made of text alone: what a record holds never becomes markup, and hides nothing.

import { kindOf, signImage } from "./kinds";
import { visible } from "./visible";

type Child = Node | string | null | undefined;
type Options = { class?: string; title?: string; type?: string; on?: Record<string, (event: Event) => void>; attributes?: Record<string, string> };

export function el<T extends keyof HTMLElementTagNameMap>(tag: T, options: Options = {}, ...children: Child[]): HTMLElementTagNameMap[T] {
  const element = document.createElement(tag);
  if (options.class) element.className = options.class;
  if (options.title) element.title = visible(options.title);
  if (tag === "button") element.setAttribute("type", "button");
  for (const [name, value] of Object.entries(options.attributes ?? {})) element.setAttribute(name, value);
  for (const [name, listener] of Object.entries(options.on ?? {})) element.addEventListener(name, listener);
  for (const child of children) if (child !== null && child !== undefined) element.append(typeof child === "string" ? visible(child) : child);
  return element;
}

export function at<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

/** The coloured sign of a type of node. */
export function icon(type: string): HTMLElement {
  const sign = el("span", { class: "icon", attributes: { "aria-hidden": "true" } });
  sign.style.background = `${kindOf(type).color} url("${signImage(type)}") center / 66% no-repeat`;
  return sign;
}

const WHOLE = new Intl.NumberFormat("en");
export const count = (number: number): string => WHOLE.format(number);
export const counted = (number: number, one: string, many = `${one}s`): string => `${count(number)} ${number === 1 ? one : many}`;
export const time = (utc: string | null): string => (utc ? utc.replace("T", " ") : "no time");

/** Hands the browser a file. */
export function download(name: string, blob: Blob): void {
  const link = el("a", { attributes: { href: URL.createObjectURL(blob), download: name } });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
