import { InputError } from "@mistral-sae/tensor";
import { openStore, type StoreAddress } from "./row-file.ts";

/** Reads a JSON blob that this library wrote. @returns Undefined when there is none. */
export async function readJson<T>(address: StoreAddress, key: string): Promise<T | undefined> {
  const store = openStore(address);
  const info = await store.head(key);
  if (info === undefined) return undefined;
  const bytes = new Uint8Array(info.size);
  await store.get(key, { start: 0, length: info.size }, bytes);
  try {
    return JSON.parse(Buffer.from(bytes).toString("utf8")) as T;
  } catch (error) {
    throw new InputError(`${key} is damaged`, { file: `${address.root}/${key}`, field: "contents", got: error instanceof Error ? error.message : String(error), wanted: "JSON" });
  }
}
