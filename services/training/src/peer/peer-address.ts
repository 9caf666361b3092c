/** Where the model is served, in a form that threads can be told. */
export interface PeerAddress {
  /** host:port of the inference service. */
  readonly address: string;
  /** models/{model}. */
  readonly model: string;
  readonly patienceMs: number;
}
