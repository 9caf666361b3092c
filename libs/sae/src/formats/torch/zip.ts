import type { FileHandle } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { InputError } from "@mistral-sae/tensor";

/** A member of a zip archive, stored without compression. */
export interface ZipEntry {
  readonly name: string;
  /** First byte of the content in the file. */
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
  readonly crc: number;
}

const END = 0x06054b50;
const END64 = 0x06064b50;
const LOCATOR64 = 0x07064b50;
const DIRECTORY_ENTRY = 0x02014b50;
const LOCAL_ENTRY = 0x04034b50;
const END_BYTES = 22;
const LONGEST_COMMENT = 65_535;
// A state dict has an entry of some 70 bytes for each tensor.
const LARGEST_DIRECTORY = 1 << 20;

/** An open zip archive, read by range. The caller owns the handle. */
export class ZipArchive {
  readonly path: string;
  readonly #handle: FileHandle;
  readonly #size: number;

  private constructor(path: string, handle: FileHandle, size: number) {
    this.path = path;
    this.#handle = handle;
    this.#size = size;
  }

  /** The archive's members by name. Throws InputError when the directory is damaged or a member is compressed. */
  static async open(path: string, handle: FileHandle): Promise<{ archive: ZipArchive; entries: ReadonlyMap<string, ZipEntry> }> {
    const { size } = await handle.stat();
    const archive = new ZipArchive(path, handle, size);
    return { archive, entries: await archive.#directory() };
  }

  /** The content of a member, checked against its CRC-32. */
  async read(entry: ZipEntry): Promise<Uint8Array> {
    const bytes = await this.#range(entry.offset, entry.size, entry.name);
    const crc = crc32(bytes);
    if (crc !== entry.crc) throw new InputError(`"${entry.name}" is damaged`, { file: this.path, field: entry.name, got: `CRC-32 ${crc}`, wanted: `CRC-32 ${entry.crc}` });
    return bytes;
  }

  async #directory(): Promise<Map<string, ZipEntry>> {
    const { offset, size, count } = await this.#end();
    if (size > LARGEST_DIRECTORY) throw this.#broken("central directory", `${size} bytes`, `at most ${LARGEST_DIRECTORY} bytes`);
    const bytes = await this.#range(offset, size, "central directory");
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const entries = new Map<string, ZipEntry>();
    for (let at = 0, seen = 0; seen < count; seen++) {
      if (at + 46 > size || view.getUint32(at, true) !== DIRECTORY_ENTRY) throw this.#broken("central directory", `${seen} entries`, `${count} entries`);
      const nameLength = view.getUint16(at + 28, true);
      const extraLength = view.getUint16(at + 30, true);
      const next = at + 46 + nameLength + extraLength + view.getUint16(at + 32, true);
      if (next > size) throw this.#broken("central directory", "an entry beyond its end", `${size} bytes`);
      const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength));
      const method = view.getUint16(at + 10, true);
      if (method !== 0) throw this.#broken(name, `compression method ${method}`, "0 (stored)");
      if (entries.has(name)) throw this.#broken(name, "2 entries", "1 entry");
      const place = wide(view, at, at + 46 + nameLength, extraLength);
      entries.set(name, { name, size: place.size, crc: view.getUint32(at + 16, true), offset: await this.#contentOf(name, place.local) });
      at = next;
    }
    return entries;
  }

  async #end(): Promise<{ offset: number; size: number; count: number }> {
    const length = Math.min(this.#size, END_BYTES + LONGEST_COMMENT);
    const start = this.#size - length;
    const tail = await this.#range(start, length, "end of central directory");
    const view = new DataView(tail.buffer, tail.byteOffset, tail.byteLength);
    for (let at = length - END_BYTES; at >= 0; at--) {
      if (view.getUint32(at, true) !== END) continue;
      const end = { count: view.getUint16(at + 10, true), size: view.getUint32(at + 12, true), offset: view.getUint32(at + 16, true) };
      const large = end.count === 0xffff || end.size === 0xffffffff || end.offset === 0xffffffff;
      return large && at >= 20 && view.getUint32(at - 20, true) === LOCATOR64 ? await this.#end64(safe(view.getBigUint64(at - 12, true))) : end;
    }
    throw this.#broken("end of central directory", "none", "a zip archive, as torch.save writes it since 1.6");
  }

  async #end64(offset: number): Promise<{ offset: number; size: number; count: number }> {
    const bytes = await this.#range(offset, 56, "zip64 end of central directory");
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (view.getUint32(0, true) !== END64) throw this.#broken("zip64 end of central directory", "another record", "its signature");
    return { count: safe(view.getBigUint64(32, true)), size: safe(view.getBigUint64(40, true)), offset: safe(view.getBigUint64(48, true)) };
  }

  async #contentOf(name: string, local: number): Promise<number> {
    const bytes = await this.#range(local, 30, name);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (view.getUint32(0, true) !== LOCAL_ENTRY) throw this.#broken(name, "no entry at its offset", "a local entry");
    return local + 30 + view.getUint16(26, true) + view.getUint16(28, true);
  }

  async #range(offset: number, length: number, what: string): Promise<Uint8Array> {
    if (offset + length > this.#size) throw this.#broken(what, `bytes ${offset} to ${offset + length}`, `within ${this.#size} bytes`);
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const { bytesRead } = await this.#handle.read(bytes, done, Math.min(length - done, 1 << 30), offset + done);
      if (bytesRead === 0) throw this.#broken(what, `${done} bytes`, `${length} bytes`);
      done += bytesRead;
    }
    return bytes;
  }

  #broken(field: string, got: string, wanted: string): InputError {
    return new InputError("the zip archive cannot be read", { file: this.path, field, got, wanted });
  }
}

/** Size and place of an entry; zip64 puts them in an extra field when 32 bits do not hold them. */
function wide(view: DataView, at: number, extraAt: number, extraLength: number): { size: number; local: number } {
  let size = view.getUint32(at + 24, true);
  let local = view.getUint32(at + 42, true);
  const compressed = view.getUint32(at + 20, true);
  for (let field = extraAt; field + 4 <= extraAt + extraLength; field += 4 + view.getUint16(field + 2, true)) {
    if (view.getUint16(field, true) !== 1) continue;
    let value = field + 4;
    const end = Math.min(extraAt + extraLength, value + view.getUint16(field + 2, true));
    const take = (current: number): number => {
      if (current !== 0xffffffff || value + 8 > end) return current;
      value += 8;
      return safe(view.getBigUint64(value - 8, true));
    };
    size = take(size);
    take(compressed);
    local = take(local);
  }
  return { size, local };
}

// A number too large to be true fails the range check that follows.
function safe(value: bigint): number {
  return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(value);
}
