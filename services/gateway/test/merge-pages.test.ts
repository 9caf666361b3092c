import { RpcError, unavailable } from "@mistral-sae/rpc";
import { expect, test } from "vitest";
import { mergePages, type MergedPage, type SourcePageRequest } from "../src/merge-pages.ts";

interface Row {
  readonly name: string;
  readonly time: bigint;
}

const row = (name: string, time: number): Row => ({ name, time: BigInt(time) });

/** Sources paged by the name of their last row, as keyset paging does. */
function sourcesOf(lists: Record<string, Row[]>) {
  return async (source: string, { pageSize, pageToken }: SourcePageRequest) => {
    const list = lists[source] ?? [];
    const start = pageToken === "" ? 0 : list.findIndex(({ name }) => name === pageToken) + 1;
    const rows = list.slice(start, start + pageSize);
    return { rows, nextPageToken: start + pageSize < list.length ? (rows.at(-1)?.name ?? "") : "" };
  };
}

function page(lists: Record<string, Row[]>, pageSize: number, pageToken: string): Promise<MergedPage<Row>> {
  return mergePages<Row>({ sources: Object.keys(lists), pageSize, pageToken, scope: 1, positionOf: (one) => one, fetchPage: sourcesOf(lists) });
}

async function namesOf(lists: Record<string, Row[]>, pageSize: number, between: () => void = () => undefined): Promise<string[]> {
  const names: string[] = [];
  let token = "";
  do {
    const { rows, nextPageToken } = await page(lists, pageSize, token);
    names.push(...rows.map(({ name }) => name));
    token = nextPageToken;
    between();
  } while (token !== "");
  return names;
}

test("rows of every source come newest first, whatever the page size", async () => {
  const lists = { a: [row("a3", 9), row("a2", 5), row("a1", 1)], b: [row("b4", 8), row("b3", 7), row("b2", 6), row("b1", 5)], c: [] };
  const wanted = ["a3", "b4", "b3", "b2", "a2", "b1", "a1"];
  for (const size of [1, 2, 3, 7, 100]) expect(await namesOf(lists, size)).toEqual(wanted);
});

test("rows of one moment keep their source's order and none is lost", async () => {
  const lists = { a: ["a1", "a5", "a2", "a4", "a3"].map((name) => row(name, 3)), b: ["b2", "b1"].map((name) => row(name, 3)) };
  for (const size of [1, 2, 3, 10]) expect(await namesOf(lists, size)).toEqual(["a1", "a5", "a2", "a4", "a3", "b2", "b1"]);
});

test("a row added at the top between two pages neither repeats nor hides another", async () => {
  const lists = { a: [row("a2", 5), row("a1", 1)], b: [row("b1", 4)] };
  let added = false;
  const names = await namesOf(lists, 1, () => {
    if (!added) lists.a.unshift(row("a9", 99));
    added = true;
  });
  expect(names).toEqual(["a2", "b1", "a1"]);
});

test("a source that is away is named and the others are listed", async () => {
  const fetchPage = async (source: string) => {
    if (source === "b") throw unavailable("BACKEND_DOWN", "away");
    return { rows: [row("a1", 1)], nextPageToken: "" };
  };
  const merged = await mergePages<Row>({ sources: ["a", "b"], pageSize: 0, pageToken: "", scope: 1, positionOf: (one) => one, fetchPage });
  expect(merged).toEqual({ rows: [row("a1", 1)], nextPageToken: "", unreachable: ["b"] });
});

test("a negative page size and a token that is none are refused", async () => {
  await expect(page({}, -1, "")).rejects.toThrow("page_size: got -1, wanted 0 to 1000");
  await expect(page({}, 1, "rubbish")).rejects.toThrow(RpcError);
});
