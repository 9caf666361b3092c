import { describe, expect, it } from "vitest";
import { exceptionGuard } from "../../src/client/exception-guard.ts";

const TAG = "abcdefghijklmnop";
const MESSAGE = "Code: 396. DB::Exception: Limit for result exceeded. (TOO_MANY_ROWS_OR_BYTES)\n";
const TRAILER = `\r\n__exception__\r\n${TAG}\r\n${MESSAGE}${MESSAGE.length} ${TAG}\r\n__exception__\r\n`;

async function through(text: string, size: number): Promise<{ readonly data: string; readonly error: string }> {
  const chunks = async function* () {
    for (let at = 0; at < text.length; at += size) yield Buffer.from(text.slice(at, at + size));
  };
  let data = "";
  try {
    for await (const chunk of exceptionGuard(chunks(), TAG)) data += Buffer.from(chunk).toString();
  } catch (error) {
    return { data, error: String(error) };
  }
  return { data, error: "" };
}

describe("the guard of a result's end", () => {
  it("passes on what holds no trailer, however it is cut", async () => {
    const text = `rows\r\n__exception__\r\nof another tag\r\n\r\r\n__exception__\r\n${TAG.slice(0, 9)}`;
    for (const size of [1, 2, 3, 7, 1000]) expect(await through(text, size)).toEqual({ data: text, error: "" });
  });

  it("gives the rows before a trailer, then its error", async () => {
    for (const size of [1, 2, 5, 64, 10_000]) {
      const { data, error } = await through(`some rows\n${TRAILER}`, size);
      expect(data).toBe("some rows\n");
      expect(error).toContain("Limit for result exceeded");
    }
  });

  it("holds no byte back that cannot begin a trailer", async () => {
    const seen: string[] = [];
    const chunks = async function* () {
      for (const row of ["one\n", "two\n", "three\r"]) {
        yield Buffer.from(row);
        seen.push(`asked after ${row.trim()}`);
      }
    };
    for await (const chunk of exceptionGuard(chunks(), TAG)) seen.push(Buffer.from(chunk).toString());
    expect(seen).toEqual(["one\n", "asked after one", "two\n", "asked after two", "three", "asked after three", "\r"]);
  });
});
