import type { Fields } from "../fields.ts";
import { stepsOf } from "./pipeline.ts";

/** Ids that a tokenizer puts around a text by itself. */
export interface Frame {
  readonly prefix: readonly number[];
  readonly suffix: readonly number[];
}

/**
 * Reads the `post_processor` of a tokenizer.json: what comes before and after a single text.
 *
 * @throws InputError for a processor that is no TemplateProcessing, or a template that names unknown tokens.
 */
export function readFrame(root: Fields, knownId: (id: number) => boolean): Frame {
  const templates = stepsOf(root, "post_processor", "processors").filter((step) => step.text("type") !== "ByteLevel");
  const [template, second] = templates;
  if (template === undefined) return { prefix: [], suffix: [] };
  if (template.text("type") !== "TemplateProcessing" || second !== undefined) {
    throw root.error("post_processor", templates.map((step) => step.text("type")).join("+"), "TemplateProcessing, ByteLevel or none");
  }
  const prefix: number[] = [];
  const suffix: number[] = [];
  let texts = 0;
  for (const piece of template.objects("single")) {
    if (piece.has("Sequence")) {
      texts++;
      continue;
    }
    const name = piece.object("SpecialToken").text("id");
    const tokens = template.object("special_tokens");
    const ids = tokens.has(name) ? tokens.object(name).list("ids") : [];
    if (ids.length === 0 || !ids.every((id): id is number => Number.isInteger(id) && knownId(id as number))) {
      throw template.error("special_tokens", name, "its ids, all in the vocabulary");
    }
    (texts === 0 ? prefix : suffix).push(...ids);
  }
  if (texts !== 1) throw template.error("single", `the text ${texts} times`, "the text once");
  return { prefix, suffix };
}
