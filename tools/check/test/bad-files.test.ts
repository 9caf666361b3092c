import { mkdir, mkdtemp, readdir, readFile, rm, truncate, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type RawEntry, type RawSafetensors, rewriteRaw } from "../src/acceptance/raw-safetensors.ts";
import { type CliRun, runCli } from "../src/acceptance/run-cli.ts";
import { copyDemoModel, HOOK, weightsOf, writeSampleRows, writeSampleSae } from "../src/acceptance/sample-files.ts";

let folder = "";
let n = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "bad-files-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Folders of one case: what is read lies beside the folder that is written to. */
interface Case {
  readonly sae: string;
  readonly model: string;
  readonly rows: string;
  readonly out: string;
}

async function newCase(): Promise<Case> {
  const at = join(folder, String(n++));
  const made = { sae: join(at, "sae"), model: join(at, "model"), rows: join(at, "x.safetensors"), out: join(at, "out") };
  await mkdir(made.out, { recursive: true });
  return made;
}

/** What reads the three kinds of safetensors file, and a tensor that it needs. */
const readers = {
  sae: {
    tensor: "W_enc",
    make: async (c: Case) => {
      await writeSampleSae(c.sae);
      await writeSampleRows(c.rows);
      return weightsOf(c.sae, "sae");
    },
    run: (c: Case) => runCli("sae", "encode", "--sae", c.sae, "--input", c.rows, "--output", join(c.out, "out.safetensors")),
  },
  model: {
    tensor: "model.layers.1.self_attn.q_proj.weight",
    make: async (c: Case) => {
      await copyDemoModel(c.model);
      return weightsOf(c.model, "model");
    },
    run: (c: Case) => runCli("model", "logits", "--model", c.model, "--tokens", "1,5,6", "--hooks", HOOK, "--output", join(c.out, "out.safetensors")),
  },
  activations: {
    tensor: "x",
    make: async (c: Case) => {
      await writeSampleRows(c.rows);
      return c.rows;
    },
    run: (c: Case) => runCli("train", "--activations", c.rows, "--d-sae", "32", "--k", "4", "--batch-tokens", "64", "--steps", "2", "--out", join(c.out, "sae")),
  },
} as const;
type Kind = keyof typeof readers;
const kinds = Object.keys(readers) as Kind[];

function entryOf(file: RawSafetensors, name: string): RawEntry {
  const entry = file.header[name];
  if (entry === undefined) throw new Error(`the sample has no ${name}`);
  return entry;
}

async function leaves(c: Case): Promise<readonly string[]> {
  return await readdir(c.out, { recursive: true });
}

/** Bad input ends with exit code 2 and says nothing on stdout; nothing is left where the command writes. */
const REFUSED = { code: 2, exitCode: 2, stdout: "", left: [] } as const;

/** What a refusal is judged by. */
async function refusal({ error, code, stdout, stderr }: CliRun, c: Case): Promise<object> {
  return error === undefined ? { stderr } : { ...error, code, stdout, left: await leaves(c) };
}

/** Tried on one kind alone: one reader reads all three. */
const rareCuts: readonly [string, (size: number) => number][] = [
  ["in the length of its header", () => 5],
  ["at its first byte", () => 0],
];

const told = expect.stringMatching(/./);

