/** A token's own text: the space marks of vocabularies become spaces. */
export function tokenText(strToken: string): string {
  return strToken.replaceAll(/[▁Ġ]/gu, " ").replaceAll("Ċ", "\n");
}

/** A token as a person reads it in a list: without its leading space, line breaks and blanks made visible. */
export function visibleToken(strToken: string): string {
  const text = tokenText(strToken);
  const trimmed = text.trim();
  if (trimmed !== "") return trimmed;
  return text.includes("\n") ? "⏎" : "␣";
}

/** Text on one line. */
export function oneLine(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, " ⏎ ").trim();
}

/** Whether a token is special, by the bits of its sequence. */
export function isSpecial(bits: Uint8Array, index: number): boolean {
  return (((bits[index >> 3] ?? 0) >> (index & 7)) & 1) === 1;
}
