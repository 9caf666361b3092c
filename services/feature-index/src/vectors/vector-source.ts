/** Vectors of some texts. */
export interface Embedded {
  /** One a text, in their order. */
  readonly vectors: readonly Float32Array[];
  /** Texts that the model could only read in pieces. */
  readonly nInPieces: number;
}

/** Turns texts into vectors. */
export interface VectorSource {
  /** Names the model and what else decides the vectors: those of different sources are never compared. */
  readonly id: string;
  /** A query may be read otherwise than a text that it is to find. Rejects with an RpcError. */
  embed(texts: readonly string[], as: "query" | "text", signal: AbortSignal): Promise<Embedded>;
  close(): Promise<void>;
}