describe.each(kinds)("a safetensors file of %s", (kind) => {
  const { tensor, make, run } = readers[kind];

  it("is read when it is sound", async () => {
    const c = await newCase();
    await make(c);
    const { code, stderr } = await run(c);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(await leaves(c)).not.toEqual([]);
  });

  it.each<[string, (size: number) => number]>([
    ["in its data", (size) => size - 100],
    ["in its header", () => 40],
    ...(kind === "activations" ? rareCuts : []),
  ])("that is truncated %s is refused", async (_, length) => {
    const c = await newCase();
    const file = await make(c);
    await truncate(file, length((await stat(file)).size));
    expect(await refusal(await run(c), c)).toMatchObject({ ...REFUSED, file, field: told, got: told, wanted: told });
  });

  const lies: readonly (readonly [string, (file: RawSafetensors) => void, object])[] = [
    ["a header longer than the file", (f) => void (f.headerLength = 1n << 40n), { field: told, got: told, wanted: told }],
    ["offsets beyond the file", (f) => void (entryOf(f, tensor).data_offsets[1] += 1 << 30), { field: `${tensor}.data_offsets`, got: expect.anything(), wanted: told }],
    ["offsets that overlap", (f) => overlap(f, tensor), { field: told, got: told, wanted: told }],
    ["a shape larger than its bytes", (f) => void (entryOf(f, tensor).shape[0]! += 1), { field: `${tensor}.data_offsets`, got: expect.stringMatching(/bytes/), wanted: expect.stringMatching(/bytes/) }],
    ["an integer dtype", (f) => asIntegers(entryOf(f, tensor)), { field: expect.stringContaining(tensor), got: expect.stringMatching(/U16|U32/), wanted: told }],
    ["a missing tensor", (f) => drop(f, tensor), { field: tensor, got: told, wanted: told }],
    ["a wrong shape", (f) => void entryOf(f, tensor).shape.push(1), { field: expect.stringContaining(tensor), got: told, wanted: told }],
  ];
  const rareLies: typeof lies = [
    ["a header length that no number holds", (f) => void (f.headerLength = (1n << 64n) - 1n), { field: told, got: told, wanted: told }],
    ["a negative size", (f) => void (entryOf(f, tensor).shape[0] = -1), { field: `${tensor}.shape`, got: expect.anything(), wanted: told }],
    ["an unknown dtype", (f) => void (entryOf(f, tensor).dtype = "F7"), { field: `${tensor}.dtype`, got: "F7", wanted: told }],
  ];
  it.each([...lies, ...(kind === "activations" ? rareLies : [])])("with %s is refused", async (_, spoil, wanted) => {
    const c = await newCase();
    const file = await make(c);
    await rewriteRaw(file, spoil);
    expect(await refusal(await run(c), c)).toMatchObject({ ...REFUSED, file: expect.stringContaining(dirname(file)), ...wanted });
  });
});

/** The tensor, and one of the same bytes. */
function overlap(file: RawSafetensors, tensor: string): void {
  const { dtype, shape, data_offsets: at } = entryOf(file, tensor);
  file.header["twin"] = { dtype, shape: [...shape], data_offsets: [...at] };
}

function asIntegers(entry: RawEntry): void {
  entry.dtype = entry.dtype === "F32" ? "U32" : "U16";
}

/** Leaves a sound file without the tensor. */
function drop(file: RawSafetensors, tensor: string): void {
  const [begin, end] = entryOf(file, tensor).data_offsets;
  delete file.header[tensor];
  file.data = Buffer.concat([file.data.subarray(0, begin), file.data.subarray(end)]);
  for (const { data_offsets: at } of Object.values(file.header)) {
    if (at[0] < end) continue;
    at[0] -= end - begin;
    at[1] -= end - begin;
  }
}

async function editJson(path: string, change: object): Promise<void> {
  await writeFile(path, JSON.stringify({ ...(JSON.parse(await readFile(path, "utf8")) as object), ...change }));
}

