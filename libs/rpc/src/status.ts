import { create, fromBinary, toBinary, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import { type Any, anyPack, anyUnpack } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "@mistral-sae/contracts/google/rpc/error_details";
import { type Status, StatusSchema } from "@mistral-sae/contracts/google/rpc/status";
import { Code, RpcError, type RpcErrorDetails } from "./errors.ts";

const DOMAIN = "mistral-sae";

/** Bad input as the libraries report it; recognised by name, so that no library needs this one. */
interface InputErrorLike extends Error {
  readonly file?: string;
  readonly field?: string;
}

function isInputError(error: unknown): error is InputErrorLike {
  return error instanceof Error && error.name === "InputError";
}

/** Any thrown value as an {@link RpcError}; unknown faults become INTERNAL and keep their cause for the log. */
export function toRpcError(error: unknown): RpcError {
  if (error instanceof RpcError) return error;
  if (error instanceof ConnectError) return fromConnectError(error);
  if (isInputError(error)) {
    const field = error.field ?? error.file ?? "request";
    return new RpcError(Code.InvalidArgument, error.message, {
      reason: "INVALID_INPUT",
      metadata: error.file === undefined ? {} : { file: error.file },
      violations: [{ field, description: error.message }],
      cause: error,
    });
  }
  if (error instanceof Error && error.name === "AbortError") {
    return new RpcError(Code.Canceled, "the call was cancelled", { reason: "CANCELLED", cause: error });
  }
  if (error instanceof Error && "code" in error && (error.code === "ENOSPC" || error.code === "EDQUOT")) {
    return new RpcError(Code.ResourceExhausted, `no space left on the disk: ${error.message}`, { reason: "DISK_FULL", cause: error });
  }
  const message = error instanceof Error ? error.message : String(error);
  return new RpcError(Code.Internal, message, { reason: "INTERNAL", cause: error });
}

/** `google.rpc.Status` with ErrorInfo, BadRequest and RetryInfo where they apply. */
export function toStatus(error: RpcError): Status {
  const details: Any[] = [];
  if (error.reason !== "") {
    details.push(
      anyPack(ErrorInfoSchema, create(ErrorInfoSchema, { reason: error.reason, domain: DOMAIN, metadata: { ...error.metadata } })),
    );
  }
  if (error.violations.length > 0) {
    details.push(
      anyPack(BadRequestSchema, create(BadRequestSchema, { fieldViolations: error.violations.map((v) => ({ ...v })) })),
    );
  }
  if (error.retryDelayMs !== undefined) {
    const seconds = Math.floor(error.retryDelayMs / 1000);
    const nanos = Math.round((error.retryDelayMs - seconds * 1000) * 1e6);
    details.push(
      anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay: { seconds: BigInt(seconds), nanos } })),
    );
  }
  return create(StatusSchema, { code: error.code, message: error.message, details });
}

/** The {@link RpcError} that a `google.rpc.Status` stands for. */
export function fromStatus(status: Status): RpcError {
  const find = <D extends DescMessage>(schema: D): MessageShape<D> | undefined => {
    for (const any of status.details) {
      const message = anyUnpack(any, schema);
      if (message !== undefined) return message;
    }
    return undefined;
  };
  return new RpcError(status.code, status.message, details(find));
}

/** Serialised status, for the `grpc-status-details-bin` trailer. */
export function statusBytes(error: RpcError): Uint8Array {
  return toBinary(StatusSchema, toStatus(error));
}

/** Reads what {@link statusBytes} wrote. */
export function fromStatusBytes(bytes: Uint8Array): RpcError {
  return fromStatus(fromBinary(StatusSchema, bytes));
}

/** A Connect error as an {@link RpcError}. */
export function fromConnectError(error: ConnectError): RpcError {
  if (error.cause instanceof RpcError) return error.cause;
  const find = <D extends DescMessage>(schema: D): MessageShape<D> | undefined => error.findDetails(schema)[0];
  return new RpcError(error.code, error.rawMessage, { ...details(find), cause: error });
}

/** The Connect error that stands for an {@link RpcError} at the edge. */
export function toConnectError(error: RpcError): ConnectError {
  const outgoing = [];
  if (error.reason !== "") {
    outgoing.push({ desc: ErrorInfoSchema, value: { reason: error.reason, domain: DOMAIN, metadata: { ...error.metadata } } });
  }
  if (error.violations.length > 0) {
    outgoing.push({ desc: BadRequestSchema, value: { fieldViolations: error.violations.map((v) => ({ ...v })) } });
  }
  if (error.retryDelayMs !== undefined) {
    const seconds = BigInt(Math.floor(error.retryDelayMs / 1000));
    outgoing.push({ desc: RetryInfoSchema, value: { retryDelay: { seconds, nanos: Math.round((error.retryDelayMs % 1000) * 1e6) } } });
  }
  return new ConnectError(error.message, error.code, undefined, outgoing, error);
}

function details(find: <D extends DescMessage>(schema: D) => MessageShape<D> | undefined): RpcErrorDetails {
  const info = find(ErrorInfoSchema);
  const bad = find(BadRequestSchema);
  const delay = find(RetryInfoSchema)?.retryDelay;
  return {
    ...(info === undefined ? {} : { reason: info.reason, metadata: info.metadata }),
    ...(bad === undefined ? {} : { violations: bad.fieldViolations.map((v) => ({ field: v.field, description: v.description })) }),
    ...(delay === undefined ? {} : { retryDelayMs: Number(delay.seconds) * 1000 + delay.nanos / 1e6 }),
  };
}
