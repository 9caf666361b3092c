import { createHash } from "node:crypto";
import { invalidArgument } from "./errors.ts";

export const DEFAULT_PAGE_SIZE = 50;
export const MAX_PAGE_SIZE = 1000;

/** A request for a page (AIP-158). */
export interface PageRequest {
  /** 0 takes the default; more than the maximum is coerced; negative is refused. */
  readonly pageSize: number;
  /** Empty for the first page. */
  readonly pageToken: string;
}

/** Where a page begins and how long it may be. */
export interface PageStart {
  readonly size: number;
  /** Key of the last row of the previous page; undefined on the first. */
  readonly after: string | undefined;
}

/**
 * Checks a page request. `scope` is everything else of the request that decides the rows: a token used with
 * another scope is refused with PAGE_TOKEN_INVALID.
 */
export function pageStart(request: PageRequest, scope: unknown, defaultSize = DEFAULT_PAGE_SIZE): PageStart {
  if (request.pageSize < 0) throw invalidArgument("page_size", `got ${request.pageSize}, wanted 0 to ${MAX_PAGE_SIZE}`);
  const size = request.pageSize === 0 ? defaultSize : Math.min(request.pageSize, MAX_PAGE_SIZE);
  if (request.pageToken === "") return { size, after: undefined };
  const [hash, key] = Buffer.from(request.pageToken, "base64url").toString("utf8").split("\n", 2);
  if (hash !== digest(scope) || key === undefined) {
    throw invalidArgument("page_token", "it belongs to another request; start again without it", "PAGE_TOKEN_INVALID");
  }
  return { size, after: key };
}

/** The token of the page after the row with this key. */
export function nextPageToken(key: string, scope: unknown): string {
  return Buffer.from(`${digest(scope)}\n${key}`, "utf8").toString("base64url");
}

/** A page of an ordered array, keyed by `keyOf` (unique, in the array's order). */
export function pageOf<T>(
  rows: readonly T[],
  request: PageRequest,
  keyOf: (row: T) => string,
  scope: unknown = "",
): { readonly rows: readonly T[]; readonly nextPageToken: string } {
  const { size, after } = pageStart(request, scope);
  const start = after === undefined ? 0 : rows.findIndex((row) => keyOf(row) === after) + 1;
  if (after !== undefined && start === 0) {
    throw invalidArgument("page_token", "the row it points at is gone; start again without it", "PAGE_TOKEN_INVALID");
  }
  const page = rows.slice(start, start + size);
  const last = page.at(-1);
  const more = last !== undefined && start + size < rows.length;
  return { rows: page, nextPageToken: more ? nextPageToken(keyOf(last), scope) : "" };
}

function digest(scope: unknown): string {
  return createHash("sha256").update(JSON.stringify(scope)).digest("base64url").slice(0, 16);
}
