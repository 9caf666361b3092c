import type { MessageInitShape } from "@bufbuild/protobuf";
import type { DirectionSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { DataType, type Tensor, type TensorSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import type { PromptInputSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import { f32View } from "@mistral-sae/tensor";

type PromptFields = MessageInitShape<typeof PromptInputSchema>;

/** A prompt of plain text. */
export function text(value: string): PromptFields {
  return { prompt: { case: "text", value } };
}

/** A prompt of ids. */
export function ids(tokenIds: number[]): PromptFields {
  return { prompt: { case: "tokens", value: { tokenIds } } };
}

/** An F32 tensor; one dimension unless a shape is given. */
export function f32(values: ArrayLike<number>, shape: number[] = [values.length]): Exclude<MessageInitShape<typeof TensorSchema>, Tensor> {
  return { dtype: DataType.F32, shape, data: new Uint8Array(Float32Array.from(values).buffer) };
}

/** A direction at a hook, as the target of an intervention. */
export function direction(values: ArrayLike<number>, hookName = "blocks.1.hook_resid_post"): { case: "direction"; value: MessageInitShape<typeof DirectionSchema> } {
  return { case: "direction", value: { hookName, vector: f32(values) } };
}

/** The values of an F32 tensor. */
export function floats(tensor: Tensor | undefined): Float32Array {
  return f32View(tensor?.data ?? new Uint8Array());
}
