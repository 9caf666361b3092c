import { Template } from "@huggingface/jinja";
import { InputError } from "@mistral-sae/tensor";
import type { ChatMessage } from "./messages.ts";
import type { TokenizerConfig } from "../tokenizer-config.ts";

/** A compiled chat template. */
export class ChatTemplate {
  readonly #template: Template;
  readonly #variables: Readonly<Record<string, string>>;

  /** @throws InputError when the source is no Jinja. */
  constructor(source: string, config: TokenizerConfig) {
    try {
      this.#template = new Template(source);
    } catch (error) {
      throw new InputError(`chat_template: cannot be parsed (${messageOf(error)})`, { field: "chat_template" });
    }
    this.#variables = {
      bos_token: config.bosToken ?? "",
      eos_token: config.eosToken ?? "",
      unk_token: config.unkToken ?? "",
      pad_token: config.padToken ?? "",
    };
  }

  /**
   * The conversation as text, control tokens included.
   *
   * @throws InputError with the template's own words when it refuses the messages.
   */
  render(messages: readonly ChatMessage[], addGenerationPrompt: boolean): string {
    try {
      return this.#template.render({
        ...this.#variables,
        messages: messages.map(({ role, content }) => ({ role, content })),
        add_generation_prompt: addGenerationPrompt,
      });
    } catch (error) {
      throw new InputError(`messages: refused by the model's chat template (${messageOf(error)})`, {
        field: "messages",
        got: messages.map((message) => message.role).join(", "),
      });
    }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
