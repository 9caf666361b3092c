import { InputError } from "@mistral-sae/tensor";
import { WorkerPool } from "../workers/worker-pool.ts";
import { readSentenceFolder, sentenceSourceId } from "./sentence-folder.ts";
import type { SentenceVectors } from "./sentence-model.ts";
import type { SentenceTask, SentenceWorkerData } from "./sentence-worker.ts";
import type { Embedded, VectorSource } from "./vector-source.ts";

/** Few, so that a query does not wait long behind the texts of a job. */
const TEXTS_A_TASK = 16;

/** Vectors of a sentence-embedding model that runs in a thread of this process. */
export class FolderSource implements VectorSource {
  readonly id: string;
  readonly #pool: WorkerPool;

  private constructor(id: string, pool: WorkerPool) {
    this.id = id;
    this.#pool = pool;
  }

  /** @throws InputError when the folder's files cannot be used. */
  static async open(path: string, threads: number): Promise<FolderSource> {
    const folder = await readSentenceFolder(path);
    const pool = new WorkerPool(new URL("./sentence-worker.ts", import.meta.url), 1, { folder, threads } satisfies SentenceWorkerData);
    const source = new FolderSource(sentenceSourceId(folder), pool);
    try {
      await source.embed(["a"], "query", AbortSignal.timeout(600_000));
    } catch (error) {
      await pool.close();
      // What onnxruntime and the tokenizer throw is about the folder's files.
      throw new InputError(error instanceof Error ? error.message : String(error), { file: folder.folder });
    }
    return source;
  }

  async embed(texts: readonly string[], as: "query" | "text", signal: AbortSignal): Promise<Embedded> {
    const vectors: Float32Array[] = [];
    let nInPieces = 0;
    for (let start = 0; start < texts.length; start += TEXTS_A_TASK) {
      signal.throwIfAborted();
      const task: SentenceTask = { texts: texts.slice(start, start + TEXTS_A_TASK), as };
      const part = await this.#pool.run<SentenceVectors>(task);
      vectors.push(...part.vectors);
      nInPieces += part.nInPieces;
    }
    return { vectors, nInPieces };
  }

  async close(): Promise<void> {
    await this.#pool.close();
  }
}
