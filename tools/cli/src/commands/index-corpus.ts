import { CorpusSchema, CorpusStateSchema, type Corpus } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/corpus";
import type { Command } from "commander";
import { connect } from "../clients.ts";
import { group, integer, run } from "../command.ts";
import { enumWord } from "../enums.ts";
import { formatCount, formatFields, messageJson } from "../output.ts";
import { corpusUri } from "../paths.ts";
import { allPages, modelName, resourceName } from "../resources.ts";

interface AddOptions {
  readonly model?: string;
  readonly contextSize?: number;
  readonly maxDocuments?: number;
  readonly textField?: string;
  readonly sourceField?: string;
  readonly metadataFields?: readonly string[];
}

/** `index corpus add | ls | rm`. */
export function registerCorpusVerbs(index: Command): void {
  const corpus = group(index, "corpus", "Text that can be indexed.");
  corpus
    .command("add")
    .description("Register text as a corpus.")
    .argument("<id>", "id to give it: a-z, 0-9 and -")
    .argument("<paths...>", "jsonl, jsonl.zst, txt, md or parquet; files, folders or globs")
    .option("--model <model>", "model whose tokenizer cuts it; the only one loaded otherwise")
    .option("--context-size <n>", "tokens of a window, BOS included", integer({ min: 2 }))
    .option("--max-documents <n>", "read at most this many documents", integer({ min: 1 }))
    .option("--text-field <name>", "field that holds the text in jsonl and parquet (default: text)")
    .option("--source-field <name>", "field that names a document's source (default: source, else The Pile's meta.pile_set_name, else the file's name)")
    .option("--metadata-fields <names...>", 'fields that are kept with each document; "*" keeps all but the text')
    .action(
      run(async ({ output, signal, address }, corpusId: string, paths: readonly string[], options: AddOptions) => {
        const { corpus: made } = await connect(address).featureIndex.createCorpus(
          {
            corpusId,
            source: {
              uri: corpusUri(paths),
              maxDocuments: BigInt(options.maxDocuments ?? 0),
              ...(options.textField === undefined ? {} : { textField: options.textField }),
              ...(options.sourceField === undefined ? {} : { sourceField: options.sourceField }),
              metadataFields: [...(options.metadataFields ?? [])],
            },
            model: modelName(options.model),
            contextSize: options.contextSize ?? 0,
          },
          { signal },
        );
        if (made !== undefined) output.message(CorpusSchema, made, () => describeCorpus(made));
      }),
    );
  corpus
    .command("ls")
    .description("List corpora.")
    .action(
      run(async ({ output, signal, address }) => {
        const clients = connect(address);
        const corpora = await allPages(async (pageToken) => {
          const page = await clients.featureIndex.listCorpora({ pageSize: 1000, pageToken }, { signal });
          return { rows: page.corpora, nextPageToken: page.nextPageToken };
        });
        output.table(
          corpora,
          [
            { header: "name", cell: ({ name }) => name },
            { header: "state", cell: ({ state }) => enumWord(CorpusStateSchema, state) },
            { header: "documents", cell: ({ nDocuments }) => nDocuments },
            { header: "windows", cell: ({ nSequences }) => nSequences },
            { header: "tokens", cell: ({ nTokens }) => nTokens },
            { header: "context", cell: ({ contextSize }) => contextSize },
            { header: "from", cell: ({ source }) => source?.uri, maxWidth: 60 },
          ],
          (row) => messageJson(CorpusSchema, row),
          "no corpus; add one with `mistral-sae index corpus add ID PATH`",
        );
      }),
    );
  corpus
    .command("rm")
    .description("Delete a corpus and every index over it; the text itself stays.")
    .argument("<corpus>", "corpora/{corpus} or its id")
    .action(
      run(async ({ output, signal, address }, given: string) => {
        const name = resourceName("corpora", given);
        await connect(address).featureIndex.deleteCorpus({ name }, { signal });
        output.result({ name }, () => `${name} is deleted`);
      }),
    );
}

function describeCorpus(corpus: Corpus): string {
  return formatFields([
    ["corpus", corpus.name],
    ["state", enumWord(CorpusStateSchema, corpus.state)],
    ["from", corpus.source?.uri.replaceAll("\n", ", ")],
    ["model", corpus.model],
    ["context", corpus.contextSize],
    ["documents", corpus.nDocuments === 0n ? undefined : formatCount(corpus.nDocuments)],
    ["tokens", corpus.nTokens === 0n ? undefined : formatCount(corpus.nTokens)],
  ]);
}
