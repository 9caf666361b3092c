import { Code, DEFAULT_PAGE_SIZE, invalidArgument, MAX_PAGE_SIZE, RpcError } from "@mistral-sae/rpc";

/** A row's time of creation and its name. */
export interface Position {
  /** Nanoseconds since 1970. */
  readonly time: bigint;
  readonly name: string;
}

/** Lists of several sources, each newest first, to be read as one. */
export interface MergeRequest<Row> {
  readonly sources: readonly string[];
  readonly pageSize: number;
  readonly pageToken: string;
  /** Everything else of the request that decides the rows. */
  readonly scope: unknown;
  readonly positionOf: (row: Row) => Position;
  readonly fetchPage: (source: string, page: SourcePageRequest) => Promise<SourcePage<Row>>;
}

/** Asks a source for a page. */
export interface SourcePageRequest {
  readonly pageSize: number;
  readonly pageToken: string;
}

/** A page of one source. */
export interface SourcePage<Row> {
  readonly rows: readonly Row[];
  readonly nextPageToken: string;
}

/** A page of the merged list. */
export interface MergedPage<Row> extends SourcePage<Row> {
  /** Sources that could not be asked. */
  readonly unreachable: readonly string[];
}

/** Where a source is read on: a page of its own, and the row of that page that was sent last. */
interface Cursor {
  readonly token: string;
  readonly after: { readonly time: string; readonly name: string } | undefined;
}

interface Entry<Row> {
  readonly row: Row;
  readonly position: Position;
  /** The page it came in. */
  readonly token: string;
}

interface Read<Row> {
  readonly source: string;
  readonly cursor: Cursor;
  readonly entries: readonly Entry<Row>[];
  /** The page behind the last entry; empty at the end. */
  readonly nextToken: string;
}

/**
 * One page of several newest-first lists merged into one; each source keeps its own order.
 * Rows added at a source's top between two pages neither repeat nor hide others.
 */
export async function mergePages<Row>(request: MergeRequest<Row>): Promise<MergedPage<Row>> {
  if (request.pageSize < 0) throw invalidArgument("page_size", `got ${request.pageSize}, wanted 0 to ${MAX_PAGE_SIZE}`);
  const size = request.pageSize === 0 ? DEFAULT_PAGE_SIZE : Math.min(request.pageSize, MAX_PAGE_SIZE);
  const scope = JSON.stringify(request.scope);
  const cursors = request.pageToken === "" ? startOf(request.sources) : readToken(request.pageToken, scope);
  const unreachable: string[] = [];
  const reads = await Promise.all(
    Object.entries(cursors).map(async ([source, cursor]) => {
      try {
        return await readSource(request, source, size, cursor);
      } catch (error) {
        if (!(error instanceof RpcError) || error.code !== Code.Unavailable) throw error;
        unreachable.push(source);
        return undefined;
      }
    }),
  );
  const { rows, taken } = merge(reads.filter((read) => read !== undefined), size);
  const next = Object.fromEntries(
    [...taken].flatMap(([read, count]) => {
      const cursor = cursorAfter(read, count);
      return cursor === undefined ? [] : [[read.source, cursor] as const];
    }),
  );
  const nextPageToken = Object.keys(next).length === 0 ? "" : Buffer.from(JSON.stringify([scope, next]), "utf8").toString("base64url");
  return { rows, nextPageToken, unreachable: unreachable.toSorted() };
}

async function readSource<Row>(request: MergeRequest<Row>, source: string, size: number, cursor: Cursor): Promise<Read<Row>> {
  const entries: Entry<Row>[] = [];
  let skipping = cursor.after !== undefined;
  let { token } = cursor;
  for (;;) {
    const page = await request.fetchPage(source, { pageSize: size, pageToken: token });
    for (const row of page.rows) {
      const position = request.positionOf(row);
      if (skipping && cursor.after !== undefined && position.time >= BigInt(cursor.after.time)) {
        skipping = position.name !== cursor.after.name;
        continue;
      }
      skipping = false;
      entries.push({ row, position, token });
    }
    if (page.nextPageToken === "" || entries.length >= size) return { source, cursor, entries, nextToken: page.nextPageToken };
    token = page.nextPageToken;
  }
}

function merge<Row>(reads: readonly Read<Row>[], size: number): { readonly rows: readonly Row[]; readonly taken: ReadonlyMap<Read<Row>, number> } {
  const taken = new Map(reads.map((read) => [read, 0]));
  const rows: Row[] = [];
  while (rows.length < size) {
    let newest: { readonly read: Read<Row>; readonly entry: Entry<Row> } | undefined;
    for (const [read, count] of taken) {
      const entry = read.entries[count];
      if (entry !== undefined && (newest === undefined || entry.position.time > newest.entry.position.time)) newest = { read, entry };
    }
    if (newest === undefined) break;
    rows.push(newest.entry.row);
    taken.set(newest.read, (taken.get(newest.read) ?? 0) + 1);
  }
  return { rows, taken };
}

function cursorAfter<Row>(read: Read<Row>, count: number): Cursor | undefined {
  const next = read.entries[count];
  if (next === undefined) return read.nextToken === "" ? undefined : { token: read.nextToken, after: undefined };
  const last = read.entries[count - 1];
  if (last === undefined) return { token: next.token, after: next.token === read.cursor.token ? read.cursor.after : undefined };
  const samePage = last.token === next.token;
  return { token: next.token, after: samePage ? { time: last.position.time.toString(), name: last.position.name } : undefined };
}

function startOf(sources: readonly string[]): Readonly<Record<string, Cursor>> {
  return Object.fromEntries(sources.map((source) => [source, { token: "", after: undefined }]));
}

function readToken(token: string, scope: string): Readonly<Record<string, Cursor>> {
  try {
    const [made, cursors] = JSON.parse(Buffer.from(token, "base64url").toString("utf8")) as [string, Readonly<Record<string, Cursor>>];
    if (made === scope && typeof cursors === "object") return cursors;
  } catch {
    // Told below, as any other token of another request.
  }
  throw invalidArgument("page_token", "it belongs to another request; start again without it", "PAGE_TOKEN_INVALID");
}
