import { InputError } from "@mistral-sae/tensor";

const FRAME_MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;
const DICTIONARY_ID_BYTES = [0, 1, 2, 4] as const;
const CONTENT_SIZE_BYTES = [0, 2, 4, 8] as const;
const RLE_BLOCK = 1;

/**
 * Cuts a zstd stream into its frames (RFC 8878, section 3.1). node:zlib stops at the end of the first frame
 * and drops what follows, which loses most of a file that was written in parallel or by appending.
 * Frames must be consumed in order, each to its end. Skippable frames are passed over.
 * @throws InputError on bytes that start no frame, and where the stream ends inside one.
 */
export async function* zstdFrames(source: AsyncIterable<Uint8Array>, file: string): AsyncIterable<AsyncIterable<Uint8Array>> {
  const input = new ByteQueue(source, file);
  let frames = 0;
  while (!(await input.atEnd())) {
    const magic = readLittleEndian(await input.take(4));
    if ((magic & 0xfffffff0) >>> 0 === SKIPPABLE_MAGIC) {
      const size = readLittleEndian(await input.take(4));
      for await (const piece of input.pieces(size)) void piece;
    } else if (magic === FRAME_MAGIC) {
      yield oneFrame(input);
    } else {
      const got = `0x${magic.toString(16).padStart(8, "0")}`;
      throw new InputError(`${file}: no zstd frame at byte ${input.position - 4}`, { file, field: `byte ${input.position - 4}`, got, wanted: "0xfd2fb528" });
    }
    frames += 1;
  }
  if (frames === 0) throw input.truncated();
}

async function* oneFrame(input: ByteQueue): AsyncIterable<Uint8Array> {
  const magic = new Uint8Array(4);
  new DataView(magic.buffer).setUint32(0, FRAME_MAGIC, true);
  yield magic;
  const descriptorByte = await input.take(1);
  yield descriptorByte;
  const descriptor = descriptorByte[0] ?? 0;
  const singleSegment = (descriptor & 0x20) !== 0;
  const contentSize = (descriptor >> 6 === 0 ? Number(singleSegment) : CONTENT_SIZE_BYTES[(descriptor >> 6) as 1 | 2 | 3]);
  yield await input.take((singleSegment ? 0 : 1) + DICTIONARY_ID_BYTES[(descriptor & 3) as 0 | 1 | 2 | 3] + contentSize);
  for (let last = false; !last; ) {
    const header = await input.take(3);
    yield header;
    const value = readLittleEndian(header);
    last = (value & 1) !== 0;
    const size = ((value >> 1) & 3) === RLE_BLOCK ? 1 : value >> 3;
    yield* input.pieces(size);
  }
  if ((descriptor & 4) !== 0) yield await input.take(4);
}

/** Bytes of a stream, taken in amounts of the reader's choice. */
class ByteQueue {
  position = 0;
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #file: string;
  #chunk: Uint8Array = new Uint8Array(0);

  constructor(source: AsyncIterable<Uint8Array>, file: string) {
    this.#chunks = source[Symbol.asyncIterator]();
    this.#file = file;
  }

  async atEnd(): Promise<boolean> {
    while (this.#chunk.length === 0) {
      const next = await this.#chunks.next();
      if (next.done === true) return true;
      this.#chunk = next.value;
    }
    return false;
  }

  /** Exactly `count` bytes, in one array. */
  async take(count: number): Promise<Uint8Array> {
    const out = new Uint8Array(count);
    let filled = 0;
    for await (const piece of this.pieces(count)) {
      out.set(piece, filled);
      filled += piece.length;
    }
    return out;
  }

  /** Exactly `count` bytes, as views of the chunks that came. */
  async *pieces(count: number): AsyncIterable<Uint8Array> {
    for (let left = count; left > 0; ) {
      if (await this.atEnd()) throw this.truncated();
      const piece = this.#chunk.subarray(0, left);
      this.#chunk = this.#chunk.subarray(piece.length);
      this.position += piece.length;
      left -= piece.length;
      yield piece;
    }
  }

  truncated(): InputError {
    return new InputError(`${this.#file}: the zstd stream ends inside a frame, at byte ${this.position}`, {
      file: this.#file,
      field: `byte ${this.position}`,
      got: "end of file",
      wanted: "a whole frame",
    });
  }
}

function readLittleEndian(bytes: Uint8Array): number {
  return bytes.reduceRight((value, byte) => value * 256 + byte, 0);
}
