import type { BackendReport, BackendStates } from "./backend-states.ts";

/** What /healthz answers: whether every backend serves, and where everything is. */
export interface HealthReport {
  readonly status: "ok" | "degraded";
  readonly grpc: string;
  readonly http: string;
  readonly services: Readonly<Record<string, BackendReport>>;
}

/** The report as of now. The gateway itself is up, or nobody would answer. */
export function healthReport(states: Pick<BackendStates, "reports">, grpc: string, http = ""): HealthReport {
  const services = states.reports;
  const ok = Object.values(services).every(({ state }) => state === "serving");
  return { status: ok ? "ok" : "degraded", grpc, http, services };
}
