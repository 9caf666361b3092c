/** GPT-2's bijection of bytes and printable characters: the code point that stands for each byte. */
export const byteAlphabet: readonly number[] = alphabet();

const byteOf: ReadonlyMap<number, number> = new Map(byteAlphabet.map((point, byte) => [point, byte]));

/** The bytes that a piece written in that alphabet stands for; undefined when a character lies outside of it. */
export function alphabetBytes(piece: string): Uint8Array | undefined {
  const bytes = new Uint8Array(piece.length);
  for (let i = 0; i < piece.length; i++) {
    const byte = byteOf.get(piece.charCodeAt(i));
    if (byte === undefined) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}

function alphabet(): number[] {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    return printable ? byte : next++;
  });
}
