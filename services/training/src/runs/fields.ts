import { InputError } from "@mistral-sae/tensor";
import { invalidArgument, RpcError } from "@mistral-sae/rpc";

/** Names of the contract where a library's own name differs. */
const RENAMED: Readonly<Record<string, string>> = { maxMemoryBytes: "d_sae", sample: "corpus", dOut: "hook_name_out", "corpus.uri": "corpus.uri" };

/** Runs a check of a library and names the request's field in what it refuses. */
export async function checkingConfig<T>(field: string | undefined, check: () => T | Promise<T>): Promise<T> {
  try {
    return await check();
  } catch (error) {
    if (error instanceof RpcError || !(error instanceof InputError)) throw error;
    const name = error.field ?? "";
    const own = field ?? RENAMED[name] ?? snake(name);
    throw invalidArgument(own === "" ? "config" : `config.${own}`, name === "" ? error.message : error.message.replaceAll(name, snake(name)));
  }
}

/** latentCount as latent_count. */
export function snake(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
