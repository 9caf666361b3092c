import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { finished } from "node:stream/promises";
import type { Writable } from "node:stream";
import { badInput } from "../output.ts";

/** Where the bytes of a result go: a file, or standard output. */
export class ResultTarget implements AsyncDisposable {
  readonly #stream: Writable;
  readonly #owned: boolean;

  private constructor(stream: Writable, owned: boolean) {
    this.#stream = stream;
    this.#owned = owned;
  }

  /** @throws CliError for binary data on a terminal; the file system's error. */
  static async open(path: string | undefined, binary: boolean): Promise<ResultTarget> {
    if (path === undefined) {
      if (binary && process.stdout.isTTY) throw badInput("Arrow is binary", { field: "--output", wanted: "a file, or a pipe as standard output" });
      return new ResultTarget(process.stdout, false);
    }
    const file = createWriteStream(path);
    await once(file, "open");
    return new ResultTarget(file, true);
  }

  /** Resolves when there is room for more. */
  async write(bytes: Uint8Array | string): Promise<void> {
    if (bytes.length > 0 && !this.#stream.write(bytes)) await once(this.#stream, "drain");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#owned) return;
    this.#stream.end();
    await finished(this.#stream);
  }
}
