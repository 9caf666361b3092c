import type { Precision, Work } from "./work.ts";

/** Models that cells run on. */
export const cellShapes = ["small", "medium", "demo"] as const;

export type CellShape = (typeof cellShapes)[number];

/** Who takes turns in a cell beside this project's engine. */
export const peerNames = ["llama.cpp", "transformers", "transformers.js"] as const;

export type PeerName = (typeof peerNames)[number];

/** Something the engine is compared with: a peer at the same work, or itself at other work. */
export interface Rival {
  readonly name: string;
  readonly peer?: PeerName;
  readonly work: Work;
  /** The least that the rival's wall time over the engine's may be. */
  readonly wanted?: number;
}

/** One comparison. */
export interface Cell {
  readonly id: string;
  readonly shape: CellShape;
  readonly precision: Precision;
  /** Who does `work` for this project: the engine, or the service over gRPC. */
  readonly subject: "engine" | "service";
  readonly work: Work;
  readonly rivals: readonly Rival[];
}

/** Layers of each model, for the middle one. */
const layers: Readonly<Record<CellShape, number>> = { small: 8, medium: 20, demo: 4 };
/** Steps of one turn: about a second of work. */
const steps: Readonly<Record<CellShape, Readonly<Record<Precision, number>>>> = {
  small: { f32: 64, q8: 128, q4: 128 },
  medium: { f32: 24, q8: 48, q4: 64 },
  demo: { f32: 256, q8: 256, q4: 256 },
};
/** Repetitions of a prompt of 512 tokens, or twice as many tokens harvested, in a turn. */
const times: Readonly<Record<CellShape, number>> = { small: 3, medium: 1, demo: 24 };
const past = 128;

/** All cells that take turns by wall time. */
export function timedCells(): Cell[] {
  return cellShapes.flatMap((shape) => [...(["f32", "q8", "q4"] as const).flatMap((precision) => againstPeers(shape, precision)), ...batched(shape), ...againstItself(shape), capture(shape)]);
}

function againstPeers(shape: CellShape, precision: Precision): Cell[] {
  const torch = precision === "f32";
  const decode: Work = { work: "decode", batch: 1, past, steps: steps[shape][precision] };
  const prefill: Work = { work: "prefill", batch: 1, tokens: 512, times: times[shape] };
  const against = (work: Work, transformers: number): Rival[] => [
    { name: "llama.cpp", peer: "llama.cpp", work, wanted: 1 },
    ...(torch ? [{ name: "transformers", peer: "transformers" as const, work, wanted: transformers }] : []),
    ...(precision === "q8" ? [] : [{ name: "transformers.js", peer: "transformers.js" as const, work, wanted: 1 }]),
  ];
  const cell = (name: string, work: Work, rivals: readonly Rival[]): Cell => ({ id: `${shape}/${name}/${precision}`, shape, precision, subject: "engine", work, rivals });
  return [cell("decode", decode, against(decode, shape === "small" ? 1.3 : 1)), cell("prefill512", prefill, against(prefill, 1))];
}

function batched(shape: CellShape): Cell[] {
  const decode: Work = { work: "decode", batch: 8, past, steps: Math.ceil(steps[shape].f32 / 2) };
  const harvest: Work = { work: "harvest", batch: 8, tokens: 128, times: times[shape], layer: middleLayer(shape) };
  const cell = (name: string, work: Work, wanted: number): Cell => ({ id: `${shape}/${name}/f32`, shape, precision: "f32", subject: "engine", work, rivals: [{ name: "transformers", peer: "transformers", work, wanted }] });
  return [cell("decode8", decode, 1.6), cell("harvest", harvest, 1.3)];
}

/** The engine's harvest, streamed over gRPC: at most a tenth more time than the engine alone. */
function capture(shape: CellShape): Cell {
  const work: Work = { work: "harvest", batch: { small: 64, medium: 16, demo: 256 }[shape], tokens: 128, times: 1, layer: middleLayer(shape) };
  return { id: `${shape}/capture/f32`, shape, precision: "f32", subject: "service", work, rivals: [{ name: "engine alone", work, wanted: 1 / 1.1 }] };
}

function againstItself(shape: CellShape): Cell[] {
  const plain = (batch: number): Work & { readonly work: "decode" } => ({ work: "decode", batch, past, steps: Math.ceil(steps[shape].f32 / (batch === 1 ? 1 : 2)) });
  const cell = (name: string, work: Work, rival: Work, rivalName: string, wanted: number): Cell => ({
    id: `${shape}/${name}/f32`,
    shape,
    precision: "f32",
    subject: "engine",
    work,
    rivals: [{ name: rivalName, work: rival, wanted }],
  });
  return [
    cell("steered", { ...plain(1), hooked: "add" }, plain(1), "unsteered", 0.97),
    cell("steered8", { ...plain(8), hooked: "add" }, plain(8), "unsteered", 0.97),
    cell("unused-hook", { ...plain(1), hooked: "unused" }, plain(1), "no hook", 0.98),
    cell("variant", { ...plain(1), batch: 2, hooked: "variant" }, plain(1), "baseline alone", 1 / 1.3),
  ];
}

/** The last layer of the lower half. */
function middleLayer(shape: CellShape): number {
  return (layers[shape] >> 1) - 1;
}
