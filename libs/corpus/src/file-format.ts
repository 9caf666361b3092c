export type Layout = "jsonl" | "text" | "parquet";
export type Packing = "none" | "zstd" | "gzip";

/** How the bytes of a file become documents. */
export interface FileFormat {
  readonly layout: Layout;
  readonly packing: Packing;
}

const layouts: Readonly<Record<string, Layout>> = { jsonl: "jsonl", ndjson: "jsonl", txt: "text", md: "text", parquet: "parquet" };
const packings: Readonly<Record<string, Packing>> = { zst: "zstd", gz: "gzip" };

export const knownEndings = ".jsonl, .txt, .md (each also .zst or .gz) or .parquet";

/** Reads the format off the name. @returns Undefined for names that no reader takes. */
export function formatOf(path: string): FileFormat | undefined {
  const endings = path.toLowerCase().split(".");
  const last = endings.pop() ?? "";
  const packing = packings[last];
  const layout = layouts[packing === undefined ? last : (endings.pop() ?? "")];
  if (layout === undefined || endings.length === 0 || (layout === "parquet" && packing !== undefined)) return undefined;
  return { layout, packing: packing ?? "none" };
}
