import { InferenceSession, type Tensor } from "onnxruntime-node";
import type { ExecutionProvider } from "../graph/model-source.ts";

/** What every session of an engine shares. */
export interface SessionSettings {
  /** Folder that external weights are relative to. */
  readonly weightsFolder: string;
  readonly threads: number;
  readonly provider: ExecutionProvider;
}

/** Values of a run by name. */
export type Feeds = Record<string, Tensor>;

/** How long a thread spins before it sleeps: more than one small operator takes. */
const spinMicroseconds = "30";

/** A graph that onnxruntime has loaded. `run` blocks its thread for the time of the computation. */
export class Session {
  readonly #session: InferenceSession;

  private constructor(session: InferenceSession) {
    this.#session = session;
  }

  /**
   * Loads a graph. Its threads spin between the operators of a run, where waking them would take longer than many an
   * operator, but never for long: when another process has the core that one of them needs, the rest would only take turns
   * with it. They sleep as soon as the run ends.
   */
  static async open(graph: Uint8Array, settings: SessionSettings): Promise<Session> {
    const session = await InferenceSession.create(graph, {
      executionProviders: [settings.provider],
      intraOpNumThreads: settings.threads,
      interOpNumThreads: 1,
      executionMode: "sequential",
      graphOptimizationLevel: "all",
      logSeverityLevel: 3,
      extra: { session: { intra_op: { allow_spinning: "1", spin_duration_us: spinMicroseconds }, force_spinning_stop: "1", model_external_initializers_file_folder_path: settings.weightsFolder } },
    });
    return new Session(session);
  }

  /** Runs the whole graph and returns the outputs named. */
  async run(feeds: Feeds, outputs: readonly string[]): Promise<Feeds> {
    return await this.#session.run(feeds, outputs);
  }

  async release(): Promise<void> {
    await this.#session.release();
  }
}

/** The float32 values of an output. */
export function floats(outputs: Feeds, name: string): Float32Array {
  const data = outputs[name]?.data;
  if (data instanceof Float32Array) return data;
  throw new Error(`the graph gave no float32 output ${name}`);
}

/** The int64 values of an output. */
export function longs(outputs: Feeds, name: string): BigInt64Array {
  const data = outputs[name]?.data;
  if (data instanceof BigInt64Array) return data;
  throw new Error(`the graph gave no int64 output ${name}`);
}

/** The int32 values of an output. */
export function ints(outputs: Feeds, name: string): Int32Array {
  const data = outputs[name]?.data;
  if (data instanceof Int32Array) return data;
  throw new Error(`the graph gave no int32 output ${name}`);
}
