import { InputError } from "@mistral-sae/tensor";

/** Ids that a tokenizer puts around a text by itself. */
export interface Frame {
  readonly prefix: readonly number[];
  readonly suffix: readonly number[];
}

interface ProcessorJson {
  readonly type?: unknown;
  readonly processors?: readonly ProcessorJson[];
  readonly single?: readonly Readonly<Record<string, { readonly id?: unknown }>>[];
  readonly special_tokens?: Readonly<Record<string, { readonly ids?: readonly unknown[] }>>;
}

/**
 * Reads the `post_processor` of a tokenizer.json: what comes before and after a single text. It is followed here and
 * not in the native tokenizer, so that BOS is handled in one place, whatever the file format.
 *
 * @throws InputError for a processor that is no TemplateProcessing, or a template that names unknown tokens.
 */
export function readFrame(file: string, processor: unknown, knownId: (id: number) => boolean): Frame {
  const templates = flatten(processor as ProcessorJson | null | undefined).filter(({ type }) => type !== "ByteLevel");
  const [template, second] = templates;
  if (template === undefined) return { prefix: [], suffix: [] };
  if (template.type !== "TemplateProcessing" || second !== undefined) {
    throw new InputError(`${file}: the tokenizer's post_processor is unknown`, {
      file,
      field: "post_processor",
      got: templates.map(({ type }) => String(type)).join("+"),
      wanted: "TemplateProcessing, ByteLevel or none",
    });
  }
  const prefix: number[] = [];
  const suffix: number[] = [];
  let texts = 0;
  for (const piece of Array.isArray(template.single) ? template.single : []) {
    if (piece["Sequence"] !== undefined) {
      texts++;
      continue;
    }
    const name = String(piece["SpecialToken"]?.id);
    const ids = template.special_tokens?.[name]?.ids;
    if (!Array.isArray(ids) || !ids.every((id): id is number => Number.isInteger(id) && knownId(id as number))) {
      throw new InputError(`${file}: the template names a token that is unknown`, { file, field: "post_processor.special_tokens", got: name, wanted: "its ids, all in the vocabulary" });
    }
    (texts === 0 ? prefix : suffix).push(...ids);
  }
  if (texts !== 1) {
    throw new InputError(`${file}: the template of a single text must hold it once`, { file, field: "post_processor.single", got: `${texts} times`, wanted: "once" });
  }
  return { prefix, suffix };
}

function flatten(processor: ProcessorJson | null | undefined): ProcessorJson[] {
  if (processor === null || processor === undefined) return [];
  if (processor.type === "Sequence") return (processor.processors ?? []).flatMap(flatten);
  return [processor];
}
