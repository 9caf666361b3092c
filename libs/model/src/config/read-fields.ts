import { readFile } from "node:fs/promises";
import { InputError } from "@mistral-sae/tensor";
import { Fields } from "./fields.ts";

/** The JSON object in a file, or undefined when there is no such file. Throws InputError for any other content. */
export async function readFields(file: string): Promise<Fields | undefined> {
  try {
    return await requireFields(file);
  } catch (error) {
    if (error instanceof InputError && isMissing(error.cause)) return undefined;
    throw error;
  }
}

/** The JSON object in a file of a model folder. Throws InputError when there is none. */
export async function requireFields(file: string): Promise<Fields> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    throw new InputError(`the file cannot be read: ${codeOf(error)}`, { file, field: "file", wanted: "a model folder with config.json and *.safetensors" }, { cause: error });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const pointer = text.startsWith("version https://git-lfs");
    const reason = error instanceof Error ? error.message : String(error);
    throw new InputError(pointer ? "the file is a Git LFS pointer: run `git lfs pull` in its folder, or download the model anew" : `the file is not JSON: ${reason}`, { file, field: "content", wanted: "a JSON object" }, { cause: error });
  }
  return Fields.of(file, value);
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

function isMissing(error: unknown): boolean {
  return codeOf(error) === "ENOENT";
}
