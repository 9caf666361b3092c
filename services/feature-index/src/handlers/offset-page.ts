import { nextPageToken, type PageRequest, pageStart } from "@mistral-sae/rpc";

/** A page by offset: its rows stay where they are, because an index does not change. */
export interface OffsetPage {
  readonly offset: number;
  readonly limit: number;
  /** Token of the page that begins at an offset. */
  at(offset: number): string;
  /** Token of the next page where there are `total` rows; empty on the last. */
  next(total: number): string;
}

/** `scope` is all of the request that decides the rows. @throws INVALID_ARGUMENT for a size or token that is none. */
export function offsetPage(request: PageRequest, scope: readonly unknown[], defaultSize?: number): OffsetPage {
  const { size, after } = pageStart(request, scope, defaultSize);
  const offset = after === undefined ? 0 : Number(after);
  const at = (start: number) => nextPageToken(String(start), scope);
  return { offset, limit: size, at, next: (total) => (offset + size < total ? at(offset + size) : "") };
}
