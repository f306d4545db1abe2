// Light and dark: as the system has it, until the person says otherwise.

import { at } from "./dom";

const KEPT = "theme";

export function themeSwitch(changed: () => void): void {
  const button = at<HTMLButtonElement>("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const show = () => {
    const said = localStorage.getItem(KEPT);
    if (said) document.documentElement.dataset.theme = said;
    const isDark = said ? said === "dark" : system.matches;
    button.setAttribute("aria-pressed", String(isDark));
    changed();
  };
  button.addEventListener("click", () => {
    localStorage.setItem(KEPT, button.getAttribute("aria-pressed") === "true" ? "light" : "dark");
    show();
  });
  system.addEventListener("change", show);
  show();
}
