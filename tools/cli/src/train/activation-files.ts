import { isFloatDType, openSafetensors, type SafetensorsFile } from "@mistral-sae/tensor";
import { badInput } from "../output.ts";

/** Element types that rows are trained from. */
export type RowDType = "F32" | "F16" | "BF16";

interface Part {
  readonly file: SafetensorsFile;
  /** First row of the file among all rows. */
  readonly start: number;
  readonly end: number;
}

/** The rows [n, d_in] of several safetensors files, one after the other. Owns the files until `close`. */
export class ActivationFiles implements AsyncDisposable {
  readonly dIn: number;
  readonly rows: number;
  readonly dtype: RowDType;
  readonly #tensor: string;
  readonly #parts: readonly Part[];

  private constructor(dIn: number, dtype: RowDType, tensor: string, parts: readonly Part[]) {
    this.dIn = dIn;
    this.dtype = dtype;
    this.rows = parts.at(-1)?.end ?? 0;
    this.#tensor = tensor;
    this.#parts = parts;
  }

  /** Opens the files and checks that their tensors agree. Throws bad input naming the file that differs. */
  static async open(paths: readonly string[], tensor: string): Promise<ActivationFiles> {
    const files: SafetensorsFile[] = [];
    try {
      for (const path of paths) files.push(await openSafetensors(path));
      return ActivationFiles.#check(files, tensor);
    } catch (error) {
      for (const file of files) await file.close();
      throw error;
    }
  }

  static #check(files: readonly SafetensorsFile[], tensor: string): ActivationFiles {
    const parts: Part[] = [];
    let [dIn, dtype, rows]: [number, RowDType | undefined, number] = [0, undefined, 0];
    for (const file of files) {
      const found = file.tensors.get(tensor);
      const at = { file: file.path, field: tensor };
      if (found === undefined) throw badInput(`the file has no tensor "${tensor}"`, { ...at, got: [...file.tensors.keys()].join(", ") || "no tensors", wanted: tensor, hint: "name another with --tensor" });
      const [count, width] = found.shape;
      if (found.shape.length !== 2 || count === undefined || width === undefined || count === 0) {
        throw badInput("activations are rows of a matrix", { ...at, got: `[${found.shape.join(", ")}]`, wanted: "[n, d_in]" });
      }
      if (!isFloatDType(found.dtype) || found.dtype === "F64") throw badInput("rows of this type cannot be trained on", { ...at, got: found.dtype, wanted: "F32, F16 or BF16" });
      dtype ??= found.dtype;
      dIn = dIn === 0 ? width : dIn;
      if (width !== dIn) throw badInput("the files hold rows of different widths", { ...at, got: width, wanted: String(dIn) });
      if (found.dtype !== dtype) throw badInput("the files hold rows of different types", { ...at, got: found.dtype, wanted: dtype });
      parts.push({ file, start: rows, end: rows + count });
      rows += count;
    }
    if (dtype === undefined) throw badInput("no activations", { field: "--activations", wanted: "at least one file" });
    return new ActivationFiles(dIn, dtype, tensor, parts);
  }

  /** Rows [start, end) as f32, contiguous. */
  async readF32(start: number, end: number): Promise<Float32Array> {
    const out = new Float32Array((end - start) * this.dIn);
    for (const { part, from, to, at } of this.#within(start, end)) {
      await part.file.readF32(this.#tensor, { rows: { start: from, end: to }, target: out.subarray(at * this.dIn, (at + to - from) * this.dIn) });
    }
    return out;
  }

  /** Copies the bytes of rows [start, end), as stored, to `target`. */
  async readBytes(start: number, end: number, target: Uint8Array): Promise<void> {
    const rowBytes = target.byteLength / (end - start);
    for (const { part, from, to, at } of this.#within(start, end)) {
      const { data } = await part.file.read(this.#tensor, { rows: { start: from, end: to } });
      target.set(data, at * rowBytes);
    }
  }

  async close(): Promise<void> {
    for (const { file } of this.#parts) await file.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  *#within(start: number, end: number): Generator<{ readonly part: Part; readonly from: number; readonly to: number; readonly at: number }> {
    for (const part of this.#parts) {
      const from = Math.max(start, part.start);
      const to = Math.min(end, part.end);
      if (from < to) yield { part, from: from - part.start, to: to - part.start, at: from - start };
    }
  }
}
