import { InputError } from "@mistral-sae/tensor";

/** An element of the list, or, at the end, the object around it with the list left empty. */
export interface JsonPiece {
  readonly text: string;
  /** Place in the list; -1 for the object around it. */
  readonly at: number;
}

/** A feature with its examples is some hundred KiB; a longer one is a file of another kind. */
const LONGEST = 256 << 20;
const QUOTE = 34;
const BACKSLASH = 92;
const OPEN_LIST = 91;
const CLOSE_LIST = 93;
const OPEN = 123;
const CLOSE = 125;

/**
 * Cuts `{…, "features": [{…}, {…}], …}` into the texts of the list's elements, one at a time, and hands over what is around them
 * last. Holds one element at most. Checks no more of the JSON than its brackets: each text is parsed by whoever takes it.
 * @throws InputError for a file that ends early or has no such list.
 */
export async function* splitFeatures(chunks: AsyncIterable<Uint8Array>, file: string): AsyncIterable<JsonPiece> {
  const around: Uint8Array[] = [];
  let held: Uint8Array[] = [];
  let heldBytes = 0;
  let depth = 0;
  let inString = false;
  let escaped = false;
  let element = 0;
  let done = false;
  let tail = "";
  const short = (got: string) => new InputError(`${file} is no whole batch: ${got}`, { file, field: "features", got, wanted: 'one JSON object with a list "features"' });
  for await (const chunk of chunks) {
    let start = 0;
    const keep = (end: number) => {
      const part = chunk.slice(start, end);
      if (depth >= 3) {
        held.push(part);
        heldBytes += part.length;
        if (heldBytes > LONGEST) throw short(`features[${element}] is longer than ${LONGEST >> 20} MiB`);
      } else around.push(part);
      start = end;
    };
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i] as number;
      if (inString) {
        if (escaped) escaped = false;
        else if (byte === BACKSLASH) escaped = true;
        else if (byte === QUOTE) inString = false;
        continue;
      }
      if (byte === QUOTE) inString = true;
      else if (byte === OPEN || byte === OPEN_LIST) {
        if (depth === 0 && done) throw short("something stands after the object");
        if (depth === 1 && byte === OPEN_LIST) tail = Buffer.concat([...around, chunk.subarray(start, i)]).toString();
        if (depth === 2 && byte === OPEN && /"features"\s*:\s*$/.test(tail)) keep(i);
        else if (depth === 2) throw short("a list or object that is no feature");
        depth += 1;
      } else if (byte === CLOSE || byte === CLOSE_LIST) {
        if (depth === 3) {
          keep(i + 1);
          yield { text: Buffer.concat(held).toString(), at: element };
          held = [];
          heldBytes = 0;
          element += 1;
        }
        depth -= 1;
        if (depth < 0) throw short("a bracket closes nothing");
        if (depth === 0) done = true;
      }
    }
    keep(chunk.length);
    if (around.length > 64) around.splice(0, around.length, Buffer.concat(around));
  }
  if (!done || depth !== 0) throw short(`it ends within ${depth >= 3 ? `features[${element}]` : "the object"}`);
  // Commas that stood between the elements are all that is left of the list.
  yield { text: Buffer.concat(around).toString().replace(/("features"\s*:\s*\[)[\s,]*\]/, "$1]"), at: -1 };
}