describe("a configuration", () => {
  it.each<[string, object, object]>([
    ["an unknown architecture", { architectures: ["GPT2LMHeadModel"], model_type: "gpt2" }, { field: told, got: expect.stringMatching(/gpt2/i), wanted: expect.stringMatching(/mistral/i) }],
    ["a width that its tensors do not have", { hidden_size: 256 }, { field: told, got: told, wanted: told }],
    ["heads that do not divide", { num_key_value_heads: 4 }, { field: told, got: expect.anything(), wanted: told }],
    ["layers that are not there", { num_hidden_layers: 5 }, { field: expect.stringContaining("model.layers.4."), wanted: told }],
    ["an activation that is not built", { hidden_act: "relu" }, { field: "hidden_act", got: "relu", wanted: told }],
    ["no context", { max_position_embeddings: 0 }, { field: "max_position_embeddings", got: expect.anything(), wanted: told }],
  ])("of a model with %s is refused", async (_, change, wanted) => {
    const c = await newCase();
    await readers.model.make(c);
    await editJson(join(c.model, "config.json"), change);
    expect(await refusal(await readers.model.run(c), c)).toMatchObject({ ...REFUSED, file: expect.stringContaining(c.model), ...wanted });
  });

  it.each<[string, object, object]>([
    ["an unknown architecture", { architecture: "crosscoder" }, { field: "architecture", got: "crosscoder", wanted: told }],
    ["more features a token than there are", { k: 65 }, { field: "k", got: expect.anything(), wanted: told }],
    ["a width that its tensors do not have", { d_in: 191 }, { field: told, got: told, wanted: told }],
    ["no width", { d_sae: "many" }, { field: "d_sae", got: expect.anything(), wanted: told }],
    ["an unknown normalisation", { normalize_activations: "z-score" }, { field: "normalize_activations", got: "z-score", wanted: told }],
  ])("of an SAE with %s is refused", async (_, change, wanted) => {
    const c = await newCase();
    await readers.sae.make(c);
    await editJson(join(c.sae, "cfg.json"), change);
    expect(await refusal(await readers.sae.run(c), c)).toMatchObject({ ...REFUSED, file: expect.stringContaining(c.sae), ...wanted });
  });

  it.each(["config.json", "model.safetensors"])("model folder without %s is refused", async (name) => {
    const c = await newCase();
    await readers.model.make(c);
    await rm(join(c.model, name));
    expect(await refusal(await readers.model.run(c), c)).toMatchObject({ ...REFUSED, file: expect.stringContaining(c.model), wanted: told });
  });

  it("that is not JSON is refused", async () => {
    const c = await newCase();
    await readers.model.make(c);
    await readers.sae.make(c);
    await writeFile(join(c.model, "config.json"), '{"architectures": ["Mist');
    await writeFile(join(c.sae, "cfg.json"), '{"d_in": 19');
    expect(await refusal(await readers.model.run(c), c)).toMatchObject({ ...REFUSED, file: join(c.model, "config.json") });
    expect(await refusal(await readers.sae.run(c), c)).toMatchObject({ ...REFUSED, file: join(c.sae, "cfg.json") });
  });
});

describe("a command on files", () => {
  it.each<[string, readonly string[], object]>([
    ["a token id beyond the vocabulary", ["--tokens", "1,4096"], { got: expect.anything(), wanted: told }],
    ["more tokens than the context holds", ["--tokens", Array.from({ length: 513 }, () => 5).join(",")], { got: expect.anything(), wanted: told }],
    ["an unknown hook", ["--tokens", "1,5", "--hooks", "blocks.4.hook_resid_pre"], { got: told, wanted: told }],
  ])("model logits refuses %s", async (_, args, wanted) => {
    const c = await newCase();
    await readers.model.make(c);
    const ended = await runCli("model", "logits", "--model", c.model, ...args, "--output", join(c.out, "o.safetensors"));
    expect(await refusal(ended, c)).toMatchObject({ ...REFUSED, field: told, ...wanted });
  });

  it.each<[string, readonly string[], object]>([
    ["more features a token than there are", ["--d-sae", "32", "--k", "33"], { got: expect.anything(), wanted: told }],
    ["an SAE of another width to start from", ["--d-sae", "63", "--init-from", "SAE"], { got: expect.anything(), wanted: told }],
  ])("train refuses %s", async (_, args, wanted) => {
    const c = await newCase();
    await readers.sae.make(c);
    const given = args.map((arg) => (arg === "SAE" ? c.sae : arg));
    const ended = await runCli("train", "--activations", c.rows, "--steps", "2", "--out", join(c.out, "sae"), ...given);
    expect(await refusal(ended, c)).toMatchObject({ ...REFUSED, ...wanted });
  });
});
