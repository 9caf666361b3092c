import { badInput } from "../output.ts";

/** A field and the values that it takes, as the contract has them. */
export interface Axis {
  readonly field: string;
  readonly values: readonly string[];
}

/** Axes from `field=value,value,…`; a list as a value stands in brackets: matryoshka_widths=[64,128],[128,256]. */
export function axesOf(given: readonly string[]): Axis[] {
  return given.map((text) => {
    const at = text.indexOf("=");
    const values = at < 1 ? [] : splitValues(text.slice(at + 1));
    if (values.length === 0) throw badInput("not an axis", { field: "--axis", got: text, wanted: "field=value,value,…, e.g. k=8,16,32" });
    return { field: text.slice(0, at).trim().replaceAll("-", "_"), values };
  });
}

/** Parts between the commas that stand in no bracket and no quotes. */
function splitValues(text: string): string[] {
  const values: string[] = [];
  let depth = 0;
  let quoted = false;
  let value = "";
  for (const letter of text) {
    if (letter === '"') quoted = !quoted;
    if (!quoted && "[{".includes(letter)) depth += 1;
    if (!quoted && "]}".includes(letter)) depth -= 1;
    if (letter === "," && depth === 0 && !quoted) {
      values.push(value.trim());
      value = "";
    } else value += letter;
  }
  return [...values, value.trim()].filter((part) => part !== "");
}
