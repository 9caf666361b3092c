import { SqlError } from "@mistral-sae/clickhouse";
import { type AnyHandler, unavailable } from "@mistral-sae/rpc";

/** A query that found no ClickHouse → UNAVAILABLE, which callers and jobs repeat; other errors stay as they are. */
export function whenAway(error: unknown): unknown {
  return error instanceof SqlError && error.failure === "connection" ? unavailable("CLICKHOUSE_UNAVAILABLE", error.message, 500) : error;
}

/** What `work` comes to, its failures through `whenAway`. */
export async function orUnavailable<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw whenAway(error);
  }
}

/** Handlers whose failures go through `whenAway`. */
export function handlersOrUnavailable<H extends object>(handlers: H): H {
  const wrapped = Object.entries(handlers as Record<string, AnyHandler>).map(([name, handler]) => [
    name,
    (request: unknown, context: Parameters<AnyHandler>[1]) => {
      const answer = handler(request, context);
      return answer instanceof Promise ? orUnavailable(async () => (await answer) as unknown) : streamOrUnavailable(answer as AsyncIterable<unknown>);
    },
  ]);
  return Object.fromEntries(wrapped) as H;
}

async function* streamOrUnavailable(stream: AsyncIterable<unknown>): AsyncIterable<unknown> {
  try {
    yield* stream;
  } catch (error) {
    throw whenAway(error);
  }
}
