import { failure, h, replace } from "./dom.ts";
import { featurePage } from "./pages/feature.ts";
import { featuresPage } from "./pages/features.ts";
import { runsPage } from "./pages/runs.ts";
import { steerPage } from "./pages/steer.ts";
import { systemPage } from "./pages/system.ts";
import { followChoice } from "./saes.ts";

/** Draws into `root` and goes on until the signal aborts: then another page is shown. */
export type Page = (root: HTMLElement, path: readonly string[], parameters: URLSearchParams, signal: AbortSignal) => Promise<void>;

const PAGES: Readonly<Record<string, { readonly page: Page; readonly title: string; readonly nav: string }>> = {
  "": { page: systemPage, title: "System", nav: "#/" },
  runs: { page: runsPage, title: "Runs", nav: "#/runs" },
  features: { page: featuresPage, title: "Features", nav: "#/features" },
  feature: { page: featurePage, title: "Feature", nav: "#/features" },
  steer: { page: steerPage, title: "Steer", nav: "#/steer" },
};

let shown = new AbortController();

function show(): void {
  shown.abort();
  shown = new AbortController();
  const { signal } = shown;
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [name = "", ...rest] = path.split("/").map(decodeURIComponent);
  const entry = PAGES[name];
  const content = document.querySelector<HTMLElement>("#content");
  if (content === null) return;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === entry?.nav) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${entry?.title ?? "Not found"} · mistral-sae`;
  // Each page gets an element of its own, so that one that is left cannot draw into the next.
  const root = h("div", {}, h("p.soft", {}, "Loading…"));
  replace(content, root);
  if (entry === undefined) return replace(root, failure(new Error(`There is no page "${name}".`)));
  entry.page(root, rest, new URLSearchParams(query), signal).catch((error: unknown) => {
    if (!signal.aborted) replace(root, failure(error));
  });
}

addEventListener("hashchange", show);
addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLElement && /^(?:INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const target = document.querySelector<HTMLElement>(`[data-key="${CSS.escape(event.key)}"]`);
  if (target === null) return;
  event.preventDefault();
  if (target.tagName === "A") target.click();
  else target.focus();
});
followChoice();
show();
