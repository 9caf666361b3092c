import { Health, HealthCheckResponse_ServingStatus as Status } from "@mistral-sae/contracts/grpc/health/v1/health";
import { notFound } from "./errors.ts";
import { implement, type ServiceImplementation } from "./handlers.ts";

/** State behind `grpc.health.v1.Health`: one entry a service name, "" the whole server. */
export class HealthState {
  readonly #serving = new Map<string, boolean>();
  readonly #watchers = new Set<() => void>();

  /** Sets one service, or the whole server for "". */
  set(service: string, serving: boolean): void {
    this.#serving.set(service, serving);
    for (const wake of this.#watchers) wake();
  }

  /** Sets every known entry. */
  setAll(serving: boolean): void {
    for (const name of this.#serving.keys()) this.#serving.set(name, serving);
    for (const wake of this.#watchers) wake();
  }

  get(service: string): boolean | undefined {
    return this.#serving.get(service);
  }

  get names(): readonly string[] {
    return [...this.#serving.keys()];
  }

  /** Resolves at the next change or when the signal aborts. */
  changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        this.#watchers.delete(wake);
        signal.removeEventListener("abort", wake);
        resolve();
      };
      this.#watchers.add(wake);
      signal.addEventListener("abort", wake, { once: true });
      if (signal.aborted) wake();
    });
  }
}

/** `grpc.health.v1.Health` over a {@link HealthState}. */
export function healthService(state: HealthState): ServiceImplementation {
  const status = (service: string): Status => {
    const serving = state.get(service);
    if (serving === undefined) return Status.SERVICE_UNKNOWN;
    return serving ? Status.SERVING : Status.NOT_SERVING;
  };
  return implement(Health, {
    check: ({ service }) => {
      if (state.get(service) === undefined) {
        return Promise.reject(notFound(service, `is not a service here; known: ${state.names.filter((n) => n !== "").join(", ")}`));
      }
      return Promise.resolve({ status: status(service) });
    },
    list: () => Promise.resolve({ statuses: Object.fromEntries(state.names.map((name) => [name, { status: status(name) }])) }),
    async *watch({ service }, { signal }) {
      let last: Status | undefined;
      while (!signal.aborted) {
        const now = status(service);
        if (now !== last) yield { status: now };
        last = now;
        if (status(service) === last) await state.changed(signal);
      }
    },
  });
}
