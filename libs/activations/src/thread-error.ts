import { InputError } from "@mistral-sae/tensor";

/** An error in a form that survives a message between threads, which otherwise loses its class and fields. */
export interface PackedError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly input?: { readonly file: string | undefined; readonly field: string | undefined; readonly got: string | undefined; readonly wanted: string | undefined };
}

export function packError(error: unknown): PackedError {
  if (!(error instanceof Error)) return { name: "Error", message: String(error), stack: undefined };
  const packed = { name: error.name, message: error.message, stack: error.stack };
  if (!(error instanceof InputError)) return packed;
  return { ...packed, input: { file: error.file, field: error.field, got: error.got, wanted: error.wanted } };
}

/** The error again; an InputError comes back as one. */
export function unpackError(packed: PackedError): Error {
  const { name, message, stack, input } = packed;
  const error = input === undefined ? Object.assign(new Error(message), { name }) : Object.assign(new InputError(message), input);
  return stack === undefined ? error : Object.assign(error, { stack });
}
