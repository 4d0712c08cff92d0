/**
 * Dark or light: as the system says, unless the toggle has been used.
 *
 * Runs before the page is painted, as a script of its own, so that nothing flashes.
 */

const KEY = "nowcast-theme";

function remembered(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // storage is forbidden: then each page starts as the system says
  }
}

const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");

function apply(): void {
  const choice = remembered();
  root.dataset["theme"] =
    choice === "dark" || choice === "light" ? choice : dark.matches ? "dark" : "light";
}

apply();
dark.addEventListener("change", apply);
addEventListener("storage", apply);

document.addEventListener("click", ({ target }) => {
  if (!(target instanceof Element) || !target.closest("#theme")) return;
  const next = root.dataset["theme"] === "dark" ? "light" : "dark";
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // See above.
  }
  root.dataset["theme"] = next;
  dispatchEvent(new Event("themechange"));
});
