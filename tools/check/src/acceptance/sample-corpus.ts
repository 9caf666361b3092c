import { readdir, writeFile } from "node:fs/promises";
import { corpusDir } from "@mistral-sae/demo-model";
import { readCorpus } from "@mistral-sae/corpus";

/** Writes the first documents of the corpus that ships as a jsonl file. */
export async function writeSampleCorpus(file: string, documents: number): Promise<void> {
  if ((await readdir(corpusDir)).length === 0) throw new Error(`no corpus in ${corpusDir}`);
  const lines: string[] = [];
  for await (const { text, source } of readCorpus({ uri: corpusDir, maxDocuments: documents })) lines.push(JSON.stringify({ text, source }));
  await writeFile(file, `${lines.join("\n")}\n`);
}
