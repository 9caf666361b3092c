import type { MessageInitShape } from "@bufbuild/protobuf";
import { FinishReason, type GenerateRequestSchema, type InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { type Client, Code, RpcError } from "@mistral-sae/rpc";

/** What one variant gave. */
export interface Told {
  readonly tokens: number[];
  text: string;
  readonly kl: (number | undefined)[];
  /** How much likelier the likeliest token was than the next, in nats; NaN where nobody asked. */
  readonly margins: number[];
  finish: FinishReason;
  appliedSteps: number;
  cachedTokens: number;
}

/** What a request came to. */
export interface Outcome {
  readonly variants: ReadonlyMap<string, Told>;
  /** "OK", or the code and reason of its error. */
  readonly end: string;
}

export interface PlayOptions {
  readonly cancelAfter?: number | undefined;
  readonly timeoutMs?: number | undefined;
  readonly tenant?: string | undefined;
}

/** Runs a generation until it ends, or has given so many events. */
export async function play(
  client: Client<typeof InferenceService>,
  request: MessageInitShape<typeof GenerateRequestSchema>,
  { cancelAfter = Infinity, timeoutMs, tenant = "" }: PlayOptions = {},
): Promise<Outcome> {
  const variants = new Map<string, Told>();
  const told = (id: string): Told => {
    const known = variants.get(id) ?? { tokens: [], text: "", kl: [], margins: [], finish: FinishReason.UNSPECIFIED, appliedSteps: 0, cachedTokens: 0 };
    variants.set(id, known);
    return known;
  };
  const stop = new AbortController();
  let left = cancelAfter;
  try {
    if (left === 0) stop.abort();
    const options = { signal: stop.signal, ...(timeoutMs === undefined ? {} : { timeoutMs }), ...(tenant === "" ? {} : { headers: { "x-tenant-id": tenant } }) };
    for await (const { event } of client.generate(request, options)) {
      if (event.case === "step") {
        const { variantId, tokenId, textDelta, klFromBaseline, logprob } = event.value;
        const variant = told(variantId);
        variant.tokens.push(tokenId);
        variant.text += textDelta;
        variant.kl.push(klFromBaseline);
        const [first, second] = logprob?.top ?? [];
        variant.margins.push(first === undefined || second === undefined ? Number.NaN : first.logprob - second.logprob);
      } else if (event.case === "finished") {
        const { variantId, finishReason, steeringAppliedSteps, usage } = event.value;
        Object.assign(told(variantId), { finish: finishReason, appliedSteps: steeringAppliedSteps, cachedTokens: usage?.cachedTokens ?? 0 });
      }
      if (--left <= 0) stop.abort();
    }
    return { variants, end: "OK" };
  } catch (error) {
    const rpc = error instanceof RpcError ? error : new RpcError(Code.Unknown, String(error));
    return { variants, end: `${Code[rpc.code]} ${rpc.reason}`.trim() };
  }
}
