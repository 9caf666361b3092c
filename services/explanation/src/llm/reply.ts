/** The JSON object in a model's reply: the whole of it, or what stands in a code fence or between the outer braces. */
export function jsonOf(reply: string): unknown {
  const text = reply.trim();
  const fenced = /```(?:json)?\s*([\s\S]*?)```/.exec(text)?.[1];
  const braced = text.slice(text.indexOf("{"), text.lastIndexOf("}") + 1);
  for (const candidate of [text, fenced, braced]) {
    if (candidate === undefined || candidate === "") continue;
    try {
      return JSON.parse(candidate) as unknown;
    } catch {
      // The next form is tried.
    }
  }
  return undefined;
}

/** A text field of a reply, trimmed; undefined where it is missing or empty. */
export function textField(reply: string, field: string): string | undefined {
  const value = fieldOf(reply, field);
  const text = typeof value === "string" ? value.replaceAll(/\s+/g, " ").trim() : "";
  return text === "" ? undefined : text;
}

/** A list of exactly `length` judgements (0, 1, false, true); undefined for every other reply. */
export function judgements(reply: string, field: string, length: number): boolean[] | undefined {
  const value = fieldOf(reply, field);
  if (!Array.isArray(value) || value.length !== length) return undefined;
  const judged: boolean[] = [];
  for (const item of value as unknown[]) {
    if (item === 1 || item === true) judged.push(true);
    else if (item === 0 || item === false) judged.push(false);
    else return undefined;
  }
  return judged;
}

function fieldOf(reply: string, field: string): unknown {
  const value = jsonOf(reply);
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>)[field] : undefined;
}
