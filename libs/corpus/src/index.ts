export { Corpus, openCorpus, readCorpus, type CorpusStats } from "./corpus.ts";
export { defaultCorpusFields, type CorpusSource, type Document } from "./document.ts";
export { corpusFingerprint } from "./fingerprint.ts";
export { HELD_BACK_EVERY, isHeldBack } from "./held-back.ts";
export { type Line, splitLines } from "./lines.ts";
export { listCorpusFiles } from "./list-files.ts";
export { readBytes } from "./read-bytes.ts";
export { windowsOf } from "./windows.ts";
