/** The services of the system. */
export type ServiceName = "inference" | "training" | "feature-index" | "explanation" | "steering" | "gateway";

/** How a service is started. */
export interface ServiceSpec {
  readonly name: ServiceName;
  /** gRPC port taken when it is free. */
  readonly port: number;
  /** Variable by which the others learn its address. */
  readonly addressVariable?: string;
  /** Services that must be ready first. */
  readonly after: readonly ServiceName[];
}

/** All services, each behind those it depends on. */
export const serviceSpecs: readonly ServiceSpec[] = [
  { name: "inference", port: 50051, addressVariable: "MISTRAL_SAE_INFERENCE", after: [] },
  { name: "training", port: 50052, addressVariable: "MISTRAL_SAE_TRAINING", after: ["inference"] },
  { name: "feature-index", port: 50053, addressVariable: "MISTRAL_SAE_FEATURE_INDEX", after: ["inference"] },
  { name: "explanation", port: 50054, addressVariable: "MISTRAL_SAE_EXPLANATION", after: ["feature-index"] },
  { name: "steering", port: 50055, addressVariable: "MISTRAL_SAE_STEERING", after: ["feature-index"] },
  { name: "gateway", port: 50050, after: ["training", "explanation", "steering"] },
];

/** Port of the gateway's HTTP when it is free. */
export const HTTP_PORT = 8080;
