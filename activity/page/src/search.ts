// The field that finds a node: a list below it, by pointer or by arrow keys.
// https://www.w3.org/WAI/ARIA/apg/patterns/combobox/

import * as api from "./api";
import { at, counted, el, icon } from "./dom";
import { fullName, kindOf, nameOf, typeOf } from "./kinds";

/** After the last key, in milliseconds. */
const PAUSE = 120;
/** Lines of the list. */
const MOST = 24;

/** `known` finds what only the page knows by this name. */
export function searchBox(choose: (key: string) => void, known: (text: string) => api.Found[]): void {
  const field = at<HTMLInputElement>("search");
  const list = at<HTMLUListElement>("found");
  let asking = new AbortController();
  let timer = 0;
  let place = -1;

  const options = () => [...list.querySelectorAll<HTMLElement>('[role="option"]')];
  const close = () => {
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
    place = -1;
  };
  const take = (key: string) => {
    close();
    field.value = "";
    choose(key);
  };
  const mark = (to: number) => {
    const all = options();
    if (!all.length) return;
    place = (to + all.length) % all.length;
    all.forEach((option, index) => option.setAttribute("aria-selected", String(index === place)));
    field.setAttribute("aria-activedescendant", all[place]!.id);
    all[place]!.scrollIntoView({ block: "nearest" });
  };
  const find = async () => {
    asking.abort();
    asking = new AbortController();
    const text = field.value.trim();
    if (!text) return close();
    const there = await api.search(text, asking.signal).catch(() => null);
    if (!there) return;
    const here = known(text.toLowerCase()).filter(({ key }) => !there.some((found) => found.key === key));
    const found = [...there, ...here].slice(0, MOST);
    list.replaceChildren(...found.map(({ key, records }, index) => el("li",
      { title: nameOf(key), attributes: { role: "option", id: `found-${index}`, "aria-selected": "false", "data-key": key }, on: { pointerdown: () => take(key) } },
      icon(typeOf(key)), el("span", { class: "text" }, fullName(key), el("span", { class: "hidden" }, `, ${kindOf(typeOf(key)).name}`)),
      el("span", { class: "count" }, counted(records, "record")))));
    if (!found.length) list.append(el("li", { class: "none" }, "No node has this in its name."));
    list.hidden = false;
    field.setAttribute("aria-expanded", "true");
    mark(0);
  };

  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = window.setTimeout(find, PAUSE);
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") mark(place + 1);
    else if (event.key === "ArrowUp") mark(place - 1);
    else if (event.key === "Enter" && !list.hidden && options()[place]) take(options()[place]!.dataset.key!);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  });
  field.addEventListener("blur", close);
}
