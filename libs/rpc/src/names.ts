import { invalidArgument } from "./errors.ts";

const ID = /^[a-z0-9][a-z0-9-]{0,62}$/;

/** A resource id, `[a-z0-9][a-z0-9-]{0,62}`; throws INVALID_ARGUMENT naming the field. */
export function requireId(field: string, value: string): string {
  if (!ID.test(value)) {
    throw invalidArgument(field, `got ${JSON.stringify(value)}, wanted 1 to 63 of a-z, 0-9 and -, beginning with a letter or digit`, "INVALID_ID");
  }
  return value;
}

type Variables<P extends string> = P extends `${string}{${infer V}}${infer Rest}` ? V | Variables<Rest> : never;

/**
 * The ids in a resource name, e.g. `parseName("models/{model}/saes/{sae}", name, "sae")`.
 * Throws INVALID_ARGUMENT naming the field, what was got and the pattern wanted.
 */
export function parseName<P extends string>(pattern: P, name: string, field: string): Record<Variables<P>, string> {
  const ids = matchName(pattern, name);
  if (ids === undefined) throw invalidArgument(field, `got ${JSON.stringify(name)}, wanted ${pattern}`, "INVALID_NAME");
  return ids;
}

/** As {@link parseName}, but undefined where the name does not match. */
export function matchName<P extends string>(pattern: P, name: string): Record<Variables<P>, string> | undefined {
  const wanted = pattern.split("/");
  const got = name.split("/");
  if (wanted.length !== got.length) return undefined;
  const ids: Record<string, string> = {};
  for (const [i, segment] of wanted.entries()) {
    const value = got[i] ?? "";
    if (!segment.startsWith("{")) {
      if (segment !== value) return undefined;
    } else if (ID.test(value)) {
      ids[segment.slice(1, -1)] = value;
    } else {
      return undefined;
    }
  }
  return ids;
}
