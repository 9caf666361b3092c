/** What an element can hold. */
export type Child = Node | string | number | undefined | readonly Child[];

/** Attributes by name; functions are listeners (`onclick`), true is an empty attribute, false and undefined are none. */
export type Attributes = Readonly<Record<string, string | number | boolean | undefined | ((event: Event) => void)>>;

/** Makes an element. `h("a.chip", {href: "#"}, "text")`: classes may follow the tag. */
export function h(tag: string, attributes: Attributes = {}, ...children: readonly Child[]): HTMLElement {
  const [name = "div", ...classes] = tag.split(".");
  return fill(document.createElement(name), classes, attributes, children);
}

/** Makes an SVG element. */
export function svg(tag: string, attributes: Attributes = {}, ...children: readonly Child[]): SVGElement {
  const [name = "svg", ...classes] = tag.split(".");
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), classes, attributes, children);
}

/** Replaces what an element holds. */
export function replace(element: Element, ...children: readonly Child[]): void {
  element.replaceChildren(...nodesOf(children));
}

function fill<E extends HTMLElement | SVGElement>(element: E, classes: readonly string[], attributes: Attributes, children: readonly Child[]): E {
  if (classes.length > 0) element.classList.add(...classes);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  element.append(...nodesOf(children));
  return element;
}

function nodesOf(children: readonly Child[]): Node[] {
  return children.flatMap((child) => {
    if (child === undefined) return [];
    if (typeof child === "string" || typeof child === "number") return [document.createTextNode(String(child))];
    return child instanceof Node ? [child] : nodesOf(child);
  });
}

/** A table with headings; numbers are set to the right. */
export function table(headings: readonly (string | { readonly number: string })[], rows: readonly (readonly Child[])[]): HTMLElement {
  const isNumber = headings.map((heading) => typeof heading !== "string");
  return h(
    "table",
    {},
    h("thead", {}, h("tr", {}, headings.map((heading) => (typeof heading === "string" ? h("th", { scope: "col" }, heading) : h("th.number", { scope: "col" }, heading.number))))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, at) => h(isNumber[at] === true ? "td.number" : "td", {}, cell))))),
  );
}

/** A card with a heading. */
export function card(heading: string, ...children: readonly Child[]): HTMLElement {
  return h("section.card", {}, h("h2", {}, heading), children);
}

/** A failure, said where the content would be. */
export function failure(error: unknown): HTMLElement {
  return h("div.error", { role: "alert" }, error instanceof Error ? error.message : String(error));
}

/** A field with its label above it. */
export function field(label: string, control: HTMLElement, wide = false): HTMLElement {
  return h(wide ? "label.field.wide" : "label.field", {}, label, control);
}
