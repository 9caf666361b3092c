import { fileURLToPath } from "node:url";

/** Folder of the model that ships, in the Hugging Face layout. */
export const demoModelDir: string = fileURLToPath(new URL("../model", import.meta.url));

/** Folder of the corpus that ships: jsonl.zst files of text that this model wrote. */
export const corpusDir: string = fileURLToPath(new URL("../corpus", import.meta.url));
