import { execFile } from "node:child_process";
import { access, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { demoModelDir } from "@mistral-sae/demo-model";
import { prepareQuantised } from "@mistral-sae/model";
import type { CellShape } from "./cells.ts";
import { makeModel } from "./make-model.ts";
import { modelShapes, type ShapeName } from "./shapes.ts";
import type { Precision } from "./work.ts";

const run = promisify(execFile);
const toGguf = fileURLToPath(new URL("../../peers/inference/to_gguf.py", import.meta.url));
const quantisedNames = { q8: "int8", q4: "int4" } as const;
const toOnnx = fileURLToPath(new URL("../../peers/inference/to_onnx.py", import.meta.url));
const ggufNames: Readonly<Record<Precision, string>> = { f32: "f32", q8: "q8_0", q4: "q4_0" };

/** Models of the bench in one folder, each made when it is first asked for. */
export class BenchModels {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  /** A model folder in the Hugging Face layout, its weights at a precision. */
  async folder(shape: CellShape, precision: Precision = "f32"): Promise<string> {
    const folder = shape === "demo" ? demoModelDir : join(this.root, shape);
    if (!(await exists(folder))) await whole(folder, (path) => makeModel(path, modelShapes[shape as ShapeName]));
    return precision === "f32" ? folder : await prepareQuantised(folder, quantisedNames[precision], this.root);
  }

  /** The same weights as a GGUF file. Needs a Python with gguf, safetensors and torch. */
  async gguf(shape: CellShape, precision: Precision, python: string): Promise<string> {
    const file = join(this.root, `${shape}.${ggufNames[precision]}.gguf`);
    const model = await this.folder(shape);
    if (!(await exists(file))) await whole(file, (path) => run(python, [toGguf, model, path, ggufNames[precision]]));
    return file;
  }

  /** An ONNX export of the same weights, f32 or q4. Needs a Python with onnxruntime-genai, onnx and transformers. */
  async onnx(shape: CellShape, precision: Precision, python: string): Promise<string> {
    const folder = join(this.root, `${shape}.${precision}.onnx`);
    const model = await this.folder(shape);
    if (!(await exists(folder))) await whole(folder, (path) => run(python, [toOnnx, model, path, precision], { maxBuffer: 1 << 26 }));
    return folder;
  }
}

/** What breaks off midway must not be taken for whole by the next run. */
async function whole(path: string, make: (path: string) => Promise<unknown>): Promise<void> {
  const unfinished = `${path}.unfinished`;
  await rm(unfinished, { recursive: true, force: true });
  await make(unfinished);
  await rename(unfinished, path);
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
