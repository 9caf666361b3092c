import { failedPrecondition, invalidArgument } from "@mistral-sae/rpc";
import type { EndpointConfig } from "../config.ts";
import type { LanguageModel } from "./language-model.ts";
import type { Price } from "./price.ts";

/** A model at an endpoint, as a request chose it. */
export interface ChosenModel {
  readonly languageModel: LanguageModel;
  readonly model: string;
  /** Absent where none is configured. */
  readonly price: Price | undefined;
}

/** The configured endpoints. Their client is loaded when it is first needed. */
export class Endpoints {
  readonly #configs: readonly EndpointConfig[];
  readonly #open = new Map<string, Promise<LanguageModel>>();

  constructor(configs: readonly EndpointConfig[]) {
    this.#configs = configs;
  }

  get any(): boolean {
    return this.#configs.length > 0;
  }

  /** Why language models cannot be asked here; empty where they can. */
  get unavailableReason(): string {
    return this.any ? "" : "no endpoint is configured: set MISTRAL_SAE_LLM_BASE_URL and MISTRAL_SAE_LLM_MODEL";
  }

  /** Throws FAILED_PRECONDITION LLM_NOT_CONFIGURED without any endpoint, INVALID_ARGUMENT for an unknown client_id. */
  async choose(clientId: string, model: string): Promise<ChosenModel> {
    const { config, name, price } = this.describe(clientId, model);
    let languageModel = this.#open.get(config.name);
    if (languageModel === undefined) {
      languageModel = import("./openai-model.ts").then(({ OpenAiModel }) => new OpenAiModel(config));
      this.#open.set(config.name, languageModel);
    }
    return { languageModel: await languageModel, model: name, price };
  }

  /** The choice without opening it; throws as choose does. */
  describe(clientId: string, model: string): { readonly config: EndpointConfig; readonly name: string; readonly price: Price | undefined } {
    if (!this.any) throw failedPrecondition("LLM_NOT_CONFIGURED", this.unavailableReason);
    const config = clientId === "" ? this.#configs[0] : this.#configs.find(({ name }) => name === clientId);
    if (config === undefined) {
      const names = this.#configs.map(({ name }) => name).join(", ");
      throw invalidArgument("config.client_id", `got "${clientId}", wanted one of: ${names}`);
    }
    const name = model === "" ? config.model : model;
    return { config, name, price: config.prices[name] };
  }
}
