import { mkdir, mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { parquetWriteBuffer } from "hyparquet-writer";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openCorpus, readCorpus, type CorpusSource, type Document } from "../src/index.ts";

let root: string;
const at = (name: string): string => join(root, name);

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "corpus-"));
});
afterEach(async () => {
  await rm(root, { recursive: true });
});

async function read(source: CorpusSource): Promise<Document[]> {
  return await all(readCorpus(source));
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

async function texts(uri: string): Promise<string[]> {
  return (await read({ uri })).map((document) => document.text);
}

const jsonl = (...values: unknown[]): string => values.map((value) => `${JSON.stringify(value)}\n`).join("");

describe("jsonl", () => {
  it("gives text, source, file, line and ordinal", async () => {
    await writeFile(at("a.jsonl"), jsonl({ text: "one", source: "book" }, { text: "two" }));
    expect(await read({ uri: at("a.jsonl") })).toEqual([
      { docId: 0, text: "one", source: "book", file: at("a.jsonl"), line: 1, metadata: "" },
      { docId: 1, text: "two", source: "a.jsonl", file: at("a.jsonl"), line: 2, metadata: "" },
    ]);
  });

  it("reads CRLF line ends, blank lines, a byte order mark and a last line without an end", async () => {
    await writeFile(at("a.jsonl"), `\uFEFF{"text":"one"}\r\n\r\n{"text":"zwei ü 🙂"}`);
    expect(await texts(at("a.jsonl"))).toEqual(["one", "zwei ü 🙂"]);
  });

  it("reads lines longer than one chunk", async () => {
    const long = "x".repeat(3 << 20);
    await writeFile(at("a.jsonl"), jsonl({ text: long }, { text: "after" }));
    expect((await texts(at("a.jsonl"))).map((text) => text.length)).toEqual([long.length, 5]);
  });

  it("takes other fields, also inside objects", async () => {
    await writeFile(at("a.jsonl"), jsonl({ content: "one", meta: { pile_set_name: "Books" } }));
    const [document] = await read({ uri: at("a.jsonl"), textField: "content", sourceField: "meta.pile_set_name" });
    expect(document).toMatchObject({ text: "one", source: "Books" });
    const [unasked] = await read({ uri: at("a.jsonl"), textField: "content" });
    expect(unasked?.source).toBe("Books");
  });

  it("keeps the fields that are asked for as JSON, each under the name that was asked for", async () => {
    const records = [
      { text: "one", meta: { pile_set_name: "ArXiv", year: 1999 }, tags: ["a"], id: null },
      { text: "two", meta: { pile_set_name: "Books3" } },
    ];
    await writeFile(at("a.jsonl"), jsonl(...records));
    const kept = async (...metadataFields: string[]) => (await read({ uri: at("a.jsonl"), sourceField: "meta.pile_set_name", metadataFields })).map(({ source, metadata }) => [source, JSON.parse(metadata) as unknown]);
    expect(await kept("meta.year", "tags", "id")).toEqual([["ArXiv", { "meta.year": 1999, tags: ["a"], id: null }], ["Books3", {}]]);
    expect(await kept("*")).toEqual([["ArXiv", { meta: { pile_set_name: "ArXiv", year: 1999 }, tags: ["a"], id: null }], ["Books3", { meta: { pile_set_name: "Books3" } }]]);
  });

  it("leaves the text out of what it keeps, also where the text lies inside an object", async () => {
    await writeFile(at("a.jsonl"), jsonl({ body: { text: "one", lang: "en" }, text: "not the text" }));
    const [document] = await read({ uri: at("a.jsonl"), textField: "body.text", metadataFields: ["*"] });
    expect([document?.text, document?.metadata]).toEqual(["one", JSON.stringify({ body: { lang: "en" }, text: "not the text" })]);
  });

  it("counts empty texts and gives them no ordinal", async () => {
    await writeFile(at("a.jsonl"), jsonl({ text: "one" }, { text: "" }, { text: "two" }));
    const corpus = await openCorpus({ uri: at("a.jsonl") });
    const documents = await all(corpus.documents());
    expect(documents.map((document) => [document.docId, document.line])).toEqual([[0, 1], [1, 3]]);
    expect(corpus.stats).toEqual({ documents: 2, emptyTexts: 1, files: 1 });
  });

  it("stops after max_documents", async () => {
    await writeFile(at("a.jsonl"), jsonl({ text: "1" }, { text: "2" }, { text: "3" }));
    expect(await read({ uri: at("a.jsonl"), maxDocuments: 2 })).toHaveLength(2);
    expect(await read({ uri: at("a.jsonl"), maxDocuments: 0 })).toHaveLength(3);
  });

  it("names file, line and column of a byte that is not UTF-8", async () => {
    await writeFile(at("a.jsonl"), Buffer.concat([Buffer.from(jsonl({ text: "fine" })), Buffer.from('{"text":"'), Buffer.from([0xc3, 0xff]), Buffer.from('"}\n')]));
    await expect(texts(at("a.jsonl"))).rejects.toMatchObject({ name: "InputError", file: at("a.jsonl"), field: "line 2", got: "byte 0xc3 at column 10", wanted: "UTF-8 text" });
  });

  it("names the line that is not JSON", async () => {
    await writeFile(at("a.jsonl"), `${jsonl({ text: "fine" })}{"text": \n`);
    await expect(texts(at("a.jsonl"))).rejects.toMatchObject({ file: at("a.jsonl"), field: "line 2", wanted: "one JSON object a line" });
  });

  it.each([
    [{ body: "x" }, 'missing; the record has "body"'],
    [{ text: 3 }, "a number: 3"],
    [{ text: null }, "null"],
    [[1], "missing: the record is an array"],
  ])("names the field of %j, which has no text", async (record, got) => {
    await writeFile(at("a.jsonl"), jsonl(record));
    await expect(texts(at("a.jsonl"))).rejects.toMatchObject({ field: "line 1: text", got, wanted: "a string" });
  });

  it("refuses a record without the source field that was asked for", async () => {
    await writeFile(at("a.jsonl"), jsonl({ text: "x" }));
    await expect(read({ uri: at("a.jsonl"), sourceField: "origin" })).rejects.toMatchObject({ field: "line 1: origin" });
  });

  it("refuses half of a surrogate pair, which no UTF-8 can carry", async () => {
    await writeFile(at("a.jsonl"), '{"text":"\\ud83d"}\n');
    await expect(texts(at("a.jsonl"))).rejects.toMatchObject({ got: "half of a surrogate pair" });
  });
});

describe("packed files", () => {
  const content = jsonl(...Array.from({ length: 5000 }, (_, index) => ({ text: `document ${index} ${"abcdefgh".repeat(index % 40)}` })));

  it("reads zstd of one frame and of many, skippable frames between", async () => {
    const bytes = Buffer.from(content);
    const skippable = Buffer.from([0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
    const frames: Buffer[] = [skippable];
    for (let start = 0; start < bytes.length; start += 1000) frames.push(zstdCompressSync(bytes.subarray(start, start + 1000)), skippable);
    await writeFile(at("one.jsonl.zst"), zstdCompressSync(bytes));
    await writeFile(at("many.jsonl.zst"), Buffer.concat(frames));
    const [one, many] = [await texts(at("one.jsonl.zst")), await texts(at("many.jsonl.zst"))];
    expect(one).toHaveLength(5000);
    expect(many).toEqual(one);
  });

  it("reads gzip of several members", async () => {
    await writeFile(at("a.jsonl.gz"), Buffer.concat([gzipSync(content), gzipSync(content)]));
    expect(await texts(at("a.jsonl.gz"))).toHaveLength(10_000);
  });

  it.each([1, 3, 400, 3000])("refuses zstd cut %i bytes short", async (cut) => {
    const packed = zstdCompressSync(content);
    await writeFile(at("a.jsonl.zst"), packed.subarray(0, packed.length - cut));
    await expect(texts(at("a.jsonl.zst"))).rejects.toMatchObject({ name: "InputError", file: at("a.jsonl.zst"), wanted: expect.stringContaining("whole") });
  });

  it("refuses gzip cut short", async () => {
    const packed = gzipSync(content);
    await writeFile(at("a.jsonl.gz"), packed.subarray(0, packed.length - 5));
    await expect(texts(at("a.jsonl.gz"))).rejects.toMatchObject({ name: "InputError", got: "the file is cut short" });
  });

  it.each([
    ["plain text", Buffer.from("hello world")],
    ["garbage after a frame", Buffer.concat([zstdCompressSync(content), Buffer.from("garbage!")])],
    ["nothing", Buffer.alloc(0)],
  ])("refuses %s under a zst name", async (_, bytes) => {
    await writeFile(at("a.jsonl.zst"), bytes);
    await expect(texts(at("a.jsonl.zst"))).rejects.toThrow(/zstd/);
  });

  it("refuses zstd with a flipped bit", async () => {
    const packed = zstdCompressSync(content);
    packed[packed.length >> 1] = (packed[packed.length >> 1] ?? 0) ^ 0x10;
    await writeFile(at("a.jsonl.zst"), packed);
    await expect(texts(at("a.jsonl.zst"))).rejects.toMatchObject({ name: "InputError" });
  });
});

describe("plain text", () => {
  it("takes a short file as one document", async () => {
    await writeFile(at("a.txt"), "first\n\nsecond\n");
    await writeFile(at("b.md"), "# title\n");
    expect(await texts(root)).toEqual(["first\n\nsecond", "# title"]);
  });

  it("parts documents at <|endoftext|> lines and keeps line numbers", async () => {
    await writeFile(at("a.txt"), "one\nmore\n<|endoftext|>\ntwo\n");
    expect((await read({ uri: at("a.txt") })).map(({ text, line }) => [text, line])).toEqual([["one\nmore", 1], ["two", 4]]);
  });

  it("cuts a book into passages at blank lines and loses nothing", async () => {
    const book = Array.from({ length: 400 }, (_, index) => `Paragraph ${index}. ${"words and more words ".repeat(20)}\n`).join("\n");
    await writeFile(at("book.txt"), book);
    const passages = await read({ uri: at("book.txt") });
    expect(passages.length).toBeGreaterThan(10);
    expect(Math.max(...passages.map((passage) => passage.text.length))).toBeLessThan(16_384);
    expect(`${passages.map((passage) => passage.text).join("\n")}\n`).toBe(book);
    const lines = book.split("\n");
    for (const passage of passages) expect(passage.text.startsWith(lines[passage.line - 1] ?? "none")).toBe(true);
  });

  it("cuts a single huge line at spaces", async () => {
    const line = "word ".repeat(60_000);
    await writeFile(at("a.txt"), line);
    const passages = await texts(at("a.txt"));
    expect(passages.join("")).toBe(line);
    expect(passages.length).toBeGreaterThan(2);
  });

  it("names the line that is not UTF-8", async () => {
    await writeFile(at("a.txt"), Buffer.from([0x61, 0x0a, 0xfe, 0x0a]));
    await expect(texts(at("a.txt"))).rejects.toMatchObject({ field: "line 2", got: "byte 0xfe at column 1" });
  });
});

describe("parquet", () => {
  const rows = Array.from({ length: 500 }, (_, index) => `row ${index} ü`);
  const write = async (name: string, options: { readonly codec?: "SNAPPY" | "UNCOMPRESSED"; readonly text?: string } = {}): Promise<void> => {
    const columnData = [
      { name: "id", data: rows.map((_, index) => index), type: "INT32" as const },
      { name: options.text ?? "text", data: rows, type: "STRING" as const },
      { name: "source", data: rows.map((_, index) => (index % 2 === 0 ? "even" : "odd")), type: "STRING" as const },
    ];
    await writeFile(at(name), new Uint8Array(parquetWriteBuffer({ columnData, rowGroupSize: 120, codec: options.codec ?? "SNAPPY" })));
  };

  it("reads every row group in order", async () => {
    await write("a.parquet");
    const documents = await read({ uri: at("a.parquet") });
    expect(documents.map((document) => document.text)).toEqual(rows);
    expect(documents[121]).toEqual({ docId: 121, text: "row 121 ü", source: "odd", file: at("a.parquet"), line: 122, metadata: "" });
  });

  it("keeps columns that are asked for, numbers beyond 2^53 among them", async () => {
    const columnData = [
      { name: "text", data: ["one"], type: "STRING" as const },
      { name: "id", data: [2n ** 60n], type: "INT64" as const },
      { name: "n", data: [7n], type: "INT64" as const },
    ];
    await writeFile(at("a.parquet"), new Uint8Array(parquetWriteBuffer({ columnData })));
    const kept = async (...metadataFields: string[]) => (await read({ uri: at("a.parquet"), metadataFields }))[0]?.metadata;
    expect(JSON.parse((await kept("*")) ?? "")).toEqual({ id: String(2n ** 60n), n: 7 });
    expect(await kept("n")).toBe('{"n":7}');
    await expect(kept("year")).rejects.toMatchObject({ field: "year", wanted: 'a column "year"' });
  });

  it("says which columns there are when the text column is missing", async () => {
    await write("a.parquet", { text: "content" });
    await expect(texts(at("a.parquet"))).rejects.toMatchObject({ field: "text", got: "id, content, source", wanted: 'a column "text"' });
  });

  it("refuses a file cut short", async () => {
    await write("a.parquet");
    await truncate(at("a.parquet"), 3000);
    await expect(texts(at("a.parquet"))).rejects.toMatchObject({ name: "InputError", file: at("a.parquet"), field: "footer" });
  });

  it("refuses damaged rows", async () => {
    await write("a.parquet", { codec: "UNCOMPRESSED" });
    const bytes = Buffer.from(parquetWriteBuffer({ columnData: [{ name: "text", data: ["good", "bad!"], type: "STRING" }], codec: "UNCOMPRESSED" }));
    bytes[bytes.indexOf("bad!") + 1] = 0xff;
    await writeFile(at("a.parquet"), bytes);
    await expect(texts(at("a.parquet"))).rejects.toMatchObject({ field: "row 2: text", got: "bytes that are not UTF-8" });
  });
});

describe("places", () => {
  beforeEach(async () => {
    await mkdir(at("sub/.hidden"), { recursive: true });
    for (const name of ["b.jsonl", "a.jsonl", "sub/c.jsonl", "sub/.hidden/d.jsonl", ".e.jsonl"]) await writeFile(at(name), jsonl({ text: name }));
    await writeFile(at("cfg.json"), "{}");
  });

  it("reads a folder and its sub-folders in order of their names, hidden and foreign files left out", async () => {
    expect(await texts(root)).toEqual(["a.jsonl", "b.jsonl", "sub/c.jsonl"]);
  });

  it("reads a glob", async () => {
    expect(await texts(at("**/[bc].jsonl"))).toEqual(["b.jsonl", "sub/c.jsonl"]);
  });

  it("reads a list of places, each file once", async () => {
    expect(await texts(`${at("sub")}\n${at("a.jsonl")}\n${at("a.*")}\n`)).toEqual(["a.jsonl", "sub/c.jsonl"]);
  });

  it.each([
    ["missing.jsonl", "no such file"],
    ["*.parquet", "no such file"],
    ["cfg.json", "of no kind that is read"],
    ["sub/.hidden/d", "no such file"],
  ])("refuses %s", async (name, message) => {
    await expect(texts(at(name))).rejects.toThrow(message);
  });

  it("refuses an empty place", async () => {
    await expect(texts(" \n")).rejects.toMatchObject({ field: "corpus.uri" });
  });
});
