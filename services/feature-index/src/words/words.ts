/** The words of a text, lower case, in order. */
export function wordsOf(text: string): string[] {
  return (text.toLowerCase().match(/[\p{L}\p{N}]+(?:['’][\p{L}]+)*/gu) ?? []).map((word) => word.replace(/['’]s$/u, ""));
}

/** A word without its English ending, so that swims, swimming and swim meet. Rough: it only has to meet itself. */
export function stem(word: string): string {
  if (word.length < 4) return word;
  if (word.endsWith("ies") && word.length > 4) return `${word.slice(0, -3)}y`;
  for (const ending of ["ing", "ed", "er", "ers"]) {
    if (word.endsWith(ending) && word.length - ending.length >= 3) return bare(word.slice(0, -ending.length));
  }
  if (/(?:s|x|z|ch|sh)es$/.test(word)) return word.slice(0, -2);
  if (word.endsWith("s") && !word.endsWith("ss") && !word.endsWith("us")) return bare(word.slice(0, -1));
  return bare(word);
}

/** Without a silent e, or the second of two equal consonants. */
function bare(word: string): string {
  if (/([bdfglmnprt])\1$/.test(word)) return word.slice(0, -1);
  return word.length > 3 && word.endsWith("e") ? word.slice(0, -1) : word;
}
