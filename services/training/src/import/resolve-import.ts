import { importRows, rowsFingerprint, type StoreAddress } from "@mistral-sae/activations";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import type { ImportActivationsRequest } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { invalidArgument } from "@mistral-sae/rpc";
import { InputError, type FloatDType } from "@mistral-sae/tensor";
import { storedDType } from "../runs/resolve-config.ts";
import { IMPORT_SHARD_ROWS, type ImportPlan } from "./import-plan.ts";

/** @throws RpcError INVALID_ARGUMENT naming the field, and the file at fault. */
export async function resolveImport(request: ImportActivationsRequest, store: StoreAddress): Promise<ImportPlan> {
  const { uri, tensor, hookName, model, activationDtype } = request;
  const rows = await checked(() => importRows(uri, tensor));
  const dtype = activationDtype === DataType.UNSPECIFIED ? ownDType(rows.dtype) : storedDType({ activationDtype }, "activation_dtype");
  const corpus = await rowsFingerprint(rows.files);
  const source = { modelDigest: "", hookName, corpus, contextSize: 0, dtype, width: rows.width, shardTokens: IMPORT_SHARD_ROWS, documents: "imported", model } as const;
  return { store, source, uri, files: rows.files, rows: rows.rows };
}

function ownDType(dtype: FloatDType): FloatDType {
  if (dtype === "F64") throw invalidArgument("activation_dtype", "the files hold F64, which is not stored: name BF16, F16 or F32");
  return dtype;
}

async function checked<T>(read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    throw error instanceof InputError ? invalidArgument("uri", error.message) : error;
  }
}
