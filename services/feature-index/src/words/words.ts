/** The words of a text, lower case, in order. */
export function wordsOf(text: string): string[] {
  return (text.toLowerCase().match(/[\p{L}\p{N}]+(?:['’][\p{L}]+)*/gu) ?? []).map((word) => word.replace(/['’]s$/u, ""));
}

const STOP_WORDS = new Set("a an and are as at be but by for from has have he her his i if in is it its of on or she that the their them they this to was were what when where which who will with you".split(" "));

/** The words of a query that say something, each once; all of them where none does. */
export function queryWords(query: string): string[] {
  const words = [...new Set(wordsOf(query))];
  const telling = words.filter((word) => !STOP_WORDS.has(word));
  return telling.length > 0 ? telling : words;
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
